"""What no honest client sends: it gets a problem document or the door, and changes nothing."""

import gzip
import json
import select
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from http import HTTPMethod, HTTPStatus
from http.client import parse_headers
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import psutil
import pytest

from edge_api.local.stack import MIGRATOR, Stack
from edge_api.problems import title
from tests.edge.serving import serving
from tests.edge.test_errors import assert_tells_nothing_of_the_inside
from tests.support import ACCOUNTS, GET_OR_CREATE, NO_CERTIFICATES, User, sign_up, stored_accounts

MINE: Final = b'{"account_name": "Mine"}'
JSON: Final = b"Content-Type: application/json"
CHUNKED: Final = b"Transfer-Encoding: chunked"
CHUNKS: Final = b"18\r\n%s\r\n0\r\n\r\n" % MINE
ENDLESS: Final = 4 * 1024 * 1024  # far more than the server may take in
CLOSED: Final = 0  # in place of a status: the connection ended without an answer


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


NO_ANSWER: Final = Answer(CLOSED, {}, b"")


def read_answer(stream: BinaryIO, *, to_head: bool = False) -> Answer:
    """The next answer of a connection; NO_ANSWER if it has ended."""
    try:
        line = stream.readline()
        if not line:
            return NO_ANSWER
        version, status, _ = line.decode("latin-1").split(" ", 2)
        assert version == "HTTP/1.1"
        headers = {name.lower(): value for name, value in parse_headers(stream).items()}
        if status == "100":
            return Answer(100, headers, b"")
        assert "transfer-encoding" not in headers
        return Answer(int(status), headers, b"" if to_head else stream.read(int(headers["content-length"])))
    except ConnectionError:  # it closed with some of the request unread
        return NO_ANSWER


class Connection:
    """A connection to the API that sends anything."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self.socket = socket.create_connection((address.hostname, address.port), timeout=25)
        self.stream = self.socket.makefile("rb")

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        with suppress(ConnectionError):  # it had enough; its answer may be there
            self.socket.sendall(data)

    def end(self) -> None:
        with suppress(OSError):  # the other side was faster
            self.socket.shutdown(socket.SHUT_WR)

    def answer(self, *, to_head: bool = False) -> Answer:
        return read_answer(self.stream, to_head=to_head)


def request(  # a request as bytes, with a token unless it is None
    token: str | None, method: bytes, target: bytes, *fields: bytes, body: bytes = b"", version: bytes = b"HTTP/1.1"
) -> bytes:
    authorization = [] if token is None else [b"Authorization: Bearer " + token.encode()]
    lines = [b" ".join(part for part in (method, target, version) if part), b"Host: edge", *authorization, *fields]
    return b"\r\n".join([*lines, b"", body])


def ask(stack: Stack, data: bytes, *, then_end: bool = False, to_head: bool = False) -> Answer:
    """The answer to what is sent on a connection of its own."""
    with Connection(stack.api_url) as connection:
        connection.send(data)
        if then_end:
            connection.end()
        return connection.answer(to_head=to_head)


@pytest.fixture(scope="module")
def client_of(stack: Stack) -> Iterator[Callable[[], User]]:
    with ExitStack() as clients:
        yield lambda: sign_up(
            stack, clients.enter_context(httpx.Client(base_url=stack.api_url, timeout=30, verify=NO_CERTIFICATES))
        )


@pytest.fixture(scope="module")
def nameless(client_of: Callable[[], User]) -> User:
    return client_of()


@pytest.fixture
def newcomer(stack: Stack, nameless: User) -> User:
    """A user without an account. Not one for each test: most of them leave no trace."""
    with stack.cluster.connect(MIGRATOR) as connection:
        connection.execute("delete from public.user_accounts where user_id = %s", [nameless.id])
    return nameless


@pytest.fixture(scope="module")
def owner(client_of: Callable[[], User]) -> User:
    """A user with an account."""
    user = client_of()
    assert user.api.post(ACCOUNTS, json={"account_name": "Before"}).status_code == 201
    return user


@pytest.fixture(scope="module")
def stranger(client_of: Callable[[], User]) -> User:
    """Another user with an account."""
    user = client_of()
    assert user.api.post(ACCOUNTS, json={"account_name": "Hidden"}).status_code == 201
    return user


def account_id(user: User) -> UUID:
    return UUID(user.api.get(ACCOUNTS).json()["accounts"][0]["id"])


def assert_problem(answer: Answer, stack: Stack, user: User, *, to_head: bool = False) -> None:
    """A refusal is a problem document that tells nothing of the inside, or the end of the connection."""
    if answer is NO_ANSWER:
        return
    assert answer.status >= 400
    assert answer.headers["content-type"] == "application/problem+json"
    if to_head:
        assert answer.body == b""
        return
    problem = answer.json()
    assert (problem["status"], problem["title"]) == (answer.status, title(HTTPStatus(answer.status)))
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert_tells_nothing_of_the_inside(answer.body.decode(), stack, user)


def assert_serves(user: User, accounts: int) -> None:
    answer = user.api.get(ACCOUNTS)
    assert (answer.status_code, answer.json()["count"]) == (200, accounts)


BAD_BODIES: dict[str, bytes] = {
    "16,000 nested lists": b"[" * 16_000,
    "8,000 nested lists, closed again": b'{"account_name": %s}' % (b"[" * 8000 + b"]" * 8000),
    "500 nested lists, closed again": b'{"account_name": %s}' % (b"[" * 500 + b"]" * 500),
    "3,200 nested objects": b'{"a":' * 3200,
    "2,500 nested objects, closed again": b'{"account_name":%s}' % (b'{"a":' * 2500 + b"1" + b"}" * 2500),
    "a name twice": b'{"account_name": "Mine", "account_name": "Yours"}',
    "a name twice, once escaped": b'{"account_name": "Mine", "account\\u005fname": "Yours"}',
    "a name twice, with the same value": b'{"account_name": "Mine", "account_name": "Mine"}',
    "NaN": b'{"account_name": NaN}',
    "Infinity": b'{"account_name": Infinity}',
    "-Infinity": b'{"account_name": -Infinity}',
    "NaN in an unknown field": b'{"account_name": "Mine", "x": NaN}',
    "a number beyond floats": b'{"account_name": 1e400}',
    "an integer of 16,000 digits": b'{"account_name": %s}' % (b"9" * 16_000),
    "a fraction of 16,000 digits": b'{"account_name": 0.%s}' % (b"9" * 16_000),
    "a lone high surrogate": b'{"account_name": "\\ud800"}',
    "a lone low surrogate": b'{"account_name": "\\udc00x"}',
    "surrogates in the wrong order": b'{"account_name": "\\udc00\\ud800"}',
    "a lone surrogate as it is": b'{"account_name": "\xed\xa0\x80"}',
    "a pair of surrogates as they are": b'{"account_name": "\xed\xa0\xbd\xed\xb8\x80"}',
    "a lone surrogate in a field's name": b'{"account_name": "Mine", "\\ud800": 1}',
    "a lone surrogate as it is in a field's name": b'{"account_name": "Mine", "\xed\xa0\x80": 1}',
    "a NUL": b'{"account_name": "Mi\\u0000ne"}',
    "a NUL as it is": b'{"account_name": "Mi\x00ne"}',
    "a NUL in a field's name": b'{"account_name": "Mine", "\\u0000": 1}',
    "a NUL at the end": MINE + b"\x00",
    "a line break as it is": b'{"account_name": "Mi\nne"}',
    "no UTF-8": b'{"account_name": "\xff\xfe"}',
    "UTF-8 that breaks off": b'{"account_name": "Mine\xf0\x9f\x8f"}',
    "UTF-8 beyond Unicode": b'{"account_name": "\xf4\x90\x80\x80"}',
    "an overlong slash": b'{"account_name": "\xc0\xaf"}',
    "an overlong NUL": b'{"account_name": "\xc0\x80"}',
    "an overlong quote": b'{"account_name": "Mine\xc0\xa2}',
    "Latin-1": '{"account_name": "Café"}'.encode("latin-1"),
    "UTF-16": MINE.decode().encode("utf-16"),
    "UTF-16, little end first": MINE.decode().encode("utf-16-le"),
    "UTF-16, big end first": MINE.decode().encode("utf-16-be"),
    "UTF-32": MINE.decode().encode("utf-32"),
    "UTF-32, little end first": MINE.decode().encode("utf-32-le"),
    "UTF-32, big end first": MINE.decode().encode("utf-32-be"),
    "two byte order marks": b"\xef\xbb\xbf\xef\xbb\xbf" + MINE,
    "nothing": b"",
    "white space": b" \r\n\t",
    "a vertical tab": b"\x0b" + MINE,
    "a no-break space": b"\xc2\xa0" + MINE,
    "two documents": MINE + MINE,
    "a trailing comma": b'{"account_name": "Mine",}',
    "a comment": b'{"account_name": "Mine" /* mine */}',
    "single quotes": b"{'account_name': 'Mine'}",
    "a name without quotes": b'{account_name: "Mine"}',
    "a list of the object": b"[%s]" % MINE,
    "the object as a string": json.dumps(MINE.decode()).encode(),
    "1,500 unknown fields": b"{%s}" % b",".join(b'"%d":1' % number for number in range(1500)),
    "a field's name of 16,000 characters": b'{"%s": 1}' % (b"k" * 16_000),
    "__proto__": b'{"account_name": "Mine", "__proto__": {"is_active": false}}',
}


def assert_refused_everywhere(
    stack: Stack, newcomer: User, owner: User, status: int, body: bytes, *fields: bytes
) -> None:
    before = stored_accounts(stack, owner.id)
    for user, method, path in (
        (newcomer, b"POST", ACCOUNTS),
        (owner, b"PATCH", f"{ACCOUNTS}/{account_id(owner)}"),
    ):
        length = b"Content-Length: %d" % len(body)
        answer = ask(stack, request(user.token, method, path.encode(), length, *fields, body=body))
        assert answer.status == status
        assert_problem(answer, stack, user)
    assert stored_accounts(stack, newcomer.id) == []
    assert stored_accounts(stack, owner.id) == before
    assert_serves(newcomer, 0)


@pytest.mark.parametrize("kind", BAD_BODIES)
def test_a_body_that_is_not_strict_json_changes_nothing(stack: Stack, newcomer: User, owner: User, kind: str) -> None:
    assert_refused_everywhere(stack, newcomer, owner, 422, BAD_BODIES[kind], JSON)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_json_number_is_no_value_of_any_field(newcomer: User, constant: str) -> None:
    answer = newcomer.api.post(
        ACCOUNTS, content=f'{{"account_name": {constant}}}', headers={"Content-Type": "application/json"}
    )
    assert [error["type"] for error in answer.json()["errors"]] == ["json_invalid"]


UNREAD_BODIES: dict[str, tuple[int, bytes, tuple[bytes, ...]]] = {
    "gzip": (415, gzip.compress(MINE), (JSON, b"Content-Encoding: gzip")),
    "gzip in upper case": (415, gzip.compress(MINE), (JSON, b"Content-Encoding: GZIP")),
    "deflate": (415, zlib.compress(MINE), (JSON, b"Content-Encoding: deflate")),
    "br": (415, b"\x0b\x0b\x80" + MINE + b"\x03", (JSON, b"Content-Encoding: br")),
    "zstd": (415, b"\x28\xb5\x2f\xfd" + MINE, (JSON, b"Content-Encoding: zstd")),
    "two codings": (415, gzip.compress(gzip.compress(MINE)), (JSON, b"Content-Encoding: gzip, gzip")),
    "an unknown coding": (415, MINE, (JSON, b"Content-Encoding: x")),
    "gzip that is not told": (422, gzip.compress(MINE), (JSON,)),
    "gzip of 100 MB": (415, gzip.compress(bytes(100_000_000))[:16_384], (JSON, b"Content-Encoding: gzip")),
    "no type": (415, MINE, ()),
    "a type that is none": (415, MINE, (b"Content-Type: \xff/;;==",)),
    "a form's type": (415, MINE, (b"Content-Type: application/x-www-form-urlencoded",)),
    "a type that begins like JSON": (415, MINE, (b"Content-Type: application/jsonp",)),
    "100,000 nested lists": (413, b"[" * 100_000, (JSON,)),
    "one byte too many": (413, MINE.ljust(16_385), (JSON,)),
}


@pytest.mark.parametrize("kind", UNREAD_BODIES)
def test_a_body_that_is_not_even_read_changes_nothing(stack: Stack, newcomer: User, owner: User, kind: str) -> None:
    status, body, fields = UNREAD_BODIES[kind]
    assert_refused_everywhere(stack, newcomer, owner, status, body, *fields)


def test_a_byte_order_mark_is_refused_or_ignored_and_never_part_of_the_name(stack: Stack, newcomer: User) -> None:
    body = b"\xef\xbb\xbf" + MINE
    answer = ask(
        stack, request(newcomer.token, b"POST", ACCOUNTS.encode(), JSON, b"Content-Length: %d" % len(body), body=body)
    )
    assert answer.status in {201, 422}
    assert [row[2] for row in stored_accounts(stack, newcomer.id)] == (["Mine"] if answer.status == 201 else [])


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
    "two equal lengths": ((b"Content-Length: 24", b"Content-Length: 24"), MINE, {400}),
    "a list of lengths": ((b"Content-Length: 24, 25",), MINE, {400}),
    "a length that is too short": ((b"Content-Length: 5",), MINE, {400, 422}),
    "a length of nothing": ((b"Content-Length: 0",), MINE, {400, 422}),
    "no length": ((), MINE, {400, 422}),
    "a length that is too long": ((b"Content-Length: 1000",), MINE, {CLOSED, 400}),
    "a chunk's size in no digits": ((CHUNKED,), b"zz\r\n" + MINE, {400}),
    "a negative chunk": ((CHUNKED,), b"-18\r\n%s\r\n0\r\n\r\n" % MINE, {400}),
    "a chunk's size with a plus": ((CHUNKED,), b"+" + CHUNKS, {400}),
    "a chunk's size with 0x": ((CHUNKED,), b"0x" + CHUNKS, {400}),
    "a chunk's size with an underscore": ((CHUNKED,), b"1_8\r\n%s\r\n0\r\n\r\n" % MINE, {400}),
    "an empty chunk size": ((CHUNKED,), b"\r\n%s\r\n0\r\n\r\n" % MINE, {400}),
    "a chunk size of 64 bits": ((CHUNKED,), b"f" * 16 + b"\r\n" + MINE, {CLOSED, 400}),
    "a chunk size of 68 bits": ((CHUNKED,), b"1" + b"0" * 15 + CHUNKS, {CLOSED, 400}),
    "a chunk that is shorter than its size": ((CHUNKED,), b"20\r\n%s\r\n0\r\n\r\n" % MINE, {CLOSED, 400}),
    "a chunk that is longer than its size": ((CHUNKED,), b"5\r\n%s\r\n0\r\n\r\n" % MINE, {400}),
    "no last chunk": ((CHUNKED,), b"18\r\n%s\r\n" % MINE, {CLOSED, 400}),
    "chunks with bare line feeds": ((CHUNKED,), b"18\n%s\n0\n\n" % MINE, {400}),
    "a line feed in a chunk's extension": ((CHUNKED,), b"18;a\nb\r\n%s\r\n0\r\n\r\n" % MINE, {400}),
    "an endless chunk extension": ((CHUNKED,), b"18;" + b"a=b;" * (ENDLESS // 4), {CLOSED, 400, 413, 431}),
    "endless trailers": (
        (CHUNKED,),
        b"18\r\n%s\r\n0\r\n" % MINE + b"X-Trailer: value\r\n" * (ENDLESS // 18),
        {CLOSED, 400, 413, 431},
    ),
    "a trailer that is a length": ((CHUNKED,), b"18\r\n%s\r\n0\r\nContent-Length: 3\r\n\r\n" % MINE, {400}),
    "a trailer that is no field": ((CHUNKED,), b"18\r\n%s\r\n0\r\nX Trailer\r\n\r\n" % MINE, {400}),
    "chunks without end": ((CHUNKED,), b"1\r\n \r\n" * (ENDLESS // 6), {CLOSED, 413}),
    "a length and chunks": ((b"Content-Length: 24", CHUNKED), CHUNKS, {400}),
    "chunks and a length": ((CHUNKED, b"Content-Length: 24"), CHUNKS, {400}),
    "xchunked": ((b"Transfer-Encoding: xchunked",), CHUNKS, {400, 501}),
    "chunked twice": ((CHUNKED, CHUNKED), CHUNKS, {400}),
    "chunked twice in one field": ((b"Transfer-Encoding: chunked, chunked",), CHUNKS, {400}),
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
    "chunked on a line of its own": ((b"Transfer-Encoding:", b" chunked"), CHUNKS, {400}),
    "a length behind a bare carriage return": ((b"X-A: b\rContent-Length: 24",), MINE, {400}),
    "a length behind a bare line feed": ((b"X-A: b\nContent-Length: 24",), MINE, {400}),
}


@pytest.mark.parametrize("kind", BAD_FRAMES)
def test_a_body_whose_end_is_in_doubt_is_not_taken(stack: Stack, newcomer: User, kind: str) -> None:
    fields, rest, outcomes = BAD_FRAMES[kind]
    data = request(newcomer.token, b"POST", ACCOUNTS.encode(), JSON, *fields, body=rest)
    answer = ask(stack, data, then_end=CLOSED in outcomes)
    assert answer.status in outcomes
    assert_problem(answer, stack, newcomer)
    assert stored_accounts(stack, newcomer.id) == []
    assert_serves(newcomer, 0)


ODD_FRAMES: dict[str, tuple[tuple[bytes, ...], bytes]] = {
    "leading zeros": ((b"Content-Length: 00024",), MINE),
    "white space around the length": ((b"Content-Length:\t24 ",), MINE),
    "chunks": ((CHUNKED,), CHUNKS),
    "chunked in mixed case": ((b"transfer-encoding: cHuNkEd",), CHUNKS),
    "chunks of one byte": ((CHUNKED,), b"".join(b"1\r\n%c\r\n" % byte for byte in MINE) + b"0\r\n\r\n"),
    "chunks with extensions": ((CHUNKED,), b'18;a=b;c="d;\\"e"\r\n%s\r\n0;f\r\n\r\n' % MINE),
    "a chunk size with zeros": ((CHUNKED,), b"0" * 50 + CHUNKS),
    "trailers": ((CHUNKED,), b"18\r\n%s\r\n0\r\nX-Checksum: 1\r\n\r\n" % MINE),
}


@pytest.mark.parametrize("kind", ODD_FRAMES)
def test_a_body_that_is_odd_and_clear_is_taken(stack: Stack, newcomer: User, kind: str) -> None:
    fields, rest = ODD_FRAMES[kind]
    answer = ask(stack, request(newcomer.token, b"POST", ACCOUNTS.encode(), JSON, *fields, body=rest))
    assert (answer.status, answer.json()["account_name"]) == (201, "Mine")
    assert [row[2] for row in stored_accounts(stack, newcomer.id)] == ["Mine"]


TRAILERS: dict[str, tuple[bool, tuple[bytes, ...], bytes, int]] = {
    "a token": (False, (JSON,), b"Authorization: Bearer %s", 401),
    "a second token": (True, (JSON,), b"Authorization: Bearer x.y.z", 201),
    "a type": (True, (), JSON, 415),
    "a coding": (True, (JSON,), b"Content-Encoding: gzip", 201),
}


@pytest.mark.parametrize("kind", TRAILERS)
def test_a_trailer_is_no_header(stack: Stack, newcomer: User, kind: str) -> None:
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
    answer = ask(stack, data)
    assert (answer.status, answer.headers["x-request-id"]) == (status, "in-the-head")
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
    "escapes of nothing": (LIST + b"/%zz%", {404, 422}),
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
def test_a_tricky_path_leads_nowhere(stack: Stack, owner: User, kind: str) -> None:
    target, outcomes = PATHS[kind]
    before = stored_accounts(stack, owner.id)
    for method in (b"GET", b"PATCH"):
        answer = ask(stack, request(owner.token, method, target, JSON, b"Content-Length: 24", body=MINE))
        assert answer.status in outcomes | ({405} if method == b"PATCH" else set())
        assert_problem(answer, stack, owner)
        assert "location" not in answer.headers
        assert b"evil" not in answer.body
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
def test_an_odd_target_shows_ones_own_accounts_or_nothing(stack: Stack, owner: User, kind: str) -> None:
    answer = ask(stack, request(owner.token, b"GET", ODD_TARGETS[kind]))
    assert answer.status in {200, 400, 404, 421}
    if answer.status == 200:
        assert [account["user_id"] for account in answer.json()["accounts"]] == [str(owner.id)]
    assert b"evil" not in answer.body
    assert "location" not in answer.headers
    assert_serves(owner, 1)


ID_FORMS: dict[str, Callable[[UUID], str]] = {
    "upper case": lambda account: str(account).upper(),
    "braces": lambda account: f"{{{account}}}",
    "escaped braces": lambda account: f"%7B{account}%7D",
    "a URN": lambda account: account.urn,
    "a URN in upper case": lambda account: account.urn.upper(),
    "no hyphens": lambda account: account.hex,
    "more hyphens": lambda account: str(account).replace("-", "--"),
    "a hyphen short": lambda account: f"{str(account)[:23]}{str(account)[24:]}",
    "a leading blank": lambda account: f"%20{account}",
    "a trailing line break": lambda account: f"{account}%0A",
    "a trailing NUL": lambda account: f"{account}%00",
    "a trailing slash": lambda account: f"{account}/",
    "a trailing parameter": lambda account: f"{account};x",
    "an integer": lambda account: str(account.int),
    "a sign": lambda account: f"+{account}",
    "full-width digits": lambda account: "".join(f"%EF%BC%9{c}" if c.isdecimal() else c for c in str(account)),
    "two ids": lambda account: f"{account},{account}",
    "a wildcard": lambda account: f"{str(account)[:35]}*",
    "a filter": lambda account: f"eq.{account}",
    "SQL": lambda account: f"{account}'%20or%20true--",
}


@pytest.mark.parametrize("kind", ID_FORMS)
def test_an_id_in_another_form_is_ones_own_account_or_nothing(
    stack: Stack, owner: User, stranger: User, kind: str
) -> None:
    write = ID_FORMS[kind]
    before = [stored_accounts(stack, user.id) for user in (owner, stranger)]
    mine = account_id(owner)
    for method, account, outcomes in (
        (b"GET", mine, {200, 404, 422}),
        (b"GET", account_id(stranger), {404, 422}),
        (b"PATCH", account_id(stranger), {404, 422}),
    ):
        target = f"{ACCOUNTS}/{write(account)}".encode()
        answer = ask(stack, request(owner.token, method, target, JSON, b"Content-Length: 24", body=MINE))
        assert answer.status in outcomes
        if answer.status == 200:
            assert UUID(answer.json()["id"]) == mine
        else:
            assert_problem(answer, stack, owner)
    assert [stored_accounts(stack, user.id) for user in (owner, stranger)] == before


# What is sent in place of an ordinary request, which it begins as, by the one who holds the token.
Send = Callable[[str], bytes]


def _with(*fields: bytes) -> Send:
    return lambda token: request(token, b"GET", LIST, *fields)


def _by(method: bytes) -> Send:
    return lambda token: request(token, method, LIST)


def _in(version: bytes) -> Send:
    return lambda token: request(token, b"GET", LIST, version=version)


BAD_HEADS: dict[str, tuple[Send, set[int]]] = {
    "a folded field": (_with(b"X-A: a", b" b"), {400}),
    "a field folded with a tab": (_with(b"X-A: a", b"\tContent-Length: 5"), {400}),
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
    "a bare line feed": (_with(b"X-A: a\nX-B: b"), {400}),
    "bare line feeds only": (lambda token: request(token, b"GET", LIST).replace(b"\r\n", b"\n"), {400}),
    "bare carriage returns only": (lambda token: request(token, b"GET", LIST).replace(b"\r\n", b"\r"), {400}),
    "tabs in the first line": (lambda token: request(token, b"GET", LIST).replace(b" ", b"\t", 2), {400}),
    "a leading blank": (lambda token: b" " + request(token, b"GET", LIST), {400}),
    "HTTP/0.9": (lambda _token: b"GET " + LIST + b"\r\n\r\n", {400, 401, 505}),
    "no version": (lambda _token: request(None, b"GET", LIST, version=b""), {400, 401, 505}),
    "HTTP/1.2": (_in(b"HTTP/1.2"), {400, 505}),
    "HTTP/1.10": (_in(b"HTTP/1.10"), {400, 505}),
    "HTTP/3": (_in(b"HTTP/3"), {400, 505}),
    "http/1.1": (_in(b"http/1.1"), {400, 505}),
    "another protocol": (_in(b"HTTQ/1.1"), {400, 505}),
    "HTTP/2's preface": (lambda _token: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", {400, 505}),
    "a TLS hello": (lambda _token: bytes.fromhex("16030100c8010000c40303") + bytes(189), {400}),
    "an SSH hello": (lambda _token: b"SSH-2.0-OpenSSH_9.6\r\n", {400}),
    "NULs": (lambda _token: bytes(1000), {400}),
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
def test_a_head_that_is_no_good_is_refused(stack: Stack, owner: User, kind: str) -> None:
    make, outcomes = BAD_HEADS[kind]
    before = stored_accounts(stack, owner.id)
    answer = ask(stack, make(owner.token))
    assert answer.status in outcomes
    assert_problem(answer, stack, owner)
    assert stored_accounts(stack, owner.id) == before
    assert_serves(owner, 1)


UPGRADE: Final = b"Connection: Upgrade"
ODD_HEADS: dict[str, Send] = {
    "HTTP/1.0": _in(b"HTTP/1.0"),
    "leading line breaks": lambda token: b"\r\n\r\n" + request(token, b"GET", LIST),
    "another method in a header": _with(b"X-HTTP-Method-Override: PATCH", b"X-Method-Override: POST"),
    "another path in a header": _with(b"X-Original-URL: /evil", b"X-Rewrite-URL: /evil"),
    "another host in a header": _with(b"X-Forwarded-Host: evil.example", b"Forwarded: host=evil.example"),
    "another origin": _with(b"Origin: http://evil.example"),
    "another client's address": _with(b"X-Forwarded-For: evil, 127.0.0.1", b"X-Real-IP: evil"),
    "bytes beyond ASCII": _with(b"X-A: \xff\xfe", b"User-Agent: \xc3\xa9\x80"),
    "a request id beyond ASCII": _with(b"X-Request-ID: \xff\xfeevil-1234"),
    "an expectation of something else": _with(b"Expect: 200-ok"),
    "an upgrade to WebSocket": _with(
        UPGRADE, b"Upgrade: websocket", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", b"Sec-WebSocket-Version: 13"
    ),
    "an upgrade to HTTP/2": _with(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
    "an upgrade to TLS": _with(UPGRADE, b"Upgrade: TLS/1.2"),
    "a range": _with(b"Range: bytes=0-1"),
    "conditions": _with(b"If-None-Match: *", b"If-Modified-Since: Thu, 01 Jan 2099 00:00:00 GMT"),
    "an unknown type wanted": _with(b"Accept: image/png;q=0.1", b"Accept-Encoding: gzip, br"),
}


@pytest.mark.parametrize("kind", ODD_HEADS)
def test_a_head_that_is_odd_makes_no_difference(stack: Stack, owner: User, kind: str) -> None:
    answer = ask(stack, ODD_HEADS[kind](owner.token))
    assert answer.status == 200
    assert [account["user_id"] for account in answer.json()["accounts"]] == [str(owner.id)]
    assert answer.headers["content-type"] == "application/json"
    assert b"evil" not in answer.body + repr(answer.headers).encode()
    assert_serves(owner, 1)


HOSTS: dict[str, tuple[bytes, ...]] = {
    "none": (),
    "an evil one": (b"Host: evil.example",),
    "markup": (b"Host: evil<script>/?#@evil",),
    "an empty one": (b"Host:",),
    "two": (b"Host: edge", b"Host: evil.example"),
    "2,000 characters": (b"Host: " + b"evil." * 400,),
}


@pytest.mark.parametrize("path", [ACCOUNTS, f"{ACCOUNTS}/", "/docs", "/docs/", "/docs/assets", "/openapi.json"])
@pytest.mark.parametrize("kind", HOSTS)
def test_no_answer_depends_on_the_host(stack: Stack, owner: User, kind: str, path: str) -> None:
    head = b"\r\n".join([b"GET %s HTTP/1.1" % path.encode(), *HOSTS[kind], b"", b""])
    ordinary = ask(stack, request(None, b"GET", path.encode()))
    answer = ask(stack, head)
    assert answer.status in {ordinary.status, 400}
    assert answer.headers.keys() <= ordinary.headers.keys() | {"connection"}
    assert "location" not in answer.headers
    assert b"evil" not in answer.body + repr(answer.headers).encode()
    assert_serves(owner, 1)


EVERY_PATH: Final = [
    ACCOUNTS,
    GET_OR_CREATE,
    f"{ACCOUNTS}/{{id}}",
    "/healthz",
    "/readyz",
    "/openapi.json",
    "/docs",
    "/docs/assets/swagger-ui.css",
    "/nothing",
    "/",
]


@pytest.mark.parametrize("path", EVERY_PATH)
@pytest.mark.parametrize("method", [HTTPMethod.HEAD, HTTPMethod.OPTIONS, HTTPMethod.TRACE])
def test_a_method_that_is_nobodys_is_harmless_everywhere(
    stack: Stack, owner: User, path: str, method: HTTPMethod
) -> None:
    before = stored_accounts(stack, owner.id)
    target = path.replace("{id}", str(account_id(owner))).encode()
    to_head = method is HTTPMethod.HEAD
    with Connection(stack.api_url) as connection:
        connection.send(request(owner.token, method.encode(), target, b"X-Evil: evil"))
        answer = connection.answer(to_head=to_head)
        if not to_head:
            assert answer.status in {404, 405}
        if answer.status != 200:
            assert_problem(answer, stack, owner, to_head=to_head)
        assert b"evil" not in answer.body.lower() + repr(answer.headers).encode().lower()
        connection.send(request(None, b"GET", b"/healthz"))  # a body too many would be in its way
        assert connection.answer().json() == {"status": "ok"}
    assert stored_accounts(stack, owner.id) == before


def test_pipelined_requests_are_answered_in_order(stack: Stack, owner: User) -> None:
    ids = [f"pipelined-{number}" for number in range(5)]
    targets = [LIST, b"/healthz", LIST + b"/x", b"/nothing", LIST]
    with Connection(stack.api_url) as connection:
        connection.send(
            b"".join(
                request(owner.token, b"GET", target, b"X-Request-ID: " + name.encode())
                for target, name in zip(targets, ids, strict=True)
            )
        )
        answers = [connection.answer() for _ in ids]
    assert [answer.headers["x-request-id"] for answer in answers] == ids
    assert [answer.status for answer in answers] == [200, 200, 422, 404, 200]


def test_what_follows_a_request_does_not_answer_it(stack: Stack, newcomer: User) -> None:
    """A request that takes effect is never answered with the refusal of what came after it."""
    with Connection(stack.api_url) as connection:
        connection.send(request(newcomer.token, b"POST", GET_OR_CREATE.encode()) + b"\x16\x03 no HTTP\r\n\r\n")
        first, second = connection.answer(), connection.answer()
    assert first.status in {CLOSED, 200}
    assert second.status in {CLOSED, 400}
    if first.status == 200:
        assert first.json()["account"]["user_id"] == str(newcomer.id)
    assert_serves(newcomer, len(stored_accounts(stack, newcomer.id)))


def test_a_request_in_a_body_is_not_a_request(stack: Stack, newcomer: User) -> None:
    inner = request(newcomer.token, b"POST", GET_OR_CREATE.encode())
    with Connection(stack.api_url) as connection:
        connection.send(
            request(newcomer.token, b"POST", LIST, JSON, b"Content-Length: %d" % len(inner), body=inner)
            + request(None, b"GET", b"/healthz")
        )
        assert (connection.answer().status, connection.answer().json()) == (422, {"status": "ok"})
    assert stored_accounts(stack, newcomer.id) == []


@pytest.mark.parametrize(("status", "size"), [(401, 0), (413, 17_000), (415, 0)])
def test_a_refused_body_is_not_the_next_request(stack: Stack, newcomer: User, status: int, size: int) -> None:
    """The answer may come before the body has been read."""
    inner = request(newcomer.token, b"POST", GET_OR_CREATE.encode())
    inner *= 1 + size // len(inner)
    length = b"Content-Length: %d" % len(inner)
    with Connection(stack.api_url) as connection:
        connection.send(request(None if status == 401 else newcomer.token, b"POST", LIST, length))
        if status != 415:  # those it sees in the head
            assert connection.answer().status == status
        connection.send(inner)
        if status == 415:
            assert connection.answer().status == status
        connection.send(request(None, b"GET", b"/healthz"))
        assert connection.answer().json() == {"status": "ok"}
    assert stored_accounts(stack, newcomer.id) == []


def test_a_client_that_waits_for_100_is_told_to_go_on(stack: Stack, newcomer: User) -> None:
    with Connection(stack.api_url) as connection:
        expecting = (b"Expect: 100-continue", JSON, b"Content-Length: 24")
        connection.send(request(newcomer.token, b"POST", LIST, *expecting))
        assert connection.answer().status == 100
        assert stored_accounts(stack, newcomer.id) == []
        connection.send(MINE)
        assert connection.answer().status == 201
    assert_serves(newcomer, 1)


@pytest.mark.parametrize(("status", "length"), [(401, 24), (413, 16_385)])
def test_a_client_that_waits_for_100_is_refused_without_it(
    stack: Stack, newcomer: User, status: int, length: int
) -> None:
    token = None if status == 401 else newcomer.token
    expecting = (b"Expect: 100-continue", JSON, b"Content-Length: %d" % length)
    answer = ask(stack, request(token, b"POST", LIST, *expecting))
    assert answer.status == status
    assert_problem(answer, stack, newcomer)
    assert stored_accounts(stack, newcomer.id) == []


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c"])
def test_a_connection_goes_on_after_an_upgrade_that_was_ignored(stack: Stack, owner: User, protocol: bytes) -> None:
    with Connection(stack.api_url) as connection:
        for fields in ((UPGRADE, b"Upgrade: " + protocol), (UPGRADE, b"Upgrade: " + protocol), ()):
            connection.send(request(owner.token, b"GET", LIST, *fields))
            assert connection.answer().json()["count"] == 1


@pytest.mark.parametrize("framing", [(b"Content-Length: 24",), (CHUNKED,)], ids=["a length", "chunks"])
def test_a_body_with_an_upgrade_is_taken_whole_or_refused(
    stack: Stack, newcomer: User, framing: tuple[bytes, ...]
) -> None:
    """Java's client asks for an upgrade to HTTP/2 with every first request."""
    rest = CHUNKS if CHUNKED in framing else MINE
    answer = ask(stack, request(newcomer.token, b"POST", LIST, UPGRADE, b"Upgrade: h2c", JSON, *framing, body=rest))
    assert answer.status in {201, 400, 501}
    assert len(stored_accounts(stack, newcomer.id)) == (answer.status == 201)


def test_a_body_with_an_upgrade_is_not_the_next_request(stack: Stack, newcomer: User) -> None:
    inner = request(newcomer.token, b"POST", GET_OR_CREATE.encode())
    length = b"Content-Length: %d" % len(inner)
    with Connection(stack.api_url) as connection:
        connection.send(request(newcomer.token, b"POST", LIST, UPGRADE, b"Upgrade: h2c", JSON, length))
        select.select([connection.socket], [], [], 0.3)  # so that the body comes on its own, answered already or not
        connection.send(inner + request(None, b"GET", b"/healthz", b"Connection: close"))
        answers = []
        while (answer := connection.answer()) is not NO_ANSWER:
            answers.append(answer.status)
    assert answers in ([], [400], [501], [422, 200])
    assert stored_accounts(stack, newcomer.id) == []


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
        {CLOSED, 401},
    ),
    "endless bytes after an upgrade": (
        lambda token: request(token, b"GET", LIST, UPGRADE, b"Upgrade: h2c") + b"x" * ENDLESS,
        {CLOSED, 200, 400},
    ),
    "10,000 pipelined requests": (lambda _token: request(None, b"GET", b"/healthz") * 10_000, {CLOSED, 200, 431}),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_costs_the_server_no_memory(stack: Stack, owner: User, kind: str) -> None:
    make, outcomes = FLOODS[kind]
    data = make(owner.token)
    process = psutil.Process(stack.children[-1].pid)
    before = stored_accounts(stack, owner.id)
    memory = process.memory_info().rss
    for _ in range(3):
        answer = ask(stack, data)
        assert answer.status in outcomes
        if answer.status != 200:
            assert_problem(answer, stack, owner)
    assert process.memory_info().rss - memory < 8_000_000
    assert stored_accounts(stack, owner.id) == before
    assert_serves(owner, 1)


# What is sent at once, what then byte by byte, and the answer, if there is one at all.
SLOW: dict[str, tuple[Send, bytes, int]] = {
    "the head": (lambda _token: b"GET /healthz HTTP/1.1\r\n", b"X-A: " + b"a" * 100, CLOSED),
    "line breaks": (lambda _token: b"", b"\r\n" * 100, CLOSED),
    "the body": (lambda token: request(token, b"POST", LIST, JSON, b"Content-Length: 24"), b" " * 23, 408),
    "nothing after a refused body": (
        lambda _token: request(None, b"POST", LIST, JSON, b"Content-Length: 1"),
        b"x",
        401,
    ),
}


def test_a_slow_client_is_sent_away_and_holds_nobody_up(tmp_path: Path, stack: Stack, newcomer: User) -> None:
    with (
        serving(tmp_path, stack.supabase_url, stack.keys.publishable) as (url, _),
        httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {newcomer.token}"},
            timeout=2,
            verify=NO_CERTIFICATES,
        ) as others,
        ExitStack() as connections,
    ):
        slow = {kind: connections.enter_context(Connection(url)) for kind in SLOW}
        for kind, connection in slow.items():
            connection.send(SLOW[kind][0](newcomer.token))
        drips = {kind: iter(SLOW[kind][1]) for kind in SLOW}
        received = dict.fromkeys(SLOW, b"")
        begun = time.monotonic()
        waiting = {connection.socket: kind for kind, connection in slow.items()}
        while waiting and time.monotonic() - begun < 20:
            for ended in select.select(list(waiting), [], [], 0.5)[0]:
                try:
                    data = ended.recv(65_536)
                except ConnectionError:
                    data = b""
                received[waiting[ended]] += data
                if not data:
                    del waiting[ended]
            for kind in waiting.values():
                if received[kind] or kind != "nothing after a refused body":
                    slow[kind].send(bytes([drip]) if (drip := next(drips[kind], None)) is not None else b"")
            assert others.get(ACCOUNTS).status_code == 200
        assert sorted(waiting.values()) == []
        for kind, (_, _, status) in SLOW.items():
            lines = received[kind].split(b"\r\n")
            assert lines[0].startswith(b"HTTP/1.1 %d " % status) if status else lines == [b""]
            if status:
                assert b"content-type: application/problem+json" in lines
                assert json.loads(lines[-1])["status"] == status
    assert stored_accounts(stack, newcomer.id) == []
