"""Authentication: reads a user's access token before any other work.

Whether a token is genuine is for Supabase alone to say, to which it travels with the call. Its claims are read here
without proof, to refuse early what Supabase would refuse too: they let nobody in, and nothing of them is kept.
"""

import time
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from fastapi import Request

from edge_api.claims import claims_of
from edge_api.errors import InvalidTokenError, MissingTokenError, NotAUserError

# Supabase's access tokens have 500 to 2,000 characters; servers in between refuse headers over 8 KiB.
_MAX_TOKEN_LENGTH: Final = 8192
# Clocks differ; PostgREST allows 30 s as well.
_LEEWAY_SECONDS: Final = 30


@dataclass(frozen=True, slots=True)
class User:
    """Whom a request claims to be from, for Supabase to confirm."""

    token: str = field(repr=False)
    id: UUID


def authenticate(request: Request) -> User:
    """The user whose access token the request carries.

    Raises:
        MissingTokenError: no bearer token, or more than one Authorization header.
        InvalidTokenError: not a JWT, expired, or of no user of Supabase Auth.
        NotAUserError: the role is not `authenticated`.
    """
    headers = request.headers.getlist("authorization")
    scheme, _, token = headers[0].partition(" ") if len(headers) == 1 else ("", "", "")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise MissingTokenError
    if len(token) > _MAX_TOKEN_LENGTH:
        raise InvalidTokenError
    try:
        claims = claims_of(token)
    except ValueError:
        raise InvalidTokenError from None
    expires, role, subject = claims.get("exp"), claims.get("role"), claims.get("sub")
    if isinstance(expires, int | float) and expires + _LEEWAY_SECONDS < time.time():
        raise InvalidTokenError
    if role != "authenticated":
        raise NotAUserError
    try:
        user_id = UUID(subject)
    except (ValueError, TypeError, AttributeError):
        raise InvalidTokenError from None
    if str(user_id) != subject:  # Supabase Auth's are in this form, and two forms of one id could be taken for two
        raise InvalidTokenError
    return User(token, user_id)
