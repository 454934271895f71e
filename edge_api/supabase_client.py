"""The one module that speaks to Supabase."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar, cast

import httpx
from postgrest import AsyncPostgrestClient
from pydantic import TypeAdapter, ValidationError

from edge_api.auth import User
from edge_api.errors import ApiError, Kind, from_upstream
from edge_api.schemas.account_schemas import UserAccountResponse
from edge_api.settings import Settings
from edge_api.telemetry import Observer
from edge_api.transport import Transport, error_code

logger = logging.getLogger(__name__)
Row = TypeVar("Row", bound=UserAccountResponse)

# One migration creates all functions, and this one last. PostgREST finds it, and then no such relation to embed, in its
# schema cache: the question costs the database neither a connection nor an error in its log.
_PROBE: Final = "/rpc/rename_account?select=none(*)"
_PROBE_ARGUMENTS: Final = b'{"account_id":"00000000-0000-0000-0000-000000000000","account_name":"x"}'


@dataclass(frozen=True, slots=True)
class Function(Generic[Row]):
    """An SQL function of the project, and the shape of its rows."""

    name: str
    returns: TypeAdapter[list[Row]]


class Supabase:
    """Calls functions of a Supabase project, each with the rights of the user it is called for.

    Holds the publishable key and a pool of connections, but nothing of any user: a user's token is part of one request.
    """

    def __init__(self, settings: Settings, observer: Observer | None = None) -> None:
        self._slots = asyncio.Semaphore(settings.edge_upstream_connections + settings.edge_upstream_waiting)
        self._observer = observer or Observer()
        self._transport = Transport(settings)
        http_client = cast("httpx.AsyncClient", self._transport)  # in all that the library uses of one
        url = f"{settings.supabase_url}/rest/v1"
        self._postgrest = AsyncPostgrestClient(url, http_client=http_client, retry_enabled=False)
        self._postgrest.headers.clear()  # copied twice for each request; the transport sends what is needed of them

    async def aclose(self) -> None:
        """Close the connections, which the first call opens."""
        await self._transport.aclose()

    async def rpc(self, function: Function[Row], params: Mapping[str, str], user: User, request_id: str) -> list[Row]:
        """Call an SQL function, with its arguments by name, on a user's behalf. Raises ApiError.

        Returns its rows, validated, which all are the user's. The request's id is sent along, for Supabase's logs.
        """
        with self._observer.upstream(function.name):
            if self._slots.locked():
                raise ApiError(Kind.OVERLOADED)
            async with self._slots:
                try:
                    return await self._call(function, params, user, request_id)
                except ApiError as error:
                    if error.cause:
                        reason = error.reason or type(error.__cause__ or error).__name__
                        about = {"function": function.name, "request_id": request_id}
                        about |= {"cause": error.cause.code, "reason": reason}
                        level = logging.ERROR if error.kind is Kind.BAD_UPSTREAM else logging.WARNING
                        logger.log(level, "Supabase failed: %(cause)s: %(reason)s: %(function)s: %(request_id)s", about)
                    raise

    async def _call(self, function: Function[Row], params: Mapping[str, str], user: User, request_id: str) -> list[Row]:
        headers = {"X-Request-ID": request_id, "Authorization": f"Bearer {user.token}"}
        self._observer.propagate(headers)
        call = self._postgrest.rpc(function.name, dict(params))
        call.request.headers = httpx.Headers(headers)  # of this call: the client has none
        try:
            rows = function.returns.validate_python((await call.execute()).data)
        except ValidationError as error:  # the differences are told, but no value
            items = error.errors(include_url=False, include_context=False, include_input=False)[:10]
            places = (f"{'.'.join(map(str, item['loc'])) or 'response'}: {item['type']}" for item in items)
            raise _unusable(", ".join(places)) from None
        for row in rows:
            if row.user_id != user.id:
                raise _unusable("another user_id")
            if "account_id" in params and str(row.id) != params["account_id"]:
                raise _unusable("another id")
        return rows

    async def not_ready(self) -> Kind | None:
        """Why the functions cannot be called; None if any user whose token Supabase accepts can call them."""
        headers = {"Content-Type": "application/json", "X-Request-ID": "readiness"}
        try:
            url = f"{self._postgrest.base_url}{_PROBE}"
            status, content = await self._transport.exchange("POST", url, headers, _PROBE_ARGUMENTS)
        except ApiError as error:
            return error.cause
        code = error_code(content)
        if code in {"PGRST301", "PGRST303"}:  # without a user's token: it is the key's, or every token
            return Kind.TOKENS_REFUSED
        # no such relation; no access without a token; a server that asks the database first
        if code in {"PGRST200", "PGRST302", "42501"}:
            return None
        return from_upstream(status, code).cause or Kind.SUPABASE_UNREACHABLE


def _unusable(reason: str) -> ApiError:
    return ApiError(Kind.BAD_UPSTREAM, cause=Kind.BAD_UPSTREAM, reason=reason)
