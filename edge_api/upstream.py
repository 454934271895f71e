"""The one module that speaks to Supabase."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Generic, Self, TypeVar

import httpx
import orjson
from postgrest import AsyncPostgrestClient
from pydantic import TypeAdapter, ValidationError
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import (
    ConnectError,
    PoolTimeoutError,
    ReadTimeoutError,
    RequestError,
    RequestTimeoutError,
    WriteError,
)
from structlog.contextvars import bind_contextvars
from structlog.stdlib import get_logger

from edge_api.errors import (
    ApiError,
    BadUpstreamError,
    FunctionMissingError,
    InvalidTokenError,
    OverloadedError,
    PermissionDeniedError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
    from_upstream,
)
from edge_api.settings import Settings

logger = get_logger(__name__)
T = TypeVar("T")

# Below the 5 s after which Node servers (the embedded gateway) close an idle connection: one that the other side is
# closing just now would cost a call. Hosted gateways wait longer.
_KEEPALIVE_SECONDS: Final = 4.0
# A response here is one account of 1 KiB.
_MAX_ANSWER_BYTES: Final = 64 * 1024
_ERROR_CODE: Final = re.compile(r"[0-9A-Z]{5,10}")  # PostgREST's, or an SQLSTATE; anything else could be anything
_REQUEST: Final = httpx.Request("POST", "")  # the library looks here for a wish to count rows, which is never made
_ANYTHING: Final[TypeAdapter[Any]] = TypeAdapter(Any)


@dataclass(frozen=True, slots=True)
class Function(Generic[T]):
    """An SQL function of the project.

    Args:
        name: its name.
        returns: what the answer must look like.
        repeatable: whether a second call does no harm; then a call whose connection broke is made once more.
    """

    name: str
    returns: TypeAdapter[T]
    repeatable: bool = False


class _NoAnswerError(UpstreamUnavailableError):
    """No connection, or one that ended before an answer began."""


class _Answer(httpx.Response):
    """A successful answer, as far as the library looks at it: httpx's own takes as long to make as the whole call."""

    def __init__(self, content: bytes) -> None:
        self.status_code = 200
        self.request = _REQUEST
        self._body = content

    @property
    def content(self) -> bytes:
        """The body."""
        return self._body

    def json(self, **_kwargs: Any) -> object:  # noqa: ANN401 - as in httpx
        """The body, parsed. Raises BadUpstreamError; from any other error the library would make an answer."""
        try:
            return orjson.loads(self._body)
        except orjson.JSONDecodeError as error:
            raise BadUpstreamError from error


class _Transport(httpx.AsyncClient):
    """The HTTP client below the library: pyreqwest, for a fifth of httpx's CPU time, behind httpx's interface.

    It returns successful answers only; all else is raised, as what the client shall read. Done here because the status
    is gone later: the library's error has the body's code only, and bodies of proxies in between have none.
    """

    def __init__(self, client: Client, seconds: float) -> None:
        super().__init__(transport=httpx.AsyncBaseTransport(), trust_env=False)  # never used: `request` is replaced
        self._client = client
        self._seconds = seconds

    async def request(self, method: str, url: httpx.URL | str, **kwargs: Any) -> httpx.Response:  # noqa: ANN401 - httpx has a dozen
        """Make a request. Of httpx's arguments it takes `content` and `headers`.

        Raises:
            ApiError: the answer is no success, or there is none.
        """
        since = time.monotonic()
        request = self._client.request(method, str(url))
        if "headers" in kwargs:
            request = request.headers(kwargs["headers"])
        if kwargs.get("content"):
            request = request.body_bytes(kwargs["content"])
        try:
            async with request.build_streamed() as answer:
                status, content = answer.status, bytes(await answer.body_reader.read(_MAX_ANSWER_BYTES + 1) or b"")
        except (ConnectError, WriteError) as error:
            raise _NoAnswerError from error
        except PoolTimeoutError as error:
            raise UpstreamUnavailableError from error
        except RequestTimeoutError as error:
            # both the time for connecting and the whole time are reported as the former
            is_whole = isinstance(error, ReadTimeoutError) or time.monotonic() - since >= self._seconds
            raise (UpstreamTimeoutError if is_whole else UpstreamUnavailableError) from error
        except RequestError as error:  # no HTTP, or an answer that breaks off
            raise BadUpstreamError from error
        if len(content) > _MAX_ANSWER_BYTES:
            raise BadUpstreamError
        if httpx.codes.is_success(status):
            if not content:  # which the library would take for no rows
                raise BadUpstreamError
            return _Answer(content)
        try:
            body = orjson.loads(content)
        except orjson.JSONDecodeError:
            body = None
        code = body.get("code") if isinstance(body, dict) else None
        raise from_upstream(status, code if isinstance(code, str) and _ERROR_CODE.fullmatch(code) else None)


class Supabase:
    """Calls functions of a Supabase project, each call with the rights of the user it is made for.

    Holds the publishable key and a pool of connections, and nothing of any user: the user's token travels with the
    one call it belongs to.
    """

    def __init__(self, settings: Settings, client: Client) -> None:
        self._url = settings.supabase_url
        self._timeout = settings.edge_upstream_timeout
        self._most_under_way = settings.edge_upstream_connections + settings.edge_upstream_waiting
        self._under_way = 0
        self._transport = _Transport(client, self._timeout)
        self._postgrest = AsyncPostgrestClient(f"{self._url}/rest/v1", http_client=self._transport, retry_enabled=False)
        self._postgrest.headers.clear()  # copied twice for each call; the pool sends what is needed of them

    @classmethod
    @asynccontextmanager
    async def connect(cls, settings: Settings) -> AsyncIterator[Self]:
        """Open the pool of connections, and close it at the end."""
        connect_timeout = timedelta(seconds=settings.edge_upstream_connect_timeout)
        async with (
            ClientBuilder()
            .http1_only()  # a connection that is lost costs the one call on it
            .max_connections(settings.edge_upstream_connections)
            .pool_timeout(connect_timeout)
            .connect_timeout(connect_timeout)
            .timeout(timedelta(seconds=settings.edge_upstream_timeout))
            .pool_idle_timeout(timedelta(seconds=_KEEPALIVE_SECONDS))
            .follow_redirects(False)  # a token goes to no other address than the one that was configured
            .referer(False)
            .gzip(False)
            .brotli(False)
            .deflate(False)
            .zstd(False)  # a small answer could become a large one
            .user_agent("edge-api")
            .default_headers({"apikey": settings.supabase_publishable_key, "Content-Profile": "public"})
            .build()
        ) as client:
            yield cls(settings, client)

    async def rpc(
        self, function: Function[T], params: dict[str, str] | None = None, *, token: str | None, request_id: str
    ) -> T:
        """Call an SQL function.

        Args:
            function: which.
            params: its arguments by name.
            token: the access token of the user on whose behalf the call is made; None calls as `anon`.
            request_id: sent along, to find the call again in the logs over there.

        Returns:
            The answer, validated.

        Raises:
            ApiError: the call failed; the error is fit for the client.
        """
        if self._under_way >= self._most_under_way:
            raise OverloadedError
        self._under_way += 1
        since = time.perf_counter()
        try:
            data = await self._call(function, params or {}, token, request_id)
        except ApiError as error:
            if isinstance(error, BadUpstreamError | UpstreamTimeoutError | UpstreamUnavailableError):
                logger.warning("Supabase failed", function=function.name, cause=type(error.__cause__ or error).__name__)
            raise
        finally:
            self._under_way -= 1
            bind_contextvars(upstream_ms=round((time.perf_counter() - since) * 1000, 1))
        try:
            return function.returns.validate_python(data)
        except ValidationError as error:
            differences = [
                f"{'.'.join(map(str, problem['loc'])) or 'answer'}: {problem['type']}"
                for problem in error.errors(include_url=False, include_context=False, include_input=False)[:10]
            ]
            logger.error("Supabase answered in another shape", function=function.name, differences=differences)
            raise BadUpstreamError from None

    async def _call(
        self, function: Function[Any], params: dict[str, str], token: str | None, request_id: str
    ) -> object:
        call = self._postgrest.rpc(function.name, params)
        call.request.headers = httpx.Headers(
            self._headers(token, request_id)
        )  # of this call alone: the client has none
        deadline = asyncio.get_running_loop().time() + self._timeout
        try:
            try:
                return (await call.execute()).data
            except _NoAnswerError:  # such as from a pooled connection that the other side closed in the same moment
                if not function.repeatable:
                    raise
                async with asyncio.timeout_at(deadline):
                    return (await call.execute()).data
        except TimeoutError:
            raise UpstreamTimeoutError from None

    def _headers(self, token: str | None, request_id: str) -> dict[str, str]:
        headers = {"X-Request-ID": request_id}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return headers

    async def has_function(self, function: str, params: dict[str, str]) -> bool:
        """Whether the project has the SQL function: without a token, an existing one refuses to run.

        Raises:
            ApiError: Supabase did not say.
        """
        try:
            await self._call(Function(function, _ANYTHING), params, None, "readiness")
        except FunctionMissingError:
            return False
        except (InvalidTokenError, PermissionDeniedError):
            return True
        return True
