"""What the tests of every layer use: users who have really signed up, and tokens of every kind."""

import json
import secrets
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg

from edge_api.local.stack import MIGRATOR, Stack
from edge_api.routers import accounts
from edge_api.supabase_client import Function
from tests import target
from tests.target import Target, signed

__all__ = ["signed"]  # and all that is created here

# Nothing here speaks TLS, and reading the machine's certificates would cost each client 24 ms.
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

ACCOUNTS = "/api/accounts"
GET_OR_CREATE = f"{ACCOUNTS}/get-or-create"
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"

# The SQL functions that the endpoints call.
FUNCTIONS = tuple(value.name for value in vars(accounts).values() if isinstance(value, Function))

# Every endpoint that needs a user: method, path, body.
ENDPOINTS: tuple[tuple[str, str, dict[str, str] | None], ...] = (
    ("GET", ACCOUNTS, None),
    ("POST", ACCOUNTS, {"account_name": "Mine"}),
    ("POST", GET_OR_CREATE, None),
    ("GET", f"{ACCOUNTS}/{UNKNOWN_ID}", None),
    ("PATCH", f"{ACCOUNTS}/{UNKNOWN_ID}", {"account_name": "Mine"}),
)
ENDPOINT_NAMES = [f"{method} {path.replace(UNKNOWN_ID, '{id}')}" for method, path, _ in ENDPOINTS]


@dataclass(frozen=True)
class User:
    """A user who has signed up, with a client of the API that sends the user's token."""

    id: UUID
    email: str
    password: str = field(repr=False)
    token: str = field(repr=False)
    api: httpx.Client = field(repr=False)


def sign_up(stack: Stack, api: httpx.Client) -> User:
    email, password = f"user-{uuid4()}@example.com", secrets.token_urlsafe(12)
    if isinstance(stack, Target):
        session = stack.sign_up(email, password)
    else:
        response = httpx.post(
            f"{stack.supabase_url}/auth/v1/signup",
            headers={"apikey": stack.keys.publishable},
            json={"email": email, "password": password},
            verify=NO_CERTIFICATES,
        )
        session = response.raise_for_status().json()
    api.headers["Authorization"] = f"Bearer {session['access_token']}"
    return User(UUID(session["user"]["id"]), email, password, session["access_token"], api)


class Users:
    """Users who have signed up, lent to one test after another: Auth is slow at that on purpose, and limits it."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._idle: list[User] = []

    @contextmanager
    def lend(self) -> Iterator[User]:
        """A user without an account."""
        with httpx.Client(base_url=self._stack.api_url, timeout=30, verify=NO_CERTIFICATES) as api:
            if self._idle:
                user = replace(self._idle.pop(), api=api)
                api.headers["Authorization"] = f"Bearer {user.token}"
            else:
                user = sign_up(self._stack, api)
            yield user
        stack = self._stack
        if stack.forget(user.id) if isinstance(stack, Target) else target.forget(stack.cluster, user.id):
            self._idle.append(user)


@contextmanager
def acting_as(connection: psycopg.Connection, user_id: UUID | None, **claims: Any) -> Iterator[psycopg.Connection]:
    """A transaction with the rights and the claims that PostgREST gives to a signed-in user's call."""
    all_claims = {"role": "authenticated", **claims} | ({} if user_id is None else {"sub": str(user_id)})
    with connection.transaction():
        connection.execute("set local role authenticated")
        # hosted projects read the second of these, the embedded gateway the first
        connection.execute("select set_config('request.jwt.claim.sub', %s, true)", [str(user_id or "")])
        connection.execute("select set_config('request.jwt.claims', %s, true)", [json.dumps(all_claims)])
        yield connection


def stored_accounts(stack: Stack, user_id: UUID) -> list[tuple[Any, ...]]:
    """A user's rows as they are in the table, whoever may see them."""
    if isinstance(stack, Target):
        return stack.stored_accounts(user_id)
    with stack.cluster.connect(MIGRATOR) as connection:
        return connection.execute("select * from public.user_accounts where user_id = %s", [user_id]).fetchall()
