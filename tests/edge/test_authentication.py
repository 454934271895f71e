"""Without a genuine token of a signed-in user there is nothing to be had."""

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from edge_api.local.stack import Stack
from tests.support import ACCOUNTS, ENDPOINT_NAMES, ENDPOINTS, GET_OR_CREATE, User, signed, stored_accounts

BAD_TOKENS: dict[str, Callable[[Stack, User], str]] = {
    "garbage": lambda _stack, _user: "garbage",
    "three parts of garbage": lambda _stack, _user: "gar.ba.ge",
    "the publishable key": lambda stack, _user: stack.keys.publishable,
    "a bad signature": lambda _stack, user: user.token[:-8] + user.token[-8:].swapcase(),
    "no signature": lambda _stack, user: user.token.rpartition(".")[0] + ".",
    "another key": lambda stack, user: signed(stack, {"sub": str(user.id)}, key="x" * 48),
    "expired": lambda stack, user: signed(stack, {"sub": str(user.id), "exp": int(time.time()) - 3600}),
    "no expiry": lambda stack, user: signed(stack, {"sub": str(user.id), "exp": None}),
    "an expiry beyond numbers": lambda stack, user: signed(stack, {"sub": str(user.id), "exp": float("inf")}),
    "not valid yet": lambda stack, user: signed(stack, {"sub": str(user.id), "nbf": int(time.time()) + 3600}),
    "a token of 10 kB": lambda stack, user: signed(stack, {"sub": str(user.id), "padding": "x" * 10_000}),
}


@pytest.fixture
def call(api: httpx.Client) -> Callable[..., httpx.Response]:
    def call(endpoint: tuple[str, str, dict[str, str] | None], headers: Any) -> httpx.Response:
        method, path, body = endpoint
        return api.request(method, path, json=body, headers=headers)

    return call


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=ENDPOINT_NAMES)
@pytest.mark.parametrize("kind", BAD_TOKENS)
def test_a_bad_token_is_401(
    stack: Stack, user: User, call: Callable[..., httpx.Response], endpoint: Any, kind: str
) -> None:
    answer = call(endpoint, {"Authorization": f"Bearer {BAD_TOKENS[kind](stack, user)}"})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    assert answer.json()["code"] == "invalid_token"
    assert stored_accounts(stack, user.id) == []


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=ENDPOINT_NAMES)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic YWRhOnNlY3JldA=="},
        [("Authorization", "Bearer a.b.c"), ("Authorization", "Bearer a.b.c")],
    ],
    ids=["none", "empty", "no token", "another scheme", "two headers"],
)
def test_no_token_is_401(call: Callable[..., httpx.Response], endpoint: Any, headers: Any) -> None:
    answer = call(endpoint, headers)
    assert answer.status_code == 401
    # RFC 6750: without credentials, the challenge tells of no error
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="accounts"'
    assert answer.json()["code"] == "missing_token"


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=ENDPOINT_NAMES)
@pytest.mark.parametrize("role", ["anon", "service_role", "postgres", "", None, ["authenticated"]])
def test_a_token_that_is_no_end_users_is_403(
    stack: Stack, user: User, call: Callable[..., httpx.Response], endpoint: Any, role: object
) -> None:
    token = signed(stack, {"sub": str(user.id), "role": role})
    answer = call(endpoint, {"Authorization": f"Bearer {token}"})
    assert answer.status_code == 403
    assert answer.json()["code"] == "not_a_user"


def test_the_scheme_is_not_case_sensitive(user: User) -> None:
    for scheme in ("bearer", "BEARER"):
        assert user.api.get(ACCOUNTS, headers={"Authorization": f"{scheme} {user.token}"}).status_code == 200


def test_strangers_learn_nothing_about_their_request(api: httpx.Client) -> None:
    """The token is looked at before the body, whatever is wrong with that."""
    for body, content_type in ((b"{", "application/json"), (b"x" * 20_000, "text/plain")):
        answer = api.post(ACCOUNTS, content=body, headers={"Content-Type": content_type})
        assert answer.status_code == 401
    for method, path in (("POST", ACCOUNTS), ("GET", f"{ACCOUNTS}/no-id"), ("PATCH", f"{ACCOUNTS}/no-id")):
        assert api.request(method, path).status_code == 401


def test_a_deleted_users_token_makes_nothing(stack: Stack, user: User, database: Any) -> None:
    database.execute("delete from auth.users where id = %s", [user.id])
    answer = user.api.post(GET_OR_CREATE)
    assert answer.status_code == 401
    assert stored_accounts(stack, user.id) == []


def test_a_token_of_a_user_who_never_was_makes_nothing(stack: Stack, api: httpx.Client) -> None:
    answer = api.post(GET_OR_CREATE, headers={"Authorization": f"Bearer {signed(stack, {})}"})
    assert answer.status_code == 401
    assert answer.json()["code"] == "invalid_token"


def test_an_anonymous_sign_in_reads_and_writes_nothing(stack: Stack, user: User) -> None:
    headers = {"Authorization": f"Bearer {signed(stack, {'sub': str(user.id), 'is_anonymous': True})}"}
    assert user.api.get(ACCOUNTS, headers=headers).json()["accounts"] == []
    for answer in (
        user.api.post(GET_OR_CREATE, headers=headers),
        user.api.post(ACCOUNTS, headers=headers, json={"account_name": "Mine"}),
    ):
        assert answer.status_code == 403
        assert answer.json()["code"] == "permission_denied"
        assert "anonymous sign-in cannot create or change accounts" in answer.json()["detail"]
    assert stored_accounts(stack, user.id) == []


def test_an_anonymous_sign_in_cannot_rename(stack: Stack, user: User) -> None:
    account = user.api.post(GET_OR_CREATE).json()["account"]
    headers = {"Authorization": f"Bearer {signed(stack, {'sub': str(user.id), 'is_anonymous': True})}"}
    answer = user.api.patch(f"{ACCOUNTS}/{account['id']}", headers=headers, json={"account_name": "Renamed"})
    assert answer.status_code == 403
    assert user.api.get(f"{ACCOUNTS}/{account['id']}").json() == account
