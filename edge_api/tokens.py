"""Who calls: what can be told from a token without a secret.

Whether a token is genuine is for Supabase to say, which holds the key; a token that passes here has proved nothing.
What is refused here would be refused there too, only later.
"""

import re
from dataclasses import dataclass, field

import jwt
from fastapi import Request
from jwt.types import Options

from edge_api.errors import InvalidTokenError, MissingTokenError, NotAUserError

# Supabase's access tokens have 500 to 2,000 characters; servers in between refuse headers over 8 KiB.
_MAX_TOKEN_LENGTH = 8192
# RFC 7519 on RFC 7515's compact form
_COMPACT_JWS = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_CHECKED_WITHOUT_KEY: Options = {
    "verify_signature": False,
    "verify_exp": True,
    "verify_nbf": True,
    "require": ["exp"],
}
# Clocks differ; Supabase's own servers allow 30 s as well.
_LEEWAY_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Caller:
    """The user on whose behalf a call is made."""

    token: str = field(repr=False)


def authenticate(request: Request) -> Caller:
    """The caller of a request.

    Raises:
        MissingTokenError: no bearer token, or more than one Authorization header.
        InvalidTokenError: not a JWT, or expired.
        NotAUserError: the role is not `authenticated`.
    """
    headers = request.headers.getlist("authorization")
    if len(headers) != 1:
        raise MissingTokenError
    scheme, _, token = headers[0].partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise MissingTokenError
    if len(token) > _MAX_TOKEN_LENGTH or not _COMPACT_JWS.fullmatch(token):
        raise InvalidTokenError
    try:
        claims = jwt.decode(token, options=_CHECKED_WITHOUT_KEY, leeway=_LEEWAY_SECONDS)
    except (jwt.PyJWTError, ArithmeticError, RecursionError):  # "exp": 1e999, or a payload nested too deep
        raise InvalidTokenError from None
    if claims.get("role") != "authenticated":
        raise NotAUserError
    return Caller(token)
