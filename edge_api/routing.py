"""The route class of all endpoints: it authenticates before it reads a body, and its errors are problem documents."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Coroutine
from http import HTTPMethod
from typing import Any, Final

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from edge_api.auth import authenticate
from edge_api.errors import ApiError, InvalidField, Kind
from edge_api.problems import problem_response, with_headers
from edge_api.telemetry.logs import log_crash

MAX_BODY_BYTES: Final = 16 * 1024
BODY_SECONDS: Final = 10.0
_JSON: Final = re.compile(r"application/([^/ ]+\+)?json")
_NO_BODY: Final = InvalidField(loc=["body"], msg="This request takes no body", type="body_not_allowed")
_CLIENT_CLOSED_REQUEST: Final = 499  # as in nginx


class _BoundedRequest(Request):
    """A request whose body is read up to the limit and no further.

    FastAPI's own `max_body_size` responds in plain text, and before the token is checked.
    """

    async def stream(self) -> AsyncGenerator[bytes, None]:
        size = 0
        async for chunk in super().stream():
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise ApiError(Kind.BODY_TOO_LARGE)
            yield chunk

    async def json(self) -> object:
        """The body, parsed as UTF-8 only and without NaN, unlike by `json.loads`."""
        return orjson.loads(await self.body())


def _has_body(scope: Scope) -> bool:
    """Whether a body may come: in HTTP/1, a request without either field has none (RFC 9112, 6.3)."""
    framing = {b"content-length", b"transfer-encoding"}
    return not scope["http_version"].startswith("1") or any(
        name in framing and (name, value) != (b"content-length", b"0") for name, value in scope["headers"]
    )


async def _with_body(request: Request, *, takes_body: bool) -> Request:
    """Authenticate, then read the body: FastAPI by itself would validate the body of anybody."""
    authenticate(request)
    request = _BoundedRequest(request.scope, request.receive)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await request.body()
    except TimeoutError:
        raise ApiError(Kind.BODY_TIMEOUT) from None
    if body and not takes_body:
        raise ApiError(Kind.INVALID_REQUEST, _NO_BODY)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    encoding = request.headers.get("content-encoding", "identity").lower()
    if body and not (_JSON.fullmatch(media_type) and encoding == "identity"):
        raise ApiError(Kind.UNSUPPORTED_MEDIA_TYPE)
    return request


class ProblemRoute(APIRoute):
    """Checks a request's token, then its body's size and type, then its content; errors become problem documents."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, with the bounds before it and the errors translated."""
        handler = super().get_route_handler()
        takes_body = self.body_field is not None
        reads_body = not {"GET", "HEAD"} & (self.methods or set())  # in which a body has no meaning: RFC 9110, 9.3.1

        async def respond(request: Request) -> Response:
            try:
                if reads_body and _has_body(request.scope):
                    request = await _with_body(request, takes_body=takes_body)
                return with_headers(request.scope, await handler(request))
            except HTTPException:
                raise  # from a dependency that the host added, whose handlers respond
            except ClientDisconnect:
                return Response(status_code=_CLIENT_CLOSED_REQUEST)  # for the log: nobody receives it
            except ApiError as error:
                problem = error
            except RequestValidationError as error:  # without `input` and `ctx`, which repeat what was sent
                fields = [InvalidField(loc=each["loc"], msg=each["msg"], type=each["type"]) for each in error.errors()]
                problem = ApiError(Kind.INVALID_REQUEST, *fields)
            except Exception as error:
                log_crash(request.scope, error)
                problem = ApiError(Kind.INTERNAL_ERROR)
            return problem_response(request.scope, problem)

        return respond

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond, also to a method that no route at this path takes: Starlette would name those of the first alone."""
        if self.methods is None or scope["method"] in self.methods:
            await super().handle(scope, receive, send)
            return
        routes, methods = scope["app"].routes, sorted(HTTPMethod)
        matches = {method: [route.matches({**scope, "method": method})[0] for route in routes] for method in methods}
        allowed = ", ".join(method for method, found in matches.items() if Match.FULL in found)
        response = problem_response(scope, ApiError(Kind.METHOD_NOT_ALLOWED), {"Allow": allowed})
        await response(scope, receive, send)
