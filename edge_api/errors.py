"""Every error that a client is told, and the one table from Supabase's errors to them."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Final, NamedTuple

from pydantic import BaseModel, Field
from structlog.stdlib import get_logger

logger = get_logger(__name__)


class Kind(NamedTuple):
    """A kind of error: the status, the `code` for programs, the `detail` for people, and headers."""

    status: int
    code: str
    detail: str
    headers: Mapping[str, str] = {}


# RFC 6750, 3.1: without credentials the challenge carries no error code
_CHALLENGE: Final = 'Bearer realm="accounts"'
_NOT_GENUINE: Final = "The access token is malformed, expired or not genuine"
_INVALID_TOKEN: Final = f'{_CHALLENGE}, error="invalid_token", error_description="{_NOT_GENUINE}"'
_RETRY: Final = {"Retry-After": "1"}

MISSING_TOKEN: Final = Kind(
    401,
    "missing_token",
    "This request needs the header 'Authorization: Bearer <access token of a signed-in user>', once.",
    {"WWW-Authenticate": _CHALLENGE},
)
INVALID_TOKEN: Final = Kind(
    401,
    "invalid_token",
    f"{_NOT_GENUINE}. Sign in again or refresh the session.",
    {"WWW-Authenticate": _INVALID_TOKEN},
)
NOT_A_USER: Final = Kind(
    403, "not_a_user", "Only the access token of a signed-in user is accepted here, not that of a service or of no one."
)
PERMISSION_DENIED: Final = Kind(
    403,
    "permission_denied",
    "You may not do that: an account that has been switched off cannot be changed, and an anonymous sign-in cannot "
    "create or change accounts.",
)
NOT_FOUND: Final = Kind(404, "not_found", "There is nothing at this path. The paths are listed at /docs.")
ACCOUNT_NOT_FOUND: Final = Kind(404, "account_not_found", "You have no account with this id.")
METHOD_NOT_ALLOWED: Final = Kind(
    405, "method_not_allowed", "This path does not take that method. The header Allow lists those it takes."
)
BODY_TIMEOUT: Final = Kind(408, "body_timeout", "The body took too long to arrive.", {"Connection": "close"})
ACCOUNT_EXISTS: Final = Kind(
    409,
    "account_exists",
    "You have an account already. GET /api/accounts or POST /api/accounts/get-or-create responds with it.",
)
BODY_TOO_LARGE: Final = Kind(413, "body_too_large", "The body may have 16 KiB at most.")
UNSUPPORTED_MEDIA_TYPE: Final = Kind(
    415,
    "unsupported_media_type",
    "The body must be JSON, not compressed, with the header 'Content-Type: application/json'.",
)
INVALID_REQUEST: Final = Kind(422, "invalid_request", "The request is not valid; 'errors' lists what is wrong.")
INTERNAL_ERROR: Final = Kind(500, "internal_error", "Something went wrong here. The request may be tried again.")
BAD_UPSTREAM: Final = Kind(
    502, "bad_upstream", "The database service gave a response that cannot be used. If it lasts, tell the operator."
)
OVERLOADED: Final = Kind(503, "overloaded", "Too many requests are under way. Try again shortly.", _RETRY)
UPSTREAM_UNAVAILABLE: Final = Kind(
    503, "upstream_unavailable", "The database service cannot be reached or has no room. Try again shortly.", _RETRY
)
UPSTREAM_TIMEOUT: Final = Kind(
    504,
    "upstream_timeout",
    "The database service did not respond in time. The request may or may not have taken effect.",
)


def _cause(code: str, detail: str) -> Kind:
    """Why Supabase failed, for operators: in the log, as the response of /readyz, from `edge-api serve --check`."""
    return Kind(503, code, detail, _RETRY)


SUPABASE_UNREACHABLE: Final = _cause("supabase_unreachable", "Supabase does not respond, or not as it should.")
CERTIFICATE_UNTRUSTED: Final = _cause(
    "certificate_untrusted", "The TLS certificate at Supabase's address is not trusted."
)
PROJECT_PAUSED: Final = _cause(
    "project_paused", "The Supabase project is paused or restricted; its dashboard tells why."
)
KEY_REFUSED: Final = _cause(
    "publishable_key_refused", "Supabase responds, but does not accept this service's publishable key."
)
TOKENS_REFUSED: Final = _cause(
    "tokens_refused", "Supabase responds, but refuses every token: its JWT secret or keys are not the project's."
)
SCHEMA_NOT_EXPOSED: Final = _cause(
    "schema_not_exposed", "Supabase responds, but its API does not expose the schema public."
)
MIGRATIONS_MISSING: Final = _cause(
    "migrations_missing", "Supabase responds, but the accounts functions are missing: apply its migrations."
)
FUNCTION_AMBIGUOUS: Final = _cause(
    "function_ambiguous", "Supabase responds, but has several functions of one name for the same arguments."
)
NOT_READY: Final = (
    SUPABASE_UNREACHABLE,
    CERTIFICATE_UNTRUSTED,
    PROJECT_PAUSED,
    KEY_REFUSED,
    TOKENS_REFUSED,
    SCHEMA_NOT_EXPOSED,
    MIGRATIONS_MISSING,
    FUNCTION_AMBIGUOUS,
)


class InvalidField(BaseModel):
    """What is wrong with one part of a request. It never repeats the value."""

    loc: Annotated[list[str | int], Field(description="Where: `body` or `path`, then the field.")]
    msg: str
    type: Annotated[str, Field(description="The kind of error, for programs.")]


_REFUSED_VALUE: Final = InvalidField(loc=["body"], msg="The database does not accept this value", type="value_error")


class ApiError(Exception):
    """An error that a client is told.

    Args:
        kind: which.
        errors: of an invalid request, each thing that is wrong.
        cause: of a failure of Supabase, the reason for operators.
    """

    def __init__(self, kind: Kind, *errors: InvalidField, cause: Kind | None = None) -> None:
        super().__init__(kind.code)
        self.kind = kind
        self.errors = errors or ((_REFUSED_VALUE,) if kind is INVALID_REQUEST else ())
        self.cause = cause


# By the error's code: PostgREST's own, or an SQLSTATE. Never by its text.
# https://docs.postgrest.org/en/stable/references/errors.html
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_BY_CODE: Final[dict[str | None, Kind]] = {
    "": UPSTREAM_UNAVAILABLE,  # the backend died before it could say more
    "PGRST000": UPSTREAM_UNAVAILABLE,  # cannot connect to the database
    "PGRST001": UPSTREAM_UNAVAILABLE,
    "PGRST002": UPSTREAM_UNAVAILABLE,  # schema cache not built yet
    "PGRST003": UPSTREAM_UNAVAILABLE,  # no connection of the pool came free in time
    "PGRST301": INVALID_TOKEN,
    "PGRST302": INVALID_TOKEN,
    "PGRST303": INVALID_TOKEN,
    "22P02": INVALID_REQUEST,  # invalid_text_representation
    "22P05": INVALID_REQUEST,  # untranslatable_character (NUL)
    "23502": INVALID_REQUEST,  # not_null_violation
    "23503": INVALID_TOKEN,  # foreign_key_violation: the token's user has been deleted
    "23505": ACCOUNT_EXISTS,  # unique_violation
    "23514": INVALID_REQUEST,  # check_violation
    "40001": UPSTREAM_UNAVAILABLE,  # serialization_failure
    "40P01": UPSTREAM_UNAVAILABLE,  # deadlock_detected
    "53300": UPSTREAM_UNAVAILABLE,  # too_many_connections
    "55P03": UPSTREAM_UNAVAILABLE,  # lock_not_available
    "57014": UPSTREAM_TIMEOUT,  # query_canceled: statement_timeout
    "57P01": UPSTREAM_UNAVAILABLE,  # admin_shutdown
    "57P02": UPSTREAM_UNAVAILABLE,  # crash_shutdown
    "57P03": UPSTREAM_UNAVAILABLE,  # cannot_connect_now
}
_BY_STATUS: Final = {
    **dict.fromkeys((402, 429, 502, 503, 540), UPSTREAM_UNAVAILABLE),
    504: UPSTREAM_TIMEOUT,
}
# What stays wrong until an operator does something.
_CAUSES: Final[dict[str | int | None, Kind]] = {
    "PGRST106": SCHEMA_NOT_EXPOSED,
    "PGRST202": MIGRATIONS_MISSING,  # no function of this name and these parameters
    "PGRST203": FUNCTION_AMBIGUOUS,
    "PGRST300": TOKENS_REFUSED,  # no secret or key to check them with
    "42883": MIGRATIONS_MISSING,  # undefined_function: gone since the schema was read
    "42P01": MIGRATIONS_MISSING,  # undefined_table
    402: PROJECT_PAUSED,  # restricted, such as over its quota
    540: PROJECT_PAUSED,
}


def from_upstream(status: int, code: str | None) -> ApiError:
    """Translate an error response of Supabase.

    Args:
        status: its HTTP status.
        code: the `code` of its body: PostgREST's or an SQLSTATE; None if the body has none (a proxy in between).
    """
    if code == "42501":  # insufficient_privilege: PostgREST responds 401 to the role anon, 403 to any other
        return ApiError(INVALID_TOKEN if status == HTTPStatus.UNAUTHORIZED else PERMISSION_DENIED)
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status, BAD_UPSTREAM)
    if kind.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return ApiError(kind)
    cause = _CAUSES.get(code) or _CAUSES.get(status)
    if cause is None and code is None and status in {401, 403}:
        cause = KEY_REFUSED  # PostgREST's own refusals have a code; one without is the gateway's in front of it
    if kind is BAD_UPSTREAM and cause is None:
        logger.error("Supabase responded with an unexpected error", upstream_status=status, upstream_code=code)
    return ApiError(kind, cause=cause or SUPABASE_UNREACHABLE)
