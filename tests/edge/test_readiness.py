"""What keeps the service from serving is named by /readyz, by `edge-api serve --check` and in the log."""

import asyncio
import datetime
import math
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edge_api.local.processes import free_port
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
from tests.edge.scripted import Script, responding, scripted_upstream
from tests.edge.serving import SERVE, serving
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
    "one that asks the database first": (401, {"code": "42501"}, "ready"),
    "one that serves nobody without a token": (401, {"code": "PGRST302"}, "ready"),
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


# The check of several projects by one process: starting one for each would take longer than all else.
CHECK_ALL: Final = """
import asyncio, os, sys
from edge_api.check import check
from edge_api.settings import Settings
for url in sys.argv[1:]:
    settings = Settings.model_validate({"supabase_url": url, "SUPABASE_PUBLISHABLE_KEY": "sb_publishable_abc"})
    ready, lines = asyncio.run(check(settings))
    print(url, ready, lines.partition(f"{url}: ")[2].partition("\\n")[0], flush=True)
os._exit(0)
"""


def test_the_check_names_the_cause() -> None:
    with ExitStack() as running:
        upstreams = {
            kind: running.enter_context(scripted_upstream(responding(status, body)))
            for kind, (status, body, _) in CAUSES.items()
        }
        urls = {kind: upstream.url for kind, upstream in upstreams.items()}
        urls |= {"refused": f"http://127.0.0.1:{free_port()}", "no such name": "https://nowhere.invalid"}
        done = subprocess.run(
            [sys.executable, "-c", CHECK_ALL, *urls.values()],
            env={"PATH": os.defpath},
            capture_output=True,
            text=True,
            timeout=50,
            check=True,
        )
        assert {kind: len(upstream.received) for kind, upstream in upstreams.items()} == dict.fromkeys(CAUSES, 1)
    said = {url: (ready, *rest) for url, ready, *rest in (line.split(" ", 3) for line in done.stdout.splitlines())}
    for kind, url in urls.items():
        code = CAUSES[kind][2] if kind in CAUSES else "supabase_unreachable"
        expected = ("True", "ready") if code == "ready" else ("False", f"{code}:")
        assert said[url][:2] == expected, kind


def test_the_log_names_the_cause_while_serving(edge: Edge) -> None:
    before = len(edge.lines())
    for kind in WHILE_SERVING:
        status, body, _ = CAUSES[kind]
        edge.upstream.script = responding(status, body)
        assert edge.client.get(ACCOUNTS).status_code in {502, 503}
    lines = edge.lines()[before:]
    assert [line["cause"] for line in lines if line["event"] == "Supabase failed"] == list(WHILE_SERVING.values())


OUTAGES: Final[list[tuple[Script, str]]] = [
    (sending(), "supabase_unreachable"),
    (responding(406, {"code": "PGRST106"}), "schema_not_exposed"),
    (silent, "supabase_unreachable"),
    (responding(401, {"code": "PGRST301"}), "tokens_refused"),
    (error(503, MARK), "supabase_unreachable"),
]


def test_readiness_follows_an_outage_and_its_end(edge: Edge) -> None:
    def readiness() -> str:
        response = edge.client.get("/readyz")
        code = str(response.json().get("code", "ready"))
        if code == "ready":
            assert response.status_code == 200
        else:
            assert_problem(response, 503, code)
        return code

    eventually(lambda: readiness() == "ready")
    for script, code in OUTAGES:
        edge.upstream.script = script
        eventually(lambda expected=code: readiness() == expected)  # type: ignore[misc]
        assert edge.client.get("/healthz").status_code == 200
    edge.upstream.script = healthy
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
    with scripted_upstream(healthy) as upstream, scripted_upstream(responding(502, "")) as proxy:
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
    responses = asyncio.run(ask_200_times())
    seconds = math.ceil(time.monotonic() - since)
    assert [response.status_code for response in responses] == [200] * 200
    assert len(edge.upstream.received) <= 1 + seconds
    assert all("authorization" not in request.headers for request in edge.upstream.received)


def test_the_readiness_check_leaves_no_error_in_the_databases_log(stack: Stack) -> None:
    (log,) = [child.log for child in stack.children if "ostgre" in child.name]
    before = len(log.read_text())
    assert check(stack.supabase_url, stack.keys.publishable).returncode == 0
    assert "ERROR" not in log.read_text()[before:]


def test_the_health_checks_take_head(edge: Edge) -> None:
    for path in ("/healthz", "/readyz"):
        eventually(lambda of=path: edge.client.get(of).status_code == 200)  # type: ignore[misc]
        response = edge.client.head(path)
        assert (response.status_code, response.content) == (200, b"")
        refused = edge.client.post(path)
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


def test_what_does_not_respond_in_time_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert_checked(check(url, EDGE_UPSTREAM_TIMEOUT="0.5"), url, "supabase_unreachable")
