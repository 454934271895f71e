"""The command `edge-api`."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

from edge_api import __version__


def serve(factory: str | None = None, *, check: bool = False) -> int:
    """Serve the API, or what another factory creates, in the foreground until SIGINT or SIGTERM.

    With `check`, print what would be served and whether the project is ready for it, and serve nothing.

    Returns:
        The exit code: 0, 1 if a check finds the project not ready, 2 for wrong settings, 3 if it cannot start.
    """
    _open_standard_streams()
    # uvicorn finishes what is under way, then raises the signal again for the handler that was there before it
    _handle_stop_signals(_exit)
    from edge_api import server  # noqa: PLC0415
    from edge_api.settings import InvalidSettingsError, Settings  # noqa: PLC0415

    try:
        settings = Settings.from_environment()
        if settings.edge_metrics_port is not None and find_spec("prometheus_client") is None:
            raise InvalidSettingsError(f"EDGE_METRICS_PORT: {_needs('metrics')}")
        if not check:
            server.serve(settings, factory or server.APPLICATION)
            _handle_stop_signals(signal.SIG_IGN)
            return 0
    except InvalidSettingsError as error:
        print(f"edge-api: cannot start with these settings\n{error}", file=sys.stderr)
        return 2
    except server.CannotListenError as error:
        print(f"edge-api: {error}", file=sys.stderr)
        return 3
    from edge_api.check import check as check_project  # noqa: PLC0415

    ready, lines = asyncio.run(check_project(settings))
    with suppress(OSError):  # nobody reads it; the exit code tells
        print(lines, flush=True)
    # a thread of the HTTP client outlives it, cannot be waited for, and aborts an interpreter that ends by itself
    os._exit(0 if ready else 1)


def _needs(extra: str) -> str:
    """How to install an extra: the package is on no index."""
    wheel = f"edge_api-{__version__}-py3-none-any.whl"
    return f"needs more packages: pip install './{wheel}[{extra}]', or '.[{extra}]' in a checkout"


def _handle_stop_signals(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def _exit(_number: int, _frame: FrameType | None) -> None:
    # a second signal would raise in the middle of an exit handler, or end the interpreter's own end with -15
    _handle_stop_signals(signal.SIG_IGN)
    sys.exit(0)


def _open_standard_streams() -> None:
    """Open those that are closed: the next socket would take the place of standard output, and get the log."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def verify(arguments: argparse.Namespace) -> int:
    """Verify the database that DATABASE_URL names."""
    try:
        from edge_api.verify import command  # noqa: PLC0415 - an extra, which `serve` does without
    except ImportError:
        print(f"edge-api: verify {_needs('verify')}", file=sys.stderr)
        return 2
    return command.run(arguments.format, arguments.fail_on, fix_sql=arguments.fix_sql)


def migrations(directory: Path | None) -> int:
    """Copy the package's migrations into a project's directory; list them if there is none."""
    from edge_api.migrations import MigrationsError, copy, packaged  # noqa: PLC0415 - what `serve` does without

    try:
        if directory is not None:
            return 0 if copy(directory, print) else 1
        for migration in packaged():
            print(f"{migration.path.stem}: {migration.summary}")
    except MigrationsError as error:
        print(f"edge-api: {error}", file=sys.stderr)
        return 2
    return 0


def main() -> int:
    """Parse the command line and run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="edge-api", description="The accounts API in front of a Supabase project.")
    parser.add_argument("--version", action="version", version=f"edge-api {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser(
        "serve",
        help="serve the API",
        description="Serve the API in front of the Supabase project that SUPABASE_URL and SUPABASE_PUBLISHABLE_KEY "
        "name. EDGE_API_HOST (127.0.0.1) and EDGE_API_PORT (9403) say where.",
    )
    serving.add_argument(
        "--check",
        action="store_true",
        help="say what would be served and whether the project is ready, and end: 0 ready, 1 not, 2 wrong settings",
    )
    verifying = commands.add_parser(
        "verify",
        help="is the project's database still what the migrations create, and who reaches its rows?",
        description="Compare the database that DATABASE_URL names with what the migrations create, follow each path "
        "to its rows, and say what each finding means for the safety of the data and which SQL fixes it. Reads the "
        "catalogs only; a role that may log in is enough. Exit code: 0 no finding of the level of --fail-on or "
        "a graver one, 1 such a finding, 2 could not verify.",
    )
    verifying.add_argument(
        "--format",
        choices=("text", "json", "sarif"),
        default="text",
        help="lines for people (text), or a document for programs; GitHub's code scanning takes sarif",
    )
    verifying.add_argument(
        "--fail-on",
        choices=("error", "warning", "info"),
        default="error",
        help="the least level that makes the exit code 1 (error)",
    )
    verifying.add_argument(
        "--fix-sql",
        action="store_true",
        help="print one script with the fixes of all findings, to review and run; it is not run",
    )
    migrating = commands.add_parser("migrations", help="list the migrations, or copy them into a project of yours")
    actions = migrating.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="list the migrations in order", description="List the migrations in order.")
    copying = actions.add_parser(
        "copy",
        help="copy the migrations into a project that has migrations of its own",
        description="Write the migrations that DIR does not have, dated after its newest, for `supabase db push` to "
        "apply. A migration is recognised by its name and content, whatever its version. Nothing is overwritten. "
        "Exit code: 0 DIR has all of them, 1 one that it has was changed, 2 could not copy.",
    )
    copying.add_argument("directory", metavar="DIR", type=Path, help="the project's own supabase/migrations")
    arguments = parser.parse_args()
    match arguments.command:
        case "migrations":
            return migrations(getattr(arguments, "directory", None))
        case "verify":
            return verify(arguments)
    return serve(check=arguments.check)


if __name__ == "__main__":
    sys.exit(main())
