"""What holds for every request, whichever route it is for."""

import re
import time
from secrets import token_hex
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, clear_contextvars
from structlog.stdlib import get_logger

logger = get_logger(__name__)

_REQUEST_ID: Final = "edge_api.request_id"
_WELL_FORMED: Final = re.compile(r"[A-Za-z0-9_.-]{8,128}")


def request_id_of(scope: Scope) -> tuple[str, bool]:
    """The id of a request, the client's own if it sent a well-formed one; and whether it had none so far."""
    if isinstance(known := scope.get(_REQUEST_ID), str):
        return known, False
    sent = Headers(scope=scope).get("x-request-id", "")
    scope[_REQUEST_ID] = request_id = sent if _WELL_FORMED.fullmatch(sent) else token_hex(16)
    return request_id, True


def response_headers(request_id: str) -> list[tuple[bytes, bytes]]:
    """What every response has."""
    return [
        (b"x-content-type-options", b"nosniff"),
        (b"cache-control", b"no-store"),  # every response is one user's, or about now
        (b"x-request-id", request_id.encode()),
    ]


class RequestMiddleware:
    """Gives each request an id, and logs a line when it is responded to.

    Whoever serves the request may add to that line with structlog's `bind_contextvars`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        since = time.perf_counter()
        request_id, _ = request_id_of(scope)
        clear_contextvars()
        bind_contextvars(request_id=request_id)
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *response_headers(request_id)]
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            logger.info(
                "request",
                method=scope["method"],
                route=getattr(scope.get("route"), "path", None),  # never the path itself, which may hold anything
                status=status,
                duration_ms=round((time.perf_counter() - since) * 1000, 1),
            )
