"""Errors outside of the accounts' routes, in this service's own app."""

from fastapi import Request, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.stdlib import get_logger

from edge_api.errors import INTERNAL_ERROR, NOT_FOUND, ApiError
from edge_api.problems import problem_response
from edge_api.routing import method_not_allowed

logger = get_logger(__name__)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Respond to what no route takes."""
    match error:
        case HTTPException(status_code=404):
            return problem_response(request.scope, ApiError(NOT_FOUND))
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
                await problem_response(scope, ApiError(INTERNAL_ERROR))(scope, receive, send)
