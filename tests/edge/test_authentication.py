"""Without a genuine token of a signed-in user there is nothing to be had."""

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from edge_api.local.stack import Stack
from tests.edge.problems import assert_problem
from tests.support import ACCOUNTS, ENDPOINT_NAMES, ENDPOINTS, GET_OR_CREATE, User, signed, stored_accounts

BAD_TOKENS: dict[str, Callable[[Stack, User], str]] = {
    "garbage": lambda _stack, _user: "garbage",
    "three parts of garbage": lambda _stack, _user: "gar.ba.ge",
    "a bad signature": lambda _stack, user: user.token[:-8] + user.token[-8:].swapcase(),
    "no signature": lambda _stack, user: user.token.rpartition(".")[0] + ".",
    "another key": lambda stack, user: signed(stack, {"sub": str(user.id)}, key="x" * 48),
    "expired": lambda stack, user: signed(stack, {"sub": str(user.id), "exp": int(time.time()) - 3600}),
    "no expiry": lambda stack, user: signed(stack, {"sub": str(user.id), "exp": None}),
    "an expiry beyond numbers": lambda stack, user: signed(stack, {"sub": str(user.id), "exp": float("inf")}),
    "not valid yet": lambda stack, user: signed(stack, {"sub": str(user.id), "nbf": int(time.time()) + 3600}),
    "a token of 10 kB": lambda stack, user: signed(stack, {"sub": str(user.id), "padding": "x" * 10_000}),
}


NO_TOKENS: dict[str, list[tuple[str, str]]] = {
    "none": [],
    "empty": [("Authorization", "")],
    "no token": [("Authorization", "Bearer")],
    "another scheme": [("Authorization", "Basic YWRhOnNlY3JldA==")],
    "two headers": [("Authorization", "Bearer a.b.c"), ("Authorization", "Bearer a.b.c")],
}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=ENDPOINT_NAMES)
def test_each_endpoint_needs_the_token_of_a_user(stack: Stack, user: User, api: httpx.Client, endpoint: Any) -> None:
    method, path, body = endpoint
    for headers, problem in (
        ({}, (401, "missing_token")),
        (bearer("gar.ba.ge"), (401, "invalid_token")),
        (bearer(signed(stack, {"sub": str(user.id)}, key="x" * 48)), (401, "invalid_token")),
        (bearer(signed(stack, {"sub": str(user.id), "role": "service_role"})), (403, "not_a_user")),
    ):
        assert_problem(api.request(method, path, json=body, headers=headers), *problem)
    assert stored_accounts(stack, user.id) == []


@pytest.mark.parametrize("kind", BAD_TOKENS)
def test_a_bad_token_is_401(stack: Stack, user: User, api: httpx.Client, kind: str) -> None:
    response = api.post(GET_OR_CREATE, headers=bearer(BAD_TOKENS[kind](stack, user)))
    assert_problem(response, 401, "invalid_token")
    assert response.headers["WWW-Authenticate"].startswith("Bearer ")
    assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
    assert stored_accounts(stack, user.id) == []


def test_the_publishable_key_is_no_users_token(stack: Stack, api: httpx.Client) -> None:
    """A legacy one is a token itself, of the role anon."""
    problem = (403, "not_a_user") if stack.keys.publishable.count(".") == 2 else (401, "invalid_token")
    assert_problem(api.post(GET_OR_CREATE, headers=bearer(stack.keys.publishable)), *problem)


@pytest.mark.parametrize("kind", NO_TOKENS)
def test_no_token_is_401(api: httpx.Client, kind: str) -> None:
    response = api.get(ACCOUNTS, headers=NO_TOKENS[kind])
    assert_problem(response, 401, "missing_token")
    # RFC 6750: without credentials, the challenge tells of no error
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="accounts"'


@pytest.mark.parametrize("role", ["anon", "service_role", "postgres", "", None, ["authenticated"]])
def test_a_token_that_is_no_end_users_is_403(stack: Stack, user: User, api: httpx.Client, role: object) -> None:
    response = api.get(ACCOUNTS, headers=bearer(signed(stack, {"sub": str(user.id), "role": role})))
    assert_problem(response, 403, "not_a_user")


def test_the_scheme_is_not_case_sensitive(user: User) -> None:
    for scheme in ("bearer", "BEARER"):
        assert user.api.get(ACCOUNTS, headers={"Authorization": f"{scheme} {user.token}"}).status_code == 200


def test_the_unauthenticated_learn_nothing_about_their_request(api: httpx.Client) -> None:
    """The token is looked at before the body, whatever is wrong with that."""
    for body, content_type in ((b"{", "application/json"), (b"x" * 20_000, "text/plain")):
        response = api.post(ACCOUNTS, content=body, headers={"Content-Type": content_type})
        assert response.status_code == 401
    for method, path in (("POST", ACCOUNTS), ("GET", f"{ACCOUNTS}/no-id"), ("PATCH", f"{ACCOUNTS}/no-id")):
        assert api.request(method, path).status_code == 401


def test_a_deleted_users_token_makes_nothing(stack: Stack, user: User, database: Any) -> None:
    database.execute("delete from auth.users where id = %s", [user.id])
    response = user.api.post(GET_OR_CREATE)
    assert response.status_code == 401
    assert stored_accounts(stack, user.id) == []


def test_a_token_of_a_user_who_never_was_makes_nothing(stack: Stack, api: httpx.Client) -> None:
    response = api.post(GET_OR_CREATE, headers={"Authorization": f"Bearer {signed(stack, {})}"})
    assert response.status_code == 401
    assert response.json()["code"] == "invalid_token"


def test_an_anonymous_sign_in_reads_and_writes_nothing(stack: Stack, user: User) -> None:
    headers = {"Authorization": f"Bearer {signed(stack, {'sub': str(user.id), 'is_anonymous': True})}"}
    assert user.api.get(ACCOUNTS, headers=headers).json()["accounts"] == []
    for response in (
        user.api.post(GET_OR_CREATE, headers=headers),
        user.api.post(ACCOUNTS, headers=headers, json={"account_name": "Mine"}),
    ):
        assert response.status_code == 403
        assert response.json()["code"] == "permission_denied"
        assert "the sign-in is anonymous" in response.json()["detail"]
    assert stored_accounts(stack, user.id) == []


def test_an_anonymous_sign_in_cannot_rename(stack: Stack, user: User) -> None:
    account = user.api.post(GET_OR_CREATE).json()["account"]
    headers = {"Authorization": f"Bearer {signed(stack, {'sub': str(user.id), 'is_anonymous': True})}"}
    response = user.api.patch(f"{ACCOUNTS}/{account['id']}", headers=headers, json={"account_name": "Renamed"})
    assert response.status_code == 403
    assert user.api.get(f"{ACCOUNTS}/{account['id']}").json() == account
