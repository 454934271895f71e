"""The command `edge-api`."""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Final, Literal, NoReturn

import click

from edge_api import __version__

_FORMATS: Final = click.Choice(["text", "json", "sarif"])
_LEVELS: Final = click.Choice(["error", "warning", "info"])


def _fail(message: object, code: int) -> NoReturn:
    print(f"edge-api: {message}", file=sys.stderr)
    sys.exit(code)


def _needs(extra: str) -> str:
    """How to install an extra: the package is on no index."""
    wheel = f"edge_api-{__version__}-py3-none-any.whl"
    return f"needs more packages: pip install './{wheel}[{extra}]', or '.[{extra}]' in a checkout"


@click.group()
@click.version_option(__version__, prog_name="edge-api", message="%(prog)s %(version)s")
def main() -> None:
    """The accounts API in front of a Supabase project."""


@main.command("serve")
@click.option("--check", is_flag=True, help="Print the settings and whether the project is ready, and serve nothing.")
def _serve(*, check: bool) -> None:
    """Serve the API.

    SUPABASE_URL and SUPABASE_PUBLISHABLE_KEY name the project that it is in front of, EDGE_API_HOST (127.0.0.1) and
    EDGE_API_PORT (9403) say where. Exit code: 0 stopped, or ready; 1 not ready; 2 wrong settings; 3 cannot start.
    """
    serve(check=check)


def serve(factory: str | None = None, *, check: bool = False) -> NoReturn:
    """Serve the API, or what another factory creates, in the foreground until SIGINT or SIGTERM; then exit.

    With `check`, print the settings and whether the project is ready, and serve nothing.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # else a socket takes a closed standard output's place
        pass
    os.close(descriptor)
    # uvicorn finishes what is under way, then raises the signal again for the handler that was there before it
    signal.signal(signal.SIGINT, _exit)
    signal.signal(signal.SIGTERM, _exit)
    from edge_api import server  # noqa: PLC0415
    from edge_api.check import check as check_project  # noqa: PLC0415
    from edge_api.settings import InvalidSettingsError, Settings  # noqa: PLC0415

    try:
        settings = Settings.from_environment()
        if settings.edge_metrics_port is not None and find_spec("prometheus_client") is None:
            raise InvalidSettingsError(f"EDGE_METRICS_PORT: {_needs('metrics')}")
        if not check:
            server.serve(settings, factory or server.APPLICATION)
            _exit()
    except InvalidSettingsError as error:
        _fail(f"cannot start with these settings\n{error}", 2)
    ready, lines = asyncio.run(check_project(settings))
    with suppress(OSError):  # nobody reads it; the exit code tells
        print(lines, flush=True)
    # a thread of the HTTP client outlives it, cannot be waited for, and aborts an interpreter that ends by itself
    os._exit(0 if ready else 1)


def _exit(_number: int = 0, _frame: FrameType | None = None) -> NoReturn:
    # a second signal would raise in the middle of an exit handler, or end the interpreter's own end with -15
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0)


@main.command()
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
        from edge_api.verify import command  # noqa: PLC0415 - an extra, which `serve` does without
    except ImportError:
        _fail(f"verify {_needs('verify')}", 2)
    sys.exit(command.run(form, fail_on, fix_sql=fix_sql))


@main.group()
def migrations() -> None:
    """List or copy the migrations."""


@migrations.command("list")
def list_migrations() -> None:
    """List the migrations in order."""
    from edge_api.migrations import MigrationsError, packaged  # noqa: PLC0415 - what `serve` does without

    try:
        for migration in packaged():
            print(f"{migration.path.stem}: {migration.summary}")
    except MigrationsError as error:
        _fail(error, 2)


@migrations.command("copy")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
def copy_migrations(directory: Path) -> None:
    """Copy the migrations into DIR, the supabase/migrations of a project that has migrations of its own.

    Write those that DIR does not have, dated after its newest, for `supabase db push` to apply. A migration is
    recognised by its name and content, whatever its version. Nothing is overwritten. Exit code: 0 DIR has all of them,
    1 one that it has was changed, 2 could not copy.
    """
    from edge_api.migrations import MigrationsError, copy  # noqa: PLC0415 - what `serve` does without

    try:
        sys.exit(0 if copy(directory, print) else 1)
    except MigrationsError as error:
        _fail(error, 2)


if __name__ == "__main__":
    main()
