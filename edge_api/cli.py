"""The command `edge-api`."""

import argparse
import asyncio
import gc
import os
import signal
import sys
from importlib.util import find_spec

from edge_api import __version__


def serve(factory: str | None = None, *, check: bool = False) -> int:
    """Serve the API, or what another factory makes, in the foreground until SIGINT or SIGTERM.

    With `check`, say what would be served, and whether the project is ready for it, and serve nothing.
    """
    # What is imported stays: looking through it for garbage, again and again, would be a sixth of the time to start.
    gc.disable()
    from edge_api import server  # noqa: PLC0415
    from edge_api.settings import InvalidSettingsError, Settings  # noqa: PLC0415

    gc.freeze()
    gc.enable()
    # uvicorn ends what is under way, then raises the signal again for whoever was there before it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        settings = Settings.from_environment()
        if settings.edge_metrics_port is not None and find_spec("prometheus_client") is None:
            raise InvalidSettingsError("EDGE_METRICS_PORT: needs more packages: pip install 'edge-api[metrics]'")
        if not check:
            server.serve(settings, factory or server.APPLICATION)
            return 0
    except InvalidSettingsError as error:
        print(f"edge-api: cannot start with these settings\n{error}", file=sys.stderr)
        return 2
    from edge_api.check import check as check_project  # noqa: PLC0415

    ready, lines = asyncio.run(check_project(settings))
    print(lines, flush=True)
    # the HTTP client's threads may not have let go of the interpreter yet, which would abort as it ends
    os._exit(0 if ready else 1)


def verify(output_format: str) -> int:
    """Compare the database that DATABASE_URL names with what the migrations make."""
    try:
        from edge_api.verify import command  # noqa: PLC0415 - an extra, which `serve` does without
    except ImportError:
        print("edge-api: verify needs more packages: pip install 'edge-api[verify]'", file=sys.stderr)
        return 2
    return command.run(output_format)


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
        help="is the project's database still what the migrations make?",
        description="Compare the database that DATABASE_URL names with what the migrations make, and say for each "
        "difference what it means for the data's safety and how to mend it. Reads the catalogs alone; a role that may "
        "log in is enough. Exit code: 0 no error, 1 an error among the differences, 2 could not compare.",
    )
    verifying.add_argument(
        "--format",
        choices=("text", "json", "sarif"),
        default="text",
        help="a line for each difference (text), or a document for programs; GitHub's code scanning takes sarif",
    )
    arguments = parser.parse_args()
    return verify(arguments.format) if arguments.command == "verify" else serve(check=arguments.check)


if __name__ == "__main__":
    sys.exit(main())
