"""The embedded Supabase gateway passes on the REST and Auth API, and nothing else of the package it is created from."""

import json
import socket
from urllib.parse import urlsplit

import httpx
import pytest

from edge_api.local.stack import Stack
from tests import target
from tests.support import NO_CERTIFICATES, User

# The package serves these to anybody; the first returns the database's address with its password.
SYSTEM_PATHS = ("/_system/info", "/_system/config", "/_system/introspect")
# Other spellings of the first, as a URL parser or a router might read them.
SPELLINGS = (
    "//_system/info",
    "/%5Fsystem/info",
    "/_SYSTEM/info",
    "/rest/v1/../../_system/info",
    "/rest/v1/%2e%2e/%2E%2E/_system/info",
    "/rest/v1/..%2f..%2f_system/info",
    "/rest/v1//../../../_system/info",
    "/rest/v1;/../../_system/info",
    "/rest/v1\\..\\..\\_system/info",
    "/auth/v1/../../_system/info",
    "/rest/v1x/../_system/info",
    "http://127.0.0.1/_system/info",
)
OTHER_PATHS = ("/", "/_system", "/rest/v10/user_accounts", "/rest", "/auth", "/storage/v1/bucket", "/graphql/v1")

pytestmark = pytest.mark.skipif(target.is_named(), reason="a named project has a gateway of its own")


def exchange(stack: Stack, method: str, request_target: str, *headers: str) -> tuple[int, dict[str, str], str]:
    """A request with a target that no client library would send, without a key; status, headers and body."""
    address = urlsplit(stack.supabase_url)
    lines = [f"{method} {request_target} HTTP/1.1", f"Host: {address.netloc}", "Connection: close", *headers]
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = received.decode().partition("\r\n\r\n")
    status, *fields = head.split("\r\n")
    return int(status.split()[1]), {name.lower(): value for name, _, value in (f.partition(": ") for f in fields)}, body


@pytest.mark.parametrize("path", [*SYSTEM_PATHS, *SPELLINGS, *OTHER_PATHS])
@pytest.mark.parametrize("key", [False, True], ids=["without-key", "with-key"])
def test_only_rest_and_auth_are_served(stack: Stack, path: str, *, key: bool) -> None:
    headers = [f"apikey: {stack.keys.publishable}"] if key else []
    status, received, body = exchange(stack, "GET", path, "Origin: http://127.0.0.1:1", *headers)
    if "%2f" in path:  # an encoded slash separates nothing: to the gateway this is the name of a table
        assert status in ({404} if key else {401})
    else:
        assert status in {400, 404}
        assert not [name for name in received if name.startswith("access-control-")]
        assert body.strip("0\r\n") == ""
    for secret in ("postgres", stack.keys.jwt_secret, stack.keys.secret):
        assert secret not in body + json.dumps(received)


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", SYSTEM_PATHS)
def test_no_method_serves_the_rest(stack: Stack, path: str, method: str) -> None:
    for key in (stack.keys.publishable, stack.keys.secret):
        headers = ["Origin: http://127.0.0.1:1", f"apikey: {key}", f"Authorization: Bearer {key}"]
        status, received, body = exchange(stack, method, path, *headers)
        assert status == 404
        assert not [name for name in received if name.startswith("access-control-")]
        assert body.strip("0\r\n") == ""


@pytest.mark.parametrize("path", ["/auth/v1/admin/users", "/rest/v1/", "/rest/v1/user_accounts", "/auth/v1/user"])
def test_what_is_served_says_nothing_without_the_right_key(stack: Stack, user: User, path: str) -> None:
    """To another user of the machine, or a page of another port, who may have the publishable key."""
    for headers in ([], [f"apikey: {stack.keys.publishable}"], ["apikey: sb_secret_guessed"]):
        status, _, body = exchange(stack, "GET", path, *headers)
        assert status in {401, 403, 404}
        for fact in (user.email, str(user.id), "user_id", "postgres"):
            assert fact not in body


@pytest.mark.parametrize("path", ["/auth/v1/nothing", "/auth/v1/user/nothing", "/auth/v1/user/identities/authorize"])
def test_a_path_that_auth_lacks_is_not_found(stack: Stack, user: User, path: str) -> None:
    headers = {"apikey": stack.keys.publishable, "Authorization": f"Bearer {user.token}"}
    response = httpx.get(f"{stack.supabase_url}{path}", headers=headers, verify=NO_CERTIFICATES)
    assert (response.status_code, response.text) == (404, "")


@pytest.mark.parametrize("path", SYSTEM_PATHS)
def test_a_preflight_elsewhere_is_not_found(stack: Stack, path: str) -> None:
    status, received, _ = exchange(
        stack, "OPTIONS", path, "Origin: http://127.0.0.1:1", "Access-Control-Request-Method: GET"
    )
    assert status == 404
    assert not [name for name in received if name.startswith("access-control-")]


@pytest.mark.parametrize("path", ["/rest/v1/user_accounts", "/auth/v1/user"])
def test_a_preflight_of_rest_and_auth_is_granted(stack: Stack, path: str) -> None:
    headers = {
        "Origin": "http://127.0.0.1:1",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization,apikey",
    }
    response = httpx.options(f"{stack.supabase_url}{path}", headers=headers, verify=NO_CERTIFICATES)
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.headers["access-control-allow-headers"] == "authorization,apikey"
