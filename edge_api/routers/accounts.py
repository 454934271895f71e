"""The accounts endpoints: each forwards to the SQL function that does the work."""

from operator import attrgetter
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

from fastapi import APIRouter, Request, Response, status
from pydantic import Field, TypeAdapter
from structlog.contextvars import bind_contextvars

from edge_api.auth import User
from edge_api.errors import (
    AccountExistsError,
    AccountNotFoundError,
    BadUpstreamError,
    BodyTimeoutError,
    BodyTooLargeError,
    InvalidRequestError,
    InvalidTokenError,
    MissingTokenError,
    NotAUserError,
    OverloadedError,
    PermissionDeniedError,
    UnsupportedMediaTypeError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
    documented,
)
from edge_api.guarded_route import GuardedRoute
from edge_api.schemas.account_schemas import (
    CreateAccountRequest,
    GetOrCreateAccountResponse,
    GetOrCreateAccountRow,
    ListAccountsResponse,
    RenameAccountRequest,
    UserAccountResponse,
)
from edge_api.upstream import Function, Supabase

T = TypeVar("T")

router = APIRouter(
    prefix="/api/accounts",
    tags=["accounts"],
    route_class=GuardedRoute,
    generate_unique_id_function=attrgetter("name"),  # what client generators make method names of
    responses=documented(
        MissingTokenError,
        InvalidTokenError,
        NotAUserError,
        PermissionDeniedError,
        BodyTimeoutError,
        BodyTooLargeError,
        BadUpstreamError,
        UpstreamUnavailableError,
        OverloadedError,
        UpstreamTimeoutError,
    ),
)

_ACCOUNTS: Final = TypeAdapter(list[UserAccountResponse])
_LIST: Final = Function("list_accounts", _ACCOUNTS, repeatable=True)
_CREATE: Final = Function("create_account", TypeAdapter(UserAccountResponse))
_GET_OR_CREATE: Final = Function(
    "get_or_create_account",
    TypeAdapter(Annotated[list[GetOrCreateAccountRow], Field(min_length=1, max_length=1)]),
    repeatable=True,
)
_GET: Final = Function("get_account", _ACCOUNTS, repeatable=True)
_RENAME: Final = Function("rename_account", _ACCOUNTS)

_ONE_ACCOUNT_PROBLEMS: Final = documented(AccountNotFoundError, InvalidRequestError)


def _links(account_id: str) -> dict[str, Any]:
    """The OpenAPI description of where the id in an answer leads."""
    parameters = {"account_id": f"$response.body#{account_id}"}
    return {
        operation: {"operationId": operation, "parameters": parameters}
        for operation in ("get_account", "rename_account")
    }


def _found(accounts: list[UserAccountResponse]) -> UserAccountResponse:
    """The account of an answer with one row or none: the id is a primary key."""
    if not accounts:
        raise AccountNotFoundError
    return accounts[0]


async def _rpc(request: Request, function: Function[T], **params: str) -> T:
    """Call an SQL function on behalf of the user whose request this is; raises ApiError."""
    state = request.state
    supabase: Supabase = state.supabase
    user: User = state.user
    answer = await supabase.rpc(function, params, token=user.token, request_id=state.request_id)
    bind_contextvars(user_id=str(user.id))  # Supabase accepted the token
    return answer


@router.post(
    "/get-or-create",
    summary="Get your account, making it if need be",
    responses={200: {"links": _links("/account/id")}, **documented(InvalidRequestError)},
)
async def get_or_create_account(request: Request) -> GetOrCreateAccountResponse:
    """Your account; if you have none, one named "Default Alpaca Account" is made.

    Safe to call any number of times, also at the same moment. Takes no body: any body is refused.
    """
    (account,) = await _rpc(request, _GET_OR_CREATE)
    return GetOrCreateAccountResponse(account=account, created=account.created)


@router.get("", summary="List your accounts", responses={200: {"links": _links("/accounts/0/id")}})
async def list_accounts(request: Request) -> ListAccountsResponse:
    """All your accounts, newest first. A new user has none."""
    accounts = await _rpc(request, _LIST)
    return ListAccountsResponse(accounts=accounts, count=len(accounts))


@router.post(
    "",
    summary="Create your account",
    status_code=status.HTTP_201_CREATED,
    responses={
        201: {
            "headers": {"Location": {"description": "Path of the new account.", "schema": {"type": "string"}}},
            "links": _links("/id"),
        },
        **documented(AccountExistsError, UnsupportedMediaTypeError, InvalidRequestError),
    },
)
async def create_account(body: CreateAccountRequest, request: Request, response: Response) -> UserAccountResponse:
    """Make your account under a name of your choice. Each user has one at most."""
    account = await _rpc(request, _CREATE, account_name=body.account_name)
    response.headers["Location"] = request.app.url_path_for("get_account", account_id=account.id)
    return account


@router.get("/{account_id}", summary="Get one account", responses=_ONE_ACCOUNT_PROBLEMS)
async def get_account(account_id: UUID, request: Request) -> UserAccountResponse:
    """Your account with this id."""
    return _found(await _rpc(request, _GET, account_id=str(account_id)))


@router.patch(
    "/{account_id}",
    summary="Rename an account",
    responses={**_ONE_ACCOUNT_PROBLEMS, **documented(UnsupportedMediaTypeError)},
)
async def rename_account(account_id: UUID, body: RenameAccountRequest, request: Request) -> UserAccountResponse:
    """Give your account another name."""
    return _found(await _rpc(request, _RENAME, account_id=str(account_id), account_name=body.account_name))
