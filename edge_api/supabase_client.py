"""The one module that speaks to Supabase."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import dataclass
from typing import Final, Generic, TypeVar, cast

import httpx
from postgrest import AsyncPostgrestClient
from pydantic import TypeAdapter, ValidationError
from structlog.stdlib import get_logger

from edge_api.auth import User
from edge_api.errors import ApiError, Kind, from_upstream
from edge_api.schemas.account_schemas import UserAccountResponse
from edge_api.settings import Settings
from edge_api.telemetry import Observer
from edge_api.transport import Transport, error_code

logger = get_logger(__name__)
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

    def rows(self, data: object) -> list[Row]:
        """The rows of a response, validated. Raises ApiError, which tells the differences but no value."""
        try:
            return self.returns.validate_python(data)
        except ValidationError as error:
            items = error.errors(include_url=False, include_context=False, include_input=False)[:10]
            reason = ", ".join(f"{'.'.join(map(str, item['loc'])) or 'response'}: {item['type']}" for item in items)
            raise ApiError(Kind.BAD_UPSTREAM, cause=Kind.BAD_UPSTREAM, reason=reason) from None


class Supabase:
    """Calls functions of a Supabase project, each with the rights of the user it is called for.

    Holds the publishable key and a pool of connections, but nothing of any user: a user's token is part of one request.
    """

    def __init__(self, settings: Settings, observers: Sequence[Observer] = ()) -> None:
        url = f"{settings.supabase_url}/rest/v1"
        self._limit = settings.edge_upstream_connections + settings.edge_upstream_waiting
        self._under_way = 0
        self._observers = observers
        self._transport = Transport(settings)
        http_client = cast("httpx.AsyncClient", self._transport)  # in all that the library uses of one
        self._postgrest = AsyncPostgrestClient(url, http_client=http_client, retry_enabled=False)
        self._postgrest.headers.clear()  # copied twice for each request; the transport sends what is needed of them

    def open(self) -> AbstractAsyncContextManager[None]:
        """Open the pool of connections, and close it at the end. Functions can be called in between only."""
        return self._transport.open()

    async def rpc(self, function: Function[Row], params: Mapping[str, str], user: User, request_id: str) -> list[Row]:
        """Call an SQL function.

        Args:
            function: which.
            params: its arguments by name.
            user: on whose behalf.
            request_id: sent along, to find the request in Supabase's logs.

        Returns:
            The rows, validated; all of them are the user's.

        Raises:
            ApiError: the call failed.
        """
        with ExitStack() as stack:
            for observer in self._observers:
                stack.enter_context(observer.upstream(function.name))
            if self._under_way >= self._limit:
                raise ApiError(Kind.OVERLOADED)
            self._under_way += 1
            try:
                return await self._call(function, params, user, request_id)
            except ApiError as error:
                if error.cause:
                    log = logger.error if error.kind is Kind.BAD_UPSTREAM else logger.warning
                    reason = error.reason or type(error.__cause__ or error).__name__
                    subject = {"function": function.name, "request_id": request_id}
                    log("Supabase failed", **subject, cause=error.cause.code, reason=reason)
                raise
            finally:
                self._under_way -= 1

    async def _call(self, function: Function[Row], params: Mapping[str, str], user: User, request_id: str) -> list[Row]:
        headers = {"X-Request-ID": request_id, "Authorization": f"Bearer {user.token}"}
        for observer in self._observers:
            observer.propagate(headers)
        call = self._postgrest.rpc(function.name, dict(params))
        call.request.headers = httpx.Headers(headers)  # of this call: the client has none
        rows = function.rows((await call.execute()).data)
        for row in rows:
            if row.user_id != user.id:
                raise ApiError(Kind.BAD_UPSTREAM, cause=Kind.BAD_UPSTREAM, reason="another user_id")
            if "account_id" in params and str(row.id) != params["account_id"]:
                raise ApiError(Kind.BAD_UPSTREAM, cause=Kind.BAD_UPSTREAM, reason="another id")
        return rows

    async def not_ready(self) -> Kind | None:
        """Why the functions cannot be called; None if any user whose token Supabase accepts can call them."""
        headers = {"Content-Type": "application/json", "X-Request-ID": "readiness"}
        try:
            url = f"{self._postgrest.base_url}{_PROBE}"
            status, content = await self._transport.exchange("POST", url, headers, _PROBE_ARGUMENTS)
        except ApiError as error:
            return error.kind if error.kind is Kind.INTERNAL_ERROR else error.cause
        code = error_code(content)
        if code in {"PGRST301", "PGRST303"}:  # without a user's token: it is the key's, or every token
            return Kind.TOKENS_REFUSED
        # no such relation; no access without a token; a server that asks the database first
        if code in {"PGRST200", "PGRST302", "42501"}:
            return None
        return from_upstream(status, code).cause or Kind.SUPABASE_UNREACHABLE
