"""The public keys that a Supabase project signs its users' tokens with."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Self

from jwt import PyJWK, PyJWTError
from structlog.stdlib import get_logger

from edge_api.errors import ApiError, BadUpstreamError, UpstreamUnavailableError

logger = get_logger(__name__)

# What Supabase signs with: https://supabase.com/docs/guides/auth/signing-keys
ALGORITHMS: Final = frozenset({"ES256", "RS256", "EdDSA"})
# Supabase asks to keep them for no longer than 10 minutes, so that a revoked key is forgotten.
_REFRESH_SECONDS: Final = 300.0
# A token with a key id that is not there may be the first after a rotation, or anybody's invention.
_SEARCH_SECONDS: Final = 10.0


class SigningKeys:
    """A project's signing keys: fetched once, refreshed while in use, and kept when the project does not answer."""

    def __init__(self, fetch: Callable[[], Awaitable[object]], clock: Callable[[], float] = time.monotonic) -> None:
        """Start with none.

        Args:
            fetch: gets the JSON Web Key Set (RFC 7517), or raises ApiError.
            clock: seconds since some time.
        """
        self._fetch_set = fetch
        self._clock = clock
        self._keys: list[PyJWK] | None = None
        self._generation = 0
        self._fresh_until = self._next_search = clock()
        self._fetching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._start_fetching()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])

    def refresh(self) -> int:
        """Have the keys replaced in the background when it is time; returns how often that has been done."""
        if self._clock() >= self._fresh_until:
            self._start_fetching()
        return self._generation

    async def published(self) -> bool:
        """Whether the project publishes any. Not, as far as anybody knows, while it has never been reached."""
        await self._first()
        return bool(self._keys)

    async def matching(self, algorithm: str, key_id: str | None) -> list[PyJWK]:
        """The keys that a token with this header can have been signed with.

        Args:
            algorithm: the token's `alg`.
            key_id: its `kid`; None, which RFC 7515 allows, for any key of that algorithm.

        Raises:
            UpstreamUnavailableError: the keys have never been got.
        """
        await self._first()
        if not (found := self._known(algorithm, key_id)) and (self._may_search() or self._is_fetching()):
            await self._fetched()
            found = self._known(algorithm, key_id)
        if self._keys is None:
            raise UpstreamUnavailableError
        return found

    def _known(self, algorithm: str, key_id: str | None) -> list[PyJWK]:
        return [key for key in self._keys or () if key.algorithm_name == algorithm and key_id in {None, key.key_id}]

    def _may_search(self) -> bool:
        if (now := self._clock()) < self._next_search:
            return False
        self._next_search = now + _SEARCH_SECONDS
        return True

    async def _first(self) -> None:
        """Wait for the first keys, for as long as one try takes."""
        self.refresh()
        if self._keys is None:
            await self._fetched(start=False)

    def _is_fetching(self) -> bool:
        return self._fetching is not None and not self._fetching.done()

    def _start_fetching(self) -> None:
        if not self._is_fetching():
            self._fetching = asyncio.create_task(self._fetch())

    async def _fetched(self, *, start: bool = True) -> None:
        if start:
            self._start_fetching()
        if self._fetching is not None:
            await asyncio.wait([self._fetching])  # which goes on for the others when this caller gives up

    async def _fetch(self) -> None:
        self._fresh_until = self._clock() + _SEARCH_SECONDS  # if it fails
        try:
            self._keys = _usable(await self._fetch_set())
        except ApiError as error:
            logger.warning("The signing keys cannot be fetched", cause=error.code, known=self._keys is not None)
        else:
            self._generation += 1
            self._fresh_until = self._clock() + _REFRESH_SECONDS


def _usable(key_set: object) -> list[PyJWK]:
    """The keys of a set that can prove a token. A shared secret can't: whoever reads it here could sign with it too.

    Raises:
        BadUpstreamError: it is no set.
    """
    if not isinstance(key_set, dict) or not isinstance(key_set.get("keys"), list):
        raise BadUpstreamError
    keys = []
    for key in key_set["keys"]:
        if not isinstance(key, dict) or not isinstance(key.get("kid"), str | None):
            continue
        try:
            parsed = PyJWK(key)
        except (PyJWTError, ValueError, TypeError, AttributeError, NotImplementedError):  # the last: alg none
            continue
        if parsed.algorithm_name in ALGORITHMS and key.get("use", "sig") == "sig" and "d" not in key:
            keys.append(parsed)
    return keys
