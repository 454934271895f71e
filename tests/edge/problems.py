"""What each problem document has, and what none may tell."""

from typing import Final

import httpx

from edge_api.local.stack import Stack
from edge_api.problems import TITLES
from tests.support import User

MARK: Final = "kilroy: select * from user_accounts"  # part of what a scripted upstream sends and nobody may see
INSIDE: Final = (
    *(MARK, "kilroy", "user_accounts", "constraint", "violates", "relation", "function", "select ", "insert ", "rpc"),
    *("sqlstate", "pgrst", "postgres", "pyreqwest", "traceback", "127.0.0.1", "localhost"),
)


def secrets_of(stack: Stack, user: User) -> tuple[str, ...]:
    return user.token, user.email, stack.keys.publishable, stack.supabase_url


def assert_tells_nothing_of_the_inside(text: str, *secrets: str) -> None:
    assert [word for word in (*INSIDE, *secrets) if word.lower() in text.lower()] == []


def assert_problem(response: httpx.Response, status: int, code: str, *secrets: str) -> None:
    """The response is this problem document, and tells nothing of the inside."""
    problem = response.json()
    assert (response.status_code, problem.get("code")) == (status, code)
    assert response.headers["Content-Type"] == "application/problem+json"
    assert set(problem) - {"errors"} == {"type", "title", "status", "detail", "code", "request_id"}
    assert ("errors" in problem) == (status == 422)
    assert (problem["type"], problem["status"], problem["title"]) == ("about:blank", status, TITLES[status])
    assert problem["request_id"] == response.headers["X-Request-ID"]
    assert ("Retry-After" in response.headers) == (status == 503)
    assert status != 503 or int(response.headers["Retry-After"]) > 0
    assert ("WWW-Authenticate" in response.headers) == (status == 401)
    assert_tells_nothing_of_the_inside(f"{response.text} {response.headers.multi_items()}", *secrets)
