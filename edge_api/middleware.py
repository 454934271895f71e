"""What this service puts around the routes: request ids, the log line of each request, unhandled errors."""

import time

from fastapi import Request, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, clear_contextvars
from structlog.stdlib import get_logger

from edge_api.errors import ApiError, Kind
from edge_api.problems import problem_response, request_id_of, response_headers
from edge_api.routing import method_not_allowed

logger = get_logger(__name__)


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


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Respond to what no route takes."""
    match error:
        case HTTPException(status_code=404):
            return problem_response(request.scope, ApiError(Kind.NOT_FOUND))
        case HTTPException(status_code=405):
            return method_not_allowed(request)
    raise error


class UnhandledErrorMiddleware:
    """Responds to an error that nobody expected.

    Starlette's own would do so outside of all other middleware, and raise the error, with whatever its message holds,
    once more for the server to log.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        started = False

        async def noticing_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, noticing_send)
        except Exception as error:
            if scope["type"] != "http":
                raise
            logger.error("crash", exc_info=error)
            if not started:  # else the server sees that the response is not whole, and ends the connection
                await problem_response(scope, ApiError(Kind.INTERNAL_ERROR))(scope, receive, send)
