"""Whatever Supabase does, a request ends soon, its response tells what to do, and the next request works."""

import asyncio
import gzip
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import pytest

from edge_api import errors
from edge_api.local.processes import accepts_connections
from tests.edge.faults import (
    CALLS,
    CHUNKED,
    KEY,
    LONG,
    MOST_GROWTH,
    MOST_SENT,
    OK,
    ROW,
    SOON,
    TIMEOUT,
    TOKEN,
    Edge,
    Endless,
    Gate,
    error,
    eventually,
    first,
    healthy,
    resetting,
    running,
    sending,
    silent,
)
from tests.edge.problems import MARK, assert_problem
from tests.edge.scripted import Received, Script, ScriptedUpstream, http, responding, scripted_upstream
from tests.edge.serving import serving
from tests.support import ACCOUNTS, NO_CERTIFICATES

ENDLESS: Final[dict[str, tuple[bytes, bytes]]] = {
    "body in chunks": (CHUNKED, b"10000\r\n" + b" " * 65_536 + b"\r\n"),
    "body of 100 GB": (LONG, b" " * 65_536),
    "body without a length": (OK + b"\r\n", b" " * 65_536),
    "body of an error": (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 99999999999\r\n\r\n", b" " * 65_536),
    "head": (OK, b"X-Inside: " + MARK.encode() * 100 + b"\r\n"),
    "line of the head": (OK + b"X-Inside: ", b"k" * 65_536),
    "name in the head": (OK, b"k" * 65_536),
    "first line": (b"HTTP/1.1 200 ", b"k" * 65_536),
    "trailer": (CHUNKED + b"0\r\n", b"X-Inside: " + MARK.encode() * 100 + b"\r\n"),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_an_endless_response_is_502_and_takes_no_memory(edge: Edge, what: str) -> None:
    edge.make(CALLS["list"])
    before = edge.memory()
    endless = Endless(*ENDLESS[what])
    response, received = edge.with_fault(CALLS["list"], endless)
    assert_problem(response, 502, "bad_upstream")
    assert received == 1
    assert endless.sent < MOST_SENT
    assert edge.memory() - before < MOST_GROWTH


TOO_SLOW: Final[dict[str, Script]] = {
    "no response": silent,
    "a head that drips": Endless(OK, b"X: x\r\n", TIMEOUT / 10),
    "a body that drips": Endless(LONG, b" ", TIMEOUT / 10),
    "chunks that drip": Endless(CHUNKED, b"1\r\n \r\n", TIMEOUT / 10),
    "an error that drips": Endless(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 9999\r\n\r\n", b" ", TIMEOUT / 10),
}


@pytest.mark.parametrize("fault", TOO_SLOW)
def test_a_response_that_takes_too_long_is_504(edge: Edge, fault: str) -> None:
    since = time.monotonic()
    response, received = edge.with_fault(CALLS["list"], TOO_SLOW[fault])
    assert_problem(response, 504, "upstream_timeout")
    assert TIMEOUT <= time.monotonic() - since < SOON
    assert received == 1


@pytest.mark.parametrize(
    ("connecting", "whole", "status", "code"),
    [("0.2", "20", 503, "upstream_unavailable"), ("20", "0.2", 504, "upstream_timeout")],
)
def test_a_connection_that_takes_too_long_is_told_from_a_response_that_does(
    tmp_path: Path, connecting: str, whole: str, status: int, code: str
) -> None:
    """The server never takes its part in the TLS handshake."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"https://127.0.0.1:{silent.getsockname()[1]}"
        timeouts = {"EDGE_UPSTREAM_CONNECT_TIMEOUT": connecting, "EDGE_UPSTREAM_TIMEOUT": whole}
        with serving(tmp_path, address, KEY, **timeouts) as (url, _):
            headers = {"Authorization": f"Bearer {TOKEN}"}
            response = httpx.get(f"{url}{ACCOUNTS}", headers=headers, timeout=30, verify=NO_CERTIFICATES)
    assert_problem(response, status, code)


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[ScriptedUpstream]:
    with scripted_upstream(healthy) as upstream:
        yield upstream


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_redirect_is_502_and_the_token_goes_nowhere(edge: Edge, elsewhere: ScriptedUpstream, status: int) -> None:
    call = CALLS["get"]
    to = {"Location": f"{elsewhere.url}/rest/v1/rpc/{call.function}"}
    response, received = edge.with_fault(call, error(status, b"", to))
    assert_problem(response, 502, "bad_upstream")
    assert received == 1
    assert elsewhere.received == []


def test_a_redirect_to_itself_is_502_too(edge: Edge) -> None:
    response, received = edge.with_fault(CALLS["list"], error(307, b"", {"Location": "/rest/v1/rpc/list_accounts"}))
    assert_problem(response, 502, "bad_upstream")
    assert received == 1


BROKEN: Final[dict[str, Script]] = {
    "closed": sending(),
    "reset": resetting(),
    "closed in the first line": sending(b"HTTP/1.1 2"),
    "closed in the head": sending(OK),
}


@pytest.mark.parametrize("kind", CALLS)
def test_each_endpoint_meets_each_sort_of_failure(edge: Edge, kind: str) -> None:
    """One of each sort; the tests around this one try all of a sort on one endpoint."""
    call = CALLS[kind]
    for fault, problem in (
        (responding(200, f"<html>{MARK}</html>"), (502, "bad_upstream")),
        (error(307, b"", {"Location": "/elsewhere"}), (502, "bad_upstream")),
        (sending(), (503, "upstream_unavailable")),
        (silent, (504, "upstream_timeout")),
        (error(401, {"code": "PGRST301", "message": MARK}), (401, "invalid_token")),
        (error(503, MARK), (503, "upstream_unavailable")),
        (responding(200, call.with_row(without="user_id")), (502, "bad_upstream")),
    ):
        response, received = edge.with_fault(call, fault)
        assert_problem(response, *problem)
        assert received == 1


@pytest.mark.parametrize("fault", BROKEN)
def test_a_connection_that_ends_before_the_response_is_503(edge: Edge, fault: str) -> None:
    """And it is not tried again: it may have taken effect."""
    response, received = edge.with_fault(CALLS["create"], BROKEN[fault])
    assert_problem(response, 503, "upstream_unavailable")
    assert received == 1


@pytest.mark.parametrize("kind", CALLS)
def test_a_connection_that_ended_while_it_was_idle_costs_no_call(edge: Edge, kind: str) -> None:
    async def once(received: Received, writer: asyncio.StreamWriter) -> None:
        await healthy(received, writer)
        writer.write_eof()

    call = CALLS[kind]
    before = edge.upstream.ended
    edge.upstream.script = once
    assert edge.make(call).status_code == call.status
    edge.upstream.script = healthy
    edge.process.wait_until(lambda: edge.upstream.ended > before, seconds=10)
    assert edge.make(call).status_code == call.status


# PostgREST's status for each code: https://docs.postgrest.org/en/stable/references/errors.html
CODES: Final[dict[tuple[int, str], tuple[int, str]]] = {
    (503, "PGRST000"): (503, "upstream_unavailable"),
    (503, "PGRST001"): (503, "upstream_unavailable"),
    (503, "PGRST002"): (503, "upstream_unavailable"),
    (504, "PGRST003"): (503, "upstream_unavailable"),
    (404, "PGRST202"): (502, "bad_upstream"),
    (401, "PGRST301"): (401, "invalid_token"),
    (401, "PGRST302"): (401, "invalid_token"),
    (401, "PGRST303"): (401, "invalid_token"),
    (401, "42501"): (401, "invalid_token"),
    (403, "42501"): (403, "permission_denied"),
    (400, "22P02"): (422, "invalid_request"),
    (400, "22P05"): (422, "invalid_request"),
    (400, "23502"): (422, "invalid_request"),
    (409, "23503"): (401, "invalid_token"),
    (409, "23505"): (409, "account_exists"),
    (400, "23514"): (422, "invalid_request"),
    (405, "25006"): (503, "upstream_unavailable"),
    (500, "40001"): (503, "upstream_unavailable"),
    (500, "40P01"): (503, "upstream_unavailable"),
    (503, "08006"): (503, "upstream_unavailable"),
    (503, "53100"): (503, "upstream_unavailable"),
    (503, "53300"): (503, "upstream_unavailable"),
    (500, "57014"): (504, "upstream_timeout"),
    (503, "57P01"): (503, "upstream_unavailable"),
    (500, "57P02"): (503, "upstream_unavailable"),
    (500, "57P03"): (503, "upstream_unavailable"),
    # what no call of the edge should bring about
    (300, "PGRST203"): (502, "bad_upstream"),
    (400, "PGRST100"): (502, "bad_upstream"),
    (400, "PGRST102"): (502, "bad_upstream"),
    (400, "PGRST204"): (502, "bad_upstream"),
    (400, "21000"): (502, "bad_upstream"),
    (400, "P0001"): (502, "bad_upstream"),
    (400, ""): (503, "upstream_unavailable"),
    (402, "PT402"): (503, "upstream_unavailable"),
    (403, "28000"): (502, "bad_upstream"),
    (404, "42883"): (502, "bad_upstream"),
    (404, "42P01"): (502, "bad_upstream"),
    (406, "PGRST106"): (502, "bad_upstream"),
    (406, "PGRST116"): (502, "bad_upstream"),
    (416, "PGRST103"): (502, "bad_upstream"),
    (500, "42P17"): (502, "bad_upstream"),
    (500, "54001"): (502, "bad_upstream"),
    (500, "55P03"): (503, "upstream_unavailable"),
    (500, "58030"): (502, "bad_upstream"),
    (500, "PGRST300"): (502, "bad_upstream"),
    (500, "PGRSTX00"): (502, "bad_upstream"),
    (500, "XX000"): (502, "bad_upstream"),
}


@pytest.mark.parametrize(("status", "sqlstate"), CODES)
def test_an_error_of_supabase_is_translated_by_its_code(edge: Edge, status: int, sqlstate: str) -> None:
    body = {"code": sqlstate, "message": MARK, "details": MARK, "hint": MARK}
    response, received = edge.with_fault(CALLS["create"], error(status, body))
    assert_problem(response, *CODES[status, sqlstate])
    assert ("WWW-Authenticate" in response.headers) == (response.status_code == 401)
    assert received == 1


def test_the_owner_of_an_inactive_account_is_told_why_it_cannot_be_changed(edge: Edge) -> None:
    """The database raises 42501 then, as for an anonymous sign-in: the text names both."""
    response, _ = edge.with_fault(CALLS["rename"], error(403, {"code": "42501", "message": MARK}))
    assert_problem(response, 403, "permission_denied")
    assert "the account has been switched off" in response.json()["detail"]


def test_each_code_of_the_table_is_tried_here() -> None:
    sqlstates = {sqlstate for _, sqlstate in CODES}
    tried = {*STATUSES, *sqlstates, *(sqlstate[:2] for sqlstate in sqlstates)}
    assert {*errors._KINDS, *errors._CAUSES} <= tried


STATUSES: Final = {
    400: (502, "bad_upstream"),
    402: (503, "upstream_unavailable"),
    401: (502, "bad_upstream"),
    403: (502, "bad_upstream"),
    404: (502, "bad_upstream"),
    409: (502, "bad_upstream"),
    413: (502, "bad_upstream"),
    418: (502, "bad_upstream"),
    429: (503, "upstream_unavailable"),
    500: (502, "bad_upstream"),
    502: (503, "upstream_unavailable"),
    503: (503, "upstream_unavailable"),
    504: (504, "upstream_timeout"),
    540: (503, "upstream_unavailable"),
}
WITHOUT_A_CODE: Final[dict[str, Any]] = {
    "HTML": f"<html><h1>{MARK}</h1></html>",
    "nothing": b"",
    "no UTF-8": b'{"code": "\xff"}',
    "JSON of depth 30,000": b"[" * 30_000,
    "a string": "23505",
    "a list": [{"code": "23505"}],
    "no code": {"message": MARK},
    "code null": {"code": None, "message": MARK},
    "code of a number": {"code": 23505},
    "code of a list": {"code": ["23505"]},
    "code of an object": {"code": {"code": "23505"}},
    "code of 60 kB": {"code": "23505" * 12_000},
    "code with more behind": {"code": "23505\n"},
    "code of text": {"code": MARK},
    "gzip": gzip.compress(b'{"code": "23505"}'),
}


@pytest.mark.parametrize("status", STATUSES)
def test_an_error_without_a_code_is_translated_by_its_status(edge: Edge, status: int) -> None:
    response, received = edge.with_fault(CALLS["list"], error(status, WITHOUT_A_CODE["HTML"], {"Retry-After": "3600"}))
    assert_problem(response, *STATUSES[status])
    assert received == 1


@pytest.mark.parametrize("body", WITHOUT_A_CODE)
def test_what_is_no_code_is_not_taken_for_one(edge: Edge, body: str) -> None:
    response, _ = edge.with_fault(CALLS["list"], error(409, WITHOUT_A_CODE[body]))
    assert_problem(response, 502, "bad_upstream")


def test_an_unrequested_response_reaches_no_client(edge: Edge) -> None:
    """It could be another user's: whatever comes on an idle connection ends that connection."""
    surplus: Future[None] = Future()

    async def twice(received: Received, writer: asyncio.StreamWriter) -> None:
        await healthy(received, writer)
        await writer.drain()
        await asyncio.wrap_future(surplus)
        writer.write(http(200, [{**ROW, "account_name": "Another user's"}]))

    edge.upstream.script = twice
    assert edge.make(CALLS["list"]).status_code == 200
    edge.upstream.script = healthy
    surplus.set_result(None)
    for _ in range(20):  # it is there before these are served
        edge.client.get("/healthz")
    for _ in range(3):
        assert [account["account_name"] for account in edge.make(CALLS["list"]).json()["accounts"]] == ["Mine"]


def test_an_extra_response_in_one_packet_reaches_no_client(edge: Edge) -> None:
    both = http(200, [ROW]) + http(200, [{**ROW, "account_name": "Another user's"}])
    edge.with_fault(CALLS["list"], responding(200, [ROW]))

    async def twice(_received: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(both)

    edge.with_fault(CALLS["list"], twice)
    for _ in range(3):
        assert [account["account_name"] for account in edge.make(CALLS["list"]).json()["accounts"]] == ["Mine"]


def test_faults_of_all_calls_at_once_leave_all_connections_usable(edge: Edge) -> None:
    faults: list[Script] = [
        silent,
        sending(),
        resetting(OK),
        Endless(*ENDLESS["body of 100 GB"]),
        sending(b"\x00\xff\xfe"),
    ] * 8

    async def call_all(times: int) -> list[int]:
        limits = httpx.Limits(max_connections=40)
        async with httpx.AsyncClient(
            base_url=edge.url, headers=edge.client.headers, timeout=30, limits=limits, verify=NO_CERTIFICATES
        ) as client:
            responses = await asyncio.gather(*(client.get(ACCOUNTS) for _ in range(times)))
        return [response.status_code for response in responses]

    edge.upstream.script = first(*faults)
    assert set(asyncio.run(call_all(40))) <= {200, 502, 503, 504}
    edge.upstream.script = healthy
    assert asyncio.run(call_all(40)) == [200] * 40


def test_nothing_of_a_fault_is_logged(edge: Edge) -> None:
    faults = (
        responding(200, f"<html>{MARK}</html>"),
        responding(200, f'["{MARK}'.encode() + b'\xff"]'),
        error(500, {"code": MARK, "message": MARK}),
        sending(),
    )
    for fault in faults:
        edge.with_fault(CALLS["create"], fault)
    edge.with_fault(CALLS["list"], responding(200, [{**ROW, "account_name": {"is": MARK}}]))
    log = edge.log()
    assert "0.account_name: string_type" in log
    assert [word for word in (MARK, "kilroy", TOKEN, KEY) if word in log] == []


def test_calls_beyond_the_bound_are_refused_at_once(tmp_path: Path) -> None:
    async def call_30_times(edge: Edge, gate: Gate) -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=40)
        async with httpx.AsyncClient(
            base_url=edge.url, headers=edge.client.headers, timeout=30, limits=limits, verify=NO_CERTIFICATES
        ) as client:
            waiting = {asyncio.create_task(client.get(ACCOUNTS)) for _ in range(30)}
            refused: set[asyncio.Task[httpx.Response]] = set()
            async with asyncio.timeout(20):
                while len(refused) < 25:
                    done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    refused |= done
            for task in refused:
                assert_problem(task.result(), 503, "overloaded")
            assert len(waiting) == 5
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.get(ACCOUNTS)).json()["code"] == "overloaded"
            assert len(edge.upstream.received) <= 2
            gate.open()
            return await asyncio.gather(*waiting)

    with running(
        tmp_path,
        EDGE_UPSTREAM_CONNECTIONS="2",
        EDGE_UPSTREAM_WAITING="3",
        EDGE_UPSTREAM_TIMEOUT="30",
        EDGE_UPSTREAM_CONNECT_TIMEOUT="30",
    ) as edge:
        edge.upstream.script = gate = Gate()
        responses = asyncio.run(call_30_times(edge, gate))
        assert [response.status_code for response in responses] == [200] * 5
        assert gate.most_held == 2
        assert len(edge.upstream.received) == 5
        assert [edge.make(call).status_code for call in CALLS.values()] == [call.status for call in CALLS.values()]


def test_calls_under_way_are_finished_when_it_is_asked_to_end(tmp_path: Path) -> None:
    async def call_twice(edge: Edge, gate: Gate) -> list[httpx.Response]:
        async with httpx.AsyncClient(
            base_url=edge.url, headers=edge.client.headers, timeout=30, verify=NO_CERTIFICATES
        ) as client:
            calls = [asyncio.create_task(client.get(ACCOUNTS)) for _ in range(2)]
            await asyncio.to_thread(eventually, lambda: gate.held == 2)
            os.kill(edge.process.pid, signal.SIGTERM)
            port = urlsplit(edge.url).port or 0
            await asyncio.to_thread(eventually, lambda: not accepts_connections(port))
            ended, _ = await asyncio.wait(calls, timeout=0.5)
            assert not ended
            assert edge.process.exit_code() is None
            gate.open()
            return await asyncio.gather(*calls)

    with running(tmp_path, EDGE_UPSTREAM_TIMEOUT="20") as edge:
        edge.upstream.script = gate = Gate()
        assert [response.status_code for response in asyncio.run(call_twice(edge, gate))] == [200, 200]
        eventually(lambda: edge.process.exit_code() is not None)
        assert edge.process.exit_code() == 0
