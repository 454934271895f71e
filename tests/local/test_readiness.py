"""A Supabase project whose migrations have not been applied."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from edge_api.local import gateway as supabase_gateway
from edge_api.local.gateway import Keys
from edge_api.local.postgres import SUPERUSER, Cluster
from edge_api.local.processes import free_port
from edge_api.local.stack import MIGRATOR
from tests.edge.serving import serving


@pytest.fixture
def bare_project(state_folders: Callable[[], Path]) -> Iterator[tuple[str, Keys]]:
    state = state_folders()
    passwords = {role: secrets.token_urlsafe() for role in (SUPERUSER, MIGRATOR, supabase_gateway.ROLE)}
    keys = Keys(
        secrets.token_urlsafe(48), f"sb_publishable_{secrets.token_urlsafe()}", f"sb_secret_{secrets.token_urlsafe()}"
    )
    cluster = Cluster(16, state, passwords, durable=False)
    server = cluster.start(free_port())
    try:
        port = free_port()
        database_url = cluster.url(supabase_gateway.ROLE, with_password=True)
        gateway = supabase_gateway.start(state=state, port=port, database_url=database_url, keys=keys)
        try:
            yield f"http://127.0.0.1:{port}", keys
        finally:
            gateway.stop(grace_seconds=1)
    finally:
        server.stop(grace_seconds=5)


def test_missing_migrations_are_told_apart_from_a_missing_supabase(
    tmp_path: Path, bare_project: tuple[str, Keys]
) -> None:
    url, keys = bare_project
    with serving(tmp_path, url, keys.publishable) as (api_url, _):
        ready = httpx.get(f"{api_url}/readyz")
        assert (ready.status_code, ready.json()["code"]) == (503, "migrations_missing")
        assert int(ready.headers["Retry-After"]) > 0
