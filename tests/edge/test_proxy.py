"""deploy/Caddyfile: what it lets through, what it adds and takes away, and what it says itself."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx
import psutil
import pytest

from edge_api.local.packages import PROJECT
from edge_api.local.processes import free_port
from edge_api.problems import TITLES
from tests.edge.caddy import Front, caddy
from tests.edge.raw_http import RawResponse, ask
from tests.edge.scripted import Received, Script, ScriptedUpstream, responding, scripted_upstream
from tests.support import ACCOUNTS, GET_OR_CREATE, UNKNOWN_ID

DOCUMENTED: Final = dict(
    re.findall(r"^\| `(\w+)` \| ([\d, ]+) \|", (PROJECT / "docs" / "operate.md").read_text(), re.MULTILINE)
)


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with scripted_upstream(responding(200, [], {"X-Of-The-Service": "yes", "Server": "its own"})) as running:
        yield running


@pytest.fixture(scope="module")
def passing(upstream: ScriptedUpstream) -> Iterator[Front]:
    address = upstream.url.removeprefix("http://")
    with caddy(address, wait=False, PROXY_RESPONSE="300ms", PROXY_TRY="200ms") as running:
        yield running


@contextmanager
def acting(upstream: ScriptedUpstream, script: Script) -> Iterator[None]:
    """What the service does with requests; its health checks go on."""
    before = upstream.script

    async def act(received: Received, writer: asyncio.StreamWriter) -> None:
        await (before if received.path == "/readyz" else script)(received, writer)

    upstream.script = act
    try:
        yield
    finally:
        upstream.script = before


@pytest.fixture
def calls(upstream: ScriptedUpstream) -> list[Received]:
    """What comes through from here on, without the health checks."""

    class Since(list[Received]):
        def __iter__(self) -> Iterator[Received]:
            return (call for call in upstream.received[before:] if call.path != "/readyz")

    before = len(upstream.received)
    return Since()


def assert_problem(response: httpx.Response | RawResponse, status: int, code: str) -> None:
    headers = response.headers
    assert headers["content-type"] == "application/problem+json"
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
    assert not {"server", "via"} & {name.lower() for name in headers}
    problem = response.json()
    assert set(problem) == {"type", "title", "status", "detail", "code", "request_id"}
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["title"] == TITLES[status]
    assert problem["request_id"] == headers["x-request-id"]
    assert str(status) in DOCUMENTED[code]


PUBLIC = [ACCOUNTS, f"{ACCOUNTS}?a=%41&b", GET_OR_CREATE, f"{ACCOUNTS}/{UNKNOWN_ID}"]
INTERNAL = [
    "/",
    "/healthz",
    "/readyz",
    "/docs",
    "/docs/assets/swagger-ui.css",
    "/openapi.json",
    "/metrics",
    "/api",
    "/api/accountsx",
    f"{ACCOUNTS}/",
    f"{ACCOUNTS}/a/b",
    f"{ACCOUNTS}/../../readyz",
    f"{ACCOUNTS}/%2e%2e/%2e%2e/readyz",
    f"{ACCOUNTS}/..%2f..%2freadyz",
    "/docs/../api/accounts",
    "//api/accounts",
    "/api//accounts",
    "/API/ACCOUNTS",
    "/api/%61ccounts",
    "/api/accounts%00",
    "/api/accounts;x",
    "/api/accounts/.",
    "/%72eadyz",
]


@pytest.mark.parametrize("target", PUBLIC)
def test_the_public_paths_come_through_as_they_are(passing: Front, calls: list[Received], target: str) -> None:
    with passing.client() as client:
        assert client.get(target).headers["X-Of-The-Service"] == "yes"
    assert [call.path for call in calls] == [target]


@pytest.mark.parametrize("target", INTERNAL)
def test_nothing_else_does(passing: Front, calls: list[Received], target: str) -> None:
    request = f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()  # a client would clean the path
    assert_problem(ask(passing, request), 404, "not_found")
    assert list(calls) == []


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1"])
def test_another_host_is_not_served(passing: Front, calls: list[Received], host: str) -> None:
    assert_problem(ask(passing, f"GET {ACCOUNTS} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()), 404, "not_found")
    assert list(calls) == []


@pytest.mark.parametrize("status", [200, 404, 422, 500, 502, 503, 504])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_response_is_passed_on_once_whatever_it_says(
    passing: Front, upstream: ScriptedUpstream, calls: list[Received], method: str, status: int
) -> None:
    with acting(upstream, responding(status, {"said": "by the service"})), passing.client() as client:
        response = client.request(method, GET_OR_CREATE)
    assert (response.status_code, response.json()) == (status, {"said": "by the service"})
    assert len(list(calls)) == 1


def test_a_well_formed_request_id_is_passed_on_and_any_other_is_replaced(passing: Front, calls: list[Received]) -> None:
    well_formed = ["frontend-7f3a.1", "A_b-c.d0", "x" * 128]
    malformed = ["short", "x" * 129, "with a blank", '<"script">', "a,b,c,d,e", "{http.request.uuid}", "a\tb" * 4]
    with passing.client() as client:
        for sent in well_formed + malformed:
            client.get(ACCOUNTS, headers={"X-Request-ID": sent})
            *_, call = calls
            assert (call.headers["x-request-id"] == sent) == (sent in well_formed)
            assert re.fullmatch(r"[A-Za-z0-9_.-]{8,128}", call.headers["x-request-id"])
        for sent in [*well_formed, *malformed]:
            assert (client.get("/nothing", headers={"X-Request-ID": sent}).json()["request_id"] == sent) == (
                sent in well_formed
            )


def test_what_clients_say_about_proxies_is_not_passed_on(passing: Front, calls: list[Received]) -> None:
    spoofed = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Port": "9",
        "X-Forwarded-Prefix": "/evil",
        "Forwarded": "for=203.0.113.9;host=evil.example",
    }
    with passing.client(headers=spoofed) as client:
        client.get(ACCOUNTS)
    (call,) = calls
    forwarded = {name: value for name, value in call.headers.items() if "forwarded" in name}
    assert forwarded == {
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-proto": "https",
        "x-forwarded-host": f"localhost:{passing.port}",
    }


def test_responses_name_no_server(passing: Front) -> None:
    with passing.client() as client:
        headers = client.get(ACCOUNTS).headers
    assert "via" not in headers
    assert "caddy" not in str(headers).lower()


async def hangs(_received: Received, _writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(20)


async def closes(_received: Received, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def speaks_something_else(_received: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 ready\r\n")
    writer.close()


FAILING: dict[str, tuple[Script, int, str]] = {
    "hangs": (hangs, 504, "upstream_timeout"),
    "closes": (closes, 502, "bad_upstream"),
    "speaks something else": (speaks_something_else, 502, "bad_upstream"),
}


@pytest.mark.parametrize("kind", FAILING)
def test_a_service_that_fails_is_a_problem_document(passing: Front, upstream: ScriptedUpstream, kind: str) -> None:
    script, status, code = FAILING[kind]
    with acting(upstream, script), passing.client() as client:
        assert_problem(client.post(ACCOUNTS, content=b"{}"), status, code)


def test_a_service_that_is_not_there_is_503_with_retry_after() -> None:
    with caddy(f"127.0.0.1:{free_port()}", wait=False, PROXY_TRY="300ms") as front, front.client() as client:
        response = client.get(ACCOUNTS)
        assert_problem(response, 503, "upstream_unavailable")
        assert int(response.headers["Retry-After"]) > 0


def test_a_body_that_is_too_large_is_413(passing: Front) -> None:
    with passing.client() as client:
        assert_problem(client.post(ACCOUNTS, content=b" " * 16_385), 413, "body_too_large")
        assert client.post(ACCOUNTS, content=b" " * 16_384).status_code == 200


def test_a_method_that_nobody_has_is_405(passing: Front, calls: list[Received]) -> None:
    with passing.client() as client:
        response = client.request("BREW", ACCOUNTS)
    assert_problem(response, 405, "method_not_allowed")
    assert response.headers["Allow"] == "GET, PATCH, POST"
    assert list(calls) == []


def test_a_body_that_is_framed_wrongly_is_400(passing: Front, upstream: ScriptedUpstream) -> None:
    request = f"POST {ACCOUNTS} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n"
    with acting(upstream, hangs):
        assert_problem(ask(passing, request.encode()), 400, "bad_http")


def test_an_empty_host_is_400(passing: Front) -> None:
    assert_problem(ask(passing, f"GET {ACCOUNTS} HTTP/1.1\r\nHost:\r\n\r\n".encode()), 400, "bad_http")


def test_http_2_is_spoken(passing: Front, calls: list[Received]) -> None:
    with passing.client(http2=True) as client:
        response = client.post(ACCOUNTS, json={"account_name": "Mine"})
        assert (response.http_version, response.status_code) == ("HTTP/2", 200)
        assert_problem(client.get("/readyz"), 404, "not_found")
        assert_problem(client.post(ACCOUNTS, content=b" " * 16_385), 413, "body_too_large")
    assert next(iter(calls)).body == b'{"account_name":"Mine"}'


def test_it_listens_at_its_one_port_only(passing: Front) -> None:
    listening = {
        connection.laddr.port
        for connection in psutil.Process(passing.child.pid).net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {passing.port}


def test_its_log_holds_nothing_that_clients_sent(passing: Front, upstream: ScriptedUpstream) -> None:
    headers = {"Authorization": "Bearer kilroy", "Cookie": "kilroy", "apikey": "kilroy", "X-Kilroy": "kilroy"}
    with acting(upstream, closes), passing.client(headers=headers) as client:
        assert client.post(f"{ACCOUNTS}/kilroy?kilroy", content=b"kilroy").status_code == 502
        assert client.get("/kilroy").status_code == 404
    assert "kilroy" not in passing.child.log.read_text()
