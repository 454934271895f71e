"""`python -m edge_api.local`: what the Makefile's targets run."""

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import FrameType

from edge_api.local import stack
from edge_api.local.node import npm, supabase_here
from edge_api.local.packages import PROJECT
from edge_api.local.postgres import postgres_version
from edge_api.local.processes import StackError
from edge_api.local.state import write_private

_READY = """
  page           {api}/
  API            {api}
  API docs       {api}/docs
  Supabase       {supabase}
  publishable    {key}
  database       {database}
  settings       {settings} (with the database's password)

Paste into another terminal, in this folder:

  . {settings}
  TOKEN=$(curl -s "$SUPABASE_URL/auth/v1/signup" -H "apikey: $SUPABASE_PUBLISHABLE_KEY" -H 'Content-Type: application/json' \\
    -d '{{"email": "ada-'$(date +%s)'@example.com", "password": "correct horse battery"}}' \\
    | python3 -c 'import json, sys; print(json.load(sys.stdin)["access_token"])')
  curl -s "$EDGE_API_URL/api/accounts" -H "Authorization: Bearer $TOKEN"
  curl -s -X POST "$EDGE_API_URL/api/accounts/get-or-create" -H "Authorization: Bearer $TOKEN"
  curl -s "$EDGE_API_URL/api/accounts" -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \\
    -d '{{"account_name": "A second one: refused, one account per user"}}'

Ctrl-C stops everything; the data stays for the next time, `make reset` wipes it.
"""  # noqa: E501 - to be pasted


class _Stopped(BaseException):
    """SIGINT or SIGTERM came."""


def _stop(_signal: int, _frame: FrameType | None) -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the stopping itself is not to be interrupted
        signal.signal(ignored, signal.SIG_IGN)
    raise _Stopped


def _number(variable: str, default: int) -> int:
    value = os.environ.get(variable) or str(default)
    if not value.isdecimal() or not 1 <= int(value) <= 65535:
        raise StackError(f"{variable} must be a number from 1 to 65535")
    return int(value)


def _steps() -> Callable[[str], AbstractContextManager[None]]:
    """Tells of each step in a line: at a terminal from its beginning, elsewhere at its end."""
    done = 0
    is_terminal = sys.stdout.isatty()

    @contextmanager
    def step(name: str) -> Iterator[None]:
        nonlocal done
        since = time.monotonic()
        if is_terminal:
            print(f"[{'=' * done:<{stack.STEPS}}] {name} ...", end="", flush=True)
        try:
            yield
        except BaseException:
            if is_terminal:
                print()  # what is at fault has a line of its own
            raise
        done += 1
        again = "\r" if is_terminal else ""
        print(f"{again}[{'=' * done:<{stack.STEPS}}] {name} ({time.monotonic() - since:.1f} s)", flush=True)

    return step


def _dev(state: Path) -> None:
    for handled in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(handled, _stop)
    if os.environ.get("EDGE_API_HOST") not in {None, "", "127.0.0.1"}:
        raise StackError("EDGE_API_HOST must be 127.0.0.1: what runs here is for this machine alone")
    with stack.run(
        state,
        postgres=postgres_version(os.environ.get("EDGE_POSTGRES_VERSION")),
        api_port=_number("EDGE_API_PORT", 9403),
        # its own settings, EDGE_CORS_ORIGINS for one; a wrong one ends it with a message
        api_settings={name: value for name, value in os.environ.items() if name.startswith("EDGE_")},
        step=_steps(),
    ) as running:
        settings_file = state / "dev.env"
        settings = running.settings()
        write_private(settings_file, "".join(f"{name}='{value}'\n" for name, value in settings.items()))
        print(
            _READY.format(
                api=running.api_url,
                supabase=running.supabase_url,
                key=running.keys.publishable,
                database=running.cluster.url(stack.MIGRATOR, with_password=False),
                settings=settings_file,
            ),
            flush=True,
        )
        never = threading.Event()
        while not never.wait(0.2):
            running.check()


def main() -> int:
    """Run a command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m edge_api.local")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("dev", help="start everything and stay in the foreground")
    commands.add_parser("reset", help="wipe the data of dev")
    commands.add_parser("types", help="generate what is checked in and generated")
    commands.add_parser("npm", help="run the npm of the Python package", add_help=False)
    commands.add_parser(
        "supabase", help="run the official Supabase CLI, without a node of the machine's", add_help=False
    )
    arguments, rest = parser.parse_known_args()
    state = Path(os.environ.get("EDGE_STATE_DIR") or PROJECT / ".local").absolute()
    try:
        match arguments.command:
            case "dev":
                _dev(state)
            case "reset":
                stack.reset(state)
            case "types":
                from edge_api.local import types  # noqa: PLC0415 - the web framework, which the others do without

                types.write()
            case "npm":
                return npm(rest)
            case "supabase":
                return supabase_here(rest)
    except _Stopped:
        with suppress(OSError):  # nobody reads it any more
            print("stopped", flush=True)
    except StackError as error:
        print(f"edge-api: {error}", file=sys.stderr)
        if error.log_tail:
            print(error.log_tail, file=sys.stderr)
        return 1
    except OSError as error:  # a folder that cannot be written to, a full disk
        print(f"edge-api: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
