"""What this service adds around its routes: the log line of each request, unknown paths, unhandled errors."""

import logging
import time

from fastapi import Request, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_api.errors import ApiError, Kind
from edge_api.problems import log_fields, problem_response
from edge_api.telemetry import Observer

logger = logging.getLogger(__name__)


class RequestMiddleware:
    """Tells an observer of each request, logs a line for it, and responds to unhandled errors.

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
        since, fields = time.perf_counter(), log_fields(scope)
        scope["edge_api.status"] = 0

        async def send_noting_status(message: Message) -> None:
            if message["type"] == "http.response.start":
                scope["edge_api.status"] = message["status"]
            await send(message)

        with self._observer.request(scope):
            try:
                await self.app(scope, receive, send_noting_status)
            except Exception as error:
                logger.error("crash: %(request_id)s", fields, exc_info=error)
                if not scope["edge_api.status"]:  # else the server ends the connection in the middle of the response
                    await problem_response(scope, ApiError(Kind.INTERNAL_ERROR))(scope, receive, send_noting_status)
            finally:
                # never the path itself, which may hold anything
                fields |= {"method": scope["method"], "route": getattr(scope.get("route"), "path", None)}
                milliseconds = round((time.perf_counter() - since) * 1000, 1)
                fields |= {"status": scope["edge_api.status"], "duration_ms": milliseconds}
                logger.info("request: %(method)s %(route)s %(status)s", fields)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Respond where no route of the API does."""
    match error:
        case HTTPException(status_code=404):
            return problem_response(request.scope, ApiError(Kind.NOT_FOUND))
        case HTTPException(status_code=405):
            return problem_response(request.scope, ApiError(Kind.METHOD_NOT_ALLOWED), error.headers)
    raise error
