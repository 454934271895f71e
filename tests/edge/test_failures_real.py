"""Parts of a real Supabase fail and come back: each call has a response, and nobody has to restart the edge."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Final, LiteralString
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from edge_api.errors import Kind
from edge_api.local import gateway as supabase_gateway
from edge_api.local import stack as local_stack
from edge_api.local.postgres import SUPERUSER, PostgresVersion
from edge_api.local.processes import Child
from edge_api.local.stack import Stack
from tests.edge.faults import eventually
from tests.edge.problems import assert_problem
from tests.edge.serving import serving
from tests.support import ACCOUNTS, ENDPOINTS, GET_OR_CREATE, NO_CERTIFICATES, UNKNOWN_ID, User, sign_up

TIMEOUT: Final = 1.0
SOON: Final = 10 * TIMEOUT  # seconds: for machines that do other things too
CALLERS: Final = 4

TABLE: Final = "public.user_accounts"
# PostgREST tells of an outage of the database with 503 and a code, which is 503 here; the embedded gateway with a bare
# 500, which could be anything and so is 502.
DATABASE_AWAY: Final = {502, 503}


@dataclass
class Real:
    """A stack whose parts may be stopped, and an edge of its own with a short time-out in front of it."""

    stack: Stack
    state: Path
    url: str
    edge: Child
    user: User
    postgres: Child
    gateway: Child

    def call(self) -> httpx.Response:
        return self.user.api.post(GET_OR_CREATE)

    def rename(self) -> httpx.Response:
        return self.user.api.patch(f"{ACCOUNTS}/{UNKNOWN_ID}", json={"account_name": "Renamed"})

    def call_all(self) -> list[httpx.Response]:
        """Every endpoint, all at the same time."""
        with ThreadPoolExecutor(len(ENDPOINTS)) as callers:
            calls = [callers.submit(self.user.api.request, method, path, json=body) for method, path, body in ENDPOINTS]
        return [call.result() for call in calls]

    def readiness(self) -> tuple[int, str]:
        response = self.user.api.get("/readyz")
        return response.status_code, response.json().get("code", "ready")

    def start_postgres(self) -> None:
        self.postgres = self.stack.cluster.start(self.stack.cluster.port)

    def start_gateway(self) -> None:
        """Start the gateway anew: after it was ended here, and whenever the database has ended its connections.

        Of that its database library may crash, or keep dead connections. It is the edge that has to go on.
        """
        self.gateway.stop(grace_seconds=1)
        self.gateway = supabase_gateway.start(
            state=self.state,
            port=urlsplit(self.stack.supabase_url).port or 0,
            database_url=self.stack.cluster.url(supabase_gateway.ROLE, with_password=True),
            keys=self.stack.keys,
        )

    def works(self) -> bool:
        return self.call().status_code == 200 and self.readiness() == (200, "ready")

    @contextmanager
    def operator(self) -> Iterator[psycopg.Connection]:
        with self.stack.cluster.connect(SUPERUSER) as connection:
            yield connection

    @contextmanager
    def altered(self, statement: LiteralString, back: LiteralString) -> Iterator[None]:
        """The database with a statement executed, which another one undoes, and a gateway that connects anew."""
        with self.operator() as database:
            database.execute(statement)
            try:
                self._disconnect_gateway(database)
                yield
            finally:
                database.execute(back)
                self.start_gateway()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The accounts, in the hands of a transaction that does not end."""
        with self.operator() as database, database.transaction():
            database.execute(f"lock table {TABLE} in access exclusive mode")
            yield

    def _disconnect_gateway(self, database: psycopg.Connection) -> None:
        database.execute(
            "select pg_catalog.pg_terminate_backend(pid, 5000) from pg_catalog.pg_stat_activity where usename = %s",
            [supabase_gateway.ROLE],
        )


@pytest.fixture(scope="module")
def module_real(
    used_folders: Callable[[PostgresVersion], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Real]:
    state = used_folders(16)
    with ExitStack() as cleanup:
        stack = cleanup.enter_context(local_stack.run(state, durable=False))
        url, edge = cleanup.enter_context(
            serving(
                tmp_path_factory.mktemp("failures"),
                stack.supabase_url,
                stack.keys.publishable,
                EDGE_UPSTREAM_TIMEOUT=str(TIMEOUT),
            )
        )
        client = cleanup.enter_context(httpx.Client(base_url=url, timeout=30, verify=NO_CERTIFICATES))
        postgres, gateway, _ = stack.children
        real = Real(stack, state, url, edge, sign_up(stack, client), postgres, gateway)
        cleanup.callback(lambda: real.postgres.stop(grace_seconds=2))
        cleanup.callback(lambda: real.gateway.stop(grace_seconds=1))
        yield real


@pytest.fixture
def real(module_real: Real) -> Iterator[Real]:
    """The one stack and edge of all these tests, which leave it as they found it: only the edge is never restarted."""
    eventually(module_real.works)
    yield module_real
    eventually(module_real.works)
    assert module_real.edge.exit_code() is None


def assert_any_problem(response: httpx.Response, *kinds: Kind) -> None:
    (kind,) = (kind for kind in kinds if kind.code == response.json().get("code"))
    assert_problem(response, kind.status, kind.code)


def test_a_gateway_that_is_killed_is_503_until_it_is_back(real: Real) -> None:
    os.kill(real.gateway.pid, signal.SIGKILL)
    eventually(lambda: real.gateway.exit_code() is not None)

    for response in real.call_all():
        assert_problem(response, 503, "upstream_unavailable")
    eventually(lambda: real.readiness() == (503, "supabase_unreachable"))
    assert real.user.api.get("/healthz").status_code == 200

    real.start_gateway()
    assert real.call().status_code == 200
    eventually(lambda: real.readiness() == (200, "ready"))


def test_a_gateway_that_hangs_is_504_until_it_goes_on(real: Real) -> None:
    os.kill(real.gateway.pid, signal.SIGSTOP)
    try:
        since = time.monotonic()
        assert_problem(real.call(), 504, "upstream_timeout")
        assert TIMEOUT <= time.monotonic() - since < SOON
        eventually(lambda: real.readiness() == (503, "supabase_unreachable"))
        assert real.user.api.get("/healthz").status_code == 200
    finally:
        os.kill(real.gateway.pid, signal.SIGCONT)
    assert real.call().status_code == 200


def test_requests_while_postgresql_restarts_get_a_fitting_response(real: Real) -> None:
    over = Event()
    responses: list[list[httpx.Response]] = [[] for _ in range(CALLERS)]

    def call_all_the_time(responses: list[httpx.Response]) -> None:
        with httpx.Client(
            base_url=real.url, headers=real.user.api.headers, timeout=30, verify=NO_CERTIFICATES
        ) as client:
            while not over.wait(0.01):
                responses.append(client.post(GET_OR_CREATE))

    def all_succeed() -> bool:
        return all(own and own[-1].status_code == 200 for own in responses)

    with ThreadPoolExecutor(CALLERS) as callers:
        calls = [callers.submit(call_all_the_time, own) for own in responses]
        try:
            eventually(all_succeed)
            real.postgres.stop(grace_seconds=10)
            # the embedded gateway may go on waiting for connections that it was making at that moment
            eventually(lambda: real.call().status_code in {*DATABASE_AWAY, 504})
            eventually(lambda: real.readiness() == (503, "supabase_unreachable"))
            assert real.user.api.get("/healthz").status_code == 200
            real.start_postgres()
            real.start_gateway()
            eventually(all_succeed)
        finally:
            over.set()
    for call in calls:
        call.result()
    for response in (response for own in responses for response in own):
        if response.status_code != 200:
            assert_any_problem(response, Kind.BAD_UPSTREAM, Kind.UPSTREAM_UNAVAILABLE, Kind.UPSTREAM_TIMEOUT)
    created = {response.json()["account"]["id"] for own in responses for response in own if response.status_code == 200}
    assert len(created) == 1


@pytest.mark.parametrize(
    ("statement", "back"),
    [
        ("alter role gateway connection limit 0", "alter role gateway connection limit -1"),
        ("alter database postgres connection limit 0", "alter database postgres connection limit -1"),
        ("alter role gateway nologin", "alter role gateway login"),
    ],
)
def test_a_database_without_room_for_a_connection_is_an_outage(
    real: Real, statement: LiteralString, back: LiteralString
) -> None:
    with real.altered(statement, back):
        eventually(lambda: real.call().status_code in DATABASE_AWAY)
        assert_any_problem(real.call(), Kind.BAD_UPSTREAM, Kind.UPSTREAM_UNAVAILABLE)
        eventually(lambda: real.readiness() == (503, "supabase_unreachable"))
    eventually(lambda: real.call().status_code == 200)


RENAME: Final[LiteralString] = "alter function public.rename_account rename to another_name"
RENAME_BACK: Final[LiteralString] = "alter function public.another_name rename to rename_account"


def test_a_function_that_is_gone_is_502_and_the_log_says_what_is_missing(real: Real) -> None:
    """PostgREST's schema cache still has it, and so does the readiness check."""
    with real.altered(RENAME, RENAME_BACK):
        assert_problem(real.rename(), 502, "bad_upstream")
        assert real.call().status_code == 200
        eventually(lambda: '"cause":"migrations_missing"' in real.edge.log.read_text())
    assert_problem(real.rename(), 404, "account_not_found")


def test_a_function_that_the_gateway_never_saw_is_502_and_migrations_missing(real: Real) -> None:
    """It looks at the schema when it starts, and tells then in another way that the function is not there."""
    with real.altered(RENAME, RENAME_BACK):
        real.start_gateway()
        assert_problem(real.rename(), 502, "bad_upstream")
        eventually(lambda: real.readiness()[0] == 503)
        eventually(lambda: real.readiness() == (503, "migrations_missing"))
    assert_problem(real.rename(), 404, "account_not_found")


def test_a_table_that_somebody_keeps_locked_is_504(real: Real) -> None:
    with real.locked():
        since = time.monotonic()
        for response in real.call_all():
            assert_problem(response, 504, "upstream_timeout")
        assert TIMEOUT <= time.monotonic() - since < SOON
        assert real.user.api.get("/healthz").status_code == 200
    eventually(lambda: real.call().status_code == 200)


def test_a_statement_that_the_database_cancels_is_no_success(real: Real) -> None:
    """PostgREST passes the code 57014 on, which is 504; the embedded gateway has another one of its own instead."""
    with real.altered(
        "alter role gateway set statement_timeout = '200ms'", "alter role gateway reset statement_timeout"
    ):
        eventually(lambda: real.call().status_code == 200)
        with real.locked():
            assert_any_problem(real.call(), Kind.BAD_UPSTREAM, Kind.UPSTREAM_TIMEOUT)
        assert real.call().status_code == 200


def test_a_connection_that_the_database_ends_during_a_call_is_no_success(real: Real) -> None:
    with ThreadPoolExecutor(1) as caller, real.operator() as database, real.locked():
        call = caller.submit(real.call)
        waiting = (
            "select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity "
            "where usename = %s and wait_event_type = 'Lock'"
        )
        eventually(lambda: database.execute(waiting, [supabase_gateway.ROLE]).rowcount > 0 or call.done())
        assert_any_problem(call.result(), Kind.BAD_UPSTREAM, Kind.UPSTREAM_UNAVAILABLE, Kind.UPSTREAM_TIMEOUT)
    real.start_gateway()
    eventually(lambda: real.call().status_code == 200)


@pytest.mark.parametrize("path", [GET_OR_CREATE, ACCOUNTS])
def test_the_valid_token_of_a_deleted_user_is_401(real: Real, path: str) -> None:
    with httpx.Client(base_url=real.url, timeout=30, verify=NO_CERTIFICATES) as client:
        user = sign_up(real.stack, client)
        assert user.api.post(GET_OR_CREATE).status_code == 200
        with real.operator() as database:
            database.execute("delete from auth.users where id = %s", [user.id])
        body = {"account_name": "Mine"} if path == ACCOUNTS else None
        response = user.api.post(path, json=body)
        assert_problem(response, 401, "invalid_token")
        assert response.headers["WWW-Authenticate"].startswith("Bearer ")
        assert user.api.get(ACCOUNTS).json()["accounts"] == []
