"""The image of deploy/Dockerfile, as .ci/image builds and runs it: a read-only root, its own user, no capabilities."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from edge_api import __version__
from edge_api.local.packages import PROJECT
from edge_api.local.processes import Child, accepts_connections, free_port
from edge_api.local.stack import Stack
from tests.edge.caddy import caddy
from tests.support import ACCOUNTS, GET_OR_CREATE, User, stored_accounts

DOCKERFILE: Final = (PROJECT / "deploy" / "Dockerfile").read_text()
(HEALTH_CHECK,) = (
    json.loads(re.sub(r"\\\n", "", words))
    for words in re.findall(r"^HEALTHCHECK .*? CMD (\[.*?\])$", DOCKERFILE, re.MULTILINE | re.DOTALL)
)

LOOK: Final = Path(__file__).with_name("look.py").read_text()


@pytest.fixture(scope="module")
def image(request: pytest.FixtureRequest) -> Path:
    return Path(request.config.getoption("--image"))


def environment(**settings: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **settings}


def run(image: Path, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [image, *command], env=environment(**settings), capture_output=True, text=True, timeout=60, check=False
    )


@contextmanager
def serving(image: Path, folder: Path, stack: Stack, **settings: str) -> Iterator[tuple[int, Child]]:
    """What the image does by itself, on a free port of this machine's."""
    port = free_port()
    env = environment(
        SUPABASE_URL=stack.supabase_url,
        SUPABASE_PUBLISHABLE_KEY=stack.keys.publishable,
        EDGE_API_PORT=str(port),
        **settings,
    )
    child = Child("the image", [image], log=folder / "image.log", cwd=folder, env=env)
    try:
        child.wait_until(lambda: accepts_connections(port), seconds=60)
        yield port, child
    finally:
        child.stop(grace_seconds=40)


@pytest.fixture(scope="module")
def inside(image: Path) -> dict[str, Any]:
    done = run(image, "python", "-c", LOOK)
    assert (done.returncode, done.stderr) == (0, "")
    seen = json.loads(done.stdout)
    assert isinstance(seen, dict)
    return seen


def test_it_runs_as_a_user_of_its_own_who_may_write_nothing(inside: dict[str, Any]) -> None:
    assert inside["user"] == [10001] * 6
    assert set(inside["groups"]) <= {10001}
    assert (inside["capabilities"], inside["no_new_privileges"], inside["read_only"]) == (0, True, True)
    assert inside["writable"] == []


def test_it_holds_what_serves_and_nothing_else(inside: dict[str, Any]) -> None:
    assert (inside["programs"], inside["modules"]) == ([], [])
    assert 10e6 < inside["bytes"] < 150e6


def test_it_says_its_version(image: Path) -> None:
    assert run(image, "edge-api", "--version").stdout == f"edge-api {__version__}\n"


def test_wrong_settings_end_it(image: Path) -> None:
    done = run(image)
    assert done.returncode == 2
    assert "SUPABASE_URL: is not set" in done.stderr


def test_an_account_is_created_through_caddy(image: Path, tmp_path: Path, stack: Stack, user: User) -> None:
    headers = {"Authorization": f"Bearer {user.token}"}
    with (
        serving(image, tmp_path, stack) as (port, child),
        caddy(f"127.0.0.1:{port}") as front,
        front.client(headers=headers) as client,
    ):
        created = client.post(ACCOUNTS, json={"account_name": "Paper trading"})
        assert (created.status_code, client.post(GET_OR_CREATE).json()["created"]) == (201, False)
        assert client.get(created.headers["Location"]).json() == created.json()
        assert client.get("/readyz").status_code == 404
        child.wait_until(lambda: f'"user_id":"{user.id}"' in child.log.read_text(), seconds=20)
    ((stored_id, owner, *_),) = stored_accounts(stack, user.id)
    assert (str(stored_id), owner) == (created.json()["id"], user.id)


def test_several_workers_and_metrics_need_no_more_than_a_folder_for_temporary_files(
    image: Path, tmp_path: Path, stack: Stack, user: User
) -> None:
    metrics = free_port()
    with serving(image, tmp_path, stack, EDGE_API_WORKERS="2", EDGE_METRICS_PORT=str(metrics)) as (port, _):
        api = f"http://127.0.0.1:{port}"
        headers = {"Authorization": f"Bearer {user.token}"}
        assert httpx.post(f"{api}{GET_OR_CREATE}", headers=headers).json()["created"] is True
        text = httpx.get(f"http://127.0.0.1:{metrics}/metrics").text
    assert re.search(r'^edge_api_requests_total\{.*get-or-create.*status="200"\} 1.0$', text, re.MULTILINE)


def test_the_health_check_tells_whether_it_serves(image: Path, tmp_path: Path, stack: Stack) -> None:
    with serving(image, tmp_path, stack) as (port, _):
        assert run(image, *HEALTH_CHECK, EDGE_API_PORT=str(port)).returncode == 0
    assert run(image, *HEALTH_CHECK, EDGE_API_PORT=str(port)).returncode == 1


def test_sigterm_ends_it(image: Path, tmp_path: Path, stack: Stack) -> None:
    with serving(image, tmp_path, stack) as (_, child):
        child.stop(grace_seconds=40)
        assert child.exit_code() == 0
