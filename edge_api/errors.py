"""Everything that can go wrong for a client: one class a problem, one table from Supabase's errors to them."""

from collections.abc import Iterator
from http import HTTPMethod, HTTPStatus
from typing import Annotated, Any, ClassVar, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.stdlib import get_logger

logger = get_logger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
_CLIENT_CLOSED_REQUEST: Final = 499  # as nginx has it
# Of RFC 9110; Python has them from 3.13 on.
_NEWER_TITLES: Final = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Content Too Large",
    HTTPStatus.UNPROCESSABLE_ENTITY: "Unprocessable Content",
}


class InvalidField(BaseModel):
    """What is wrong with one part of a request. It never repeats the value."""

    loc: Annotated[list[str | int], Field(description="Where: `body` or `path`, then the field.")]
    msg: str
    type: Annotated[str, Field(description="The kind of error, for programs.")]


class Problem(BaseModel):
    """An error answer, `application/problem+json` (RFC 9457)."""

    type: Annotated[str, Field(description="Always `about:blank`: `code` tells the kind of problem.")] = "about:blank"
    title: Annotated[str, Field(description="The status in words.")]
    status: int
    detail: Annotated[str, Field(description="What went wrong and what to do, for people.")]
    code: Annotated[str, Field(description="The kind of problem, for programs.")]
    request_id: Annotated[str, Field(description="Also in the header `X-Request-ID`; quote it when asking for help.")]
    errors: Annotated[list[InvalidField] | None, Field(description="With status 422: each thing that is wrong.")] = None


class ApiError(Exception):
    """A problem as the client shall read it. Subclasses are the whole vocabulary."""

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    code: ClassVar[str] = "internal_error"
    detail: ClassVar[str] = "Something went wrong here. The request may be tried again."
    headers: ClassVar[dict[str, str]] = {}


class InvalidTokenError(ApiError):
    """A token that is malformed, expired, badly signed, or of a user who is gone."""

    status = HTTPStatus.UNAUTHORIZED
    code = "invalid_token"
    detail = "The access token is malformed, expired or not genuine. Sign in again or refresh the session."
    headers: ClassVar[dict[str, str]] = {
        "WWW-Authenticate": 'Bearer realm="accounts", error="invalid_token", '
        'error_description="The access token is malformed, expired or not genuine"'
    }


class MissingTokenError(ApiError):
    """No bearer token at all."""

    status = HTTPStatus.UNAUTHORIZED
    code = "missing_token"
    detail = "This call needs the header 'Authorization: Bearer <access token of a signed-in user>', once."
    # RFC 6750, 3.1: without credentials the challenge carries no error code
    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": 'Bearer realm="accounts"'}


class NotAUserError(ApiError):
    """A genuine-looking token that is no end user's."""

    status = HTTPStatus.FORBIDDEN
    code = "not_a_user"
    detail = "Only the access token of a signed-in user is accepted here, not that of a service or of no one."


class PermissionDeniedError(ApiError):
    """The database refuses the user: the account is inactive, or the sign-in anonymous."""

    status = HTTPStatus.FORBIDDEN
    code = "permission_denied"
    detail = (
        "You may not do that: an account that has been switched off cannot be changed, and an anonymous sign-in cannot "
        "create or change accounts."
    )


class NotFoundError(ApiError):
    """No such path."""

    status = HTTPStatus.NOT_FOUND
    code = "not_found"
    detail = "There is nothing at this path. The paths are listed at /docs."


class AccountNotFoundError(ApiError):
    """Nothing of the caller's under that id."""

    status = HTTPStatus.NOT_FOUND
    code = "account_not_found"
    detail = "You have no account with this id."


class MethodNotAllowedError(ApiError):
    """The path is there, the method is not."""

    status = HTTPStatus.METHOD_NOT_ALLOWED
    code = "method_not_allowed"
    detail = "This path does not take that method. The header Allow lists those it takes."


class AccountExistsError(ApiError):
    """The caller has an account already."""

    status = HTTPStatus.CONFLICT
    code = "account_exists"
    detail = "You have an account already. GET /api/accounts or POST /api/accounts/get-or-create answers it."


class BodyTimeoutError(ApiError):
    """The request's body does not arrive."""

    status = HTTPStatus.REQUEST_TIMEOUT
    code = "body_timeout"
    detail = "The body took too long to arrive."
    headers: ClassVar[dict[str, str]] = {"Connection": "close"}


class BodyTooLargeError(ApiError):
    """The request's body is over the limit."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = "body_too_large"
    detail = "The body may have 16 KiB at most."


class UnsupportedMediaTypeError(ApiError):
    """The request's body is not declared as JSON, or compressed."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    code = "unsupported_media_type"
    detail = "The body must be JSON, not compressed, with the header 'Content-Type: application/json'."


class InvalidRequestError(ApiError):
    """The request is understood and wrong."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code = "invalid_request"
    detail = "The request is not valid; 'errors' lists what is wrong."

    def __init__(self, *errors: InvalidField) -> None:
        super().__init__()
        self.errors = errors or (
            InvalidField(loc=["body"], msg="The database does not accept this value", type="value_error"),
        )


class BadUpstreamError(ApiError):
    """Supabase answered what cannot be used."""

    status = HTTPStatus.BAD_GATEWAY
    code = "bad_upstream"
    detail = "The database service gave an answer that cannot be used. If it lasts, tell the operator."


class FunctionMissingError(BadUpstreamError):
    """The project lacks a function that its migrations make."""


class KeyRefusedError(BadUpstreamError):
    """The project's gateway lets nobody in with this publishable key."""


class OverloadedError(ApiError):
    """More calls are under way than this process takes on."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "overloaded"
    detail = "Too many calls are under way. Try again shortly."
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}


class UpstreamUnavailableError(ApiError):
    """Supabase is down, saturated, or asks for another try."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "upstream_unavailable"
    detail = "The database service cannot be reached or has no room. Try again shortly."
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}


class UpstreamTimeoutError(ApiError):
    """Supabase did not answer in time."""

    status = HTTPStatus.GATEWAY_TIMEOUT
    code = "upstream_timeout"
    detail = "The database service did not answer in time. The call may or may not have taken effect."


# By the error's code: PostgREST's own, or an SQLSTATE. Never by its text.
# https://docs.postgrest.org/en/stable/references/errors.html
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_BY_CODE: dict[str, type[ApiError]] = {
    "PGRST000": UpstreamUnavailableError,  # cannot connect to the database
    "PGRST001": UpstreamUnavailableError,
    "PGRST002": UpstreamUnavailableError,  # schema cache not built yet
    "PGRST003": UpstreamUnavailableError,  # no connection of the pool came free in time
    "PGRST202": FunctionMissingError,  # no function of this name and these parameters
    "PGRST301": InvalidTokenError,
    "PGRST302": InvalidTokenError,
    "PGRST303": InvalidTokenError,
    "22P02": InvalidRequestError,  # invalid_text_representation
    "22P05": InvalidRequestError,  # untranslatable_character (NUL)
    "23502": InvalidRequestError,  # not_null_violation
    "23503": InvalidTokenError,  # foreign_key_violation: the token's user has been deleted
    "23505": AccountExistsError,  # unique_violation
    "23514": InvalidRequestError,  # check_violation
    "42883": FunctionMissingError,  # undefined_function: gone since the schema was read
    "40001": UpstreamUnavailableError,  # serialization_failure: worth another try
    "40P01": UpstreamUnavailableError,  # deadlock_detected: worth another try
    "53300": UpstreamUnavailableError,  # too_many_connections
    "57014": UpstreamTimeoutError,  # query_canceled: statement_timeout
    "57P01": UpstreamUnavailableError,  # admin_shutdown
    "57P02": UpstreamUnavailableError,  # crash_shutdown
    "57P03": UpstreamUnavailableError,  # cannot_connect_now
}
_BY_STATUS: dict[int, type[ApiError]] = {
    HTTPStatus.TOO_MANY_REQUESTS: UpstreamUnavailableError,
    HTTPStatus.BAD_GATEWAY: UpstreamUnavailableError,
    HTTPStatus.SERVICE_UNAVAILABLE: UpstreamUnavailableError,
    HTTPStatus.GATEWAY_TIMEOUT: UpstreamTimeoutError,
}


class NotReadyError(ApiError):
    """The process lives and cannot serve: `code` tells why."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}


class SupabaseUnreachableError(NotReadyError):
    """Readiness: no usable answer from Supabase."""

    code = "supabase_unreachable"
    detail = "Supabase does not answer, or not as it should."


class PublishableKeyRefusedError(NotReadyError):
    """Readiness: Supabase answers, and refuses the key."""

    code = "publishable_key_refused"
    detail = "Supabase answers, but does not accept this service's publishable key."


class MigrationsMissingError(NotReadyError):
    """Readiness: Supabase answers, its database lacks functions."""

    code = "migrations_missing"
    detail = "Supabase answers, but the accounts functions are not all there: its migrations have to be applied."


def title(status: HTTPStatus) -> str:
    """The status in words, the same on every version of Python."""
    return _NEWER_TITLES.get(status, status.phrase)


def from_upstream(status: int, code: str | None) -> ApiError:
    """Translate an error answer of Supabase.

    Args:
        status: its HTTP status.
        code: the `code` of its body: PostgREST's or an SQLSTATE; None if the body has none (a proxy in between).
    """
    if code == "42501":  # insufficient_privilege: PostgREST answers 401 to the role anon, 403 to any other
        return InvalidTokenError() if status == HTTPStatus.UNAUTHORIZED else PermissionDeniedError()
    problem = _BY_CODE.get(code or "") or _BY_STATUS.get(status)
    if problem is None:
        logger.error("Supabase answered what no call here expects", upstream_status=status, upstream_code=code)
        # PostgREST's own refusals have a code; one without is the gateway's in front of it
        is_gateways = code is None and status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
        problem = KeyRefusedError if is_gateways else BadUpstreamError
    return problem()


def _response(request: Request, error: ApiError, headers: dict[str, str] | None = None) -> JSONResponse:
    request.state.problem = error.code
    problem = Problem(
        title=title(error.status),
        status=error.status,
        detail=error.detail,
        code=error.code,
        request_id=request.state.request_id,
        errors=list(error.errors) if isinstance(error, InvalidRequestError) else None,
    )
    return JSONResponse(
        problem.model_dump(exclude_none=True),
        status_code=error.status,
        headers={**error.headers, **(headers or {})},
        media_type=MEDIA_TYPE,
    )


def _on_api_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)  # noqa: S101 - narrows what add_exception_handler leaves open
    return _response(request, error)


def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    """What the framework itself refuses."""
    assert isinstance(error, HTTPException)  # noqa: S101
    problem: ApiError
    headers = dict(error.headers or {})
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            problem = NotFoundError()
        case HTTPStatus.METHOD_NOT_ALLOWED:
            problem = MethodNotAllowedError()
            headers["Allow"] = ", ".join(sorted(_methods_at(request)))
        case HTTPStatus.BAD_REQUEST:  # a body that is no text, or nested too deep, for the JSON parser
            problem = InvalidRequestError(
                InvalidField(loc=["body"], msg="The body is not readable as JSON in UTF-8", type="json_invalid")
            )
        case _:
            problem = ApiError()
    return _response(request, problem, headers)


def _methods_at(request: Request) -> Iterator[str]:
    """The methods that the path takes; the framework's own answer names those of the first route that matches."""
    for method in HTTPMethod:
        scope = {**request.scope, "method": method.value}
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes):
            yield method.value


def _on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    return _response(
        request,
        InvalidRequestError(
            # `input` and `ctx` are left out: they repeat what was sent
            *(InvalidField(loc=problem["loc"], msg=problem["msg"], type=problem["type"]) for problem in error.errors())
        ),
    )


def _on_disconnect(_request: Request, _error: Exception) -> Response:
    return Response(status_code=_CLIENT_CLOSED_REQUEST)  # for the log; nobody is there to read it


class _CrashMiddleware:
    """Answers an error that nobody expected.

    Starlette's own would do so outside of all other middleware, and raise the error, with whatever its message holds,
    once more for the server to log.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noticing_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, noticing_send)
        except Exception as error:
            if scope["type"] != "http":
                raise
            logger.error("crash", exc_info=error)
            if not started:  # else the server sees that the answer is not whole, and ends the connection
                await _response(Request(scope), ApiError())(scope, receive, send)


def install(app: FastAPI) -> None:
    """Make every error answer of `app` a problem document. Comes before any other middleware is added."""
    app.add_exception_handler(ApiError, _on_api_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_middleware(_CrashMiddleware)


def documented(*problems: type[ApiError]) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI `responses` of an endpoint that answers these problems, with an example of each."""
    responses: dict[int | str, dict[str, Any]] = {}
    for problem in problems:
        response = responses.setdefault(
            problem.status.value,
            {
                "description": title(problem.status),
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}},
            },
        )
        if problem.headers:
            response["headers"] = {name: {"schema": {"type": "string"}} for name in problem.headers}
        response["content"][MEDIA_TYPE]["examples"][problem.code] = {
            "value": Problem(
                title=title(problem.status),
                status=problem.status,
                detail=problem.detail,
                code=problem.code,
                request_id="0c2f1d6e5b7a4f7c9a3e8d1b2c4f6a80",
                errors=(
                    [InvalidField(loc=["body", "account_name"], msg="Field required", type="missing")]
                    if problem is InvalidRequestError
                    else None
                ),
            ).model_dump(exclude_none=True)
        }
    return responses
