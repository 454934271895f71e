"""The claims of a JSON Web Token, read without proof: whether it is genuine is for Supabase alone to say."""

import re
from base64 import urlsafe_b64decode
from typing import Any, Final

import orjson

# A JWT (RFC 7519) in the compact form of RFC 7515
_COMPACT_JWS: Final = re.compile(r"[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+")


def claims_of(token: str) -> dict[str, Any]:
    """The claims of a JWT. Of a claim that is there twice, the last.

    Raises:
        ValueError: it is none.
    """
    parts = _COMPACT_JWS.fullmatch(token)
    claims = orjson.loads(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))) if parts else None
    if not isinstance(claims, dict):
        raise ValueError("not a JWT")
    return claims
