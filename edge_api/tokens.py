"""Who calls: a user's access token, looked at before anything is done for it.

Where the project publishes its signing keys, a token that passes here is genuine. Where it signs with a shared secret,
which is not for this process to know, only its form is looked at, and Supabase decides. Either way Supabase, to which
the token goes, checks it again: what is refused here would be refused there too, only later.
"""

import re
import time
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import jwt
from fastapi import Request
from jwt.types import Options
from jwt.utils import base64url_decode
from structlog.contextvars import bind_contextvars

from edge_api import strict_json
from edge_api.errors import InvalidTokenError, MissingTokenError, NotAUserError
from edge_api.settings import Settings
from edge_api.signing_keys import ALGORITHMS, SigningKeys

# Supabase's access tokens have 500 to 2,000 characters; servers in between refuse headers over 8 KiB.
_MAX_TOKEN_LENGTH: Final = 8192
# RFC 7519 on RFC 7515's compact form
_COMPACT_JWS: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_AUDIENCE: Final = "authenticated"
_SHARED_SECRET: Final = "HS256"  # noqa: S105 - an algorithm's name
# PyJWT's own, and what claims of other types and sizes than anybody would sign make of it.
_NOT_GENUINE: Final = (
    jwt.PyJWTError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
# Clocks differ; Supabase's own servers allow 30 s as well.
_LEEWAY_SECONDS: Final = 30
# Looking at a token takes longer than all else that is done here for a call, and a user comes back with the same one.
_MOST_SEEN: Final = 4096


@dataclass(frozen=True, slots=True)
class Caller:
    """The user on whose behalf a call is made."""

    token: str = field(repr=False)
    user_id: str
    is_genuine: bool  # proved here; else only Supabase can tell


def _claims(text: bytes) -> dict[str, Any]:
    """Parse a part of a token, in which no name may come twice: of two, Supabase might take the other one."""
    parsed = strict_json.loads(text)
    if not isinstance(parsed, dict):
        raise jwt.DecodeError
    return parsed


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class _StrictJWT(jwt.PyJWT):
    def _decode_payload(self, decoded: dict[str, Any]) -> dict[str, Any]:  # made to be overridden
        claims = _claims(decoded["payload"])
        if not all(_is_time(claims[name]) for name in ("exp", "nbf", "iat") if name in claims):
            raise jwt.DecodeError  # PyJWT would take digits in quotes
        return claims


_jwt: Final = _StrictJWT()


class Authenticator:
    """Tells who calls."""

    def __init__(self, settings: Settings, keys: SigningKeys) -> None:
        self._issuer = settings.edge_token_issuer or f"{settings.supabase_url}/auth/v1"
        self._shared_secret_too = settings.edge_token_allow_hs256
        self._keys = keys
        self._seen: dict[str, tuple[Caller, float]] = {}  # by token: whose it is, and until when
        self._seen_with = 0

    async def __call__(self, request: Request) -> Caller:
        """The caller of a request.

        Raises:
            MissingTokenError: no bearer token, or more than one Authorization header.
            InvalidTokenError: not a JWT, expired, or provably not genuine.
            NotAUserError: the role is not `authenticated`.
            UpstreamUnavailableError: the keys to prove it with cannot be had.
        """
        headers = request.headers.getlist("authorization")
        if len(headers) != 1:
            raise MissingTokenError
        scheme, _, token = headers[0].partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise MissingTokenError
        if (generation := self._keys.refresh()) != self._seen_with:
            self._seen, self._seen_with = {}, generation
        caller, expires = self._seen.get(token, (None, 0.0))
        if caller is None or time.time() > expires:
            caller, expires = await self._examined(token)
            if len(self._seen) >= _MOST_SEEN:
                del self._seen[next(iter(self._seen))]
            self._seen[token] = caller, expires
        if caller.is_genuine:
            bind_contextvars(user_id=caller.user_id)
        return caller

    async def _examined(self, token: str) -> tuple[Caller, float]:
        """The caller, and the time until which the token is good."""
        if len(token) > _MAX_TOKEN_LENGTH or not _COMPACT_JWS.fullmatch(token):
            raise InvalidTokenError
        try:
            claims, is_genuine = await self._verified(token)
            if claims.get("role") != "authenticated":
                raise NotAUserError
            return Caller(token, str(UUID(claims["sub"])), is_genuine), float(claims["exp"]) + _LEEWAY_SECONDS
        except _NOT_GENUINE as error:
            bind_contextvars(refused=type(error).__name__)
            raise InvalidTokenError from None

    async def _verified(self, token: str) -> tuple[dict[str, Any], bool]:
        """The claims of a token, checked as far as can be without a secret, and whether that proves it genuine."""
        header = _claims(base64url_decode(token.partition(".")[0]))
        algorithm, key_id = header["alg"], header.get("kid")
        options: Options = {"require": ["exp"], "verify_signature": True}
        if algorithm == _SHARED_SECRET:
            # never tried against a published key, which everybody has
            if await self._keys.published() and not self._shared_secret_too:
                raise jwt.InvalidAlgorithmError
            options = {**options, "verify_signature": False, "verify_exp": True, "verify_nbf": True}
            return _jwt.decode(token, options=options, leeway=_LEEWAY_SECONDS), False
        if algorithm not in ALGORITHMS:
            raise jwt.InvalidAlgorithmError
        problem: jwt.PyJWTError = jwt.InvalidSignatureError()
        for key in await self._keys.matching(algorithm, key_id):
            try:
                claims = _jwt.decode(
                    token,
                    key,
                    [algorithm],
                    options=options,
                    audience=_AUDIENCE,
                    issuer=self._issuer,
                    leeway=_LEEWAY_SECONDS,
                )
            except jwt.InvalidSignatureError as error:  # of several keys without an id, another one may fit
                problem = error
            else:
                return claims, True
        raise problem
