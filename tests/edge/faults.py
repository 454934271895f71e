"""An edge in front of a scripted upstream: calls, faults that the upstream can have, and what becomes of them."""

import asyncio
import json
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import jwt
import psutil

from edge_api.local.processes import Child
from tests.edge.problems import MARK
from tests.edge.scripted import Received, Script, ScriptedUpstream, http, responding, scripted_upstream
from tests.edge.serving import log_of, serving
from tests.support import ACCOUNTS, GET_OR_CREATE, NO_CERTIFICATES

TIMEOUT: Final = 0.5
SOON: Final = 20 * TIMEOUT  # seconds: for machines that do other things too
MOST_GROWTH: Final = 24_000_000  # bytes of memory, what is created for a first fault included
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


@dataclass(frozen=True)
class Call:
    """A call of the API, and the SQL function behind it."""

    method: str
    path: str
    function: str
    rows: Any  # a good response of the function
    status: int
    body: Mapping[str, str] | None = None

    def with_row(self, change: Mapping[str, object] | None = None, *, without: str = "") -> Any:
        """The function's good response with another row in it."""
        row = self.rows[0] if isinstance(self.rows, list) else self.rows
        changed = {name: value for name, value in {**row, **(change or {})}.items() if name != without}
        return [changed] if isinstance(self.rows, list) else changed


ONE: Final = f"{ACCOUNTS}/{ACCOUNT_ID}"
CALLS: Final = {
    "list": Call("GET", ACCOUNTS, "list_accounts", [ROW], 200),
    "create": Call("POST", ACCOUNTS, "create_account", ROW, 201, {"account_name": "Mine"}),
    "get or create": Call("POST", GET_OR_CREATE, "get_or_create_account", [ROW_AND_CREATED], 200),
    "get": Call("GET", ONE, "get_account", [ROW], 200),
    "rename": Call("PATCH", ONE, "rename_account", [ROW], 200, {"account_name": "Mine"}),
}


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
    """A script that holds its healthy responses until it is opened."""

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
    return responding(status, body, {"X-Inside": MARK, "Set-Cookie": f"inside={MARK}", **(headers or {})})


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
            The first one's response, and how many requests the upstream received for it.
        """
        self.upstream.script = fault
        self.upstream.received.clear()
        response = self.make(call)
        received = len(self.upstream.received)
        self.upstream.script = healthy
        assert self.make(call).status_code == call.status, "the call after the fault"
        assert self.process.exit_code() is None
        return response, received

    def log(self) -> str:
        return log_of(self.url, self.process)

    def lines(self) -> list[dict[str, Any]]:
        """What was logged at level error or warning."""
        lines = map(json.loads, self.log().splitlines())
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


def eventually(happens: Callable[[], bool], *, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.01)


OK: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED: Final = OK + b"Transfer-Encoding: chunked\r\n\r\n"
LONG: Final = OK + b"Content-Length: 99999999999\r\n\r\n"
