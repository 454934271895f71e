"""Every error response is a problem document that tells the client enough, and nothing of the inside."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from edge_api.local.stack import Stack
from edge_api.main import create_app
from edge_api.settings import Settings
from tests.edge.problems import assert_problem, secrets_of
from tests.support import ACCOUNTS, GET_OR_CREATE, NO_CERTIFICATES, UNKNOWN_ID, User, signed

JSON = {"Content-Type": "application/json"}
Provoke = Callable[[Stack, User], httpx.Response]


def _without_token(stack: Stack, user: User) -> httpx.Response:
    return httpx.get(f"{stack.api_url}{ACCOUNTS}", verify=NO_CERTIFICATES)


def _with_token_of(role: str) -> Provoke:
    return lambda stack, user: user.api.get(
        ACCOUNTS, headers={"Authorization": f"Bearer {signed(stack, {'role': role})}"}
    )


def _second_account(stack: Stack, user: User) -> httpx.Response:
    user.api.post(GET_OR_CREATE)
    return user.api.post(ACCOUNTS, json={"account_name": "Second"})


def _anonymous_write(stack: Stack, user: User) -> httpx.Response:
    token = signed(stack, {"sub": str(user.id), "is_anonymous": True})
    return user.api.post(GET_OR_CREATE, headers={"Authorization": f"Bearer {token}"})


def _in_pieces(body: bytes) -> Iterator[bytes]:
    yield from (body[start : start + 1000] for start in range(0, len(body), 1000))


PROBLEMS: dict[str, tuple[int, str, Provoke]] = {
    "no token": (401, "missing_token", _without_token),
    "bad token": (401, "invalid_token", lambda _s, u: u.api.get(ACCOUNTS, headers={"Authorization": "Bearer x.y.z"})),
    "service token": (403, "not_a_user", _with_token_of("service_role")),
    "anonymous write": (403, "permission_denied", _anonymous_write),
    "no such account": (404, "account_not_found", lambda _s, u: u.api.get(f"{ACCOUNTS}/{UNKNOWN_ID}")),
    "no such path": (404, "not_found", lambda _s, u: u.api.get("/api/nothing")),
    "a trailing slash": (404, "not_found", lambda _s, u: u.api.get(f"{ACCOUNTS}/", follow_redirects=False)),
    "wrong method": (405, "method_not_allowed", lambda _s, u: u.api.delete(ACCOUNTS)),
    "second account": (409, "account_exists", _second_account),
    "too large": (413, "body_too_large", lambda _s, u: u.api.post(ACCOUNTS, content=b" " * 16_385, headers=JSON)),
    "too large, in pieces": (
        413,
        "body_too_large",
        lambda _s, u: u.api.post(ACCOUNTS, content=_in_pieces(b" " * 20_000), headers=JSON),
    ),
    "too large where no body is taken": (
        413,
        "body_too_large",
        lambda _s, u: u.api.post(GET_OR_CREATE, content=b" " * 16_385),
    ),
    "plain text": (
        415,
        "unsupported_media_type",
        lambda _s, u: u.api.post(ACCOUNTS, content=b"{}", headers={"Content-Type": "text/plain"}),
    ),
    "a form": (415, "unsupported_media_type", lambda _s, u: u.api.post(ACCOUNTS, data={"account_name": "Mine"})),
    "no content type": (415, "unsupported_media_type", lambda _s, u: u.api.post(ACCOUNTS, content=b"{}")),
    "wrong body": (422, "invalid_request", lambda _s, u: u.api.post(ACCOUNTS, json={"account_name": ""})),
    "wrong id": (422, "invalid_request", lambda _s, u: u.api.get(f"{ACCOUNTS}/1")),
}


@pytest.mark.parametrize("kind", PROBLEMS)
def test_an_error_is_a_problem_document(stack: Stack, user: User, kind: str) -> None:
    status, code, provoke = PROBLEMS[kind]
    response = provoke(stack, user)
    assert_problem(response, status, code, *secrets_of(stack, user))


def test_a_body_of_16_kib_is_taken(user: User) -> None:
    body = b'{"account_name": "Mine"}'.ljust(16_384)
    assert user.api.post(ACCOUNTS, content=body, headers=JSON).status_code == 201


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/x+json"]
)
def test_json_goes_under_all_its_names(user: User, content_type: str) -> None:
    response = user.api.post(ACCOUNTS, content=b'{"account_name": "Mine"}', headers={"Content-Type": content_type})
    assert response.status_code == 201


def test_405_lists_the_methods_that_are_taken(user: User) -> None:
    assert user.api.put(ACCOUNTS).headers["Allow"] == "GET, POST"
    assert user.api.put(f"{ACCOUNTS}/{UNKNOWN_ID}").headers["Allow"] == "GET, PATCH"


def test_a_well_formed_request_id_is_kept(api: httpx.Client) -> None:
    response = api.get(ACCOUNTS, headers={"X-Request-ID": "frontend-7f3a.1"})
    assert response.headers["X-Request-ID"] == response.json()["request_id"] == "frontend-7f3a.1"


@pytest.mark.parametrize("request_id", ["", "short", "x" * 129, "with a blank", "<script>", 'quo"te-quote'])
def test_a_malformed_request_id_is_replaced(api: httpx.Client, request_id: str) -> None:
    response = api.get(ACCOUNTS, headers={"X-Request-ID": request_id})
    assert response.headers["X-Request-ID"] == response.json()["request_id"] != request_id
    assert len(response.json()["request_id"]) == 32


def test_a_crash_is_a_problem_document_too(stack: Stack, user: User) -> None:
    """The one error that cannot be provoked from outside: a bug."""
    app = create_app(Settings.model_validate({"supabase_url": stack.supabase_url, "SUPABASE_ANON_KEY": "x"}))

    @app.get("/crash")
    async def crash() -> Any:
        raise RuntimeError(f"select * from user_accounts; {user.token}")

    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://edge") as client:
            return await client.get("/crash")

    assert_problem(asyncio.run(call()), 500, "internal_error", *secrets_of(stack, user))
