"""docs/embedding.md: its apps run as they stand, with the accounts in them and nothing else changed."""

import asyncio
import itertools
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from edge_api import transport
from edge_api.local.packages import PROJECT
from edge_api.local.processes import Child, accepts_connections, free_port
from edge_api.local.stack import Stack
from edge_api.routers.accounts import accounts_router
from edge_api.settings import Settings
from tests.edge.faults import eventually
from tests.edge.logged import Canaries
from tests.edge.scripted import responding, scripted_upstream
from tests.support import ACCOUNTS, ENDPOINTS, GET_OR_CREATE, NO_CERTIFICATES, UNKNOWN_ID, User

PAGE = (PROJECT / "docs" / "embedding.md").read_text()
MODULES = dict(re.findall(r"^```python\n# (\w+)\.py\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
INCLUDE = "app.include_router(accounts_router(Settings()))\n"
# Requests of the host's own routes, and of none: every kind of error that FastAPI and a host make.
OF_THE_HOST: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("GET", "/orders", {"Authorization": "Bearer x"}),
    ("GET", "/orders", {}),
    ("GET", "/orders?tea=true", {}),
    ("GET", "/orders?tea=perhaps", {}),
    ("DELETE", "/orders", {}),
    ("GET", "/nothing", {}),
    ("GET", "/orders/", {}),
    ("GET", "/docs", {}),
    ("GET", "/crash", {}),  # the last: uvicorn closes the connection after it
)
CRASH = """
@app.get("/crash", include_in_schema=False)
async def crash() -> None:
    raise RuntimeError("kilroy")
"""


@contextmanager
def running(folder: Path, source: str, stack_url: str, key: str) -> Iterator[tuple[httpx.Client, Child]]:
    """An app of the page's, served as it says."""
    port = free_port()
    (folder / "app_of_the_page.py").write_text(source)
    child = Child(
        "the host",
        [sys.executable, "-m", "uvicorn", "app_of_the_page:app", f"--port={port}"],
        log=folder / "host.log",
        cwd=folder,
        env={"SUPABASE_URL": stack_url, "SUPABASE_PUBLISHABLE_KEY": key, "EDGE_OF_THE_HOST": "1"},
    )
    try:
        child.wait_until(lambda: accepts_connections(port), seconds=30)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, verify=NO_CERTIFICATES) as client:
            yield client, child
    finally:
        child.stop(grace_seconds=5)


@pytest.fixture(scope="module")
def host(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], httpx.Client]]:
    """Serves apps in front of the stack, each once."""
    clients: dict[str, httpx.Client] = {}
    with ExitStack() as running_hosts:

        def serve(source: str) -> httpx.Client:
            if source not in clients:
                folder = tmp_path_factory.mktemp("host")
                serving = running(folder, source, stack.supabase_url, stack.keys.publishable)
                clients[source], _ = running_hosts.enter_context(serving)
            return clients[source]

        yield serve


def bearer(user: User) -> dict[str, str]:
    return {"Authorization": f"Bearer {user.token}"}


def exercise(client: httpx.Client, prefix: str, user: User) -> None:
    """Use all endpoints as a user who has no account yet."""
    headers = bearer(user)
    assert client.get(f"{prefix}{ACCOUNTS}", headers=headers).json()["count"] == 0
    created = client.post(f"{prefix}{ACCOUNTS}", headers=headers, json={"account_name": "Mine"})
    account = created.json()
    assert created.status_code == 201
    assert created.headers["Location"] == f"{prefix}{ACCOUNTS}/{account['id']}"
    assert client.get(created.headers["Location"], headers=headers).json() == account
    renamed = client.patch(created.headers["Location"], headers=headers, json={"account_name": "Renamed"})
    assert renamed.json()["account_name"] == "Renamed"
    assert client.post(f"{prefix}{GET_OR_CREATE}", headers=headers).json() == {
        "account": renamed.json(),
        "created": False,
    }


def problem(response: httpx.Response) -> tuple[int, str]:
    """The status and the code of a problem document."""
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["request_id"] == response.headers["X-Request-ID"]
    assert response.headers["Cache-Control"] == "no-store"
    return response.status_code, response.json()["code"]


def test_the_host_serves_accounts(host: Callable[[str], httpx.Client], user: User) -> None:
    client = host(MODULES["host"])
    exercise(client, "", user)
    greeted = client.get("/orders", headers=bearer(user))
    assert (greeted.status_code, greeted.json()) == (200, {"greeting": "hello"})


def test_errors_of_the_accounts_are_problem_documents(host: Callable[[str], httpx.Client], user: User) -> None:
    client = host(MODULES["host"])
    headers = bearer(user)
    for method, path, body in ENDPOINTS:
        assert problem(client.request(method, path, json=body)) == (401, "missing_token")
    assert problem(client.get(f"{ACCOUNTS}/{UNKNOWN_ID}", headers=headers)) == (404, "account_not_found")
    assert problem(client.get(f"{ACCOUNTS}/1", headers=headers)) == (422, "invalid_request")
    assert problem(client.post(ACCOUNTS, headers=headers, json={})) == (422, "invalid_request")
    assert problem(client.post(ACCOUNTS, headers=headers, content=b"{}")) == (415, "unsupported_media_type")
    assert problem(client.post(ACCOUNTS, headers=headers, content=b"x" * 17_000)) == (413, "body_too_large")
    refused = client.delete(ACCOUNTS, headers={**headers, "X-Request-ID": "frontend-7f3a.1"})
    assert problem(refused) == (405, "method_not_allowed")
    assert (refused.headers["Allow"], refused.headers["X-Request-ID"]) == ("GET, POST", "frontend-7f3a.1")


def test_errors_of_the_host_stay_as_they_are_to_the_byte(host: Callable[[str], httpx.Client]) -> None:
    assert INCLUDE in MODULES["host"]
    including = host(MODULES["host"] + CRASH)
    without = host(MODULES["host"].replace(INCLUDE, "") + CRASH)
    statuses = set()
    for method, path, headers in OF_THE_HOST:
        responses = [client.request(method, path, headers=headers) for client in (including, without)]
        seen = [
            (
                response.status_code,
                {**response.headers, "date": "", "location": httpx.URL(response.headers.get("location", "")).path},
                response.content,
            )
            for response in responses
        ]
        assert seen[0] == seen[1], path
        statuses.add(responses[0].status_code)
    assert statuses == {200, 307, 403, 404, 405, 418, 422, 500}


def test_the_hosts_description_has_the_endpoints_the_problem_and_the_scheme(
    host: Callable[[str], httpx.Client],
) -> None:
    described = host(MODULES["host"]).get("/openapi.json").json()
    ours = json.loads((PROJECT / "openapi.json").read_text())
    paths = [path for path in ours["paths"] if path.startswith(ACCOUNTS)]
    assert len(paths) == 3
    assert {path: described["paths"][path] for path in paths} == {path: ours["paths"][path] for path in paths}
    assert described["components"]["securitySchemes"] == ours["components"]["securitySchemes"]
    schemas = described["components"]["schemas"]
    assert schemas["Problem"] == ours["components"]["schemas"]["Problem"]
    for name in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(described)):
        assert name in schemas
    assert list(described["paths"]["/orders"]["get"]["responses"]) == ["200", "422"]


def test_a_host_that_has_a_problem_of_its_own_keeps_it(host: Callable[[str], httpx.Client]) -> None:
    own = """
from pydantic import BaseModel

class Problem(BaseModel):
    reason: str

@app.get("/problems")
async def problems() -> Problem:
    return Problem(reason="none")
"""
    described = host(MODULES["host"] + own).get("/openapi.json").json()
    content = described["paths"]["/problems"]["get"]["responses"]["200"]["content"]["application/json"]
    schema = described["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
    assert list(schema["properties"]) == ["reason"]
    content = described["paths"][ACCOUNTS]["get"]["responses"]["500"]["content"]["application/problem+json"]
    schema = described["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
    assert "code" in schema["properties"]


def test_below_a_prefix(host: Callable[[str], httpx.Client], user: User) -> None:
    source = MODULES["host"].replace("Settings()))\n", 'Settings()), prefix="/v2")\n')
    exercise(host(source), "/v2", user)
    assert problem(host(source).delete(f"/v2{ACCOUNTS}")) == (405, "method_not_allowed")


def test_in_a_mounted_app(host: Callable[[str], httpx.Client], user: User) -> None:
    client = host(MODULES["mounting"])
    exercise(client, "/svc", user)
    assert client.get("/svc/readyz").json() == {"status": "ready"}
    assert problem(client.delete(f"/svc{ACCOUNTS}")) == (405, "method_not_allowed")
    page = client.get("/svc/docs")
    loaded = re.findall(r'(?:src|href|url)["\']?\s*[=:]\s*["\']([^"\']+)', page.text)
    assert [client.get(path).status_code for path in loaded] == [200] * 4


@pytest.mark.parametrize("library", ["fastapi", "starlette.exceptions"])
def test_a_dependency_of_the_host_responds_as_the_host_does(
    host: Callable[[str], httpx.Client], user: User, library: str
) -> None:
    dependency = f"""
from fastapi import Depends
from {library} import HTTPException

async def closed() -> None:
    raise HTTPException(403, "Closed today")

"""
    source = MODULES["host"].replace("app = FastAPI", f"{dependency}\napp = FastAPI")
    source = source.replace("Settings()))\n", "Settings()), dependencies=[Depends(closed)])\n")
    response = host(source).get(ACCOUNTS, headers=bearer(user))
    assert (response.status_code, response.json()) == (403, {"detail": "Closed today"})


CRASHING = """
from edge_api.supabase_client import Supabase

async def crash(*arguments):
    raise ValueError(f"kilroy: {arguments}")

Supabase.rpc = crash

@app.exception_handler(ValueError)
@app.exception_handler(Exception)
async def on_any(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": "handled by the host"}, status_code=500)
"""


def test_a_host_that_ends_closes_its_connections_and_can_start_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_KEEPALIVE_SECONDS", 60.0)  # they do not end by themselves
    headers = {"Authorization": f"Bearer {Canaries().token('')}"}
    with scripted_upstream() as upstream:
        app = FastAPI()
        settings = Settings(supabase_url=upstream.url, supabase_publishable_key="sb_publishable_x")
        app.include_router(accounts_router(settings))

        async def live() -> None:
            host = httpx.ASGITransport(app)
            async with (
                app.router.lifespan_context(app),
                httpx.AsyncClient(transport=host, base_url="http://host") as client,
            ):
                assert (await client.get(ACCOUNTS, headers=headers)).status_code == 200
                assert upstream.ended == len(upstream.received) - 1

        for _ in range(2):
            asyncio.run(live())
            eventually(lambda: upstream.ended == len(upstream.received))


LOGGING = """
import logging

logging.basicConfig(format="host %(levelname)s %(name)s %(message)s")
"""


def test_what_fails_is_logged_as_the_host_logs(tmp_path: Path, user: User) -> None:
    with (
        scripted_upstream(responding(200, [{}])) as upstream,
        running(tmp_path, LOGGING + MODULES["host"], upstream.url, "sb_publishable_x") as (client, child),
    ):
        headers = {**bearer(user), "X-Request-ID": "failing-in-accounts"}
        assert problem(client.get(ACCOUNTS, headers=headers)) == (502, "bad_upstream")
        log = child.log.read_text()
    begin = "host ERROR edge_api.supabase_client Supabase failed: bad_upstream: "
    (line,) = (line for line in log.splitlines() if line.startswith(begin))
    assert line.endswith(": list_accounts: failing-in-accounts")


def test_a_crash_in_the_accounts_is_a_problem_document_and_one_record(tmp_path: Path, user: User) -> None:
    with (
        scripted_upstream(responding(200, [])) as upstream,
        running(tmp_path, MODULES["host"] + CRASHING + CRASH, upstream.url, "sb_publishable_x") as (client, child),
    ):
        headers = {**bearer(user), "X-Request-ID": "crash-in-accounts"}
        assert problem(client.get(ACCOUNTS, headers=headers)) == (500, "internal_error")
        assert client.get("/crash").json() == {"error": "handled by the host"}
        log = child.log.read_text()
    lines = log.splitlines()
    (at,) = (number for number, line in enumerate(lines) if "crash-in-accounts" in line)
    assert lines[at] == "crash: crash-in-accounts: ValueError"
    places = list(itertools.takewhile(lambda line: line.startswith("  /"), lines[at + 1 :]))
    assert places[-1].endswith(" crash")
    accounts_part = log.partition("/crash")[0]
    assert "kilroy" not in accounts_part.replace("raise ValueError", "")
    assert user.token not in log


def test_behind_a_proxy_that_strips_a_prefix(tmp_path: Path, stack: Stack, user: User) -> None:
    """The host is asked for what the proxy leaves; for the service with EDGE_ROOT_PATH see tests/edge."""
    source = MODULES["host"].replace('FastAPI(title="Orders"', 'FastAPI(title="Orders", root_path="/accounts-api"')
    with running(tmp_path, source, stack.supabase_url, stack.keys.publishable) as (client, _):
        created = client.post(ACCOUNTS, headers=bearer(user), json={"account_name": "Mine"})
        assert created.headers["Location"] == f"/accounts-api{ACCOUNTS}/{created.json()['id']}"
