"""The one module that speaks to Supabase."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import httpx
from postgrest import AsyncPostgrestClient
from pydantic import TypeAdapter, ValidationError
from structlog.stdlib import get_logger

from edge_api.auth import User
from edge_api.errors import ApiError, Kind, from_upstream
from edge_api.schemas.account_schemas import UserAccountResponse
from edge_api.settings import Settings
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


class Supabase:
    """Calls functions of a Supabase project, each with the rights of the user it is called for.

    Holds the publishable key and a pool of connections, but nothing of any user: a user's token is part of one request.
    """

    def __init__(self, settings: Settings) -> None:
        url = f"{settings.supabase_url}/rest/v1"
        self._limit = settings.edge_upstream_connections + settings.edge_upstream_waiting
        self._under_way = 0
        self._transport = Transport(settings)
        self._postgrest = AsyncPostgrestClient(url, http_client=self._transport, retry_enabled=False)
        self._postgrest.headers.clear()  # copied twice for each request; the transport sends what is needed of them

    def open(self) -> AbstractAsyncContextManager[None]:
        """Open the pool of connections, and close it at the end. Functions can be called in between only."""
        return self._transport.open()

    async def rpc(self, function: Function[Row], params: Mapping[str, str], user: User, request_id: str) -> list[Row]:
        """Call an SQL function.

        Args:
            function: which.
            params: its arguments by name.
            user: on whose behalf, and whose rows alone may be returned.
            request_id: sent along, to find the request in Supabase's logs.

        Returns:
            The rows, validated.

        Raises:
            ApiError: the call failed.
        """
        if self._under_way >= self._limit:
            raise ApiError(Kind.OVERLOADED)
        self._under_way += 1
        subject = {"function": function.name, "request_id": request_id}
        try:
            call = self._postgrest.rpc(function.name, dict(params))
            call.request.headers = httpx.Headers(self._headers(user, request_id))  # of this call: the client has none
            rows = function.returns.validate_python((await call.execute()).data)
        except ValidationError as error:
            differences = [
                f"{'.'.join(map(str, problem['loc'])) or 'response'}: {problem['type']}"
                for problem in error.errors(include_url=False, include_context=False, include_input=False)[:10]
            ]
            logger.error("Supabase responded in another shape", **subject, differences=differences)
            raise ApiError(Kind.BAD_UPSTREAM) from None
        except ApiError as error:
            if error.cause:
                log = logger.error if error.kind is Kind.BAD_UPSTREAM else logger.warning
                log(
                    "Supabase failed",
                    **subject,
                    cause=error.cause.code,
                    reason=error.reason or type(error.__cause__ or error).__name__,
                )
            raise
        finally:
            self._under_way -= 1
        differences = ["user_id" for row in rows if row.user_id != user.id]
        if "account_id" in params:
            differences += ["id" for row in rows if str(row.id) != params["account_id"]]
        if differences:
            logger.error("Supabase responded with another row", **subject, differences=differences)
            raise ApiError(Kind.BAD_UPSTREAM)
        return rows

    def _headers(self, user: User, request_id: str) -> dict[str, str]:
        return {"X-Request-ID": request_id, "Authorization": f"Bearer {user.token}"}

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
