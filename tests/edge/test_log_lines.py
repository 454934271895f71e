"""The lines that `edge-api serve` logs: one for each request, in the form that the settings ask for."""

import asyncio
import json
import os
import pty
import secrets
import select
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from uuid import UUID, uuid4

import httpx

from edge_api.local.processes import accepts_connections, free_port
from tests.edge.logged import Canaries, records, requests_in
from tests.edge.scripted import READY, Received, Script, http, responding, scripted_upstream
from tests.edge.serving import SERVE, serving
from tests.support import ACCOUNTS, GET_OR_CREATE, NO_CERTIFICATES, UNKNOWN_ID

ALWAYS = {"event", "level", "timestamp", "request_id", "method", "route", "status", "duration_ms"}
ID = f"{ACCOUNTS}/{UNKNOWN_ID}"
ID_ROUTE = f"{ACCOUNTS}/{{account_id}}"
NOT_JSON = {"Content-Type": "text/plain"}
# the request, its headers, Supabase's response; the route, the status, which of upstream_ms and user_id are logged
CALLED, ACCEPTED = {"upstream_ms"}, {"upstream_ms", "user_id"}
LINES: dict[str, tuple[str, str, Mapping[str, str], Script | None, str | None, int, set[str]]] = {
    "a list": ("GET", ACCOUNTS, {}, None, ACCOUNTS, 200, ACCEPTED),
    "no such account": ("GET", ID, {}, None, ID_ROUTE, 404, ACCEPTED),
    "no token": ("GET", ID, {"Authorization": ""}, None, ID_ROUTE, 401, set()),
    "a bad token": ("GET", ID, {"Authorization": "Bearer a.b.c"}, None, ID_ROUTE, 401, set()),
    "a token that Supabase refuses": (
        "GET",
        ACCOUNTS,
        {},
        responding(401, {"code": "PGRST301"}),
        ACCOUNTS,
        401,
        CALLED,
    ),
    "an error of Supabase": ("POST", GET_OR_CREATE, {}, responding(500, {}), GET_OR_CREATE, 502, CALLED),
    "an unusable response": ("POST", GET_OR_CREATE, {}, responding(200, {}), GET_OR_CREATE, 502, CALLED),
    "too many connections": ("GET", ACCOUNTS, {}, responding(503, {"code": "53300"}), ACCOUNTS, 503, CALLED),
    "not JSON": ("POST", ACCOUNTS, NOT_JSON, None, ACCOUNTS, 415, set()),
    "not an id": ("GET", f"{ACCOUNTS}/7", {}, None, ID_ROUTE, 422, set()),
    "another method": ("DELETE", ID, {}, None, ID_ROUTE, 405, set()),
    "an unknown path": ("GET", f"{ACCOUNTS}/a/b", {}, None, None, 404, set()),
    "an unknown path and method": ("PUT", "/nothing", {}, None, None, 404, set()),
    "liveness": ("GET", "/healthz?a=b", {}, None, "/healthz", 200, set()),
    "readiness": ("GET", "/readyz", {}, READY, "/readyz", 200, set()),
    "the docs": ("GET", "/docs", {}, None, "/docs", 200, set()),
    "the description": ("GET", "/openapi.json", {}, None, None, 200, set()),
}


def test_each_request_is_one_line_with_what_is_known_of_it(tmp_path: Path) -> None:
    user_id = uuid4()
    token = Canaries().token("", sub=str(user_id))
    responses: dict[str, httpx.Response] = {}
    with (
        scripted_upstream() as upstream,
        serving(tmp_path, upstream.url, "sb_publishable_abc") as (url, child),
        httpx.Client(base_url=url, verify=NO_CERTIFICATES) as client,
    ):
        good = upstream.script
        for kind, (method, path, headers, script, *_) in LINES.items():
            upstream.script = script or good
            content = b"" if path == GET_OR_CREATE else b"{}"
            responses[kind] = client.request(
                method, path, headers={"Authorization": f"Bearer {token}", **headers}, content=content
            )
        lines = requests_in(child.log, len(LINES))

    assert len({line["request_id"] for line in lines}) == len(LINES)
    for (kind, response), line in zip(responses.items(), lines, strict=True):
        method, _, _, _, route, status, more = LINES[kind]
        assert set(line) == ALWAYS | more, kind
        assert (line["method"], line["route"], line["status"]) == (method, route, status), kind
        assert response.status_code == status, kind
        assert line["request_id"] == response.headers.get("X-Request-ID") or kind in {"the docs", "the description"}, (
            kind
        )
        assert line["level"] == "info"
        assert line["duration_ms"] >= line.get("upstream_ms", 0) >= 0
        assert line.get("user_id") in {None, str(user_id)}


def test_a_well_formed_request_id_is_used_all_the_way_and_a_malformed_one_nowhere(tmp_path: Path) -> None:
    token = Canaries().token("")
    well_formed = ["frontend-7f3a.1", "A_b-c.d0", "x" * 128]
    malformed = ["short", "x" * 129, "with a blank", "<script>", "é" * 8, "a,b,c,d,e"]
    with scripted_upstream() as upstream, serving(tmp_path, upstream.url, "sb_publishable_abc") as (url, child):
        for number, sent in enumerate([*well_formed, *malformed], 1):
            headers = {b"Authorization": f"Bearer {token}".encode(), b"X-Request-ID": sent.encode()}
            response = httpx.get(f"{url}{ACCOUNTS}", headers=headers, verify=NO_CERTIFICATES)
            used = response.headers["X-Request-ID"]
            assert (used == sent) == (sent in well_formed)
            assert sent in well_formed or UUID(used).hex == used
            assert upstream.received[-1].headers["x-request-id"] == used
            assert requests_in(child.log, number)[-1]["request_id"] == used
        assert len(upstream.received) == len(well_formed) + len(malformed)


def test_lines_of_requests_at_the_same_moment_are_not_mixed_up(tmp_path: Path) -> None:
    users = [str(uuid4()) for _ in range(20)]
    tokens = {user: Canaries().token("", sub=user) for user in users}

    async def after_a_while(received: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(secrets.randbelow(20) / 1000)
        writer.write(http(200, []))

    with (
        scripted_upstream(after_a_while) as upstream,
        serving(tmp_path, upstream.url, "sb_publishable_abc") as (url, child),
        httpx.Client(base_url=url, verify=NO_CERTIFICATES, timeout=30) as client,
        ThreadPoolExecutor(10) as pool,
    ):

        def call(number: int) -> tuple[str, str | None]:
            user = users[number % len(users)]
            headers = {"X-Request-ID": f"request-{number}", "Authorization": f"Bearer {tokens[user]}"}
            if number % 3 == 0:  # a call in between that nobody is known of
                headers["Authorization"] = "Bearer a.b.c"
            client.get(ACCOUNTS, headers=headers)
            return headers["X-Request-ID"], user if number % 3 else None

        expected = dict(pool.map(call, range(200)))
        lines = requests_in(child.log, 200)
    assert {line["request_id"]: line.get("user_id") for line in lines} == expected


# Settings -------------------------------------------------------------------------------------------------------------


def is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def test_the_level_warning_leaves_the_lines_of_requests_out(tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    with serving(tmp_path, nowhere, "sb_publishable_abc", EDGE_LOG_LEVEL="warning") as (url, child):
        assert httpx.get(f"{url}/healthz", verify=NO_CERTIFICATES).status_code == 200
        headers = {"Authorization": f"Bearer {Canaries().token('')}"}
        assert httpx.get(f"{url}{ACCOUNTS}", headers=headers, verify=NO_CERTIFICATES).status_code == 503
        child.wait_until(lambda: "Supabase failed" in child.log.read_text(), seconds=10)
        child.stop(grace_seconds=5)
        assert {record["level"] for record in records(child.log)} == {"warning"}


def test_at_a_terminal_lines_are_for_people(tmp_path: Path) -> None:
    port = free_port()
    environment = {
        "SUPABASE_URL": f"http://127.0.0.1:{free_port()}",
        "SUPABASE_PUBLISHABLE_KEY": "sb_publishable_abc",
        "EDGE_API_PORT": str(port),
    }
    ours, theirs = pty.openpty()
    shown = b""
    try:
        with subprocess.Popen(
            SERVE, env=environment, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
        ) as process:
            os.close(theirs)
            try:
                deadline = time.monotonic() + 20
                called = False
                while b"/healthz" not in shown and time.monotonic() < deadline:
                    if not called and accepts_connections(port):
                        httpx.get(f"http://127.0.0.1:{port}/healthz", verify=NO_CERTIFICATES).raise_for_status()
                        called = True
                    if select.select([ours], [], [], 0.02)[0]:
                        with suppress(OSError):  # it has ended
                            shown += os.read(ours, 65536)
            finally:
                process.terminate()
                process.wait(10)
    finally:
        os.close(ours)
    (line,) = (line for line in shown.decode().splitlines() if "/healthz" in line)
    assert not is_json(line)
    assert {"info:", "request", "route=/healthz", "status=200"} <= set(line.split())
