"""A Supabase that responds as a test tells it to: for the faults that a real one does not have on command."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Received:
    """A request as it came in. Header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


Script = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


def http(status: int, body: object, headers: Mapping[str, str] | None = None) -> bytes:
    """A response on the wire. A body that is neither text nor bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    fields = {"Content-Type": "application/json", "Content-Length": str(len(content)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Scripted\r\n{head}\r\n".encode() + content


def responding(status: int, body: object, headers: Mapping[str, str] | None = None) -> Script:
    """A script that gives every request this response."""

    async def script(_received: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(http(status, body, headers))

    return script


# What PostgREST responds to the readiness probe where the migrations are applied.
READY = responding(400, {"code": "PGRST200"})


@dataclass
class ScriptedUpstream:
    """The running server. `script` may be replaced at any time.

    `received` lists all requests so far, and `ended` counts the connections that are no more.
    """

    url: str
    script: Script
    received: list[Received] = field(default_factory=list)
    ended: int = 0


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    return Received(method, path, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


@contextmanager
def scripted_upstream(script: Script | None = None) -> Iterator[ScriptedUpstream]:
    """Run a scripted upstream on a free port, in a thread of its own.

    Args:
        script: responses calls; an empty list unless given.
    """
    loop = asyncio.new_event_loop()
    upstream = ScriptedUpstream("", script or responding(200, []))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while not writer.is_closing():
                received = await _read(reader)
                upstream.received.append(received)
                await upstream.script(received, writer)
                await writer.drain()
        writer.close()
        upstream.ended += 1

    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield upstream
    finally:

        async def stop() -> None:
            server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(stop(), loop).result(timeout=10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()
