"""Authentication: reads a user's access token before any other work.

Whether a token is genuine is for Supabase alone to say, to which it travels with the request. Its claims are read here
without verification, to refuse early what Supabase would refuse too. They grant nothing, and are not stored.
"""

import re
import time
from base64 import urlsafe_b64decode
from dataclasses import dataclass, field
from typing import Annotated, Any, Final
from uuid import UUID

import orjson
from fastapi import Depends, Request
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase

from edge_api.errors import ApiError, Kind

# Supabase's access tokens have 500 to 2,000 characters; servers in between refuse headers over 8 KiB.
_MAX_TOKEN_LENGTH: Final = 8192
_COMPACT_JWS: Final = re.compile(r"[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+")  # RFC 7515, 7.1
_LEEWAY_SECONDS: Final = 30  # clocks differ; PostgREST allows as much


@dataclass(frozen=True, slots=True)
class User:
    """The user that a request claims to come from; Supabase verifies it."""

    token: str = field(repr=False)
    id: UUID


def claims_of(token: str) -> dict[str, Any]:
    """The unverified claims of a JWT; of a duplicate claim, the last. Raises ValueError if it is none, or too long."""
    parts = _COMPACT_JWS.fullmatch(token) if len(token) <= _MAX_TOKEN_LENGTH else None
    claims = orjson.loads(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))) if parts else None
    if not isinstance(claims, dict):
        raise ValueError("not a JWT")
    return claims


def authenticate(request: Request) -> User:
    """The user whose access token the request carries; raises ApiError."""
    authorization = [value for name, value in request.scope["headers"] if name == b"authorization"]
    scheme, _, token = authorization[0].decode("latin-1").partition(" ") if len(authorization) == 1 else ("", "", "")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise ApiError(Kind.MISSING_TOKEN)
    try:
        claims = claims_of(token)
        expires = claims.get("exp")
        if isinstance(expires, int | float) and expires + _LEEWAY_SECONDS < time.time():
            raise ApiError(Kind.INVALID_TOKEN)
        if claims.get("role") != "authenticated":
            raise ApiError(Kind.NOT_A_USER)
        user = User(token, UUID(claims["sub"]))
    except (ValueError, LookupError, TypeError, AttributeError):  # the last two: a subject that is not a string
        raise ApiError(Kind.INVALID_TOKEN) from None
    if str(user.id) != claims["sub"]:  # Supabase writes the canonical form; another could be taken for another user
        raise ApiError(Kind.INVALID_TOKEN)
    return user


class _UserBearer(SecurityBase):
    """A bearer scheme, which FastAPI puts into the OpenAPI description, and whose value is the user."""

    scheme_name = "SupabaseUser"
    model = HTTPBearer(bearerFormat="JWT", description="The access token of a signed-in Supabase user.")

    async def __call__(self, request: Request) -> User:
        return authenticate(request)


CurrentUser = Annotated[User, Depends(_UserBearer())]
