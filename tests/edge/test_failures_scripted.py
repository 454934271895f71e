"""Whatever Supabase does, a call ends soon, with an answer that tells the client what to do, and the next one works."""

import asyncio
import gzip
import json
import math
import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import jwt
import psutil
import pytest

from edge_api import errors, problems
from edge_api.local.processes import Child, accepts_connections
from tests.edge.scripted import Received, Script, ScriptedUpstream, answering, http, scripted_upstream
from tests.edge.test_serve import serving
from tests.support import ACCOUNTS, GET_OR_CREATE, NO_CERTIFICATES

TIMEOUT: Final = 0.5
SOON: Final = 20 * TIMEOUT  # seconds: for machines that do other things too
MOST_GROWTH: Final = 24_000_000  # bytes of memory, what is made for a first fault included
MOST_SENT: Final = 32_000_000  # bytes: what the sockets' buffers take, and more

KEY: Final = "sb_publishable_scripted"
USER_ID: Final = "01a209c4-2582-7088-9473-495d5ac64f35"
ACCOUNT_ID: Final = "561136a8-2a3e-4533-bb9b-9a2acfdd29f3"
TOKEN: Final = jwt.encode(
    {"sub": USER_ID, "role": "authenticated", "aud": "authenticated", "exp": int(time.time()) + 3600},
    "a secret that only Supabase knows",
    algorithm="HS256",
)
ROW: Final = {
    "id": ACCOUNT_ID,
    "user_id": USER_ID,
    "account_name": "Mine",
    "is_active": True,
    "created_at": "2026-11-23T18:56:19.80648+00:00",
    "updated_at": "2026-11-23T18:56:19.80648+00:00",
}
ROW_AND_CREATED: Final = {**ROW, "created": False}

# Part of everything that the upstream sends and nobody shall see.
MARK: Final = "kilroy: select * from user_accounts"
INSIDE: Final = (
    MARK,
    "kilroy",
    "user_accounts",
    "select ",
    "rpc",
    "sqlstate",
    "pgrst",
    "postgres",
    "aiohttp",
    "Traceback",
)
SECRET: Final = (TOKEN, KEY, "127.0.0.1", "localhost")


@dataclass(frozen=True)
class Call:
    """A call of the API, and the SQL function behind it."""

    method: str
    path: str
    function: str
    rows: Any  # a good answer of the function
    status: int
    body: Mapping[str, str] | None = None
    idempotent: bool = False

    def with_row(self, change: Mapping[str, object] | None = None, *, without: str = "") -> Any:
        """The function's good answer with another row in it."""
        row = self.rows[0] if isinstance(self.rows, list) else self.rows
        changed = {name: value for name, value in {**row, **(change or {})}.items() if name != without}
        return [changed] if isinstance(self.rows, list) else changed


ONE: Final = f"{ACCOUNTS}/{ACCOUNT_ID}"
CALLS: Final = {
    "list": Call("GET", ACCOUNTS, "list_accounts", [ROW], 200, idempotent=True),
    "create": Call("POST", ACCOUNTS, "create_account", ROW, 201, {"account_name": "Mine"}),
    "get or create": Call("POST", GET_OR_CREATE, "get_or_create_account", [ROW_AND_CREATED], 200, idempotent=True),
    "get": Call("GET", ONE, "get_account", [ROW], 200, idempotent=True),
    "rename": Call("PATCH", ONE, "rename_account", [ROW], 200, {"account_name": "Mine"}),
}
REPEATED: Final = [kind for kind, call in CALLS.items() if call.idempotent]
NEVER_REPEATED: Final = [kind for kind, call in CALLS.items() if not call.idempotent]


async def healthy(received: Received, writer: asyncio.StreamWriter) -> None:
    """What a project does whose migrations are in."""
    for call in CALLS.values():
        if received.path == f"/rest/v1/rpc/{call.function}":
            writer.write(http(200, call.rows))
            return
        if received.path == f"/rest/v1/rpc/{call.function}?select=none(*)":
            writer.write(http(400, {"code": "PGRST200", "message": MARK}))
            return
    writer.write(http(404, {"code": "PGRST202", "message": MARK}))


def sending(*pieces: bytes) -> Script:
    """A script that sends this and closes the connection."""

    async def script(_received: Received, writer: asyncio.StreamWriter) -> None:
        writer.writelines(pieces)
        await writer.drain()
        writer.close()

    return script


def resetting(after: bytes = b"") -> Script:
    """A script that sends this and resets the connection."""

    async def script(_received: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(after)
        await writer.drain()
        at_once = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        writer.transport.abort()

    return script


async def silent(_received: Received, _writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


@dataclass
class Endless:
    """A script that sends a beginning, and then a piece after another until the other side has had enough."""

    beginning: bytes
    piece: bytes
    pause: float = 0.0
    sent: int = 0

    async def __call__(self, _received: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(self.beginning)
        while not writer.is_closing():
            writer.write(self.piece)
            await writer.drain()
            self.sent += len(self.piece)
            await asyncio.sleep(self.pause)


@dataclass
class Gate:
    """A script that holds its healthy answers until it is opened."""

    held: int = 0
    most_held: int = 0
    _opened: Future[None] = field(default_factory=Future)

    async def __call__(self, received: Received, writer: asyncio.StreamWriter) -> None:
        self.held += 1
        self.most_held = max(self.most_held, self.held)
        try:
            await asyncio.wrap_future(self._opened)
        finally:
            self.held -= 1
        await healthy(received, writer)

    def open(self) -> None:
        self._opened.set_result(None)


def first(*scripts: Script) -> Script:
    """A script that does these things in turn, a request each, and is healthy after that."""
    left = list(scripts)

    async def script(received: Received, writer: asyncio.StreamWriter) -> None:
        await (left.pop(0) if left else healthy)(received, writer)

    return script


def error(status: int, body: object, headers: Mapping[str, str] | None = None) -> Script:
    return answering(status, body, {"X-Inside": MARK, "Set-Cookie": f"inside={MARK}", **(headers or {})})


@dataclass
class Edge:
    """A running `edge-api serve` in front of a scripted upstream."""

    url: str
    process: Child
    upstream: ScriptedUpstream
    client: httpx.Client

    def make(self, call: Call) -> httpx.Response:
        return self.client.request(call.method, call.path, json=call.body)

    def with_fault(self, call: Call, fault: Script) -> tuple[httpx.Response, int]:
        """Make a call that meets with a fault, and after it a healthy one.

        Returns:
            The first one's answer, and how many requests the upstream received for it.
        """
        self.upstream.script = fault
        self.upstream.received.clear()
        answer = self.make(call)
        received = len(self.upstream.received)
        self.upstream.script = healthy
        assert self.make(call).status_code == call.status, "the call after the fault"
        assert self.process.exit_code() is None
        return answer, received

    def lines(self) -> list[dict[str, Any]]:
        """What was logged at level error or warning."""
        lines = map(json.loads, self.process.log.read_text().splitlines())
        return [line for line in lines if line["level"] in {"error", "warning"}]

    def memory(self) -> int:
        return psutil.Process(self.process.pid).memory_info().rss


@contextmanager
def running(folder: Path, **settings: str) -> Iterator[Edge]:
    with (
        scripted_upstream(healthy) as upstream,
        serving(folder, upstream.url, KEY, **settings) as (url, process),
        httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30, verify=NO_CERTIFICATES
        ) as client,
    ):
        yield Edge(url, process, upstream, client)


@pytest.fixture(scope="module")
def module_edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    folder = tmp_path_factory.mktemp("failures")
    with running(folder, EDGE_UPSTREAM_TIMEOUT=str(TIMEOUT), EDGE_UPSTREAM_CONNECTIONS="4") as edge:
        yield edge


@pytest.fixture
def edge(module_edge: Edge) -> Iterator[Edge]:
    """The one edge of all these tests: none may leave it unable to serve."""
    yield module_edge
    module_edge.upstream.script = healthy


def eventually(happens: Callable[[], bool], *, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.01)


def assert_problem(answer: httpx.Response, status: int, code: str) -> None:
    """The answer is this problem document, and has nothing of the inside."""
    assert (answer.status_code, answer.json().get("code")) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert set(problem) - {"errors"} == {"type", "title", "status", "detail", "code", "request_id"}
    assert (problem["type"], problem["status"], problem["title"]) == (
        "about:blank",
        status,
        problems.title(status),
    )
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    assert ("Retry-After" in answer.headers) == (status == 503)
    assert status != 503 or int(answer.headers["Retry-After"]) > 0
    everything = f"{answer.text} {answer.headers.multi_items()}".lower()
    assert [word for word in (*INSIDE, *SECRET) if word.lower() in everything] == []


OK: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED: Final = OK + b"Transfer-Encoding: chunked\r\n\r\n"
LONG: Final = OK + b"Content-Length: 99999999999\r\n\r\n"

UNUSABLE: Final[dict[str, Script]] = {
    "garbage": sending(b"\x00\xff\xfe" + MARK.encode() + b"\r\n\r\n"),
    "no head": sending(b"[]"),
    "another protocol": sending(b"SSH-2.0-OpenSSH_9.9\r\n"),
    "a TLS alert": sending(b"\x15\x03\x01\x00\x02\x02\x28"),
    "a truncated body": sending(http(200, [ROW])[:-10]),
    "a truncated chunk": sending(CHUNKED + b"ff\r\n[]"),
    "no last chunk": sending(CHUNKED + b"2\r\n[]\r\n"),
    "a bad chunk": sending(CHUNKED + b"kilroy\r\n[]\r\n"),
    "two lengths": sending(OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n[]]"),
    "a length and chunks": sending(OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "a negative length": sending(OK + b"Content-Length: -2\r\n\r\n[]"),
    "a reset after the head": resetting(OK + b"Content-Length: 2000\r\n\r\n["),
    "status 99": sending(b"HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\n[]"),
    "status 999": sending(b"HTTP/1.1 999 High\r\nContent-Length: 2\r\n\r\n[]"),
    "another protocol from here on": sending(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: kilroy\r\n\r\n"),
    "an empty body": answering(200, b""),
    "white space": answering(200, b" \r\n"),
    "no content": sending(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "HTML": answering(200, f"<html>{MARK}</html>", {"Content-Type": "text/html"}),
    "HTML in an unknown character set": answering(200, f"<p>{MARK}", {"Content-Type": "text/html; charset=kilroy"}),
    "text": answering(200, MARK, {"Content-Type": "text/plain"}),
    "null": answering(200, None),
    "true": answering(200, True),
    "a number": answering(200, 1),
    "a string": answering(200, MARK),
    "rows of null": answering(200, [None]),
    "rows of lists": answering(200, [[ROW_AND_CREATED]]),
    "an envelope": answering(200, {"data": [ROW_AND_CREATED]}),
    "an error's body": answering(200, {"code": "42501", "message": MARK}),
    "not in UTF-8": answering(200, b'[{"account_name": "\xe9"}]'),
    "in UTF-16": answering(200, json.dumps(MARK).encode("utf-16")),
    "NaN": answering(200, b'[{"account_name": NaN}]'),
    "a number of 5,000 digits": answering(200, b"1" * 5000),
    "cut JSON": answering(200, json.dumps([ROW])[:-10]),
    "JSON of depth 30,000": answering(200, b"[" * 30_000 + b"]" * 30_000),
    "a row of 100 kB": answering(200, [{**ROW_AND_CREATED, "account_name": "x" * 100_000}]),
    "100 kB of rows": answering(200, [ROW_AND_CREATED] * 500),
    "gzip": answering(200, gzip.compress(json.dumps([ROW_AND_CREATED]).encode()), {"Content-Encoding": "gzip"}),
    "what only says that it is gzip": answering(200, MARK, {"Content-Encoding": "gzip"}),
    "what only says that it is deflate": answering(200, b"x", {"Content-Encoding": "deflate"}),
    "60 MB in 60 kB": answering(200, gzip.compress(b" " * 60_000_000), {"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("kind", CALLS)
@pytest.mark.parametrize("fault", UNUSABLE)
def test_an_answer_that_cannot_be_used_is_502(edge: Edge, fault: str, kind: str) -> None:
    answer, received = edge.with_fault(CALLS[kind], UNUSABLE[fault])
    assert_problem(answer, 502, "bad_upstream")
    assert received == 1


WRONG: Final[dict[str, tuple[object, ...]]] = {
    "id": (None, 1, 1.5, True, "", "kilroy", [ACCOUNT_ID], {}),
    "user_id": (None, 1, 1.5, False, "", "kilroy", [USER_ID], {}),
    "account_name": (None, 1, 1.5, True, ["Mine"], {"is": "Mine"}),
    "is_active": (None, 2, 1.5, "", "kilroy", [True], {}),
    "created_at": (None, True, "", "kilroy", "2026-11-23", "2026-11-23T18:56:19", "infinity", ["now"], {}),
    "updated_at": (None, False, "", "kilroy", "2026-11-23", "2026-11-23T18:56:19", "-infinity", [], {}),
}
# Other types, that could be taken for the right ones with some good will.
NEARLY_RIGHT: Final[dict[str, tuple[object, ...]]] = {
    "is_active": (1, 0, "true", "yes"),
    "created_at": (1_790_000_000, 1_790_000_000.5),
    "updated_at": (1_790_000_000, 1_790_000_000.5),
    "account_name": ("\ud800",),  # no character, and so not text
}


def _columns(table: Mapping[str, tuple[object, ...]]) -> list[Any]:
    return [
        pytest.param(column, value, id=f"{column}={json.dumps(value)}")
        for column, values in table.items()
        for value in values
    ]


@pytest.mark.parametrize("kind", ["list", "create", "get or create"])
@pytest.mark.parametrize(("column", "value"), _columns(WRONG) + _columns(NEARLY_RIGHT))
def test_a_column_of_another_type_is_502(edge: Edge, kind: str, column: str, value: object) -> None:
    call = CALLS[kind]
    answer, received = edge.with_fault(call, answering(200, call.with_row({column: value})))
    assert_problem(answer, 502, "bad_upstream")
    assert received == 1


@pytest.mark.parametrize("value", [None, 1, 2, "", "true", "kilroy", [False], {}], ids=json.dumps)
def test_a_created_of_another_type_is_502(edge: Edge, value: object) -> None:
    call = CALLS["get or create"]
    answer, _ = edge.with_fault(call, answering(200, call.with_row({"created": value})))
    assert_problem(answer, 502, "bad_upstream")


@pytest.mark.parametrize(
    ("kind", "column"), [(kind, column) for kind in CALLS for column in ROW] + [("get or create", "created")]
)
def test_a_missing_column_is_502(edge: Edge, kind: str, column: str) -> None:
    call = CALLS[kind]
    answer, _ = edge.with_fault(call, answering(200, call.with_row(without=column)))
    assert_problem(answer, 502, "bad_upstream")


@pytest.mark.parametrize("kind", CALLS)
def test_a_column_too_many_is_left_out(edge: Edge, kind: str) -> None:
    """A migration may add one before the edge knows it."""
    call = CALLS[kind]
    answer, _ = edge.with_fault(call, answering(200, call.with_row({"inside": {"note": [MARK, {"more": MARK}]}})))
    assert answer.status_code == call.status
    assert "kilroy" not in answer.text


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        ("get or create", []),
        ("get or create", [ROW_AND_CREATED, ROW_AND_CREATED]),
        ("get or create", ROW_AND_CREATED),
        ("create", []),
        ("create", [ROW]),
        ("create", {}),
        ("list", ROW),
        ("list", [ROW, {}]),
        ("get", ROW),
        ("rename", ROW),
    ],
)
def test_another_number_of_rows_is_502(edge: Edge, kind: str, rows: object) -> None:
    answer, _ = edge.with_fault(CALLS[kind], answering(200, rows))
    assert_problem(answer, 502, "bad_upstream")


@pytest.mark.parametrize("kind", CALLS)
def test_a_row_of_another_user_is_502_and_nothing_of_it_is_told(edge: Edge, kind: str) -> None:
    call = CALLS[kind]
    theirs = str(uuid4())
    answer, received = edge.with_fault(call, answering(200, call.with_row({"user_id": theirs, "account_name": MARK})))
    assert_problem(answer, 502, "bad_upstream")
    assert received == 1
    assert theirs not in answer.text
    line = edge.lines()[-1]
    assert (line["level"], line["event"]) == ("error", "Supabase responded with another row")
    assert (line["function"], line["differences"]) == (call.function, ["user_id"])
    assert theirs not in edge.process.log.read_text()


@pytest.mark.parametrize("kind", ["get", "rename"])
def test_another_row_of_ones_own_is_502(edge: Edge, kind: str) -> None:
    call = CALLS[kind]
    answer, _ = edge.with_fault(call, answering(200, call.with_row({"id": str(uuid4())})))
    assert_problem(answer, 502, "bad_upstream")
    assert edge.lines()[-1]["differences"] == ["id"]


def test_one_row_of_another_user_among_ones_own_is_502(edge: Edge) -> None:
    answer, _ = edge.with_fault(CALLS["list"], answering(200, [ROW, {**ROW, "user_id": str(uuid4())}]))
    assert_problem(answer, 502, "bad_upstream")


@pytest.mark.parametrize("kind", ["get", "rename"])
def test_no_row_is_404(edge: Edge, kind: str) -> None:
    answer, received = edge.with_fault(CALLS[kind], answering(200, []))
    assert_problem(answer, 404, "account_not_found")
    assert received == 1


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


@pytest.mark.parametrize("kind", ["list", "create"])
@pytest.mark.parametrize("what", ENDLESS)
def test_an_answer_without_an_end_is_502_and_takes_no_memory(edge: Edge, what: str, kind: str) -> None:
    edge.make(CALLS[kind])
    before = edge.memory()
    endless = Endless(*ENDLESS[what])
    answer, received = edge.with_fault(CALLS[kind], endless)
    assert_problem(answer, 502, "bad_upstream")
    assert received == 1
    assert endless.sent < MOST_SENT
    assert edge.memory() - before < MOST_GROWTH


TOO_SLOW: Final[dict[str, Script]] = {
    "no answer": silent,
    "a head that drips": Endless(OK, b"X: x\r\n", TIMEOUT / 10),
    "a body that drips": Endless(LONG, b" ", TIMEOUT / 10),
    "chunks that drip": Endless(CHUNKED, b"1\r\n \r\n", TIMEOUT / 10),
    "an error that drips": Endless(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 9999\r\n\r\n", b" ", TIMEOUT / 10),
}


@pytest.mark.parametrize("kind", ["list", "create"])
@pytest.mark.parametrize("fault", TOO_SLOW)
def test_an_answer_that_takes_too_long_is_504(edge: Edge, fault: str, kind: str) -> None:
    since = time.monotonic()
    answer, received = edge.with_fault(CALLS[kind], TOO_SLOW[fault])
    assert_problem(answer, 504, "upstream_timeout")
    assert TIMEOUT <= time.monotonic() - since < SOON
    assert received == 1


def test_the_second_try_has_only_the_time_that_is_left(edge: Edge) -> None:
    since = time.monotonic()
    answer, received = edge.with_fault(CALLS["list"], first(sending(), silent))
    assert_problem(answer, 504, "upstream_timeout")
    assert time.monotonic() - since < SOON
    assert received == 2


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[ScriptedUpstream]:
    with scripted_upstream(healthy) as upstream:
        yield upstream


@pytest.mark.parametrize("kind", CALLS)
@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_redirect_is_502_and_the_token_goes_nowhere(
    edge: Edge, elsewhere: ScriptedUpstream, status: int, kind: str
) -> None:
    call = CALLS[kind]
    to = {"Location": f"{elsewhere.url}/rest/v1/rpc/{call.function}"}
    answer, received = edge.with_fault(call, error(status, b"", to))
    assert_problem(answer, 502, "bad_upstream")
    assert received == 1
    assert elsewhere.received == []


def test_a_redirect_to_itself_is_502_too(edge: Edge) -> None:
    answer, received = edge.with_fault(CALLS["list"], error(307, b"", {"Location": "/rest/v1/rpc/list_accounts"}))
    assert_problem(answer, 502, "bad_upstream")
    assert received == 1


BROKEN: Final[dict[str, Script]] = {
    "closed": sending(),
    "reset": resetting(),
    "closed in the first line": sending(b"HTTP/1.1 2"),
    "closed in the head": sending(OK),
}


@pytest.mark.parametrize("kind", CALLS)
@pytest.mark.parametrize("fault", BROKEN)
def test_a_connection_that_ends_before_the_answer_is_503(edge: Edge, fault: str, kind: str) -> None:
    call = CALLS[kind]
    answer, received = edge.with_fault(call, BROKEN[fault])
    assert_problem(answer, 503, "upstream_unavailable")
    assert received == (2 if call.idempotent else 1)


@pytest.mark.parametrize("kind", REPEATED)
@pytest.mark.parametrize("fault", BROKEN)
def test_what_does_no_harm_is_tried_once_more(edge: Edge, fault: str, kind: str) -> None:
    answer, received = edge.with_fault(CALLS[kind], first(BROKEN[fault]))
    assert answer.status_code == CALLS[kind].status
    assert received == 2
    tries = edge.upstream.received[:2]
    assert tries[0].body == tries[1].body
    assert {request.headers["authorization"] for request in tries} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize("kind", NEVER_REPEATED)
@pytest.mark.parametrize("fault", BROKEN)
def test_what_could_do_harm_is_not_tried_again(edge: Edge, fault: str, kind: str) -> None:
    """It may have taken effect: a second try would answer 409 for an account that the first one made."""
    answer, received = edge.with_fault(CALLS[kind], first(BROKEN[fault]))
    assert_problem(answer, 503, "upstream_unavailable")
    assert received == 1


@pytest.mark.parametrize("kind", REPEATED)
def test_the_second_try_is_read_like_the_first(edge: Edge, kind: str) -> None:
    answer, received = edge.with_fault(CALLS[kind], first(sending(), error(403, {"code": "42501", "message": MARK})))
    assert_problem(answer, 403, "permission_denied")
    assert received == 2


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
    (500, "40001"): (503, "upstream_unavailable"),
    (500, "40P01"): (503, "upstream_unavailable"),
    (503, "53300"): (503, "upstream_unavailable"),
    (500, "57014"): (504, "upstream_timeout"),
    (503, "57P01"): (503, "upstream_unavailable"),
    (500, "57P02"): (503, "upstream_unavailable"),
    (500, "57P03"): (503, "upstream_unavailable"),
    # the classes that PostgREST answers with 503, whatever the code
    (503, "08006"): (503, "upstream_unavailable"),
    (503, "53200"): (503, "upstream_unavailable"),
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
    (405, "25006"): (502, "bad_upstream"),
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


@pytest.mark.parametrize("kind", ["list", "create"])
@pytest.mark.parametrize(("status", "sqlstate"), CODES)
def test_an_error_of_supabase_is_translated_by_its_code(edge: Edge, status: int, sqlstate: str, kind: str) -> None:
    body = {"code": sqlstate, "message": MARK, "details": MARK, "hint": MARK}
    answer, received = edge.with_fault(CALLS[kind], error(status, body))
    assert_problem(answer, *CODES[status, sqlstate])
    assert ("WWW-Authenticate" in answer.headers) == (answer.status_code == 401)
    assert received == 1


def test_the_owner_of_an_inactive_account_is_told_why_it_cannot_be_changed(edge: Edge) -> None:
    """The database raises 42501 then, as for an anonymous sign-in: the text names both."""
    answer, _ = edge.with_fault(CALLS["rename"], error(403, {"code": "42501", "message": MARK}))
    assert_problem(answer, 403, "permission_denied")
    assert "an account that has been switched off cannot be changed" in answer.json()["detail"]


def test_each_code_of_the_table_is_tried_here() -> None:
    assert {*errors._BY_CODE, *(code for code in errors._CAUSES if isinstance(code, str))} <= {
        sqlstate for _, sqlstate in CODES
    }


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


@pytest.mark.parametrize("body", WITHOUT_A_CODE)
@pytest.mark.parametrize("status", STATUSES)
def test_an_error_without_a_code_is_translated_by_its_status(edge: Edge, status: int, body: str) -> None:
    answer, received = edge.with_fault(CALLS["list"], error(status, WITHOUT_A_CODE[body], {"Retry-After": "3600"}))
    assert_problem(answer, *STATUSES[status])
    assert received == 1


def test_an_answer_that_nobody_asked_for_is_nobodys(edge: Edge) -> None:
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


def test_an_answer_too_many_in_one_piece_is_nobodys(edge: Edge) -> None:
    both = http(200, [ROW]) + http(200, [{**ROW, "account_name": "Another user's"}])
    edge.with_fault(CALLS["list"], answering(200, [ROW]))

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
        UNUSABLE["garbage"],
    ] * 8

    async def call_all(times: int) -> list[int]:
        limits = httpx.Limits(max_connections=40)
        async with httpx.AsyncClient(
            base_url=edge.url, headers=edge.client.headers, timeout=30, limits=limits, verify=NO_CERTIFICATES
        ) as client:
            answers = await asyncio.gather(*(client.get(ACCOUNTS) for _ in range(times)))
        return [answer.status_code for answer in answers]

    edge.upstream.script = first(*faults)
    assert set(asyncio.run(call_all(40))) <= {200, 502, 503, 504}
    edge.upstream.script = healthy
    assert asyncio.run(call_all(40)) == [200] * 40


def test_nothing_of_a_fault_is_logged(edge: Edge) -> None:
    for fault in (UNUSABLE["HTML"], UNUSABLE["garbage"], error(500, {"code": MARK, "message": MARK}), sending()):
        edge.with_fault(CALLS["create"], fault)
    edge.with_fault(CALLS["list"], answering(200, [{**ROW, "account_name": {"is": MARK}}]))
    log = edge.process.log.read_text()
    assert "0.account_name: string_type" in log
    assert [word for word in (MARK, "kilroy", TOKEN, KEY) if word in log] == []


def test_readiness_costs_supabase_a_call_a_second_whoever_asks(edge: Edge) -> None:
    async def ask_200_times() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=50)
        async with httpx.AsyncClient(base_url=edge.url, timeout=30, limits=limits, verify=NO_CERTIFICATES) as client:
            return await asyncio.gather(*(client.get("/readyz") for _ in range(200)))

    edge.upstream.received.clear()
    since = time.monotonic()
    answers = asyncio.run(ask_200_times())
    seconds = math.ceil(time.monotonic() - since)
    assert [answer.status_code for answer in answers] == [200] * 200
    assert len(edge.upstream.received) <= 1 + seconds
    assert all("authorization" not in request.headers for request in edge.upstream.received)


NOT_READY: Final[dict[str, Script]] = {
    "closed": sending(),
    "silent": silent,
    "503": error(503, MARK),
}


@pytest.mark.parametrize("outage", NOT_READY)
def test_readiness_follows_an_outage_and_its_end(edge: Edge, outage: str) -> None:
    def readiness() -> int:
        return edge.client.get("/readyz").status_code

    eventually(lambda: readiness() == 200)
    edge.upstream.script = NOT_READY[outage]
    eventually(lambda: readiness() == 503)
    assert_problem(edge.client.get("/readyz"), 503, "supabase_unreachable")
    assert edge.client.get("/healthz").status_code == 200
    edge.upstream.script = healthy
    eventually(lambda: readiness() == 200)


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
        answers = asyncio.run(call_30_times(edge, gate))
        assert [answer.status_code for answer in answers] == [200] * 5
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
        assert [answer.status_code for answer in asyncio.run(call_twice(edge, gate))] == [200, 200]
        eventually(lambda: edge.process.exit_code() is not None)
        assert edge.process.exit_code() == 0
