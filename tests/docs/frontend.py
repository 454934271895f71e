"""What docs/frontend.md says, for tests to hold it to."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_api.local.packages import PROJECT

PAGE = (PROJECT / "docs" / "frontend.md").read_text()
OF_THE_EXAMPLE = "credentials.ts"
_HEAD = "| API: status | API: `code` | supabase-js: `status` | supabase-js: `error.code` |"


@dataclass(frozen=True)
class Refusal:
    """A row of the table of errors."""

    status: int
    code: str
    supabase_status: int | None
    supabase_code: str

    @property
    def name(self) -> str:
        return f"{self.code}: {self.supabase_status} {self.supabase_code}".strip()


def rows() -> Iterator[Refusal]:
    """The table of errors."""
    _, head, rest = PAGE.partition(_HEAD)
    assert head
    for line in rest.partition("\n\n")[0].splitlines()[2:]:
        status, code, supabase_status, supabase_code = (cell.strip(" `") for cell in line.split("|")[1:5])
        yield Refusal(int(status), code, int(supabase_status) if supabase_status else None, supabase_code)


def refusals() -> dict[str, Any]:
    """The rows that say what supabase-js reports, by name."""
    return {
        row.name: {
            "supabase": {"status": row.supabase_status, "code": row.supabase_code},
            "api": {"status": row.status, "code": row.code},
        }
        for row in rows()
        if row.supabase_status is not None
    }


def modules() -> dict[str, str]:
    """The modules of TypeScript, by the names in their first lines."""
    found = re.findall(r"^```ts\n// (\S+\.ts)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(found) == PAGE.count("```ts\n")
    return dict(found)


def scripts() -> list[str]:
    """The blocks for a shell."""
    return re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def check_out(folder: Path, database_types: str) -> None:
    """Put all modules into a folder, as a frontend that has these types."""
    for name, text in modules().items():
        (folder / name).write_text(text)
    (folder / "database.types.ts").write_text(database_types)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "node_modules").symlink_to(PROJECT / "node_modules")
    (folder / "tsconfig.json").write_text((PROJECT / "tests" / "supabase_js" / "tsconfig.json").read_text())
