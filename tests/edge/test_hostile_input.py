"""What no honest client sends, through Caddy as it is deployed: it is refused or sent away, and changes nothing."""

import gzip
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import psutil
import pytest

from edge_api.local.processes import Child
from edge_api.local.stack import Stack
from tests.edge.caddy import Front
from tests.edge.raw_http import CLOSED, ask, assert_refusal, request
from tests.support import ACCOUNTS, User, stored_accounts

MINE: Final = b'{"account_name": "Mine"}'
JSON: Final = b"Content-Type: application/json"
CHUNKED: Final = b"Transfer-Encoding: chunked"
CHUNKS: Final = b"18\r\n%s\r\n0\r\n\r\n" % MINE
ENDLESS: Final = 4 * 1024 * 1024  # far more than the server may take in


def assert_serves(user: User, accounts: int) -> None:
    response = user.api.get(ACCOUNTS)
    assert (response.status_code, response.json()["count"]) == (200, accounts)


# Each with a body that would make an account, were it taken: header fields, what follows them, what may come of it.
BAD_FRAMES: dict[str, tuple[tuple[bytes, ...], bytes, set[int]]] = {
    "a negative length": ((b"Content-Length: -24",), MINE, {400}),
    "a length with a plus": ((b"Content-Length: +24",), MINE, {400}),
    "a length in words": ((b"Content-Length: all",), MINE, {400}),
    "a length in hexadecimal": ((b"Content-Length: 0x18",), MINE, {400}),
    "a length with an underscore": ((b"Content-Length: 2_4",), MINE, {400}),
    "a length with a blank": ((b"Content-Length: 2 4",), MINE, {400}),
    "a length with a point": ((b"Content-Length: 24.0",), MINE, {400}),
    "an empty length": ((b"Content-Length:",), MINE, {400}),
    "a length in other digits": (("Content-Length: ٢٤".encode(),), MINE, {400}),
    "a length of 26 digits": ((b"Content-Length: " + b"9" * 26,), MINE, {400}),
    "a length of 2^64 more": ((b"Content-Length: %d" % (2**64 + 24),), MINE, {400}),
    "two different lengths": ((b"Content-Length: 24", b"Content-Length: 25"), MINE, {400}),
    "two equal lengths": ((b"Content-Length: 24", b"Content-Length: 24"), MINE, {201, 400}),
    "a list of lengths": ((b"Content-Length: 24, 25",), MINE, {400}),
    "a length that is too short": ((b"Content-Length: 5",), MINE, {400, 422}),
    "a length of nothing": ((b"Content-Length: 0",), MINE, {400, 422}),
    "no length": ((), MINE, {400, 422}),
    "a length that is too long": ((b"Content-Length: 1000",), MINE, {CLOSED}),
    "a chunk's size in no digits": ((CHUNKED,), b"zz\r\n" + MINE, {400}),
    "a negative chunk": ((CHUNKED,), b"-18\r\n%s\r\n0\r\n\r\n" % MINE, {400}),
    "a chunk's size with a plus": ((CHUNKED,), b"+" + CHUNKS, {400}),
    "a chunk's size with 0x": ((CHUNKED,), b"0x" + CHUNKS, {400}),
    "a chunk's size with an underscore": ((CHUNKED,), b"1_8\r\n%s\r\n0\r\n\r\n" % MINE, {400}),
    "an empty chunk size": ((CHUNKED,), b"\r\n%s\r\n0\r\n\r\n" % MINE, {400}),
    "a chunk size of 64 bits": ((CHUNKED,), b"f" * 16 + b"\r\n" + MINE, {CLOSED}),
    "a chunk size of 68 bits": ((CHUNKED,), b"1" + b"0" * 15 + CHUNKS, {CLOSED, 400}),
    "a chunk that is shorter than its size": ((CHUNKED,), b"20\r\n%s\r\n0\r\n\r\n" % MINE, {CLOSED}),
    "a chunk that is longer than its size": ((CHUNKED,), b"5\r\n%s\r\n0\r\n\r\n" % MINE, {400}),
    "no last chunk": ((CHUNKED,), b"18\r\n%s\r\n" % MINE, {CLOSED}),
    "a chunk size with zeros": ((CHUNKED,), b"0" * 50 + CHUNKS, {400}),
    "chunks with bare line feeds": ((CHUNKED,), b"18\n%s\n0\n\n" % MINE, {400}),
    "a line feed in a chunk's extension": ((CHUNKED,), b"18;a\nb\r\n%s\r\n0\r\n\r\n" % MINE, {400}),
    "an endless chunk extension": ((CHUNKED,), b"18;" + b"a=b;" * (ENDLESS // 4), {CLOSED, 400, 413, 431}),
    "endless trailers": (
        (CHUNKED,),
        b"18\r\n%s\r\n0\r\n" % MINE + b"X-Trailer: value\r\n" * (ENDLESS // 18),
        {CLOSED, 400, 413, 431},
    ),
    "a trailer that is a length": ((CHUNKED,), b"18\r\n%s\r\n0\r\nContent-Length: 3\r\n\r\n" % MINE, {201, 400}),
    "a trailer that is no field": ((CHUNKED,), b"18\r\n%s\r\n0\r\nX Trailer\r\n\r\n" % MINE, {400}),
    "chunks without end": ((CHUNKED,), b"1\r\n \r\n" * (ENDLESS // 6), {CLOSED, 413}),
    "a length and chunks": ((b"Content-Length: 24", CHUNKED), CHUNKS, {201, 400}),
    "chunks and a length": ((CHUNKED, b"Content-Length: 24"), CHUNKS, {201, 400}),
    "xchunked": ((b"Transfer-Encoding: xchunked",), CHUNKS, {400, 501}),
    "chunked twice": ((CHUNKED, CHUNKED), CHUNKS, {400, 501}),
    "chunked twice in one field": ((b"Transfer-Encoding: chunked, chunked",), CHUNKS, {400, 501}),
    "chunked before another coding": ((b"Transfer-Encoding: chunked, identity",), CHUNKS, {400, 501}),
    "no coding": ((b"Transfer-Encoding: identity",), CHUNKS, {400, 501}),
    "an empty coding": ((b"Transfer-Encoding:",), CHUNKS, {400, 422, 501}),
    "gzip in chunks": (
        (b"Transfer-Encoding: gzip, chunked",),
        b"%x\r\n%s\r\n0\r\n\r\n" % (len(gzip.compress(MINE)), gzip.compress(MINE)),
        {400, 415, 422, 501},
    ),
    "a blank before the colon": ((b"Transfer-Encoding : chunked",), CHUNKS, {400}),
    "a vertical tab before chunked": ((b"Transfer-Encoding: \x0bchunked",), CHUNKS, {400}),
    "chunked on a line of its own": ((b"Transfer-Encoding:", b" chunked"), CHUNKS, {201, 400}),
    "a length behind a bare carriage return": ((b"X-A: b\rContent-Length: 24",), MINE, {400}),
    "a length behind a bare line feed": ((b"X-A: b\nContent-Length: 24",), MINE, {201, 400}),
}


@pytest.mark.parametrize("kind", BAD_FRAMES)
def test_a_body_whose_end_is_in_doubt_is_refused_or_taken_whole(
    front: Front, stack: Stack, newcomer: User, kind: str
) -> None:
    fields, rest, outcomes = BAD_FRAMES[kind]
    data = request(newcomer.token, b"POST", LIST, JSON, *fields, body=rest)
    response = ask(front, data, then_leave=outcomes == {CLOSED})  # what waits for more is for tests of slow clients
    assert response.status in outcomes
    names = [row[2] for row in stored_accounts(stack, newcomer.id)]
    if response.status == 201:
        assert names == [response.json()["account_name"]] == ["Mine"]
    else:
        assert_refusal(response, stack, newcomer)
        assert names == []


ODD_FRAMES: dict[str, tuple[tuple[bytes, ...], bytes]] = {
    "leading zeros": ((b"Content-Length: 00024",), MINE),
    "white space around the length": ((b"Content-Length:\t24 ",), MINE),
    "chunks": ((CHUNKED,), CHUNKS),
    "chunked in mixed case": ((b"transfer-encoding: cHuNkEd",), CHUNKS),
    "chunks of one byte": ((CHUNKED,), b"".join(b"1\r\n%c\r\n" % byte for byte in MINE) + b"0\r\n\r\n"),
    "chunks with extensions": ((CHUNKED,), b'18;a=b;c="d;\\"e"\r\n%s\r\n0;f\r\n\r\n' % MINE),
    "trailers": ((CHUNKED,), b"18\r\n%s\r\n0\r\nX-Checksum: 1\r\n\r\n" % MINE),
}


@pytest.mark.parametrize("kind", ODD_FRAMES)
def test_a_body_that_is_odd_and_clear_is_taken(front: Front, stack: Stack, newcomer: User, kind: str) -> None:
    fields, rest = ODD_FRAMES[kind]
    response = ask(front, request(newcomer.token, b"POST", ACCOUNTS.encode(), JSON, *fields, body=rest))
    assert (response.status, response.json()["account_name"]) == (201, "Mine")
    assert [row[2] for row in stored_accounts(stack, newcomer.id)] == ["Mine"]


TRAILERS: dict[str, tuple[bool, tuple[bytes, ...], bytes, int]] = {
    "a token": (False, (JSON,), b"Authorization: Bearer %s", 401),
    "a second token": (True, (JSON,), b"Authorization: Bearer x.y.z", 201),
    "a type": (True, (), JSON, 415),
    "a coding": (True, (JSON,), b"Content-Encoding: gzip", 201),
}


@pytest.mark.parametrize("kind", TRAILERS)
def test_a_trailer_is_no_header(front: Front, stack: Stack, newcomer: User, kind: str) -> None:
    """RFC 9110, 6.5.1: whoever looked at the headers on the way here has not seen it."""
    with_token, fields, trailer, status = TRAILERS[kind]
    trailer = trailer.replace(b"%s", newcomer.token.encode())
    data = request(
        newcomer.token if with_token else None,
        b"POST",
        ACCOUNTS.encode(),
        *fields,
        CHUNKED,
        b"X-Request-ID: in-the-head",
        body=b"18\r\n%s\r\n0\r\n%s\r\nX-Request-ID: in-the-trailer\r\n\r\n" % (MINE, trailer),
    )
    response = ask(front, data)
    assert (response.status, response.headers["x-request-id"]) == (status, "in-the-head")
    assert len(stored_accounts(stack, newcomer.id)) == (status == 201)


LIST: Final = ACCOUNTS.encode()
PATHS: dict[str, tuple[bytes, set[int]]] = {
    "up and down": (LIST + b"/../accounts", {404}),
    "up and down, escaped": (LIST + b"/%2e%2e/accounts", {404}),
    "up and down, escaped twice": (LIST + b"/%252e%252e/accounts", {404}),
    "a dot": (LIST + b"/.", {404, 422}),
    "doubled slashes": (b"//api//accounts", {404}),
    "a doubled slash": (b"/api//accounts", {404}),
    "an escaped slash": (LIST + b"%2Fget-or-create", {404, 405, 422}),
    "a backslash": (b"/api\\accounts", {400, 404}),
    "an escaped backslash": (b"/api%5Caccounts", {404}),
    "a NUL": (LIST + b"/%00", {404, 422}),
    "a NUL at the end": (LIST + b"%00", {404}),
    "a NUL as it is": (LIST + b"\x00", {400}),
    "a blank": (LIST + b" x", {400}),
    "a tab": (LIST + b"\t", {400}),
    "a parameter": (LIST + b"/;x", {404, 422}),
    "a parameter at the end": (LIST + b";x", {404}),
    "upper case": (LIST.upper(), {404}),
    "a line break, escaped": (LIST + b"/%0d%0aX-Evil:%20evil", {404, 422}),
    "escapes of nothing": (LIST + b"/%zz%", {400, 404, 422}),
    "escapes that are no UTF-8": (LIST + b"/%ff%ed%a0%80", {404, 422}),
    "characters beyond ASCII": ("/api/accounts/é".encode(), {400, 404, 422}),
    "characters beyond ASCII, escaped": (LIST + b"/%C3%A9%F0%9F%8F%A6", {404, 422}),
    "a full-width letter": ("/api/ａccounts".encode(), {400, 404}),
    "a path of 20,000 characters": (LIST + b"/" + b"x" * 20_000, {404, 414, 422, 431}),
    "a path of 40,000 characters": (LIST + b"/" + b"x" * 40_000, {CLOSED, 414, 431}),
    "a path of 5,000 slashes": (b"/" * 5000, {404}),
    "another host in front": (b"//evil.example/api/accounts", {404}),
    "an absolute target without a path": (b"http://evil.example", {400, 404, 421}),
    "a target for a proxy": (b"evil.example:443", {400, 404}),
    "an asterisk": (b"*", {400, 404}),
    "no slash": (b"api/accounts", {400}),
    "no target": (b"", {400}),
    "a query alone": (b"?x", {400, 404}),
    "a script": (b"javascript:alert(1)", {400, 404}),
    "a file of the server": (b"/docs/assets/../../main.py", {404}),
    "a file of the server, escaped": (b"/docs/assets/%2e%2e/%2e%2e/main.py", {404}),
    "a file of the machine": (b"/docs/assets//etc/passwd", {404}),
    "a file of the machine, escaped": (b"/docs/assets/%2Fetc%2Fpasswd", {404}),
    "the assets' folder": (b"/docs/assets", {404}),
    "a NUL in a file's name": (b"/docs/assets/%00", {404}),
    "a surrogate in a file's name": (b"/docs/assets/%ed%a0%80", {404}),
    "a file's name of 5,000 characters": (b"/docs/assets/" + b"x" * 5000, {404}),
    "a query of 40,000 characters": (LIST + b"?" + b"x" * 40_000, {CLOSED, 414, 431}),
}


@pytest.mark.parametrize("kind", PATHS)
def test_a_tricky_path_leads_nowhere(front: Front, stack: Stack, owner: User, kind: str) -> None:
    target, outcomes = PATHS[kind]
    before = stored_accounts(stack, owner.id)
    for method in (b"GET", b"PATCH"):
        response = ask(front, request(owner.token, method, target, JSON, b"Content-Length: 24", body=MINE))
        assert response.status in outcomes | ({405} if method == b"PATCH" else set())
        assert_refusal(response, stack, owner)
        assert "location" not in response.headers
        assert b"evil" not in response.body
    assert stored_accounts(stack, owner.id) == before
    assert_serves(owner, 1)


ODD_TARGETS: dict[str, bytes] = {
    "a query": LIST + b"?account_name=x&account_name=y&&;=%00%ff",
    "a query of 20,000 characters": LIST + b"?" + b"x" * 20_000,
    "a query beyond ASCII": "/api/accounts?é=🏦".encode(),
    "a fragment": LIST + b"#x",
    "an absolute target": b"http://evil.example/api/accounts",
    "an absolute target with a password": b"http://user:password@evil.example:99/api/accounts",
    "escaped letters": b"/api/%61ccounts",
}


@pytest.mark.parametrize("kind", ODD_TARGETS)
def test_an_odd_target_shows_ones_own_accounts_or_nothing(front: Front, stack: Stack, owner: User, kind: str) -> None:
    response = ask(front, request(owner.token, b"GET", ODD_TARGETS[kind]))
    assert response.status in {200, 400, 404, 421}
    if response.status == 200:
        assert [account["user_id"] for account in response.json()["accounts"]] == [str(owner.id)]
    assert b"evil" not in response.body
    assert "location" not in response.headers
    assert_serves(owner, 1)


# What is sent in place of an ordinary request, which it begins as, by the one who holds the token.
Send = Callable[[str], bytes]


def _with(*fields: bytes) -> Send:
    return lambda token: request(token, b"GET", LIST, *fields)


def _by(method: bytes) -> Send:
    return lambda token: request(token, method, LIST)


def _in(version: bytes) -> Send:
    return lambda token: request(token, b"GET", LIST, version=version)


END: Final = b"\r\n\r\n"  # of a head that would be waited for: see the tests of slow clients
BAD_HEADS: dict[str, tuple[Send, set[int]]] = {
    "leading line breaks": (lambda token: b"\r\n\r\n" + request(token, b"GET", LIST), {400}),
    "an expectation of something else": (_with(b"Expect: 200-ok"), {417}),
    "a folded first field": (lambda token: request(token, b"GET", LIST).replace(b"Host", b" Host", 1), {400}),
    "a field's name with a blank": (_with(b"X A: b"), {400}),
    "a blank before the colon": (_with(b"X-A : b"), {400}),
    "a field without a name": (_with(b": b"), {400}),
    "a field without a colon": (_with(b"X-A"), {400}),
    "a field's name beyond ASCII": (_with(b"X-\xff: b"), {400}),
    "a field's name in brackets": (_with(b"X[A]: b"), {400}),
    "a NUL in a field": (_with(b"X-A: a\x00b"), {400}),
    "a NUL in a field's name": (_with(b"X\x00A: b"), {400}),
    "a bare carriage return": (_with(b"X-A: a\rX-B: b"), {400}),
    "bare carriage returns only": (lambda token: request(token, b"GET", LIST).replace(b"\r\n", b"\r") + END, {400}),
    "tabs in the first line": (lambda token: request(token, b"GET", LIST).replace(b" ", b"\t", 2), {400}),
    "a leading blank": (lambda token: b" " + request(token, b"GET", LIST), {400}),
    "HTTP/0.9": (lambda _token: b"GET " + LIST + b"\r\n\r\n", {400, 401, 505}),
    "no version": (lambda _token: request(None, b"GET", LIST, version=b""), {400, 401, 505}),
    "HTTP/1.10": (_in(b"HTTP/1.10"), {400, 505}),
    "HTTP/3": (_in(b"HTTP/3"), {400, 505}),
    "http/1.1": (_in(b"http/1.1"), {400, 505}),
    "another protocol": (_in(b"HTTQ/1.1"), {400, 505}),
    "HTTP/2's preface": (lambda _token: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", {400, 404, 505}),
    "a TLS hello": (lambda _token: bytes.fromhex("16030100c8010000c40303") + bytes(189) + END, {400}),
    "an SSH hello": (lambda _token: b"SSH-2.0-OpenSSH_9.6\r\n", {400}),
    "NULs": (lambda _token: bytes(1000) + END, {400}),
    "an unknown method": (_by(b"BREW"), {400, 405, 501}),
    "a method in lower case": (_by(b"get"), {400, 405, 501}),
    "a method of 5,000 letters": (_by(b"G" * 5000), {400, 405, 431, 501}),
    "a method with a NUL": (_by(b"GET\x00"), {400}),
    "no method": (_by(b""), {400}),
    "CONNECT to somewhere": (lambda token: request(token, b"CONNECT", b"evil.example:443"), {400, 404, 405}),
    "CONNECT to a path": (_by(b"CONNECT"), {400, 404, 405}),
    "a method of another protocol": (_by(b"DESCRIBE"), {400, 405, 501}),
    "a rare method": (_by(b"M-SEARCH"), {400, 405, 501}),
    "two tokens": (_with(b"Authorization: Bearer x.y.z"), {401}),
    "a token of 30,000 characters": (lambda _token: request("x.y." + "z" * 30_000, b"GET", LIST), {401, 431}),
}


@pytest.mark.parametrize("kind", BAD_HEADS)
def test_a_head_that_is_no_good_is_refused(front: Front, stack: Stack, owner: User, kind: str) -> None:
    make, outcomes = BAD_HEADS[kind]
    before = stored_accounts(stack, owner.id)
    response = ask(front, make(owner.token))
    assert response.status in outcomes
    assert_refusal(response, stack, owner)
    assert stored_accounts(stack, owner.id) == before
    assert_serves(owner, 1)


UPGRADE: Final = b"Connection: Upgrade"
# Odd, and with one meaning, which is all that the service gets to see.
ODD_HEADS: dict[str, Send] = {
    "a folded field": _with(b"X-A: a", b" b"),
    "a field folded with a tab": _with(b"X-A: a", b"\tContent-Length: 5"),
    "a bare line feed": _with(b"X-A: a\nX-B: b"),
    "bare line feeds only": lambda token: request(token, b"GET", LIST).replace(b"\r\n", b"\n"),
    "HTTP/1.2": _in(b"HTTP/1.2"),
    "HTTP/1.0": _in(b"HTTP/1.0"),
    "another method in a header": _with(b"X-HTTP-Method-Override: PATCH", b"X-Method-Override: POST"),
    "another path in a header": _with(b"X-Original-URL: /evil", b"X-Rewrite-URL: /evil"),
    "another host in a header": _with(b"X-Forwarded-Host: evil.example", b"Forwarded: host=evil.example"),
    "another origin": _with(b"Origin: http://evil.example"),
    "another client's address": _with(b"X-Forwarded-For: evil, 127.0.0.1", b"X-Real-IP: evil"),
    "bytes beyond ASCII": _with(b"X-A: \xff\xfe", b"User-Agent: \xc3\xa9\x80"),
    "a request id beyond ASCII": _with(b"X-Request-ID: \xff\xfeevil-1234"),
    "an upgrade to WebSocket": _with(
        UPGRADE, b"Upgrade: websocket", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", b"Sec-WebSocket-Version: 13"
    ),
    "an upgrade to HTTP/2": _with(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
    "an upgrade to TLS": _with(UPGRADE, b"Upgrade: TLS/1.2"),
    "a range": _with(b"Range: bytes=0-1"),
    "conditions": _with(b"If-None-Match: *", b"If-Modified-Since: Thu, 01 Jan 2099 00:00:00 GMT"),
    "an unknown type accepted": _with(b"Accept: image/png;q=0.1", b"Accept-Encoding: gzip, br"),
}


@pytest.mark.parametrize("kind", ODD_HEADS)
def test_a_head_that_is_odd_makes_no_difference(front: Front, stack: Stack, owner: User, kind: str) -> None:
    response = ask(front, ODD_HEADS[kind](owner.token))
    assert response.status == 200
    assert [account["user_id"] for account in response.json()["accounts"]] == [str(owner.id)]
    assert response.headers["content-type"] == "application/json"
    assert b"evil" not in response.body + repr(response.headers).encode()
    assert_serves(owner, 1)


FLOODS: dict[str, tuple[Send, set[int]]] = {
    "10,000 fields": (_with(*[b"X: y"] * 10_000), {CLOSED, 400, 431}),
    "10,000 empty fields": (_with(*[b"X:"] * 10_000), {CLOSED, 400, 431}),
    "a field of 1 MB": (_with(b"X-A: " + b"a" * 1_000_000), {CLOSED, 400, 431}),
    "a field's name of 1 MB": (_with(b"a" * 1_000_000 + b": x"), {CLOSED, 400, 431}),
    "an endless field": (
        lambda token: request(token, b"GET", LIST, b"X-A: ")[:-4] + b"a" * ENDLESS,
        {CLOSED, 400, 431},
    ),
    "endless fields": (
        lambda token: request(token, b"GET", LIST)[:-2] + b"X-A: value\r\n" * (ENDLESS // 12),
        {CLOSED, 400, 431},
    ),
    "an endless path": (lambda _token: b"GET /" + b"x" * ENDLESS, {CLOSED, 400, 414, 431}),
    "an endless method": (lambda _token: b"G" * ENDLESS, {CLOSED, 400, 431}),
    "endless line breaks": (lambda _token: b"\r\n" * (ENDLESS // 2), {CLOSED, 400, 431}),
    "an endless body": (
        lambda token: request(token, b"POST", LIST, JSON, b"Content-Length: 100000000", body=b" " * ENDLESS),
        {CLOSED, 413},
    ),
    "an endless body of nobody": (
        lambda _token: request(None, b"POST", LIST, JSON, b"Content-Length: 100000000", body=b" " * ENDLESS),
        {CLOSED, 401, 413},
    ),
    "endless bytes after an upgrade": (
        lambda token: request(token, b"GET", LIST, UPGRADE, b"Upgrade: h2c") + b"x" * ENDLESS,
        {CLOSED, 200, 400},
    ),
    "10,000 pipelined requests": (lambda _token: request(None, b"GET", b"/healthz") * 10_000, {404}),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_costs_no_memory(served: tuple[str, Child], front: Front, stack: Stack, owner: User, kind: str) -> None:
    make, outcomes = FLOODS[kind]
    data = make(owner.token)
    processes = {psutil.Process(served[1].pid): 8_000_000, psutil.Process(front.child.pid): 64_000_000}
    before = stored_accounts(stack, owner.id)
    memory = {process: process.memory_info().rss for process in processes}
    with ThreadPoolExecutor(3) as clients:
        responses = list(clients.map(lambda _: ask(front, data), range(3)))
    for response in responses:
        assert response.status in outcomes
        if response.status != 200:
            assert_refusal(response, stack, owner)
    for process, limit in processes.items():
        assert process.memory_info().rss - memory[process] < limit
    assert stored_accounts(stack, owner.id) == before
    assert_serves(owner, 1)
