"""Where a request ends and the next one begins, through Caddy: nobody gets another's response, or acts for another."""

import select
from http import HTTPMethod
from typing import Final

import pytest

from edge_api.local.stack import Stack
from tests.edge.caddy import Front, caddy
from tests.edge.raw_http import CLOSED, Connection, ask, assert_refusal, request
from tests.edge.scripted import responding, scripted_upstream
from tests.support import ACCOUNTS, GET_OR_CREATE, UNKNOWN_ID, User, stored_accounts

LIST: Final = ACCOUNTS.encode()
MINE: Final = b'{"account_name": "Mine"}'
JSON: Final = b"Content-Type: application/json"
CHUNKED: Final = b"Transfer-Encoding: chunked"
CHUNKS: Final = b"18\r\n%s\r\n0\r\n\r\n" % MINE
UPGRADE: Final = b"Connection: Upgrade"
NEXT: Final = request(None, b"GET", LIST)  # 401


PUBLIC: Final = [ACCOUNTS, GET_OR_CREATE, f"{ACCOUNTS}/{UNKNOWN_ID}"]
INTERNAL: Final = ["/healthz", "/readyz", "/openapi.json", "/docs", "/docs/assets/swagger-ui.css", "/nothing", "/"]


@pytest.mark.parametrize("path", PUBLIC + INTERNAL)
def test_an_unsupported_method_is_harmless_everywhere(front: Front, stack: Stack, owner: User, path: str) -> None:
    before = stored_accounts(stack, owner.id)
    with Connection(front) as connection:
        for method in (HTTPMethod.HEAD, HTTPMethod.OPTIONS, HTTPMethod.TRACE):
            to_head = method is HTTPMethod.HEAD
            connection.send(request(owner.token, method.encode(), path.encode(), b"X-Evil: evil"))
            response = connection.response(to_head=to_head)
            assert response.status == (405 if path in PUBLIC else 404)
            assert_refusal(response, stack, owner, to_head=to_head)
            assert b"evil" not in response.body.lower() + repr(response.headers).encode().lower()
            connection.send(NEXT)  # a body too many would be in its way
            assert connection.response().json()["code"] == "missing_token"
    assert stored_accounts(stack, owner.id) == before


def test_pipelined_requests_get_their_responses_in_order(front: Front, owner: User) -> None:
    ids = [f"pipelined-{number}" for number in range(5)]
    targets = [LIST, b"/healthz", LIST + b"/x", b"/nothing", LIST]
    with Connection(front) as connection:
        connection.send(
            b"".join(
                request(owner.token, b"GET", target, b"X-Request-ID: " + name.encode())
                for target, name in zip(targets, ids, strict=True)
            )
        )
        responses = [connection.response() for _ in ids]
    assert [response.headers["x-request-id"] for response in responses] == ids
    assert [response.status for response in responses] == [200, 404, 422, 404, 200]


def test_bytes_after_a_request_do_not_change_its_response(front: Front, stack: Stack, newcomer: User) -> None:
    """A request that takes effect never gets the refusal of what came after it as its response."""
    with Connection(front) as connection:
        connection.send(request(newcomer.token, b"POST", GET_OR_CREATE.encode()) + b"\x16\x03 no HTTP\r\n\r\n")
        first, second = connection.response(), connection.response()
    assert (first.status, first.json()["account"]["user_id"]) == (200, str(newcomer.id))
    assert second.status in {CLOSED, 400}
    assert len(stored_accounts(stack, newcomer.id)) == 1


def test_a_request_in_a_body_is_not_a_request(front: Front, stack: Stack, newcomer: User) -> None:
    inner = request(newcomer.token, b"POST", GET_OR_CREATE.encode())
    with Connection(front) as connection:
        connection.send(
            request(newcomer.token, b"POST", LIST, JSON, b"Content-Length: %d" % len(inner), body=inner) + NEXT
        )
        assert [connection.response().status for _ in range(2)] == [422, 401]
    assert stored_accounts(stack, newcomer.id) == []


@pytest.mark.parametrize(("status", "size"), [(401, 0), (413, 17_000), (415, 0)])
def test_a_refused_body_is_not_the_next_request(
    front: Front, stack: Stack, newcomer: User, status: int, size: int
) -> None:
    inner = request(newcomer.token, b"POST", GET_OR_CREATE.encode())
    inner *= 1 + size // len(inner)
    length = b"Content-Length: %d" % len(inner)
    with Connection(front) as connection:
        connection.send(request(None if status == 401 else newcomer.token, b"POST", LIST, length, body=inner) + NEXT)
        assert connection.response().status == status
        assert connection.response().json()["code"] == "missing_token"
    assert stored_accounts(stack, newcomer.id) == []


def test_a_client_that_waits_for_100_is_told_to_go_on(front: Front, stack: Stack, newcomer: User) -> None:
    with Connection(front) as connection:
        connection.send(request(newcomer.token, b"POST", LIST, b"Expect: 100-continue", JSON, b"Content-Length: 24"))
        assert connection.response().status == 100
        assert stored_accounts(stack, newcomer.id) == []
        connection.send(MINE)
        assert connection.response().status == 201
    assert len(stored_accounts(stack, newcomer.id)) == 1


def test_an_upgrade_is_ignored_and_the_connection_goes_on(front: Front, owner: User) -> None:
    with Connection(front) as connection:
        for fields in ((UPGRADE, b"Upgrade: websocket"), (UPGRADE, b"Upgrade: h2c"), ()):
            connection.send(request(owner.token, b"GET", LIST, *fields))
            assert connection.response().json()["count"] == 1


@pytest.mark.parametrize("framing", [(b"Content-Length: 24",), (CHUNKED,)], ids=["a length", "chunks"])
def test_a_body_with_an_upgrade_is_taken_whole(
    front: Front, stack: Stack, newcomer: User, framing: tuple[bytes, ...]
) -> None:
    """Java's client asks for an upgrade to HTTP/2 with every first request."""
    rest = CHUNKS if CHUNKED in framing else MINE
    response = ask(front, request(newcomer.token, b"POST", LIST, UPGRADE, b"Upgrade: h2c", JSON, *framing, body=rest))
    assert (response.status, response.json()["account_name"]) == (201, "Mine")
    assert len(stored_accounts(stack, newcomer.id)) == 1


def test_a_body_with_an_upgrade_is_not_the_next_request(front: Front, stack: Stack, newcomer: User) -> None:
    inner = request(newcomer.token, b"POST", GET_OR_CREATE.encode())
    length = b"Content-Length: %d" % len(inner)
    with Connection(front) as connection:
        connection.send(request(newcomer.token, b"POST", LIST, UPGRADE, b"Upgrade: h2c", JSON, length))
        select.select(
            [connection.socket], [], [], 0.3
        )  # so that the body comes on its own, after the response or before
        connection.send(inner + NEXT)
        assert [connection.response().status for _ in range(2)] == [422, 401]
    assert stored_accounts(stack, newcomer.id) == []


def _smuggled(owner: User) -> bytes:
    return request(owner.token, b"GET", LIST, b"X-Request-ID: the-attackers")


# What makes two servers differ about where a request ends: the fields, and what comes before the smuggled request. One
# that leaves the server waiting for more is not waited for here.
WAITED_FOR: Final = "a bare line feed in chunks"
AMBIGUOUS: dict[str, tuple[tuple[bytes, ...], bytes]] = {
    "an upgrade": ((UPGRADE, b"Upgrade: h2c"), b""),
    "an upgrade with a length": ((UPGRADE, b"Upgrade: h2c", b"Content-Length: 5"), b"hello"),
    "an upgrade with chunks": ((UPGRADE, b"Upgrade: websocket", CHUNKED), b"5\r\nhello\r\n0\r\n\r\n"),
    "a length and chunks": ((b"Content-Length: 500", CHUNKED), b"0\r\n\r\n"),
    "chunks and a short length": ((CHUNKED, b"Content-Length: 4"), b"5\r\nhello\r\n0\r\n\r\n"),
    "two lengths": ((b"Content-Length: 0", b"Content-Length: 500"), b""),
    "chunked twice": ((CHUNKED, CHUNKED), b"0\r\n\r\n"),
    "chunked, obscured": ((b"Transfer-Encoding: \x0bchunked", b"Content-Length: 5"), b"0\r\n\r\n"),
    "a bare line feed": ((b"X-A: b\nContent-Length: 500",), b""),
    WAITED_FOR: ((CHUNKED,), b"0\n\n"),
    "a trailer": ((CHUNKED,), b"0\r\nContent-Length: 500\r\n\r\n"),
    "a body of GET": ((b"Content-Length: 0",), b""),
}


@pytest.mark.parametrize("kind", AMBIGUOUS)
def test_a_smuggled_request_never_responds_to_another_client(
    front: Front, owner: User, second_owner: User, kind: str
) -> None:
    fields, before = AMBIGUOUS[kind]
    headers = {"Authorization": f"Bearer {second_owner.token}"}
    with front.client(headers=headers) as victim, Connection(front) as attacker:
        assert victim.get(ACCOUNTS).status_code == 200  # its connection is open before
        attacker.send(request(owner.token, b"POST", LIST + b"/get-or-create", *fields, body=before + _smuggled(owner)))
        for number in range(4):
            response = victim.get(ACCOUNTS, headers={"X-Request-ID": f"the-victims-{number}"})
            assert response.headers["X-Request-ID"] == f"the-victims-{number}"
            assert [account["user_id"] for account in response.json()["accounts"]] == [str(second_owner.id)]
        if kind != WAITED_FOR:
            assert attacker.response().status in {200, 400, 413, 415, 422, 501}


def test_each_request_reaches_the_service_on_a_connection_of_its_own(front: Front, owner: User) -> None:
    """Bytes after a request never become the response of the next one, and no worker closes a kept connection."""
    with (
        scripted_upstream(responding(200, [])) as upstream,
        caddy(upstream.url.removeprefix("http://"), wait=False) as own,
    ):
        with own.client() as client:
            assert [client.get(ACCOUNTS).status_code for _ in range(3)] == [200] * 3
        calls = [call for call in upstream.received if call.path == ACCOUNTS]
        assert [call.headers["connection"] for call in calls] == ["close"] * 3
