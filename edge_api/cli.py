"""The command `edge-api`."""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from importlib.util import find_spec
from types import FrameType
from typing import NoReturn

import click

from edge_api import WHEEL, __version__
from edge_api.verify.cli import migrations, verify


@click.group()
@click.version_option(__version__, prog_name="edge-api", message="%(prog)s %(version)s")
def main() -> None:
    """The accounts API in front of a Supabase project."""


main.add_command(verify)
main.add_command(migrations)


@main.command("serve")
@click.option("--check", is_flag=True, help="Print the settings and whether the project is ready, and serve nothing.")
def _serve(*, check: bool) -> None:
    """Serve the API.

    SUPABASE_URL and SUPABASE_PUBLISHABLE_KEY name the project that it is in front of, EDGE_API_HOST (127.0.0.1) and
    EDGE_API_PORT (9403) say where. Exit code: 0 stopped, or ready; 1 not ready; 2 wrong settings; 3 cannot start.
    """
    serve(check=check)


def serve(factory: str | None = None, *, check: bool = False) -> NoReturn:
    """Serve the API, or what another factory creates, until SIGINT or SIGTERM; or only print what `check` tells."""
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
            raise InvalidSettingsError(f"EDGE_METRICS_PORT: needs more packages: pip install '{WHEEL}[metrics]'")
        if not check:
            server.serve(settings, factory or server.APPLICATION)
            _exit()
    except InvalidSettingsError as error:
        print(f"edge-api: cannot start with these settings\n{error}", file=sys.stderr)
        sys.exit(2)
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


if __name__ == "__main__":
    main()
