"""What this service adds around its routes: its observer, unknown paths, unhandled errors."""

from fastapi import Request, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_api.errors import ApiError, Kind
from edge_api.problems import problem_response
from edge_api.telemetry import Observer
from edge_api.telemetry.logs import log_crash


class RequestMiddleware:
    """Tells an observer of each request, and responds to unhandled errors.

    Starlette's own response to these would raise the error, with its message, once more for the server to log.
    """

    def __init__(self, app: ASGIApp, observer: Observer) -> None:
        self.app = app
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["edge_api.status"] = 0

        async def send_noting_status(message: Message) -> None:
            if message["type"] == "http.response.start":
                scope["edge_api.status"] = message["status"]
            await send(message)

        with self._observer.request(scope):
            try:
                await self.app(scope, receive, send_noting_status)
            except Exception as error:
                log_crash(scope, error)
                if not scope["edge_api.status"]:  # else the server ends the connection in the middle of the response
                    await problem_response(scope, ApiError(Kind.INTERNAL_ERROR))(scope, receive, send_noting_status)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Respond where no route of the API does."""
    kinds = {404: Kind.NOT_FOUND, 405: Kind.METHOD_NOT_ALLOWED}
    if not isinstance(error, HTTPException) or error.status_code not in kinds:
        raise error
    return problem_response(request.scope, ApiError(kinds[error.status_code]), error.headers)
