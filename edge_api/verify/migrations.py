"""The package's migrations, and how they get into a project that has migrations of its own."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

_PACKAGE: Final = Path(__file__).resolve().parents[1]
_OF_THE_WHEEL: Final = _PACKAGE / "_migrations"
# What `supabase db push` takes for a migration; it orders them by version, as text, and ignores all other entries.
_FILE_NAME: Final = re.compile(r"([0-9]+)_(.*)\.sql")


class MigrationsError(Exception):
    """The migrations cannot be read or written: a line for a person."""


@dataclass(frozen=True)
class Migration:
    """One of the package's migrations."""

    path: Path
    version: str
    name: str
    sql: str

    @property
    def summary(self) -> str:
        """The first sentence of the comment at its beginning."""
        comment = re.match(r"(?:--.*\n)*", self.sql)
        text = " ".join(line.removeprefix("--").strip() for line in comment[0].splitlines()) if comment else ""
        return re.split(r"(?<=[.!?])\s", text.strip(), maxsplit=1)[0]

    def is_same_as(self, sql: str) -> bool:
        """Whether a text has this migration's content.

        Line endings and blank lines between statements do not count: `supabase db push` records the statements of a
        file without them, and `supabase migration fetch` writes files from what is recorded.
        """
        return _normalized(self.sql) == _normalized(sql)


def packaged() -> tuple[Migration, ...]:
    """The migrations in order: the checkout's where the package is installed from one, else those of the wheel.

    Raises:
        MigrationsError: there is none.
    """
    files = _in_folder(_OF_THE_WHEEL if _OF_THE_WHEEL.is_dir() else _PACKAGE.parent / "supabase" / "migrations")
    if not files:
        raise MigrationsError("the package's migrations are missing: reinstall edge-api")
    return files


def copy(directory: Path, report: Callable[[str], None]) -> bool:
    """Write the package's migrations that a project does not have, dated after the newest that it has.

    A project has a migration if a file has its name and its content, whatever the version. Nothing is overwritten.

    Args:
        directory: the project's supabase/migrations.
        report: receives a line for each migration: written, unchanged, changed or not written.

    Returns:
        Whether the project has all of them now, with the content that they have here.

    Raises:
        MigrationsError: the directory cannot be read or written, or one is missing that another one needs.
    """
    files, migrations = _in_folder(directory), packaged()
    present = {own.name: own for own in files}
    for earlier, later in pairwise(migrations):
        if earlier.name not in present and later.name in present:
            raise MigrationsError(
                f"{earlier.name} is missing, but {present[later.name].path.name} must come after it: restore the "
                "missing file with the version it had, or, where the other one is not applied yet, delete that and "
                "copy again; if it is a migration of your own, rename it"
            )
    newest = max((own.version for own in files), default="")
    version = max(datetime.now(UTC).strftime("%Y%m%d%H%M%S"), _next(newest or "0"))
    unchanged, changed = False, False
    for migration in migrations:
        named_alike = [own for own in files if own.name == migration.name]
        same = [own for own in named_alike if migration.is_same_as(own.sql)]
        if same:
            unchanged = True
            report(f"unchanged: {same[0].path.name}")
        elif named_alike:
            changed = True
            report(
                f"changed: {named_alike[0].path.name} has the name of a migration of this package and other content, "
                "and was not overwritten; if it is a migration of your own, rename it and copy again"
            )
        elif changed and not unchanged:
            # Perhaps the project has another table of that name: nothing may be built on it.
            report(f"not written: {migration.name}, because nothing that comes before it is a copy without changes")
        else:
            path = directory / f"{version}_{migration.name}.sql"
            _write(path, migration.sql)
            report(f"written: {path.name}")
            version = _next(version)
    return not changed


def _next(version: str) -> str:
    return str(int(version) + 1).zfill(len(version))  # of the same length: files are pushed in the order of their names


def _normalized(sql: str) -> str:
    # Only where a line ends: in "-- a; b" the semicolon ends nothing.
    return re.sub(r";\s*\n\s*", ";\n", sql.replace("\r\n", "\n") + "\n").strip("; \t\n")


def _in_folder(directory: Path) -> tuple[Migration, ...]:
    """The migrations in a folder, in order."""
    try:
        found = [(_FILE_NAME.fullmatch(path.name), path) for path in directory.iterdir() if path.is_file()]
        migrations = [
            Migration(path, match[1], match[2], path.read_text("utf-8-sig", "replace"))
            for match, path in found
            if match
        ]
    except OSError as error:
        raise MigrationsError(f"cannot read {error.filename}: {error.strerror}") from None
    return tuple(sorted(migrations, key=lambda migration: (migration.version, migration.name)))


def _write(path: Path, sql: str) -> None:
    """Create a file, whole or not at all."""
    try:
        path.touch(exist_ok=False)
        try:
            path.write_text(sql, "utf-8", newline="\n")
        except BaseException:
            path.unlink()
            raise
    except OSError as error:
        raise MigrationsError(f"cannot write {path}: {error.strerror}") from None
