"""What is around the responses: headers, other origins, proxies, and the settings for them."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest

from edge_api.settings import InvalidSettingsError
from tests.edge.logged import USER_ID, Canaries, serving_more
from tests.edge.scripted import ScriptedUpstream, responding, scripted_upstream
from tests.edge.serving import COMPLETE, read
from tests.support import ACCOUNTS, GET_OR_CREATE, NO_CERTIFICATES, UNKNOWN_ID

ALLOWED = "https://app.example.com"
ALSO_ALLOWED = "https://b.example.com"
ORIGINS = f"{ALLOWED}, {ALSO_ALLOWED}"
ID = f"{ACCOUNTS}/{UNKNOWN_ID}"
ACCOUNT = {
    "id": str(uuid4()),
    "user_id": USER_ID,
    "account_name": "Mine",
    "is_active": True,
    "created_at": "2026-11-23T18:56:19.806480+00:00",
    "updated_at": "2026-11-23T18:56:19.806480+00:00",
}
# An API that tells what it thinks of its client.
MORE = """
from fastapi import Request

def add_to(app):
    @app.get("/who")
    async def who(request: Request):
        return {"scheme": request.url.scheme, "client": request.client.host, "host": request.url.hostname}
"""
# The kinds of responses: a request, how Supabase responds to it, and the status.
KINDS: dict[str, tuple[str, str, dict[str, Any], tuple[int, object], int]] = {
    "200": ("GET", ACCOUNTS, {}, (200, []), 200),
    "201": ("POST", ACCOUNTS, {"json": {"account_name": "Mine"}}, (200, ACCOUNT), 201),
    "401 without a token": ("GET", ACCOUNTS, {"headers": {"Authorization": ""}}, (200, []), 401),
    "401 of Supabase": ("GET", ACCOUNTS, {}, (401, {"code": "PGRST301"}), 401),
    "403": ("POST", GET_OR_CREATE, {}, (403, {"code": "42501"}), 403),
    "404 for an id": ("GET", ID, {}, (200, []), 404),
    "404 for a path": ("GET", "/nothing", {}, (200, []), 404),
    "404 for an asset": ("GET", "/docs/assets/nothing", {}, (200, []), 404),
    "405": ("DELETE", ID, {}, (200, []), 405),
    "409": ("POST", ACCOUNTS, {"json": {"account_name": "Mine"}}, (409, {"code": "23505"}), 409),
    "413": ("POST", ACCOUNTS, {"content": b" " * 20_000}, (200, []), 413),
    "415": ("POST", ACCOUNTS, {"content": b"{}"}, (200, []), 415),
    "422": ("POST", ACCOUNTS, {"json": {}}, (200, []), 422),
    "502": ("GET", ACCOUNTS, {}, (500, {}), 502),
    "503": ("GET", ACCOUNTS, {}, (503, {}), 503),
    "504": ("GET", ACCOUNTS, {}, (504, {}), 504),
    "liveness": ("GET", "/healthz", {}, (200, []), 200),
    "readiness": ("GET", "/readyz", {}, (400, {"code": "PGRST200"}), 200),
}
ORIGIN = {"EDGE_CORS_ORIGINS": ORIGINS, "EDGE_CORS_HEADERS": "X-Of-The-App"}


@dataclass
class Api:
    """An API with a scripted upstream behind it, and a client of it with a user's token."""

    client: httpx.Client
    upstream: ScriptedUpstream

    def call(self, kind: str, **headers: str) -> httpx.Response:
        """Provoke a kind of response."""
        method, path, content, supabase, status = KINDS[kind]
        self.upstream.script = responding(*supabase)
        all_headers = {**headers, **content.get("headers", {})}
        response = self.client.request(method, path, **{**content, "headers": all_headers})
        assert response.status_code == status
        return response


@pytest.fixture(scope="module")
def apis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Api]]:
    """Starts an API for each different set of settings."""
    running: dict[str, Api] = {}
    with ExitStack() as stack:

        def get(**settings: str) -> Api:
            name = json.dumps(settings)
            if name not in running:
                upstream = stack.enter_context(scripted_upstream())
                # a variable of uvicorn's, which must have no effect
                all_settings = {"FORWARDED_ALLOW_IPS": "*", **settings}
                folder = tmp_path_factory.mktemp("edge")
                url, _ = stack.enter_context(serving_more(folder, MORE, upstream.url, **all_settings))
                headers = {"Authorization": f"Bearer {Canaries().token('')}"}
                client = stack.enter_context(httpx.Client(base_url=url, headers=headers, verify=NO_CERTIFICATES))
                running[name] = Api(client, upstream)
            return running[name]

        yield get


def cors(response: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name.startswith("access-control-")}


def listed(value: str) -> set[str]:
    return {part.strip().lower() for part in value.split(",")}


# Every response -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_no_response_is_cached_sniffed_shared_with_another_origin_or_names_its_server(
    apis: Callable[..., Api], kind: str
) -> None:
    response = apis().call(kind, Origin=ALLOWED)
    assert response.headers.get_list("Cache-Control") == ["no-store"]
    assert response.headers.get_list("X-Content-Type-Options") == ["nosniff"]
    assert len(response.headers.get_list("X-Request-ID")) == 1
    assert "Server" not in response.headers
    assert "X-Powered-By" not in response.headers
    assert cors(response) == {}  # unless the setting names some


# Other origins --------------------------------------------------------------------------------------------------------


def test_without_the_setting_a_preflight_is_a_method_like_any_other(apis: Callable[..., Api]) -> None:
    headers = {"Origin": ALLOWED, "Access-Control-Request-Method": "GET"}
    response = apis().client.options(ACCOUNTS, headers=headers)
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert cors(response) == {}


@pytest.mark.parametrize(
    ("kind", "origin"), [*((kind, ALLOWED) for kind in KINDS), ("200", ALSO_ALLOWED), ("503", ALSO_ALLOWED)]
)
def test_a_page_of_an_allowed_origin_can_read_every_response(apis: Callable[..., Api], kind: str, origin: str) -> None:
    response = apis(**ORIGIN).call(kind, Origin=origin)
    assert set(cors(response)) == {"access-control-allow-origin", "access-control-expose-headers"}
    assert response.headers.get_list("Access-Control-Allow-Origin") == [origin]
    exposed = listed(response.headers["Access-Control-Expose-Headers"])
    assert exposed == {"location", "retry-after", "www-authenticate", "x-request-id"}
    assert "origin" in listed(response.headers["Vary"])
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("kind", "origin"),
    [
        *((kind, "https://evil.example.com") for kind in ("200", "401 without a token", "503")),
        ("200", "http://app.example.com"),
        ("200", "https://app.example.com:8443"),
        ("200", "https://app.example.com.evil.example"),
        ("200", "https://sub.app.example.com"),
        ("200", "https://appXexample.com"),
        ("200", "null"),
        ("200", "*"),
        ("200", ORIGINS),
    ],
)
def test_a_page_of_another_origin_reads_none(apis: Callable[..., Api], kind: str, origin: str) -> None:
    response = apis(**ORIGIN).call(kind, Origin=origin)
    assert set(cors(response)) <= {"access-control-expose-headers"}  # which says nothing by itself
    assert "origin" in listed(response.headers["Vary"])


@pytest.mark.parametrize("kind", ["200", "404 for a path"])
def test_a_response_without_cors_varies_by_origin(apis: Callable[..., Api], kind: str) -> None:
    response = apis(**ORIGIN).call(kind)
    assert cors(response) == {}
    assert "origin" in listed(response.headers["Vary"])


@pytest.fixture(scope="module")
def with_cors(apis: Callable[..., Api]) -> Iterator[httpx.Client]:
    """A client without a token: browsers send none with a preflight."""
    with httpx.Client(base_url=apis(**ORIGIN).client.base_url, verify=NO_CERTIFICATES) as client:
        yield client


# With supabase-js beside the API, and with OpenTelemetry or Sentry in the page.
SENT_BY_PAGES = (
    *("authorization", "content-type", "x-request-id", "apikey", "x-client-info"),
    *("traceparent", "tracestate", "baggage", "sentry-trace", "x-of-the-app"),
)


@pytest.mark.parametrize(
    ("path", "method"), [(ACCOUNTS, "GET"), (ACCOUNTS, "POST"), (GET_OR_CREATE, "POST"), (ID, "GET"), (ID, "PATCH")]
)
def test_a_preflight_of_an_allowed_origin_passes(with_cors: httpx.Client, path: str, method: str) -> None:
    response = with_cors.options(
        path,
        headers={
            "Origin": ALSO_ALLOWED,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": ",".join(SENT_BY_PAGES),
        },
    )
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == ALSO_ALLOWED
    assert listed(response.headers["Access-Control-Allow-Methods"]) == {"get", "post", "patch"}
    assert set(SENT_BY_PAGES) <= listed(response.headers["Access-Control-Allow-Headers"])
    assert "Access-Control-Allow-Credentials" not in response.headers
    assert "origin" in listed(response.headers["Vary"])


@pytest.mark.parametrize(
    ("origin", "method", "headers"),
    [
        ("https://evil.example.com", "GET", "authorization"),
        ("null", "GET", "authorization"),
        (ALLOWED, "DELETE", "authorization"),
        (ALLOWED, "GET", "authorization, x-other"),
    ],
    ids=["another origin", "no origin", "another method", "another header"],
)
def test_any_other_preflight_fails(with_cors: httpx.Client, origin: str, method: str, headers: str) -> None:
    response = with_cors.options(
        ACCOUNTS,
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": headers,
        },
    )
    assert response.status_code == 400
    assert (origin == ALLOWED) == ("Access-Control-Allow-Origin" in response.headers)
    assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize("kind", ["200", "401 without a token"])
def test_the_origin_can_be_any_but_never_with_cookies(apis: Callable[..., Api], kind: str) -> None:
    response = apis(EDGE_CORS_ORIGINS="*").call(kind, Origin="https://anybody.example", Cookie="a=b")
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in response.headers


# The docs, and proxies ------------------------------------------------------------------------------------------------


def test_without_docs_nothing_of_them_is_there(apis: Callable[..., Api]) -> None:
    client = apis(EDGE_DOCS="false").client
    for path in (
        "/docs",
        "/docs/",
        "/docs/assets/swagger-ui.css",
        "/openapi.json",
        "/redoc",
        "/docs/oauth2-redirect",
    ):
        response = client.get(path)
        assert (response.status_code, response.json()["code"]) == (404, "not_found"), path
    assert client.get(ACCOUNTS).status_code == 200


def test_behind_a_proxy_that_strips_a_prefix_paths_have_it(apis: Callable[..., Api]) -> None:
    """Of /accounts-api/api/accounts the proxy leaves /api/accounts, which is what is asked for here."""
    prefix = "/accounts-api"
    api = apis(EDGE_ROOT_PATH=prefix)
    client = api.client
    api.upstream.script = responding(200, ACCOUNT)
    created = client.post(ACCOUNTS, json={"account_name": "Mine"})
    assert (created.status_code, created.headers["Location"]) == (201, f"{prefix}{ACCOUNTS}/{ACCOUNT['id']}")
    page = client.get("/docs")
    loaded = re.findall(r'(?:src|href|url)["\']?\s*[=:]\s*["\']([^"\']+)', page.text)
    assert len(loaded) == 4
    assert all(path.startswith(f"{prefix}/") for path in loaded)
    assert [client.get(path.removeprefix(prefix)).status_code for path in loaded] == [200] * 4
    assert client.get("/openapi.json").json()["servers"] == [{"url": prefix}]
    assert client.get("/healthz").status_code == 200
    assert client.delete(ACCOUNTS).headers["Allow"] == "GET, POST"


def test_what_a_proxy_says_is_not_believed(apis: Callable[..., Api]) -> None:
    headers = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}
    seen = apis().client.get("/who", headers=headers).json()
    assert seen == {"scheme": "http", "client": "127.0.0.1", "host": "127.0.0.1"}


# Settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("EDGE_CORS_ORIGINS", "https://app.example.com/"),
        ("EDGE_CORS_ORIGINS", "https://app.example.com/path"),
        ("EDGE_CORS_ORIGINS", "https://app.example.com?query"),
        ("EDGE_CORS_ORIGINS", "https://user:password@app.example.com"),
        ("EDGE_CORS_ORIGINS", "b.example.org"),
        ("EDGE_CORS_ORIGINS", "https://*.example.com/*"),
        ("EDGE_CORS_ORIGINS", "ftp://app.example.com"),
        ("EDGE_CORS_ORIGINS", "null"),
        ("EDGE_CORS_ORIGINS", "garbage"),
        ("EDGE_CORS_ORIGINS", "https://app.example.com https://b.example.com"),
        ("EDGE_CORS_ORIGINS", '["https://app.example.com"]'),
        ("EDGE_CORS_ORIGINS", f"{ALLOWED}, garbage"),
        ("EDGE_LOG_LEVEL", "verbose"),
        ("EDGE_LOG_LEVEL", "INFO "),
        ("EDGE_LOG_LEVEL", "10"),
        ("EDGE_DOCS", "perhaps"),
        ("EDGE_DOCS", "2"),
        ("EDGE_ROOT_PATH", "without-a-slash"),
        ("EDGE_ROOT_PATH", "/accounts-api/"),
        ("EDGE_ROOT_PATH", "/"),
        ("EDGE_ROOT_PATH", "https://example.com/accounts-api"),
        ("EDGE_ROOT_PATH", "/a b"),
        ("EDGE_UPSTREAM_WAITING", "-1"),
        ("EDGE_UPSTREAM_WAITING", "10001"),
        ("EDGE_UPSTREAM_WAITING", "some"),
        ("EDGE_UPSTREAM_WAITING", "1.5"),
    ],
)
def test_a_wrong_setting_is_named_and_not_repeated(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    with pytest.raises(InvalidSettingsError) as refused:
        read(monkeypatch, {**COMPLETE, variable: value})
    (line,) = str(refused.value).splitlines()
    name, _, message = line.partition(": ")
    assert name.partition(".")[0] == variable  # of several in one variable also which
    assert len(value) < 3 or value not in message


def test_lists_are_split_at_commas_and_may_be_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, {**COMPLETE, "EDGE_CORS_ORIGINS": f" {ORIGINS} ,"})
    assert settings.edge_cors_origins == (ALLOWED, ALSO_ALLOWED)


def test_nothing_is_open_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, {**COMPLETE, "EDGE_CORS_ORIGINS": ""})
    assert settings.edge_cors_origins == ()


def test_the_message_about_a_wrong_origin_is_about_origins(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidSettingsError, match="must be origins such as"):
        read(monkeypatch, {**COMPLETE, "EDGE_CORS_ORIGINS": "app.example.com"})


@pytest.mark.parametrize("value", ["https://App.example.com", "https://app.example.com:443", "https://bücher.example"])
def test_what_no_browser_sends_as_an_origin_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    with pytest.raises(InvalidSettingsError, match="EDGE_CORS_ORIGINS"):
        read(monkeypatch, {**COMPLETE, "EDGE_CORS_ORIGINS": value})
