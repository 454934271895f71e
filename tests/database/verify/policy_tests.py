"""Shows a repaired database to the policy tests of sql/tests.

`python -m tests.database.verify.policy_tests` does so for each entry of the catalogue on each version, prints what the
policy tests object to, and ends with 1 if it is anything.
"""

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg

from edge_api.local import stack as local_stack
from edge_api.local.postgres import SUPERUSER, VERSIONS, PostgresVersion
from edge_api.verify.drift import Expected
from edge_api.verify.findings import fix_script
from edge_api.verify.questions import verify
from tests.database import tap
from tests.database.project import Project, run_project
from tests.database.verify.gap import Effect, Gap
from tests.database.verify.gaps import KINDS
from tests.database.verify.judge import apply, body
from tests.database.verify.oracle import HOSTED, LOGIN_ROLE, USERS, rolled_back

# A project's own views stay, as long as nobody reaches a row through them.
_ADDITIONS: Final = "no definition was added"
_EFFECTS: Final = (Effect.REACHED, Effect.LOCKED_OUT, Effect.WEAKER)


def applies(gap: Gap, version: int) -> bool:
    """Whether the script is meant to bring everything back."""
    return gap.effect in _EFFECTS and not (gap.only_person or gap.data_in_the_way) and version // 10000 >= gap.since


@dataclass(frozen=True)
class PolicyTests:
    """The policy tests, on one database."""

    project: Project
    name: str
    database: psycopg.Connection
    expected: Expected
    folder: Path
    """Where the changes are handed over to psql."""

    def objections(self, gap: Gap) -> list[str]:
        """What they find wrong where a gap was opened and the script was run; all is rolled back."""
        with rolled_back(self.database):
            apply(self.database, gap)
            script = fix_script(verify(self.database, self.expected))
        changes = self.folder / "changes.sql"
        as_owner = "" if gap.superuser else "set local role postgres;"
        changes.write_text(
            f"{as_owner}\n{gap.sql};\nreset role;\nset local search_path to default;\n{body(script)}\n"
            "set local search_path to default;\nset local tests.shared_project = 'on';\n"
            "set local session authorization postgres;\n"
        )
        return [
            f"{file.stem}: {objection}"
            for file in tap.FILES
            for objection in _objections(
                tap.run(self.project.cluster, self.name, file, changes=[changes], role=SUPERUSER)
            )
        ]


def _objections(outcome: tap.Outcome) -> list[str]:
    failed = [each.description for each in outcome.assertions if not each.passed and each.description != _ADDITIONS]
    return [*failed, *([outcome.complaint] if outcome.complaint else [])]


def _show_all(version: PostgresVersion, folder: Path) -> Iterator[str]:
    """Show each entry to the policy tests on one version; yields those that they object to."""
    entries = [(f"{kind}: {title}", gap) for kind in KINDS for title, gap in KINDS[kind].items()]
    with (
        run_project(folder / "state", version) as project,
        project.clone() as name,
        project.connect(name, SUPERUSER) as database,
    ):
        database.execute(f"{LOGIN_ROLE} {HOSTED} {USERS}".encode())
        shown = PolicyTests(project, name, database, Expected.load(), folder)
        for title, gap in entries:
            if applies(gap, database.info.server_version):
                wrong = shown.objections(gap)
                print(f"  {title}: {'; '.join(wrong) or 'passed'}", flush=True)
                if wrong:
                    yield title


def main() -> int:
    """Show each entry to the policy tests on each version; returns the exit code."""
    failed = []
    for version in VERSIONS:
        print(f"PostgreSQL {version}")
        with tempfile.TemporaryDirectory(prefix="edge-api-gaps-") as folder:
            try:
                failed += list(_show_all(version, Path(folder)))
            finally:
                local_stack.reset(Path(folder) / "state")
    print(f"{len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
