"""The commands `edge-api verify` and `edge-api migrations`."""

import sys
from pathlib import Path
from typing import Final, Literal, NoReturn

import click

from edge_api import WHEEL
from edge_api.verify.migrations import MigrationsError, copy, packaged

_FORMATS: Final = click.Choice(["text", "json"])
_LEVELS: Final = click.Choice(["error", "warning", "info"])


def _fail(message: object) -> NoReturn:
    print(f"edge-api: {message}", file=sys.stderr)
    sys.exit(2)


@click.command()
@click.option("--format", "form", type=_FORMATS, default="text", help="Lines for people (text), or a document.")
@click.option("--fail-on", type=_LEVELS, default="error", help="The least level that makes the exit code 1 (error).")
@click.option("--fix-sql", is_flag=True, help="Print one script with all fixes, to review and run; it is not run.")
def verify(form: str, fail_on: Literal["error", "warning", "info"], *, fix_sql: bool) -> None:
    """Verify the database of a project.

    Compare the one that DATABASE_URL names with what the migrations create, follow each path to its rows, and say what
    each finding means for the safety of the data and which SQL fixes it. Reads the catalogs only; a role that may log
    in is enough. Exit code: 0 no finding of the level of --fail-on or a graver one, 1 such a finding, 2 could not
    verify.
    """
    try:
        from edge_api.verify import command  # noqa: PLC0415 - an extra, which the other commands do without
    except ImportError:
        _fail(f"verify needs more packages: pip install '{WHEEL}[verify]', or '.[verify]' in a checkout")
    sys.exit(command.run(form, fail_on, fix_sql=fix_sql))


@click.group()
def migrations() -> None:
    """List or copy the migrations."""


@migrations.command("list")
def list_migrations() -> None:
    """List the migrations in order."""
    try:
        for migration in packaged():
            print(f"{migration.path.stem}: {migration.summary}")
    except MigrationsError as error:
        _fail(error)


@migrations.command("copy")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
def copy_migrations(directory: Path) -> None:
    """Copy the migrations into DIR, the supabase/migrations of a project that has migrations of its own.

    Write those that DIR does not have, dated after its newest, for `supabase db push` to apply. A migration is
    recognised by its name and content, whatever its version. Nothing is overwritten. Exit code: 0 DIR has all of them,
    1 one that it has was changed, 2 could not copy.
    """
    try:
        sys.exit(0 if copy(directory, print) else 1)
    except MigrationsError as error:
        _fail(error)
