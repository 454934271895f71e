"""The accounts endpoints: each forwards to the SQL function that does the work."""

import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from operator import attrgetter
from typing import Annotated, Final
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, FastAPI, Request, Response
from pydantic import BeforeValidator, Field, TypeAdapter

from edge_api.auth import CurrentUser, User
from edge_api.errors import ApiError, Kind
from edge_api.problems import log_fields, problem_responses
from edge_api.routing import ProblemRoute
from edge_api.schemas import account_schemas as schemas
from edge_api.settings import Settings
from edge_api.supabase_client import Function, Row, Supabase

_ACCOUNTS: Final = TypeAdapter(list[schemas.UserAccountResponse])
_ONE_ROW: Final = TypeAdapter(Annotated[list[schemas.GetOrCreateAccountRow], Field(min_length=1, max_length=1)])
# of a function that returns a row instead of a set of rows
_BARE_ROW: Final = TypeAdapter(Annotated[list[schemas.UserAccountResponse], BeforeValidator(lambda row: [row])])
_LIST: Final = Function("list_accounts", _ACCOUNTS)
_CREATE: Final = Function("create_account", _BARE_ROW)
_GET_OR_CREATE: Final = Function("get_or_create_account", _ONE_ROW)
_GET: Final = Function("get_account", _ACCOUNTS)
_RENAME: Final = Function("rename_account", _ACCOUNTS)

_OF_THE_USER: Final = (Kind.MISSING_TOKEN, Kind.INVALID_TOKEN, Kind.NOT_A_USER, Kind.PERMISSION_DENIED)
_OF_SUPABASE: Final = (Kind.BAD_UPSTREAM, Kind.UPSTREAM_UNAVAILABLE, Kind.OVERLOADED, Kind.UPSTREAM_TIMEOUT)
_OF_A_BODY: Final = problem_responses(Kind.BODY_TIMEOUT, Kind.BODY_TOO_LARGE, Kind.INVALID_REQUEST)
_OF_JSON: Final = {**_OF_A_BODY, **problem_responses(Kind.UNSUPPORTED_MEDIA_TYPE)}
_LOCATION: Final = {"Location": {"description": "Path of the new account.", "schema": {"type": "string"}}}
_OF_CREATE: Final = {201: {"headers": _LOCATION}, **problem_responses(Kind.ACCOUNT_EXISTS), **_OF_JSON}
_OF_ONE: Final = problem_responses(Kind.ACCOUNT_NOT_FOUND, Kind.INVALID_REQUEST)


def accounts_router(settings: Settings, supabase: Supabase | None = None) -> APIRouter:
    """The endpoints, with all that they need, for inclusion in any app.

    Its lifespan, which an app that includes it enters with its own, closes the connections to Supabase at the end.

    Args:
        settings: which project, and the limits; what concerns the server is not used.
        supabase: the client to use instead of one with these settings.
    """
    client = supabase or Supabase(settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with aclosing(client):
            yield

    router = APIRouter(
        prefix="/api/accounts",
        tags=["accounts"],
        route_class=ProblemRoute,
        lifespan=lifespan,
        generate_unique_id_function=attrgetter("name"),  # what client generators make method names of
        responses=problem_responses(*_OF_THE_USER, Kind.INTERNAL_ERROR, *_OF_SUPABASE),
    )

    async def call(function: Function[Row], request: Request, user: User, **params: str) -> list[Row]:
        since, fields = time.perf_counter(), log_fields(request.scope)
        try:
            rows = await client.rpc(function, params, user, fields["request_id"])
        finally:
            fields["upstream_ms"] = round((time.perf_counter() - since) * 1000, 1)
        fields["user_id"] = str(user.id)  # which Supabase has verified
        return rows

    async def call_for_one(function: Function[Row], request: Request, user: User, **params: str) -> Row:
        for row in await call(function, request, user, **params):  # one at most: its id is a primary key
            return row
        raise ApiError(Kind.ACCOUNT_NOT_FOUND)

    @router.post("/get-or-create", summary="Get your account, creating it if need be", responses=_OF_A_BODY)
    async def get_or_create_account(request: Request, user: CurrentUser) -> schemas.GetOrCreateAccountResponse:
        """Your account; if you have none, one named "Default Alpaca Account" is created.

        Safe to call any number of times, also at the same moment. Takes no body: any body is refused.
        """
        account = await call_for_one(_GET_OR_CREATE, request, user)
        return schemas.GetOrCreateAccountResponse(account=account, created=account.created)

    @router.get("", summary="List your accounts")
    async def list_accounts(request: Request, user: CurrentUser) -> schemas.ListAccountsResponse:
        """All your accounts, newest first. A new user has none."""
        accounts = await call(_LIST, request, user)
        return schemas.ListAccountsResponse(accounts=accounts, count=len(accounts))

    @router.post("", summary="Create your account", status_code=201, responses=_OF_CREATE)
    async def create_account(
        request: Request, response: Response, user: CurrentUser, body: schemas.CreateAccountRequest
    ) -> schemas.UserAccountResponse:
        """Create your account under a name of your choice. Each user has one at most."""
        account = await call_for_one(_CREATE, request, user, account_name=body.account_name)
        root_path, path = request.scope.get("root_path", ""), request.scope["path"]
        # an app whose proxy strips a prefix finds it in the root_path alone
        path = path if path.startswith(f"{root_path}/") else root_path + path
        response.headers["Location"] = f"{quote(path)}/{account.id}"
        return account

    @router.get("/{account_id}", summary="Get one account", responses=_OF_ONE)
    async def get_account(request: Request, user: CurrentUser, account_id: UUID) -> schemas.UserAccountResponse:
        """Your account with this id."""
        return await call_for_one(_GET, request, user, account_id=str(account_id))

    @router.patch("/{account_id}", summary="Rename an account", responses={**_OF_ONE, **_OF_JSON})
    async def rename_account(
        request: Request, user: CurrentUser, account_id: UUID, body: schemas.RenameAccountRequest
    ) -> schemas.UserAccountResponse:
        """Give your account another name. One that has been switched off cannot be changed."""
        return await call_for_one(_RENAME, request, user, account_id=str(account_id), account_name=body.account_name)

    return router
