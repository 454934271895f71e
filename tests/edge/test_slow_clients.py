"""Clients that send slowly, or do not read what they asked for: they are sent away, and hold nobody up."""

import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import Final

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes

from edge_api.local.processes import Child
from edge_api.local.stack import Stack
from tests.edge.caddy import SITE, Front, caddy
from tests.edge.raw_http import request
from tests.support import ACCOUNTS, User, stored_accounts

LIST: Final = ACCOUNTS.encode()
JSON: Final = b"Content-Type: application/json"
LONGEST: Final = 40.0  # seconds until the slowest must be gone, on a busy machine


@pytest.fixture(scope="module")
def impatient(served: tuple[str, Child]) -> Iterator[Front]:
    with caddy(served[0].removeprefix("http://"), PROXY_READ_HEADER="1s", PROXY_IDLE="2s") as running:
        yield running


def plain(front: Front) -> socket.socket:
    return socket.create_connection(("127.0.0.1", front.port), timeout=25)


def secured(front: Front) -> socket.socket:
    return front.context.wrap_socket(plain(front), server_hostname=SITE)


# How it connects, what it sends at once, what then byte by byte, and how the response begins, if there is one.
SLOW: dict[str, tuple[Callable[[Front], socket.socket], Callable[[str], bytes], bytes, bytes]] = {
    "no handshake": (plain, lambda _token: b"", b"", b""),
    "the handshake": (plain, lambda _token: b"\x16\x03\x01\x02\x00\x01", bytes(500), b""),
    "nothing": (secured, lambda _token: b"", b"", b""),
    "the head": (secured, lambda _token: b"GET /healthz HTTP/1.1\r\n", b"X-A: " + b"a" * 500, b""),
    "the second head": (secured, lambda _token: request(None, b"GET", LIST) + b"GET", b" " * 500, b"HTTP/1.1 401 "),
    "nothing more": (secured, lambda _token: request(None, b"GET", LIST), b"", b"HTTP/1.1 401 "),
    "the body": (
        secured,
        lambda token: request(token, b"POST", LIST, JSON, b"Content-Length: 500"),
        b" " * 499,
        b"HTTP/1.1 408 ",
    ),
    "no body": (
        secured,
        lambda token: request(token, b"POST", LIST, JSON, b"Content-Length: 24"),
        b"",
        b"HTTP/1.1 408 ",
    ),
    "chunks": (
        secured,
        lambda token: request(token, b"POST", LIST, JSON, b"Transfer-Encoding: chunked"),
        b"1\r\n \r\n" * 80,
        b"HTTP/1.1 408 ",
    ),
    "the body of nobody": (
        secured,
        lambda _token: request(None, b"POST", LIST, JSON, b"Content-Length: 500"),
        b" " * 499,
        b"HTTP/1.1 401 ",
    ),
    "a body where nothing is": (
        secured,
        lambda _token: request(None, b"POST", b"/nothing", JSON, b"Content-Length: 500"),
        b" " * 499,
        b"HTTP/1.1 404 ",
    ),
}


def received(connection: socket.socket) -> bytes | None:
    """What is there to read: nothing if the connection has ended, None if there may be more."""
    try:
        return connection.recv(65_536)
    except (ssl.SSLWantReadError, BlockingIOError):
        return None
    except OSError:
        return b""


def test_slow_clients_are_sent_away_and_hold_nobody_up(impatient: Front, stack: Stack, newcomer: User) -> None:
    with impatient.client(headers={"Authorization": f"Bearer {newcomer.token}"}) as others, ExitStack() as stacked:
        waiting: dict[socket.socket, str] = {}
        responses = dict.fromkeys(SLOW, b"")
        drips = {kind: iter(drip) for kind, (_, _, drip, _) in SLOW.items()}
        for kind, (connect, make, _, _) in SLOW.items():
            connection = stacked.enter_context(connect(impatient))
            connection.sendall(make(newcomer.token))
            connection.setblocking(False)
            waiting[connection] = kind
        deadline = time.monotonic() + LONGEST
        while waiting and time.monotonic() < deadline:
            for ended in select.select(list(waiting), [], [], 0.25)[0]:
                data = received(ended)
                responses[waiting[ended]] += data or b""
                if data == b"":
                    del waiting[ended]
            for connection, kind in waiting.items():
                if (drip := next(drips[kind], None)) is not None:
                    with suppress(OSError):
                        connection.send(bytes([drip]))
            assert others.get(ACCOUNTS).status_code == 200
        assert sorted(waiting.values()) == []
    for kind, (connect, _, _, begins) in SLOW.items():
        assert connect is plain or responses[kind][: len(begins) or None] == begins, kind
    assert stored_accounts(stack, newcomer.id) == []


def fill(connection: socket.socket, data: bytes) -> None:
    """Send until neither side takes any more."""
    connection.setblocking(False)
    idle = 0
    while idle < 5:
        try:
            connection.send(data)
            idle = 0
        except (ssl.SSLWantWriteError, BlockingIOError):
            idle += not select.select([], [connection], [], 0.05)[1]
        except OSError:
            return


def assert_all_end(connections: Sequence[socket.socket]) -> None:
    """Nothing is read from them: that they have ended is told by the kernel."""
    poll = select.poll()
    open_ones = {connection.fileno() for connection in connections}
    for descriptor in open_ones:
        poll.register(descriptor, select.POLLRDHUP)
    deadline = time.monotonic() + LONGEST
    while open_ones and time.monotonic() < deadline:
        for descriptor, _ in poll.poll(250):
            poll.unregister(descriptor)
            open_ones.remove(descriptor)
    assert not open_ones


def unread(front: Front) -> socket.socket:
    connection = socket.socket()
    connection.settimeout(25)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", front.port))
    return connection


def test_clients_that_do_not_read_are_sent_away_and_hold_nobody_up(served: tuple[str, Child], owner: User) -> None:
    pipelined = request(None, b"GET", b"/nothing") * 200
    with (
        caddy(served[0].removeprefix("http://"), PROXY_WRITE="2s", PROXY_TRY="1s") as front,
        front.client(headers={"Authorization": f"Bearer {owner.token}"}) as others,
        ExitStack() as stack,
    ):
        connections = [
            stack.enter_context(front.context.wrap_socket(unread(front), server_hostname=SITE)) for _ in range(20)
        ]
        for connection in connections:
            fill(connection, pipelined)
        assert others.get(ACCOUNTS).status_code == 200
        assert_all_end(connections)
        assert others.get(ACCOUNTS).status_code == 200


def over_http_2(front: Front) -> socket.socket:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    connection = context.wrap_socket(unread(front), server_hostname=SITE)
    assert connection.selected_alpn_protocol() == "h2"
    return connection


@pytest.mark.parametrize("window", [0, 65_535])
def test_http_2_clients_that_do_not_read_are_sent_away(served: tuple[str, Child], window: int) -> None:
    fields = [(":method", "GET"), (":scheme", "https"), (":authority", SITE), (":path", "/nothing")]
    with caddy(served[0].removeprefix("http://"), PROXY_WRITE="2s", PROXY_IDLE="2s") as front, ExitStack() as stack:
        connections = [stack.enter_context(over_http_2(front)) for _ in range(20)]
        for connection in connections:
            protocol = H2Connection(H2Configuration(client_side=True))
            protocol.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
            protocol.initiate_connection()
            for _ in range(100):
                protocol.send_headers(protocol.get_next_available_stream_id(), fields, end_stream=True)
            connection.sendall(protocol.data_to_send())
        assert_all_end(connections)
