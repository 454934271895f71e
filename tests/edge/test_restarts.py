"""What is under way when workers are replaced or the service restarts: no request is lost."""

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from pathlib import Path
from signal import SIGHUP, SIGTERM

import httpx
import psutil
import pytest

from edge_api.local.processes import Child, accepts_connections, free_port
from tests.edge.caddy import Front, caddy
from tests.edge.faults import KEY, TOKEN, healthy
from tests.edge.scripted import Received, scripted_upstream
from tests.edge.serving import SERVE, serving, workers
from tests.support import ACCOUNTS, GET_OR_CREATE

AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}


class Load:
    """Callers that send one request after the other, half of them on connections of their own; notes each response."""

    def __init__(self, front: Front) -> None:
        self.outcomes: list[int | str] = []
        self._done = threading.Event()
        connections = ("keep-alive", "close") * 2
        self._callers = [threading.Thread(target=self._call, args=(front, connection)) for connection in connections]

    def _call(self, front: Front, connection: str) -> None:
        with front.client(headers={**AUTHORIZED, "Connection": connection}) as client:
            for method, path in cycle([("POST", GET_OR_CREATE), ("GET", ACCOUNTS)]):
                if self._done.wait(0.02):  # more would only keep the new workers from starting
                    return
                try:
                    self.outcomes.append(client.request(method, path).status_code)
                except httpx.HTTPError as error:
                    self.outcomes.append(repr(error))

    def has_gone_on(self, since: int) -> bool:
        return len(self.outcomes) >= since + 20

    @contextmanager
    def running(self) -> Iterator[None]:
        for caller in self._callers:
            caller.start()
        try:
            yield
        finally:
            self._done.set()
            for caller in self._callers:
                caller.join(timeout=60)


def replaced(parent: psutil.Process, before: set[int]) -> bool:
    now = workers(parent)
    return len(now) == 2 and not now & before


def test_no_request_is_lost_while_workers_are_replaced(tmp_path: Path) -> None:
    with (
        scripted_upstream(healthy) as upstream,
        serving(tmp_path, upstream.url, KEY, EDGE_API_WORKERS="2") as (url, child),
        caddy(url.removeprefix("http://")) as front,
    ):
        parent = psutil.Process(child.pid)
        child.wait_until(lambda: len(workers(parent)) == 2, seconds=30)
        load = Load(front)
        with load.running():
            child.wait_until(partial(load.has_gone_on, 0), seconds=30)
            before = workers(parent)
            parent.send_signal(SIGHUP)
            child.wait_until(partial(replaced, parent, before), seconds=30)
            child.wait_until(partial(load.has_gone_on, len(load.outcomes)), seconds=30)
    assert set(load.outcomes) == {200}


@pytest.mark.parametrize("processes", ["1", "2"])
def test_no_request_is_lost_while_the_service_restarts(tmp_path: Path, processes: str) -> None:
    port = free_port()

    def start(supabase_url: str) -> Child:
        environment = {"SUPABASE_URL": supabase_url, "SUPABASE_PUBLISHABLE_KEY": KEY, "EDGE_API_PORT": str(port)}
        environment["EDGE_API_WORKERS"] = processes
        return Child("the API", SERVE, log=tmp_path / "api.log", cwd=tmp_path, env=environment)

    with scripted_upstream(healthy) as upstream:
        child = start(upstream.url)
        try:
            with caddy(f"127.0.0.1:{port}") as front:
                load = Load(front)
                with load.running():
                    child.wait_until(partial(load.has_gone_on, 0), seconds=30)
                    child.stop(grace_seconds=30)
                    assert child.exit_code() == 0
                    child = start(upstream.url)
                    child.wait_until(partial(load.has_gone_on, len(load.outcomes)), seconds=30)
        finally:
            child.stop(grace_seconds=5)
    assert set(load.outcomes) == {200}


@pytest.mark.parametrize("body", [b'{"account_name": "Mine"}', None], ids=["with a body", "without a body"])
def test_a_request_that_finds_no_service_waits_for_it(tmp_path: Path, body: bytes | None) -> None:
    port = free_port()
    environment = {"SUPABASE_PUBLISHABLE_KEY": KEY, "EDGE_API_PORT": str(port)}
    responses: list[httpx.Response] = []
    headers = {**AUTHORIZED, "Content-Type": "application/json"}
    with (
        scripted_upstream(healthy) as upstream,
        caddy(f"127.0.0.1:{port}", wait=False) as front,
        front.client(headers=headers) as client,
    ):
        method = "GET" if body is None else "POST"
        caller = threading.Thread(target=lambda: responses.append(client.request(method, ACCOUNTS, content=body)))
        caller.start()
        environment["SUPABASE_URL"] = upstream.url
        child = Child("the API", SERVE, log=tmp_path / "api.log", cwd=tmp_path, env=environment)
        try:
            caller.join(timeout=40)
        finally:
            child.stop(grace_seconds=5)
    assert [response.status_code for response in responses] == [201 if body else 200]
    assert sum(b"Mine" in received.body for received in upstream.received) == (1 if body else 0)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_request_in_progress_is_finished_before_the_service_ends(tmp_path: Path, processes: str) -> None:
    """New connections are refused meanwhile, so that the proxy tries again: nobody would serve them any more."""
    released = threading.Event()

    async def held(received: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.to_thread(released.wait, 40)
        await healthy(received, writer)

    request = f"POST {GET_OR_CREATE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    with (
        scripted_upstream(held) as upstream,
        serving(tmp_path, upstream.url, KEY, EDGE_API_WORKERS=processes, EDGE_UPSTREAM_TIMEOUT="40") as (url, child),
    ):
        port = int(url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=40) as connection:
            connection.sendall(request)
            child.wait_until(lambda: len(upstream.received) == 1, seconds=20)
            psutil.Process(child.pid).terminate()
            child.wait_until(lambda: not accepts_connections(port), seconds=30)
            released.set()
            response = b""
            while piece := connection.recv(65536):
                response += piece
        assert response.startswith(b"HTTP/1.1 200 ")
        child.stop(grace_seconds=10)
        assert child.exit_code() == 0


@pytest.mark.parametrize("processes", ["1", "2"])
def test_signals_that_come_while_it_ends_change_nothing(tmp_path: Path, processes: str) -> None:
    with (
        scripted_upstream(healthy) as upstream,
        serving(tmp_path, upstream.url, KEY, EDGE_API_WORKERS=processes) as (_, child),
    ):
        while child.exit_code() is None:
            os.kill(child.pid, SIGTERM)
        assert child.exit_code() == 0
        log = child.log.read_text()
        assert "Traceback" not in log
        assert "Exception ignored" not in log
