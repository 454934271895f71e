"""HTTP/1.1 as bytes, over TLS: what no client library would send."""

import json
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from http.client import parse_headers
from typing import Any, BinaryIO, Final

from edge_api.local.stack import Stack
from edge_api.problems import TITLES
from tests.edge.caddy import SITE, Front
from tests.edge.problems import assert_tells_nothing_of_the_inside, secrets_of
from tests.support import User

CLOSED: Final = 0  # in place of a status: the connection ended without a response


@dataclass(frozen=True)
class RawResponse:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


NO_ANSWER: Final = RawResponse(CLOSED, {}, b"")


def read_response(stream: BinaryIO, *, to_head: bool = False) -> RawResponse:
    """The next response of a connection; NO_ANSWER if it ended before a whole one."""
    try:
        line = stream.readline()
        if not line:
            return NO_ANSWER
        version, status, _ = line.decode("latin-1").split(" ", 2)
        assert version in {"HTTP/1.1", "HTTP/1.0"}
        headers = {name.lower(): value for name, value in parse_headers(stream).items()}
        if status == "100":
            return RawResponse(100, headers, b"")
        assert "transfer-encoding" not in headers
        if "content-length" not in headers:  # Go's own refusals end with the connection
            assert headers["connection"] == "close"
            return RawResponse(int(status), headers, stream.read())
        length = 0 if to_head else int(headers["content-length"])
        body = stream.read(length)
        return RawResponse(int(status), headers, body) if len(body) == length else NO_ANSWER
    except (ConnectionError, ssl.SSLError):  # it closed with some of the request unread
        return NO_ANSWER


class Connection:
    """A connection to the public side that sends anything."""

    def __init__(self, front: Front, *, receive_buffer: int | None = None) -> None:
        plain = socket.socket()
        plain.settimeout(25)
        if receive_buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.connect(("127.0.0.1", front.port))
        self.socket = front.context.wrap_socket(plain, server_hostname=SITE)
        self.stream = self.socket.makefile("rb")

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        with suppress(ConnectionError, ssl.SSLError):  # it had enough; its response may be there
            self.socket.sendall(data)

    def response(self, *, to_head: bool = False) -> RawResponse:
        return read_response(self.stream, to_head=to_head)


def request(  # a request as bytes, with a token unless it is None
    token: str | None, method: bytes, target: bytes, *fields: bytes, body: bytes = b"", version: bytes = b"HTTP/1.1"
) -> bytes:
    authorization = [] if token is None else [b"Authorization: Bearer " + token.encode()]
    lines = [b" ".join(part for part in (method, target, version) if part), b"Host: localhost", *authorization, *fields]
    return b"\r\n".join([*lines, b"", body])


def ask(front: Front, data: bytes, *, then_leave: bool = False) -> RawResponse:
    """The response to what is sent on a connection of its own."""
    with Connection(front) as connection:
        connection.send(data)
        return NO_ANSWER if then_leave else connection.response()


def assert_refusal(response: RawResponse, stack: Stack, user: User, *, to_head: bool = False) -> None:
    """A problem document, or what Go says to what is no HTTP, or the end; nothing of the inside in either."""
    if response is NO_ANSWER:
        return
    assert response.status >= 400
    assert_tells_nothing_of_the_inside(response.body.decode(), *secrets_of(stack, user))
    if response.headers.get("content-type", "text/plain").startswith("text/plain"):
        assert response.status in {400, 417, 431, 501, 505}
        assert response.headers["connection"] == "close"
        return
    assert response.headers["content-type"] == "application/problem+json"
    if to_head:
        assert response.body == b""
        return
    problem = response.json()
    assert (problem["status"], problem["title"]) == (response.status, TITLES[response.status])
    assert problem["request_id"] == response.headers["x-request-id"]
