"""Every error that a client receives, and the one table from Supabase's errors to them."""

from enum import Enum
from typing import Annotated, Final

from pydantic import BaseModel, Field

# RFC 6750, 3.1: without credentials the challenge carries no error code
_CHALLENGE: Final = 'Bearer realm="accounts"'
_NOT_GENUINE: Final = f'{_CHALLENGE}, error="invalid_token", error_description="Malformed, expired or not genuine"'
_HEADERS: Final = {401: {"WWW-Authenticate": _CHALLENGE}, 408: {"Connection": "close"}, 503: {"Retry-After": "1"}}


class Kind(Enum):
    """A kind of error: its status, and the `detail` for people. The `code` for programs is the name in lower case."""

    MISSING_TOKEN = 401, "Send the header 'Authorization: Bearer <access token of a signed-in user>', once."
    INVALID_TOKEN = 401, "The access token is malformed, expired or not genuine. Sign in or refresh the session."
    NOT_A_USER = 403, "Only a signed-in user's access token is accepted here, not that of a service or of no one."
    PERMISSION_DENIED = 403, "You may not change this: the account has been switched off, or the sign-in is anonymous."
    NOT_FOUND = 404, "There is nothing at this path. The paths are listed at /docs."
    ACCOUNT_NOT_FOUND = 404, "You have no account with this id."
    METHOD_NOT_ALLOWED = 405, "This path does not take that method. The header Allow lists those it takes."
    BODY_TIMEOUT = 408, "The body took too long to arrive."
    ACCOUNT_EXISTS = 409, "You have an account already: GET /api/accounts or POST /api/accounts/get-or-create."
    BODY_TOO_LARGE = 413, "The body may have 16 KiB at most."
    UNSUPPORTED_MEDIA_TYPE = 415, "The body must be JSON, not compressed, with 'Content-Type: application/json'."
    INVALID_REQUEST = 422, "The request is not valid; 'errors' lists what is wrong."
    INTERNAL_ERROR = 500, "Something went wrong here. The request may be tried again."
    BAD_UPSTREAM = 502, "The database service gave a response that cannot be used. If it lasts, tell the operator."
    OVERLOADED = 503, "Too many requests are under way. Try again shortly."
    UPSTREAM_UNAVAILABLE = 503, "The database service cannot be reached or has no room. Try again shortly."
    UPSTREAM_TIMEOUT = 504, "The database service did not respond in time. The request may have taken effect."

    # Why Supabase failed, for operators: in the log, from /readyz, from `edge-api serve --check`
    SUPABASE_UNREACHABLE = 503, "Supabase does not respond, or not as it should."
    CERTIFICATE_UNTRUSTED = 503, "The TLS certificate at Supabase's address is not trusted."
    PROJECT_PAUSED = 503, "The Supabase project is paused or restricted; its dashboard tells why."
    PUBLISHABLE_KEY_REFUSED = 503, "Supabase responds, but does not accept this service's publishable key."
    TOKENS_REFUSED = 503, "Supabase responds, but refuses every token: its JWT secret is not the project's."
    SCHEMA_NOT_EXPOSED = 503, "Supabase responds, but its API does not expose the schema public."
    MIGRATIONS_MISSING = 503, "Supabase responds, but the accounts functions are missing: apply its migrations."
    FUNCTION_AMBIGUOUS = 503, "Supabase responds, but has two functions of one name for the same arguments."

    def __init__(self, status: int, detail: str) -> None:
        self.status = status
        self.detail = detail
        self.code = self.name.lower()
        self.headers = {"WWW-Authenticate": _NOT_GENUINE} if self.code == "invalid_token" else _HEADERS.get(status, {})


NOT_READY: Final = tuple(Kind)[tuple(Kind).index(Kind.SUPABASE_UNREACHABLE) :]


class InvalidField(BaseModel):
    """What is wrong with one part of a request. It never repeats the value."""

    loc: Annotated[list[str | int], Field(description="Where: `body` or `path`, then the field.")]
    msg: str
    type: Annotated[str, Field(description="The kind of error, for programs.")]


_REFUSED_VALUE: Final = InvalidField(loc=["body"], msg="The database does not accept this value", type="value_error")


class ApiError(Exception):
    """An error that a client receives.

    Args:
        kind: which.
        errors: for an invalid request, each thing that is wrong.
        cause: for a failure of Supabase, what is at fault, for operators.
        reason: how it showed, for the log; nothing that Supabase sent but a status and a code.
    """

    def __init__(self, kind: Kind, *errors: InvalidField, cause: Kind | None = None, reason: str = "") -> None:
        super().__init__(kind.code)
        self.kind = kind
        self.errors = errors or ((_REFUSED_VALUE,) if kind is Kind.INVALID_REQUEST else ())
        self.cause = cause
        self.reason = reason


# By the error's code, PostgREST's own or an SQLSTATE; else by the SQLSTATE's class, or the status. Never by its text.
# https://docs.postgrest.org/en/stable/references/errors.html
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_KINDS: Final[dict[str | int | None, Kind]] = {
    # PGRST301 to 303: the token. 23503, foreign_key_violation: the token's user has been deleted.
    **dict.fromkeys(("PGRST301", "PGRST302", "PGRST303", "23503"), Kind.INVALID_TOKEN),
    "42501": Kind.PERMISSION_DENIED,  # insufficient_privilege
    "23505": Kind.ACCOUNT_EXISTS,  # unique_violation
    # invalid_text_representation, untranslatable_character (NUL), not_null_violation, check_violation
    **dict.fromkeys(("22P02", "22P05", "23502", "23514"), Kind.INVALID_REQUEST),
    **dict.fromkeys(("57014", 504), Kind.UPSTREAM_TIMEOUT),  # query_canceled: statement_timeout
    # PGRST000 to 003: no connection to the database, no schema cache yet, no connection of the pool came free.
    # Empty: the backend died before it could say more.
    **dict.fromkeys(("PGRST000", "PGRST001", "PGRST002", "PGRST003", ""), Kind.UPSTREAM_UNAVAILABLE),
    # Classes: connections; read-only (a full disk on Supabase, or a standby); rollbacks; resources; locks; shutdown
    **dict.fromkeys(("08", "25", "40", "53", "55", "57"), Kind.UPSTREAM_UNAVAILABLE),
    **dict.fromkeys((402, 429, 502, 503, 540), Kind.UPSTREAM_UNAVAILABLE),
}
# What stays wrong until an operator acts.
_CAUSES: Final[dict[str | int | None, Kind]] = {
    "PGRST106": Kind.SCHEMA_NOT_EXPOSED,
    "PGRST203": Kind.FUNCTION_AMBIGUOUS,
    "PGRST300": Kind.TOKENS_REFUSED,  # no secret or key to check them with
    # PGRST202: no function of this name and parameters. undefined_function, undefined_table: since the cache was built
    **dict.fromkeys(("PGRST202", "42883", "42P01"), Kind.MIGRATIONS_MISSING),
    **dict.fromkeys((402, 540), Kind.PROJECT_PAUSED),  # 402: restricted, such as over its quota
}


def from_upstream(status: int, code: str | None) -> ApiError:
    """Translate an error response of Supabase: its status, and its body's `code`, which a proxy's does not have."""
    by_class = _KINDS.get(code[:2]) if code else None
    kind = _KINDS.get(code) or by_class or _KINDS.get(status, Kind.BAD_UPSTREAM)
    if kind is Kind.PERMISSION_DENIED and status == 401:  # as the role anon: PostgREST took the token for none
        kind = Kind.INVALID_TOKEN
    if kind.status < 500:
        return ApiError(kind)
    cause = _CAUSES.get(code) or _CAUSES.get(status)
    if cause is None and code is None and status in {401, 403}:
        cause = Kind.PUBLISHABLE_KEY_REFUSED  # PostgREST's own refusals have a code; one without is the gateway's
    return ApiError(kind, cause=cause or Kind.SUPABASE_UNREACHABLE, reason=f"{status} {code}")
