"""The HTTP client below the supabase package: pyreqwest, in the place and form of httpx's client.

A request takes 265 µs of CPU with it and 820 µs with httpx's own transport, which slows down with the number of
concurrent requests (0.8 ms at 1, 150 ms at 64), measured against an instant upstream.
"""

import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

import httpx
import orjson
from pyreqwest import exceptions as failures
from pyreqwest.client import Client, ClientBuilder

from edge_api.errors import ApiError, Kind, from_upstream
from edge_api.settings import Settings

logger = logging.getLogger(__name__)

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

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Open the pool of connections, and close it at the end. Requests can be made in between only."""
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
        if self._settings.supabase_url.startswith("http://"):
            builder = builder.no_proxy()  # on this machine: a proxy of the environment would get tokens in clear text
        # a small response could become a large one
        async with builder.gzip(False).brotli(False).deflate(False).zstd(False).build() as pool:
            self._pool = pool
            try:
                yield
            finally:
                self._pool = None

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
        if self._pool is None:
            logger.error("The router's lifespan has not been entered: see docs/embedding.md")
            raise ApiError(Kind.INTERNAL_ERROR)
        request = self._pool.request(method, url).headers(headers)
        try:
            async with (request.body_bytes(body) if body else request).build_streamed() as response:
                status, content = response.status, await response.body_reader.read(_MAX_RESPONSE_BYTES + 1)
        except failures.RequestError as error:
            raise _failure(error) from error
        if content and len(content) > _MAX_RESPONSE_BYTES:
            raise ApiError(Kind.BAD_UPSTREAM, cause=Kind.SUPABASE_UNREACHABLE)
        return status, bytes(content or b"")


def _failure(error: failures.RequestError) -> ApiError:
    causes = str(error.details)  # there is no other sign of an untrusted certificate, or of which time is over
    match error:
        case failures.ConnectError() | failures.WriteError():
            is_untrusted = "invalid peer certificate" in causes
            cause = Kind.CERTIFICATE_UNTRUSTED if is_untrusted else Kind.SUPABASE_UNREACHABLE
            return ApiError(Kind.UPSTREAM_UNAVAILABLE, cause=cause)
        case failures.PoolTimeoutError():  # all connections are in use, which says nothing against Supabase
            return ApiError(Kind.UPSTREAM_UNAVAILABLE)
        case failures.RequestTimeoutError():
            kind = Kind.UPSTREAM_UNAVAILABLE if "client error (Connect)" in causes else Kind.UPSTREAM_TIMEOUT
        case _:  # no HTTP, or a response that breaks off
            kind = Kind.BAD_UPSTREAM
    return ApiError(kind, cause=Kind.SUPABASE_UNREACHABLE)


def error_code(content: bytes) -> str | None:
    """The code in the body of an error response: PostgREST's or an SQLSTATE, empty, or None if there is none."""
    try:
        code = orjson.loads(content)["code"]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return None
    return code if isinstance(code, str) and _ERROR_CODE.fullmatch(code) else None
