"""What keeps the service from serving is named by /readyz, by `edge-api serve --check` and in the log."""

import asyncio
import datetime
import json
import math
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edge_api.embedded.processes import free_port
from edge_api.local.stack import Stack
from tests.edge.faults import (
    KEY,
    TOKEN,
    Edge,
    Gate,
    error,
    eventually,
    healthy,
    running,
    sending,
    silent,
)
from tests.edge.problems import MARK, assert_problem
from tests.edge.scripted import READY, Script, answering, scripted_upstream
from tests.edge.serving import SERVE, log_of, serving
from tests.support import ACCOUNTS, NO_CERTIFICATES

# What PostgREST or the gateway in front of it responds to the readiness check: the status, the body, what it means.
CAUSES: Final[dict[str, tuple[int, Any, str]]] = {
    "no function": (404, {"code": "PGRST202"}, "migrations_missing"),
    "no function, by the database": (404, {"code": "42883"}, "migrations_missing"),
    "no table": (404, {"code": "42P01"}, "migrations_missing"),
    "two functions": (300, {"code": "PGRST203"}, "function_ambiguous"),
    "another schema": (406, {"code": "PGRST106"}, "schema_not_exposed"),
    "a paused project": (540, "<html>", "project_paused"),
    "a restricted project": (402, {"message": "exceed_egress_quota"}, "project_paused"),
    "a refused key": (401, {"message": "Invalid API key"}, "publishable_key_refused"),
    "a key of another kind": (403, "<html>", "publishable_key_refused"),
    "no JWT secret": (500, {"code": "PGRST300"}, "tokens_refused"),
    "another JWT secret": (401, {"code": "PGRST301"}, "tokens_refused"),
    "a claim that is refused": (401, {"code": "PGRST303"}, "tokens_refused"),
    "no schema cache": (503, {"code": "PGRST002"}, "supabase_unreachable"),
    "a gateway without PostgREST": (502, "<html>", "supabase_unreachable"),
    "another server": (200, "<html>", "supabase_unreachable"),
    "another server, without that path": (404, "<html>", "supabase_unreachable"),
}
WHILE_SERVING: Final = {
    "no function": "migrations_missing",
    "no table": "migrations_missing",
    "two functions": "function_ambiguous",
    "another schema": "schema_not_exposed",
    "a paused project": "project_paused",
    "a refused key": "publishable_key_refused",
    "no JWT secret": "tokens_refused",
}


def check(url: str, key: str = KEY, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {"SUPABASE_URL": url, "SUPABASE_PUBLISHABLE_KEY": key, **settings}
    return subprocess.run([*SERVE, "--check"], env=environment, capture_output=True, text=True, timeout=50, check=False)


def assert_checked(done: subprocess.CompletedProcess[str], url: str, code: str) -> None:
    assert (done.returncode, done.stderr) == (1, "")
    assert f"{url}: {code}: " in done.stdout


@pytest.mark.parametrize("kind", CAUSES)
def test_the_check_names_the_cause(kind: str) -> None:
    status, body, code = CAUSES[kind]
    with scripted_upstream(answering(status, body)) as upstream:
        assert_checked(check(upstream.url), upstream.url, code)
        assert len(upstream.received) == 1


def test_a_project_that_is_ready_is_called_ready(stack: Stack) -> None:
    done = check(stack.supabase_url, stack.keys.publishable)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{stack.supabase_url}: ready\n" in done.stdout


@pytest.mark.parametrize(
    "code", ["42501", "PGRST302"], ids=["asks the database first", "serves nobody without a token"]
)
def test_a_server_that_says_nothing_against_users_is_ready(code: str) -> None:
    with scripted_upstream(answering(401, {"code": code})) as upstream:
        assert check(upstream.url).returncode == 0


def test_the_log_names_the_cause_while_serving(tmp_path: Path) -> None:
    with (
        scripted_upstream() as upstream,
        serving(tmp_path, upstream.url, KEY) as (url, child),
        httpx.Client(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, verify=NO_CERTIFICATES) as client,
    ):
        for kind in WHILE_SERVING:
            status, body, _ = CAUSES[kind]
            upstream.script = answering(status, body)
            assert client.get(ACCOUNTS).status_code in {502, 503}
        lines = [json.loads(line) for line in log_of(url, child).splitlines()]
    assert [line["cause"] for line in lines if line["event"] == "Supabase failed"] == list(WHILE_SERVING.values())


def test_readiness_names_the_cause_and_follows_it(tmp_path: Path) -> None:
    with scripted_upstream(READY) as upstream, serving(tmp_path, upstream.url, KEY) as (url, _):

        def readiness() -> str:
            answer = httpx.get(f"{url}/readyz", verify=NO_CERTIFICATES)
            assert answer.status_code == (200 if "code" not in answer.json() else 503)
            return str(answer.json().get("code", "ready"))

        assert readiness() == "ready"
        for kind in ("another schema", "another JWT secret"):
            status, body, code = CAUSES[kind]
            upstream.script = answering(status, body)
            eventually(lambda expected=code: readiness() == expected)  # type: ignore[misc]
        upstream.script = READY
        eventually(lambda: readiness() == "ready")


def test_it_is_ready_while_all_connections_are_in_use(tmp_path: Path) -> None:
    gate = Gate()
    settings = {"EDGE_UPSTREAM_CONNECTIONS": "1", "EDGE_UPSTREAM_CONNECT_TIMEOUT": "0.2"}
    with running(tmp_path, **settings) as edge, ThreadPoolExecutor(1) as thread:
        edge.upstream.script = gate
        call = thread.submit(edge.client.get, ACCOUNTS)
        try:
            eventually(lambda: gate.held == 1)
            assert httpx.get(f"{edge.url}/readyz", timeout=30, verify=NO_CERTIFICATES).status_code == 200
            assert gate.held == 1
        finally:
            gate.open()
        assert call.result(timeout=30).status_code == 200


def test_no_proxy_comes_between_on_this_machine(tmp_path: Path) -> None:
    """It would get tokens in clear text."""
    with scripted_upstream(healthy) as upstream, scripted_upstream(answering(502, "")) as proxy:
        proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"), proxy.url)
        with serving(tmp_path, upstream.url, KEY, **proxies) as (url, _):
            headers = {"Authorization": f"Bearer {TOKEN}"}
            assert httpx.get(f"{url}{ACCOUNTS}", headers=headers, verify=NO_CERTIFICATES).status_code == 200
    assert proxy.received == []


def test_readiness_costs_supabase_a_call_a_second_whoever_asks(edge: Edge) -> None:
    async def ask_200_times() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=50)
        async with httpx.AsyncClient(base_url=edge.url, timeout=30, limits=limits, verify=NO_CERTIFICATES) as client:
            return await asyncio.gather(*(client.get("/readyz") for _ in range(200)))

    eventually(lambda: edge.client.get("/readyz").status_code == 200)
    edge.upstream.received.clear()
    since = time.monotonic()
    answers = asyncio.run(ask_200_times())
    seconds = math.ceil(time.monotonic() - since)
    assert [answer.status_code for answer in answers] == [200] * 200
    assert len(edge.upstream.received) <= 1 + seconds
    assert all("authorization" not in request.headers for request in edge.upstream.received)


NOT_READY: Final[dict[str, Script]] = {
    "closed": sending(),
    "silent": silent,
    "503": error(503, MARK),
}


@pytest.mark.parametrize("outage", NOT_READY)
def test_readiness_follows_an_outage_and_its_end(edge: Edge, outage: str) -> None:
    def readiness() -> int:
        return edge.client.get("/readyz").status_code

    eventually(lambda: readiness() == 200)
    edge.upstream.script = NOT_READY[outage]
    eventually(lambda: readiness() == 503)
    assert_problem(edge.client.get("/readyz"), 503, "supabase_unreachable")
    assert edge.client.get("/healthz").status_code == 200
    edge.upstream.script = healthy
    eventually(lambda: readiness() == 200)


def test_the_readiness_check_leaves_no_error_in_the_databases_log(stack: Stack) -> None:
    (log,) = [child.log for child in stack.children if "ostgre" in child.name]
    before = len(log.read_text())
    assert check(stack.supabase_url, stack.keys.publishable).returncode == 0
    assert "ERROR" not in log.read_text()[before:]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_the_health_checks_take_head(tmp_path: Path, path: str) -> None:
    with scripted_upstream(READY) as upstream, serving(tmp_path, upstream.url, KEY) as (url, _):
        answer = httpx.head(f"{url}{path}", verify=NO_CERTIFICATES)
        assert (answer.status_code, answer.content) == (200, b"")
        refused = httpx.post(f"{url}{path}", verify=NO_CERTIFICATES)
        assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD")


@contextmanager
def with_a_certificate_of_nobody(folder: Path) -> Iterator[str]:
    """A TLS server whose certificate no authority has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "certificate.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    loop = asyncio.new_event_loop()

    async def close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = loop.run_until_complete(asyncio.start_server(close, "127.0.0.1", 0, ssl=context))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()


def test_a_certificate_that_is_not_trusted_is_named(tmp_path: Path) -> None:
    with with_a_certificate_of_nobody(tmp_path) as url:
        assert_checked(check(url), url, "certificate_untrusted")


@pytest.mark.parametrize(
    "url", [f"http://127.0.0.1:{free_port()}", "https://nowhere.invalid"], ids=["refused", "no such name"]
)
def test_what_cannot_be_reached_is_named(url: str) -> None:
    assert_checked(check(url), url, "supabase_unreachable")


def test_what_does_not_respond_in_time_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert_checked(check(url, EDGE_UPSTREAM_TIMEOUT="0.5"), url, "supabase_unreachable")
