"""The HTTP client below the supabase package: pyreqwest, in the place and form of httpx's client.

A request takes 265 µs of CPU with it and 820 µs with httpx's own transport, which slows down with the number of
concurrent requests (0.8 ms at 1, 150 ms at 64), measured against an instant upstream.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import httpx
import orjson
from pyreqwest import exceptions as failures
from pyreqwest.client import Client, ClientBuilder

from edge_api.errors import ApiError, Kind, from_upstream
from edge_api.settings import Settings

# Below the 5 s after which Node servers (the embedded gateway) close an idle connection: reusing a connection that the
# server is closing would fail the request. Hosted gateways wait longer.
_KEEPALIVE_SECONDS: Final = 4.0
_MAX_RESPONSE_BYTES: Final = 64 * 1024  # one account has 1 KiB
_ERROR_CODE: Final = re.compile(r"(?:[0-9A-Z]{5,10})?")  # PostgREST's, or an SQLSTATE; anything else could be anything


class _Response:
    """A successful response, as far as the library looks at it: creating httpx's own takes 10 µs."""

    status_code: Final = 200
    is_success: Final = True
    request: Final = httpx.Request("POST", "")  # without a wish to count rows

    def __init__(self, content: bytes) -> None:
        self._content = content

    def json(self) -> object:
        """The body, parsed. Raises ApiError; of any other error the library would make a response."""
        try:
            return orjson.loads(self._content)
        except orjson.JSONDecodeError as error:
            raise ApiError(Kind.BAD_UPSTREAM, cause=Kind.SUPABASE_UNREACHABLE) from error


class Transport:
    """Returns successful responses only; all else is raised as the error for the client.

    Done here because the status is gone later: the library's error has the body's code only, and bodies of proxies in
    between have none.
    """

    auth: Final = None  # which the library asks an httpx client for

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool: Client | None = None

    def _connections(self) -> Client:
        """The pool of connections; the first request creates it."""
        if self._pool is None:
            connect_timeout = timedelta(seconds=self._settings.edge_upstream_connect_timeout)
            builder = (
                ClientBuilder()
                .http1_only()  # a connection that is lost costs the one request on it
                .max_connections(self._settings.edge_upstream_connections)
                .pool_timeout(connect_timeout)
                .connect_timeout(connect_timeout)
                .timeout(timedelta(seconds=self._settings.edge_upstream_timeout))
                .pool_idle_timeout(timedelta(seconds=_KEEPALIVE_SECONDS))
                .follow_redirects(False)  # a token goes to no other address than the one that was configured
                .referer(False)
                .user_agent("edge-api")
                .default_headers({"apikey": self._settings.supabase_publishable_key, "Content-Profile": "public"})
            )
            if self._settings.supabase_url.startswith("http://"):  # on this machine
                builder = builder.no_proxy()  # one of the environment would get tokens in clear text
            # a small response could become a large one
            self._pool = builder.gzip(False).brotli(False).deflate(False).zstd(False).build()
        return self._pool

    async def aclose(self) -> None:
        """Close the connections. A request after it opens new ones."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def request(
        self, method: str, url: str, *, content: bytes, headers: httpx.Headers, **_unused: object
    ) -> _Response:
        """Make a request, as httpx does. Raises ApiError."""
        status, response = await self.exchange(method, url, headers, content)
        if not httpx.codes.is_success(status):
            raise from_upstream(status, error_code(response))
        return _Response(response)

    async def exchange(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """Make a request; returns the response's status and body, whatever they are. Raises ApiError."""
        request = self._connections().request(method, url).headers(headers)
        try:
            async with (request.body_bytes(body) if body else request).build_streamed() as response:
                status, content = response.status, await response.body_reader.read(_MAX_RESPONSE_BYTES + 1)
        except failures.RequestError as error:
            raise _failure(error) from error
        if content and len(content) > _MAX_RESPONSE_BYTES:
            raise ApiError(Kind.BAD_UPSTREAM, cause=Kind.SUPABASE_UNREACHABLE)
        return status, bytes(content or b"")


def _failure(error: failures.RequestError) -> ApiError:
    if isinstance(error, failures.PoolTimeoutError):  # all connections are in use, which says nothing against Supabase
        return ApiError(Kind.UPSTREAM_UNAVAILABLE)
    kind, cause = Kind.BAD_UPSTREAM, Kind.SUPABASE_UNREACHABLE  # no HTTP, or a response that breaks off
    details = str(error.details)  # there is no other sign of an untrusted certificate, or of which time is over
    if isinstance(error, failures.ConnectError | failures.WriteError) or "client error (Connect)" in details:
        kind = Kind.UPSTREAM_UNAVAILABLE
    elif isinstance(error, failures.RequestTimeoutError):
        kind = Kind.UPSTREAM_TIMEOUT
    return ApiError(kind, cause=Kind.CERTIFICATE_UNTRUSTED if "invalid peer certificate" in details else cause)


def error_code(content: bytes) -> str | None:
    """The code in the body of an error response: PostgREST's or an SQLSTATE, empty, or None if there is none."""
    try:
        code = orjson.loads(content)["code"]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return None
    return code if isinstance(code, str) and _ERROR_CODE.fullmatch(code) else None
