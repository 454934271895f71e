"""What an operator does with `edge-api serve`: check it, restart it under load, kill it, read about its settings."""

import asyncio
import re
import signal
import socket
import subprocess
import threading
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from edge_api import server
from edge_api.local.node import PROJECT
from edge_api.local.processes import accepts_connections, free_port
from edge_api.local.stack import Stack
from edge_api.settings import Settings
from tests.edge.faults import KEY, ROW_AND_CREATED, TOKEN
from tests.edge.scripted import Received, answering, scripted_upstream
from tests.edge.serving import SERVE, serving, workers
from tests.support import GET_OR_CREATE


def check(url: str, key: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {"SUPABASE_URL": url, "SUPABASE_PUBLISHABLE_KEY": key, **settings}
    return subprocess.run([*SERVE, "--check"], env=environment, capture_output=True, text=True, timeout=40, check=False)


def test_check_says_what_would_be_served(stack: Stack) -> None:
    done = check(stack.supabase_url, stack.keys.publishable, EDGE_API_WORKERS="3", EDGE_METRICS_PORT="9464")
    assert done.returncode == 0
    lines = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in done.stdout.splitlines())
    assert lines["address"] == "http://127.0.0.1:9403, 3 workers"
    assert lines["project"] == f"{stack.supabase_url}: ready"
    assert lines["metrics"] == "http://127.0.0.1:9464/metrics"
    assert stack.keys.publishable not in done.stdout


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (401, {"message": "Invalid API key"}, "publishable_key_refused"),
        (404, {"code": "PGRST202", "message": "no"}, "migrations_missing"),
        (503, "", "supabase_unreachable"),
        (200, "<html>", "supabase_unreachable"),
    ],
)
def test_what_is_at_fault_is_said(tmp_path: Path, status: int, body: object, code: str) -> None:
    with scripted_upstream(answering(status, body)) as upstream:
        done = check(upstream.url, KEY)
        assert done.returncode == 1
        assert f"{upstream.url}: {code}: " in done.stdout
        with serving(tmp_path, upstream.url, KEY) as (url, _):
            answer = httpx.get(f"{url}/readyz")
            assert (answer.status_code, answer.json()["code"]) == (503, code)


def test_check_refuses_wrong_settings() -> None:
    done = check(f"http://127.0.0.1:{free_port()}", "sb_secret_x")
    assert (done.returncode, done.stdout) == (2, "")


def replaced(parent: psutil.Process, before: set[int]) -> bool:
    now = workers(parent)
    return len(now) == 2 and not now & before


@pytest.mark.parametrize("keep_alive", [True, False], ids=["kept connections", "a connection a call"])
def test_no_call_is_lost_while_workers_are_replaced(tmp_path: Path, keep_alive: bool) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"} | ({} if keep_alive else {"Connection": "close"})
    done = threading.Event()
    answers: list[int | str] = []
    with (
        scripted_upstream(answering(200, [ROW_AND_CREATED])) as upstream,
        serving(tmp_path, upstream.url, KEY, EDGE_API_WORKERS="2") as (url, child),
    ):
        parent = psutil.Process(child.pid)
        child.wait_until(lambda: len(workers(parent)) == 2, seconds=30)

        def call() -> None:
            with httpx.Client(headers=headers, trust_env=False) as client:
                while not done.is_set():
                    try:
                        answers.append(client.post(f"{url}{GET_OR_CREATE}").status_code)
                    except httpx.HTTPError as error:
                        answers.append(repr(error))

        callers = [threading.Thread(target=call) for _ in range(4)]
        for caller in callers:
            caller.start()
        try:
            for _ in range(2):
                before = workers(parent)
                parent.send_signal(signal.SIGHUP)
                child.wait_until(partial(replaced, parent, before), seconds=30)
        finally:
            done.set()
            for caller in callers:
                caller.join(timeout=30)
    assert len(answers) > 50
    assert set(answers) == {200}


@pytest.mark.parametrize("used", [True, False], ids=["after a first call", "without a first call"])
def test_a_call_that_is_sent_as_the_server_leaves_is_answered(tmp_path: Path, used: bool) -> None:
    at_once = answering(200, [ROW_AND_CREATED])

    async def slow(received: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2 * server._LINGER_SECONDS)  # Supabase's, not this test's: longer than idle ones may stay
        await at_once(received, writer)

    request = f"POST {GET_OR_CREATE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    with (
        scripted_upstream(at_once) as upstream,
        serving(tmp_path, upstream.url, KEY) as (url, child),
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20) as connection,
    ):
        if used:
            connection.sendall(request)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        else:
            assert httpx.get(f"{url}/healthz").status_code == 200  # so that the connection before it is accepted
        upstream.script = slow
        psutil.Process(child.pid).terminate()
        child.wait_until(lambda: not accepts_connections(int(url.rpartition(":")[2])), seconds=10)
        connection.sendall(request)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in answer.lower()
        child.stop(grace_seconds=10)
        assert child.exit_code() == 0


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    with (
        scripted_upstream() as upstream,
        serving(tmp_path, upstream.url, KEY, EDGE_API_WORKERS="2") as (_, child),
    ):
        parent = psutil.Process(child.pid)
        child.wait_until(lambda: len(workers(parent)) == 2, seconds=30)
        everyone = parent.children(recursive=True)
        parent.kill()
        assert not psutil.wait_procs(everyone, timeout=20)[1]


def default(name: str, setting: FieldInfo) -> str:
    if setting.default is PydanticUndefined:
        return "required"
    if name == "edge_log_format":
        return "console at a terminal, else json"
    if setting.default in (None, (), ""):
        return "none"
    if isinstance(setting.default, float):
        return f"{setting.default:g}"
    return str(setting.default).lower() if isinstance(setting.default, bool) else str(setting.default)


def test_the_table_of_settings_is_true_and_whole() -> None:
    table = (PROJECT / "docs" / "settings.md").read_text().partition("| variable | meaning | default |")[2]
    rows = [[cell.strip() for cell in row.split("|")[1:4]] for row in table.partition("\n\n")[0].splitlines()[2:]]
    documented = {name.strip("`"): stated for name, _, stated in rows}
    fields = Settings.model_fields
    assert documented == {name.upper(): default(name, setting) for name, setting in fields.items()}
    assert all(len(meaning) > 10 for _, meaning, _ in rows)
