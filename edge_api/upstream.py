"""The one module that speaks to Supabase."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Self, TypeVar

import httpx
from postgrest import APIError, AsyncPostgrestClient
from pydantic import TypeAdapter, ValidationError

from edge_api.errors import (
    BadUpstreamError,
    FunctionMissingError,
    InvalidTokenError,
    PermissionDeniedError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
    from_upstream,
)
from edge_api.settings import Settings

logger = logging.getLogger(__name__)
T = TypeVar("T")

# Below the 5 s after which Node servers (the embedded gateway) close an idle connection: one that the other side is
# closing just now would cost a call. Hosted gateways wait longer.
_KEEPALIVE_SECONDS: Final = 4.0
_ANYTHING: Final[TypeAdapter[Any]] = TypeAdapter(Any)


async def _raise_problem(response: httpx.Response) -> None:
    """Turn an error answer into what the client shall read.

    Done here, as the answer comes in, because the status is gone later: the library's APIError has the body's code
    only, and bodies of proxies in between have none.
    """
    if response.is_success:
        return
    await response.aread()
    try:
        body = json.loads(response.content)
    except ValueError:
        body = None
    code = body.get("code") if isinstance(body, dict) else None
    raise from_upstream(response.status_code, code if isinstance(code, str) else None)


class Supabase:
    """Calls functions of a Supabase project, each call with the rights of the user it is made for.

    Holds the publishable key and a pool of connections, and nothing of any user: the user's token travels with the
    one call it belongs to.
    """

    def __init__(self, settings: Settings, session: httpx.AsyncClient) -> None:
        self._url = f"{settings.supabase_url}/rest/v1"
        self._publishable_key = settings.supabase_publishable_key
        self._timeout = settings.edge_upstream_timeout
        self._session = session

    @classmethod
    @asynccontextmanager
    async def connect(cls, settings: Settings) -> AsyncIterator[Self]:
        """Open the pool of connections, and close it at the end."""
        async with httpx.AsyncClient(
            timeout=httpx.Timeout(settings.edge_upstream_timeout, connect=settings.edge_upstream_connect_timeout),
            limits=httpx.Limits(
                max_connections=settings.edge_upstream_connections,
                max_keepalive_connections=settings.edge_upstream_connections,
                keepalive_expiry=_KEEPALIVE_SECONDS,
            ),
            follow_redirects=False,  # a token goes to no other address than the one that was configured
            event_hooks={"response": [_raise_problem]},
        ) as session:
            yield cls(settings, session)

    async def rpc(
        self, function: str, params: Mapping[str, Any], *, token: str | None, returns: TypeAdapter[T], request_id: str
    ) -> T:
        """Call an SQL function.

        Args:
            function: its name.
            params: its arguments by name, as JSON values.
            token: the access token of the user on whose behalf the call is made; None calls as `anon`.
            returns: what the answer must look like.
            request_id: sent along, to find the call again in the logs over there.

        Returns:
            The answer, validated.

        Raises:
            ApiError: the call failed; the error is fit for the client.
        """
        headers = {"apikey": self._publishable_key, "X-Request-ID": request_id}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        # A few microseconds: it opens nothing, and leaves the headers of the shared session alone.
        client = AsyncPostgrestClient(self._url, headers=headers, http_client=self._session, retry_enabled=False)
        try:
            async with asyncio.timeout(self._timeout):  # the whole call, waiting for a connection included
                answer = await client.rpc(function, dict(params)).execute()
        except (TimeoutError, httpx.ReadTimeout, httpx.WriteTimeout):
            logger.warning("Supabase did not answer %s within %s s", function, self._timeout)
            raise UpstreamTimeoutError from None
        except (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            logger.warning("Supabase cannot be reached for %s: %s", function, type(error).__name__)
            raise UpstreamUnavailableError from None
        except (httpx.HTTPError, APIError, ValueError, RecursionError) as error:
            logger.error("Supabase answered %s with what is not JSON: %s", function, type(error).__name__)
            raise BadUpstreamError from None
        try:
            return returns.validate_python(answer.data)
        except ValidationError as error:
            differences = "; ".join(
                f"{'.'.join(map(str, problem['loc'])) or 'answer'}: {problem['type']}"
                for problem in error.errors(include_url=False, include_context=False, include_input=False)[:10]
            )
            logger.error("Supabase answered %s in another shape: %s", function, differences)
            raise BadUpstreamError from None

    async def has_function(self, function: str, params: Mapping[str, Any], *, request_id: str) -> bool:
        """Whether the project has the SQL function: without a token, an existing one refuses to run.

        Raises:
            ApiError: Supabase did not say.
        """
        try:
            await self.rpc(function, params, token=None, returns=_ANYTHING, request_id=request_id)
        except FunctionMissingError:
            return False
        except (InvalidTokenError, PermissionDeniedError):
            return True
        return True
