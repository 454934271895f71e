"""What `edge-api serve` writes: a line a request, and nothing that is secret or anybody's own."""

import asyncio
import json
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from edge_api.local.processes import Child, free_port
from edge_api.local.stack import Stack
from tests.edge.logged import USER_ID, Canaries, requests_in, serving_more
from tests.edge.scripted import Received, Script, ScriptedUpstream, http, responding, scripted_upstream
from tests.edge.serving import serving
from tests.support import ACCOUNTS, ENDPOINTS, GET_OR_CREATE, NO_CERTIFICATES, UNKNOWN_ID, User, signed

JSON = {"Content-Type": "application/json"}


def raw(url: str, sent: bytes, *, hang_up: bool = False) -> bytes:
    """Send bytes as they are; returns what comes back before the connection ends."""
    address = httpx.URL(url)
    with socket.create_connection((address.host, address.port or 80), timeout=10) as connection:
        connection.sendall(sent)
        if hang_up:
            return b""
        response = b""
        with suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                response += piece
        return response


# Canaries -------------------------------------------------------------------------------------------------------------


def _upstream_responses(canary: Canaries) -> Iterator[Script]:
    """Every kind of response that Supabase could give, with canaries in all of it."""
    headers = {
        "Set-Cookie": f"{canary('upstream: cookie name')}={canary('upstream: cookie')}",
        "WWW-Authenticate": canary("upstream: challenge"),
        "Content-Profile": canary("upstream: header"),
    }
    account = {
        "id": UNKNOWN_ID,
        "user_id": USER_ID,
        "account_name": canary("upstream: account name"),
        "is_active": True,
        "created_at": "2026-11-23T18:56:19.806480+00:00",
        "updated_at": "2026-11-23T18:56:19.806480+00:00",
        "created": True,
        canary("upstream: unknown column"): canary("upstream: unknown value"),
    }
    yield responding(200, [account], headers)
    yield responding(200, account, headers)
    for field in account:
        yield responding(200, [{**account, field: canary("upstream: wrong value")}])
        yield responding(200, {**account, field: [canary("upstream: wrong value in a list")]})
    for body in (
        canary("upstream: no JSON"),
        f'["{canary("upstream: JSON that breaks off")}',
        json.dumps(canary("upstream: text")),
        json.dumps({canary("upstream: key"): canary("upstream: value")}),
        json.dumps([[canary("upstream: list in a list")]]),
        "[" * 3000 + canary("upstream: nested deep"),
        canary("upstream: too long") * 10_000,
    ):
        yield responding(200, body, headers)
        yield responding(500, body, headers)
    statuses = (301, 400, 401, 403, 404, 406, 409, 418, 429, 500, 502, 503, 504)
    codes = ("23505", "23514", "42501", "P0001", "PGRST301", "PGRST116", canary("upstream: code"), [1])
    for status, code in [(status, None) for status in statuses] + [(500, code) for code in codes]:
        error = {name: canary(f"upstream: {name}") for name in ("message", "details", "hint")}
        location = {"Location": f"/{canary('upstream: redirect')}"}
        yield responding(status, {"code": code, **error}, {**headers, **location})

    def writing(response: bytes) -> Script:
        async def script(_received: Received, writer: asyncio.StreamWriter) -> None:
            writer.write(response)
            writer.close()

        return script

    yield writing(canary("upstream: no HTTP").encode() + b"\r\n\r\n")
    yield writing(f"HTTP/1.1 500 {canary('upstream: reason')}\r\nContent-Length: 0\r\n\r\n".encode())
    yield writing(f"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{canary('upstream: breaks off')}".encode())
    yield writing(f"HTTP/1.1 200 OK\r\n{canary('upstream: broken header')}\r\n\r\n".encode())
    yield writing(f"HTTP/1.1 200 OK\r\nContent-Length: {canary('upstream: bad length')}\r\n\r\n".encode())
    yield writing(b"")

    async def too_late(_received: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(http(200, [canary("upstream: late")])[:-5])
        await asyncio.sleep(1)

    yield too_late


def _call_everything(url: str, upstream: ScriptedUpstream, canary: Canaries) -> Counter[int]:
    """Provoke every response there is; returns how many of each status came."""
    responses: Counter[int] = Counter()
    with httpx.Client(base_url=url, timeout=30, verify=NO_CERTIFICATES) as client:

        def call(place: str, method: str, path: str, headers: Mapping[str, str] | None = None, **body: Any) -> None:
            all_headers = {**canary.headers(place), "Authorization": f"Bearer {canary.token(place)}", **(headers or {})}
            responses[client.request(method, path, headers=all_headers, **body).status_code] += 1

        good = upstream.script
        for script in _upstream_responses(canary):
            upstream.script = script
            for method, path, body in ENDPOINTS:
                named = {"account_name": canary(f"{method} {path}: account name")} if body else None
                call(f"{method} {path}", method, f"{path}?{canary('query')}={canary('query')}", json=named)
        call("GET /readyz", "GET", f"/readyz?{canary('query')}")
        upstream.script = good

        for path in ("/healthz", "/readyz", "/docs", "/openapi.json", "/docs/assets/swagger-ui.css"):
            call(path, "GET", f"{path}?{canary('query')}={canary('query')}")
            call(path, "POST", path, content=canary("body where none belongs"))
        for path in ("/{}", "/api/{}", "/api/accounts/{}/{}", "/docs/assets/{}", "/docs/assets/%2e%2e/{}", "/%00{}"):
            call(path, "GET", path.format(canary("path"), canary("path")))
        for method in ("GET", "PATCH", "DELETE", "PUT", "OPTIONS", "HEAD"):
            call(f"{method} an id", method, f"{ACCOUNTS}/{canary('id')}", json={"account_name": canary("name")})
            call(f"{method} accounts", method, f"{ACCOUNTS}?{canary('query')}", json={"account_name": "a\n"})

        for name, token in {
            "garbage": canary("token: garbage"),
            "three parts": ".".join(canary("token: parts") for _ in range(3)),
            "expired": canary.token("expired", exp=1),
            "no subject": canary.token("no subject", sub=canary("sub")),
            "another role": canary.token("another role", role=canary("role")),
            "odd expiry": canary.token("odd expiry", exp=canary("exp")),
            "another algorithm": jwt.encode({canary("claim"): 1}, "x" * 48, algorithm="HS384"),
            "a key's id": jwt.encode({"exp": 1}, "x" * 32, algorithm="HS256", headers={"kid": canary("kid")}),
        }.items():
            call(name, "GET", ACCOUNTS, {"Authorization": f"Bearer {token}"})
        for authorization in (f"Basic {canary('Basic')}", f"Bearer {canary('two')} {canary('words')}", canary("alone")):
            call("authorization", "GET", ACCOUNTS, {"Authorization": authorization})

        for content, headers in (
            (canary("too large") * 1000, JSON),
            (canary("of another type"), {"Content-Type": canary("content type")}),
            (canary("compressed"), {**JSON, "Content-Encoding": canary("content encoding")}),
            (f'{{"account_name": "{canary("JSON that breaks off")}', JSON),
            (f'{{"account_name": "\\ud800{canary("a lone surrogate")}"}}', JSON),
            (f'{{"account_name": "\\u0000{canary("a NUL")}"}}', JSON),
            (f'{{"account_name": {{"{canary("an object")}": 1}}}}', JSON),
            (f'{{"account_name": "Mine", "{canary("an unknown field")}": "{canary("its value")}"}}', JSON),
            (f'{{"{canary("twice")}": 1, "{canary("twice")}": 2}}', JSON),
            (f'["{canary("a list")}"]', JSON),
            (f'{"[" * 5000}"{canary("nested deep")}"', JSON),
            (f'"{canary("bad UTF-8")}'.encode() + b'\xff"', JSON),
        ):
            call("bodies", "POST", ACCOUNTS, headers, content=content)

    for head in (
        f"{canary('no HTTP')}\r\n\r\n",
        f"{canary('method')} /{canary('path')} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        f"GET /{canary('path')} HTTP/9.9\r\nConnection: close\r\n{canary('header')}: x\r\n\r\n",
        f"GET / HTTP/1.1\r\nConnection: close\r\n{canary('a header without a colon')}\r\n\r\n",
        f"GET /{canary('a long path') * 2000} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Long: {canary('a long header') * 2000}\r\n\r\n",
        f"GET /\x80{canary('a path beyond ASCII')} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: {canary('host')}\r\nConnection: close\r\nContent-Length: {canary('length')}\r\n\r\n",
        f"GET /{canary('path')} HTTP/1.1\r\nHost: x\r\nConnection: upgrade, close\r\n"
        f"Upgrade: websocket\r\nSec-WebSocket-Key: {canary('key')}\r\n\r\n",
    ):
        responses[int(raw(url, head.encode("latin-1")).split(b" ")[1])] += 1
    head = f"POST {ACCOUNTS} HTTP/1.1\r\nAuthorization: Bearer {canary.token('leaves')}\r\nContent-Length: 99\r\n\r\n"
    raw(url, f"{head}{canary('a body that breaks off')}".encode(), hang_up=True)
    return responses


def test_nothing_that_a_user_or_supabase_sent_is_logged(tmp_path: Path) -> None:
    canary = Canaries()
    with scripted_upstream() as upstream:
        settings = {"EDGE_UPSTREAM_TIMEOUT": "0.2", "EDGE_LOG_LEVEL": "debug"}
        key = f"sb_publishable_{canary('the publishable key')}"
        with serving(tmp_path, upstream.url, key, **settings) as (url, child):
            responses = _call_everything(url, upstream, canary)
            assert set(responses) == {200, 201, 400, 401, 403, 404, 405, 409, 413, 415, 422, 502, 503, 504}
        log = child.log.read_text()
    assert canary.in_(log) == []
    for event in ("Supabase failed", "request"):
        assert event in log
    assert "Traceback" not in log
    assert "crash" not in log


def test_nothing_of_a_real_user_but_the_id_is_logged(tmp_path: Path, stack: Stack, user: User) -> None:
    canary = Canaries()
    for place, secret in {
        "e-mail": user.email,
        "password": user.password,
        "payload": user.token.split(".")[1],
        "signature": user.token.split(".")[2],
        "publishable key": stack.keys.publishable,
    }.items():
        canary.watch(place, secret)
    metadata = {"user_metadata": {"name": canary("metadata")}, "email": canary("e-mail"), "phone": canary("phone")}
    token = signed(stack, {"sub": str(user.id), **metadata})
    canary.watch("payload", token.split(".")[1])
    canary.watch("signature", token.split(".")[2])
    with (
        serving(tmp_path, stack.supabase_url, stack.keys.publishable, EDGE_LOG_LEVEL="debug") as (url, child),
        httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, verify=NO_CERTIFICATES) as client,
    ):
        created = client.post(ACCOUNTS, json={"account_name": canary("name")})
        path = created.headers["Location"]
        responses = [
            created,
            client.get(ACCOUNTS),
            client.get(path),
            client.post(GET_OR_CREATE),
            client.patch(path, json={"account_name": canary("new name")}),
            client.post(ACCOUNTS, json={"account_name": canary("second name")}),
            client.patch(f"{ACCOUNTS}/{UNKNOWN_ID}", json={"account_name": canary("name for nobody's")}),
            client.post(ACCOUNTS, json={"account_name": "x" * 256, canary("field"): canary("value")}),
            client.get(ACCOUNTS, headers={"Authorization": f"Bearer {token[:-6]}"}),
        ]
        assert [response.status_code for response in responses] == [201, 200, 200, 200, 200, 409, 404, 422, 401]
        lines = requests_in(child.log, len(responses))
        assert canary.in_(child.log.read_text()) == []
    assert [line.get("user_id") for line in lines[:5]] == [str(user.id)] * 5


# Crashes --------------------------------------------------------------------------------------------------------------

CRASHES = """
import asyncio, functools, gc, logging
from uuid import UUID
from fastapi import Request
from fastapi.responses import StreamingResponse
from pydantic import TypeAdapter

def fail(secret):
    local_variable = {"secret": secret}
    error = RuntimeError(f"select * from accounts where name = {secret}", local_variable)
    error.add_note(secret)
    error.secret = secret
    raise error

def add_to(app):
    @app.get("/crash/{kind}")
    async def crash(kind: str, request: Request):
        secret = request.headers["x-secret"]
        if kind == "cause":
            try:
                {}[secret]
            except KeyError as error:
                raise LookupError(secret) from error
        if kind == "context":
            try:
                int(secret)
            except ValueError:
                fail(secret)
        if kind == "group":
            raise ExceptionGroup(secret, [RuntimeError(secret), ValueError(secret)])
        if kind == "validation":
            TypeAdapter(UUID).validate_python(secret)
        if kind == "deep":
            def recurse():
                recurse()
            recurse()
        fail(secret)

    @app.get("/half-way")
    async def half_way(request: Request):
        secret = request.headers["x-secret"]
        async def pieces():
            yield b"some"
            fail(secret)
        return StreamingResponse(pieces())

    @app.get("/behind")
    async def behind(request: Request):
        secret = request.headers["x-secret"]
        async def background():
            fail(secret)
        asyncio.create_task(background(), name=secret)
        await asyncio.sleep(0.01)
        gc.collect()
        asyncio.get_running_loop().call_soon(fail, secret)
        try:
            fail(secret)
        except RuntimeError:
            logging.getLogger("a.library").exception("it failed")
            logging.getLogger("a.library").error("it failed again\\nbecause of %s", secret)
        await asyncio.sleep(0.01)
"""


@pytest.fixture(scope="module")
def crashing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], tuple[str, Child]]]:
    """An API with bugs, logging as JSON or as at a terminal."""
    running: dict[str, tuple[str, Child]] = {}
    with ExitStack() as stack:
        nowhere = f"http://127.0.0.1:{free_port()}"

        def get(how: str) -> tuple[str, Child]:
            if how not in running:
                folder = tmp_path_factory.mktemp("crashing")
                more = serving_more(folder, CRASHES, nowhere, how, EDGE_LOG_LEVEL="debug")
                running[how] = stack.enter_context(more)
            return running[how]

        yield get


@pytest.mark.parametrize("how", ["json", "at a terminal"])
@pytest.mark.parametrize(
    ("kind", "chain"),
    {
        "plain": ["RuntimeError"],
        "cause": ["KeyError", "LookupError"],
        "context": ["ValueError", "RuntimeError"],
        "group": ["ExceptionGroup"],
        "validation": ["ValidationError"],
        "deep": ["RecursionError"],
    }.items(),
)
def test_of_a_crash_the_kind_and_the_places_are_logged_and_no_value(
    crashing: Callable[[str], tuple[str, Child]], how: str, kind: str, chain: list[str]
) -> None:
    canary = Canaries()
    url, child = crashing(how)
    response = httpx.get(
        f"{url}/crash/{kind}?{canary('query')}", headers={"X-Secret": canary("header")}, verify=NO_CERTIFICATES
    )
    assert (response.status_code, response.json()["code"]) == (500, "internal_error")
    assert canary.in_(response.text) == []
    request_id = response.headers["X-Request-ID"]

    def logged() -> list[str]:
        return [line for line in child.log.read_text().splitlines() if request_id in line]

    child.wait_until(lambda: any("/crash/{kind}" in line for line in logged()), seconds=10)
    assert canary.in_(child.log.read_text()) == []
    assert len(logged()) == 2
    if how == "json":
        crash, request = map(json.loads, logged())
        assert (crash["event"], crash["level"]) == ("crash", "error")
        lines = crash["exception"].splitlines()
        assert [line for line in lines if not line.startswith("  ")] == chain
        assert lines[-1].endswith((" crash", " fail", " recurse", " validate_python"))
        assert len(lines) <= len(chain) * 31
        assert (request["event"], request["status"], request["route"]) == ("request", 500, "/crash/{kind}")


def test_a_crash_in_the_middle_of_a_response_reveals_nothing(
    crashing: Callable[[str], tuple[str, Child]],
) -> None:
    canary = Canaries()
    url, child = crashing("json")
    before = len(child.log.read_text())
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{url}/half-way", headers={"X-Secret": canary("header")}, verify=NO_CERTIFICATES)
    child.wait_until(lambda: "whole" in child.log.read_text() or "/half-way" in child.log.read_text(), seconds=10)
    logged = child.log.read_text()[before:]
    assert canary.in_(logged) == []
    assert "crash" in {json.loads(line)["event"] for line in logged.splitlines()}


def test_what_libraries_log_tells_nothing_either(crashing: Callable[[str], tuple[str, Child]]) -> None:
    canary = Canaries()
    url, child = crashing("json")
    before = len(child.log.read_text())
    response = httpx.get(f"{url}/behind", headers={"X-Secret": canary("header")}, verify=NO_CERTIFICATES)
    assert response.status_code == 200
    child.wait_until(lambda: '"/behind"' in child.log.read_text(), seconds=10)
    logged = child.log.read_text()[before:]
    assert canary.in_(logged) == []
    lines = [json.loads(line) for line in logged.splitlines()]
    by_event = {line["event"].partition(" <")[0]: line for line in lines}
    assert {"Task exception was never retrieved", "it failed", "it failed again", "request"} <= set(by_event)
    for event in ("Task exception was never retrieved", "it failed"):
        lines = by_event[event]["exception"].splitlines()
        assert lines[0] == "RuntimeError"
        assert lines[-1].endswith(" fail")
    assert by_event["Task exception was never retrieved"]["logger"] == "asyncio"
