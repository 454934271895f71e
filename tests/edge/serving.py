"""Runs `edge-api serve`, and reads settings as it does."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
import pytest

from edge_api.local.processes import Child, accepts_connections, on_free_port
from edge_api.settings import Settings
from tests.support import NO_CERTIFICATES

SERVE = [str(Path(sys.executable).with_name("edge-api")), "serve"]
COMPLETE = {"SUPABASE_URL": "https://abcdefgh.supabase.co", "SUPABASE_PUBLISHABLE_KEY": "sb_publishable_abc"}


def read(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> Settings:
    for name in [name for name in os.environ if name.startswith(("SUPABASE_", "EDGE_"))]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Settings.from_environment()


def is_up(pid: int, port: int) -> bool:
    """Whether it accepts connections there: it, and no other program that took the port meanwhile."""
    if not accepts_connections(port):
        return False
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):  # it ends just now
        listening = (each for each in psutil.Process(pid).net_connections() if each.status == psutil.CONN_LISTEN)
        return any(each.laddr.port == port for each in listening)
    return False


@contextmanager
def serving(
    folder: Path, supabase_url: str, key: str, *, command: Sequence[str] = SERVE, **settings: str
) -> Iterator[tuple[str, Child]]:
    """Run `edge-api serve`, or another command that serves, on a free port; yields its address."""

    def start(port: int) -> Child:
        child = Child(
            "the API",
            command,
            log=folder / "api.log",
            cwd=folder,
            env={
                "SUPABASE_URL": supabase_url,
                "SUPABASE_PUBLISHABLE_KEY": key,
                "EDGE_API_PORT": str(port),
                **settings,
            },
        )
        try:
            child.wait_until(lambda: is_up(child.pid, port), seconds=30)
        except BaseException:
            child.stop(grace_seconds=5)
            raise
        return child

    child, port = on_free_port(None, start)
    try:
        yield f"http://127.0.0.1:{port}", child
    finally:
        child.stop(grace_seconds=5)


def log_of(url: str, child: Child) -> str:
    """All that one worker has logged until now: lines are written in their order, some time after they are logged."""
    marker = uuid4().hex
    httpx.get(f"{url}/healthz", headers={"X-Request-ID": marker}, verify=NO_CERTIFICATES).raise_for_status()
    child.wait_until(lambda: marker in child.log.read_text(), seconds=20)
    return child.log.read_text()


def workers(parent: psutil.Process) -> set[int]:
    """The processes that serve: those that hold the listening socket, as their parent does."""
    found = set()
    for child in parent.children():
        # what ended just now is gone, or its files are closed to all but root
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if any(connection.status == psutil.CONN_LISTEN for connection in child.net_connections()):
                found.add(child.pid)
    return found
