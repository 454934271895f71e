"""Waits where Auth has had enough: it takes 30 sign-ups and sign-ins at once, and then 150 in five minutes."""

import time
from collections.abc import Callable
from typing import Final

import httpx

_PATIENCE_SECONDS: Final = 120.0
_PAUSE_SECONDS: Final = 2.0  # between two of 150 in five minutes


class PacedTransport(httpx.HTTPTransport):
    """Sends a request again that is refused with 429, until that would take longer than it may."""

    def __init__(
        self, patience_seconds: float = _PATIENCE_SECONDS, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        super().__init__()
        self._patience_seconds = patience_seconds
        self._sleep = sleep

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        left = self._patience_seconds
        while True:
            response = super().handle_request(request)
            pause = _pause_seconds(response.headers.get("Retry-After", ""))
            left -= pause
            if response.status_code != httpx.codes.TOO_MANY_REQUESTS or left < 0:
                return response
            response.close()
            self._sleep(pause)


def _pause_seconds(retry_after: str) -> float:
    """As long as a proxy in front asks for, in seconds; Auth itself sends no Retry-After."""
    return max(float(retry_after) if retry_after.isdecimal() else 0, _PAUSE_SECONDS)
