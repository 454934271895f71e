"""What holds for every request, before any route is looked for."""

import re
import time
from secrets import token_hex
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, clear_contextvars
from structlog.stdlib import get_logger

logger = get_logger(__name__)

_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),  # every answer is one user's, or about now
)
_WELL_FORMED_ID: Final = re.compile(r"[A-Za-z0-9_.-]{8,128}")


class RequestMiddleware:
    """Gives each request an id, the client's own if it sent a well-formed one, and logs a line when it is answered.

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
        wanted = Headers(scope=scope).get("x-request-id", "")
        request_id = wanted if _WELL_FORMED_ID.fullmatch(wanted) else token_hex(16)
        scope.setdefault("state", {})["request_id"] = request_id
        clear_contextvars()
        bind_contextvars(request_id=request_id)
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *_HEADERS, (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            route = scope.get("route")
            logger.info(
                "request",
                method=scope["method"],
                route=getattr(route, "path", None),  # never the path itself, which may hold anything
                status=status,
                duration_ms=round((time.perf_counter() - since) * 1000, 1),
            )
