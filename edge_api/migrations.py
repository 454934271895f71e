"""The package's migrations, and how they get into a project that has migrations of its own."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final

from edge_api.embedded.packages import PROJECT

# What `supabase db push` takes for a migration; it orders them by version, as text, and ignores all other entries.
_FILE_NAME: Final = re.compile(r"([0-9]+)_(.*)\.sql")
_VERSION_FORMAT: Final = "%Y%m%d%H%M%S"


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
    files = _in_folder(PROJECT / "supabase" / "migrations")
    if not files:
        raise MigrationsError("the package's migrations are missing: reinstall edge-api")
    return tuple(Migration(path, version, name, _read(path)) for version, name, path in files)


def copy(directory: Path, report: Callable[[str], None]) -> bool:
    """Write the package's migrations that a project does not have, dated after the newest that it has.

    A project has a migration if a file has its name and its content, whatever the version. Nothing is overwritten.

    Args:
        directory: the project's supabase/migrations.
        report: receives a line for each migration: written, unchanged, changed or not written.

    Returns:
        Whether the project has all of them now, with the content that they have here.

    Raises:
        MigrationsError: the directory cannot be read or written, or no order would be right.
    """
    files = _in_folder(directory)
    present = defaultdict(list)
    for _, name, path in files:
        present[name].append(path)
    migrations = packaged()
    for earlier, later in pairwise(migrations):
        if earlier.name not in present and later.name in present:
            raise MigrationsError(
                f"{earlier.name} is missing, but {present[later.name][0].name} must come after it: restore the missing "
                "file with the version it had, or, where the other one is not applied yet, delete that and copy again; "
                "if it is a migration of your own, rename it"
            )
    versions = _versions(after=max((version for version, _, _ in files), default=""))
    unchanged, changed = [], []
    for migration in migrations:
        named_alike = present.get(migration.name)
        if named_alike:
            same = [path for path in named_alike if migration.is_same_as(_read(path))]
            if same:
                unchanged.append(migration)
                report(f"unchanged: {same[0].name}")
            else:
                changed.append(migration)
                report(
                    f"changed: {named_alike[0].name} has the name of a migration of this package and other content, "
                    "and was not overwritten; if it is a migration of your own, rename it and copy again"
                )
        elif changed and not unchanged:
            # Perhaps the project has another table of that name: nothing may be built on it.
            report(f"not written: {migration.name}, because nothing that comes before it is a copy without changes")
        else:
            path = directory / f"{next(versions)}_{migration.name}.sql"
            _write(path, migration.sql)
            report(f"written: {path.name}")
    return not changed


def _normalized(sql: str) -> str:
    # Only where a line ends: in "-- a; b" the semicolon ends nothing.
    return re.sub(r";\s*\n\s*", ";\n", sql.replace("\r\n", "\n") + "\n").strip("; \t\n")


def _in_folder(directory: Path) -> list[tuple[str, str, Path]]:
    """Version, name and path of each migration in a folder, in order."""
    try:
        found = [(_FILE_NAME.fullmatch(path.name), path) for path in directory.iterdir() if path.is_file()]
    except OSError as error:
        raise MigrationsError(f"cannot read the directory {directory}: {error.strerror}") from None
    return sorted((match[1], match[2], path) for match, path in found if match)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig", errors="replace")
    except OSError as error:
        raise MigrationsError(f"cannot read {path}: {error.strerror}") from None


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


def _versions(after: str) -> Iterator[str]:
    """Versions in ascending order, a second apart: from now on, or from the next possible date after a later one."""
    moment = datetime.now(UTC)
    try:
        if moment.strftime(_VERSION_FORMAT) <= after:
            moment = _later_than(after)
        while True:
            yield moment.strftime(_VERSION_FORMAT)
            moment += timedelta(seconds=1)
    except (OverflowError, ValueError):
        raise MigrationsError(f"no date comes after the version {after}: rename that migration") from None


def _later_than(version: str) -> datetime:
    """The first date whose version comes after another one, which may be longer, shorter or no date."""
    try:
        moment = datetime.strptime(version[:14].ljust(14, "0"), _VERSION_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return datetime(int(version[:4].ljust(4, "0")) + 1, 1, 1, tzinfo=UTC)
    return moment if moment.strftime(_VERSION_FORMAT) > version else moment + timedelta(seconds=1)
