"""An instant upstream: the same account for every request, so that the cost of each candidate remains.

python -m bench.upstream PORT
"""

import asyncio
import sys
from typing import Final, cast

import uvloop

_ACCOUNT: Final = (
    b'{"id":"561136a8-2a3e-4533-bb9b-9a2acfdd29f3","user_id":"01a209c4-2582-7088-9473-495d5ac64f35",'
    b'"account_name":"Default Alpaca Account","is_active":true,"created_at":"2026-11-23T18:56:19.80648+00:00",'
    b'"updated_at":"2026-11-23T18:56:19.80648+00:00","created":false}'
)


def _response(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


_ROW: Final = _response(b"[%b]" % _ACCOUNT)


class _InstantProtocol(asyncio.Protocol):
    def __init__(self) -> None:
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while (end := self._unread.find(b"\r\n\r\n")) >= 0:
            _, _, rest = self._unread[:end].lower().partition(b"content-length:")
            whole = end + 4 + int(rest.partition(b"\r\n")[0] or 0)
            if len(self._unread) < whole:
                return
            self._unread = self._unread[whole:]
            self._transport.write(_ROW)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_InstantProtocol, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
