"""A route that authenticates before it reads the body, and whose errors are problem documents in whatever app it is."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Coroutine
from email.message import Message
from http import HTTPMethod
from typing import Any, Final, Never

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import Receive, Scope, Send
from structlog.stdlib import get_logger

from edge_api.auth import authenticate
from edge_api.errors import ApiError, InvalidField, Kind
from edge_api.logs import without_message
from edge_api.problems import problem_response, request_id_of, response_headers

logger = get_logger(__name__)

MAX_BODY_BYTES: Final = 16 * 1024
_BODY_SECONDS: Final = 10.0
_CLIENT_CLOSED_REQUEST: Final = 499  # as nginx has it


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    names = dict(pairs)
    return names if len(names) == len(pairs) else _refuse()


def _refuse(_constant: str = "") -> Never:
    raise json.JSONDecodeError("Not strict JSON", "", 0)


class _BoundedRequest(Request):
    """A request whose body is read up to the limit and no further.

    FastAPI's own `max_body_size` responds in plain text, and does so before the token is looked at.
    """

    async def stream(self) -> AsyncGenerator[bytes, None]:
        declared = self.headers.get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > MAX_BODY_BYTES:
            raise ApiError(Kind.BODY_TOO_LARGE)
        size = 0
        async for chunk in super().stream():
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise ApiError(Kind.BODY_TOO_LARGE)
            yield chunk

    async def json(self) -> object:
        """The body as RFC 8259 recommends it, of which every reader makes the same: no name twice, no NaN."""
        try:  # given bytes, json would take UTF-16 and UTF-32 as well
            text = (await self.body()).decode("utf-8-sig")
            return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
        except json.JSONDecodeError:
            raise
        except (ValueError, RecursionError):  # no UTF-8; a number of thousands of digits; nested too deep
            _refuse()


def _has_body(request: Request) -> bool:
    headers = request.headers  # of HTTP/1, a message without either has none: RFC 9112, 6.3
    is_http_1 = request.scope["http_version"] in {"1.0", "1.1"}
    return not is_http_1 or headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


async def _with_body(request: Request, *, takes_body: bool) -> Request:
    """Read the body of an authenticated request: FastAPI by itself would tell anybody about their JSON."""
    authenticate(request)
    request = _BoundedRequest(request.scope, request.receive)
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            body = await request.body()
    except TimeoutError:
        raise ApiError(Kind.BODY_TIMEOUT) from None
    if body and not takes_body:
        refused = InvalidField(loc=["body"], msg="This request takes no body", type="body_not_allowed")
        raise ApiError(Kind.INVALID_REQUEST, refused)
    if body:
        content = Message()
        content["content-type"] = request.headers.get("content-type", "")
        is_json = content.get_content_maintype() == "application" and (
            content.get_content_subtype() == "json" or content.get_content_subtype().endswith("+json")
        )
        if not is_json or request.headers.get("content-encoding", "identity").lower() != "identity":
            raise ApiError(Kind.UNSUPPORTED_MEDIA_TYPE)
    return request


def _translated(problem: Exception, request_id: str) -> ApiError:
    if isinstance(problem, ApiError):
        return problem
    if isinstance(problem, RequestValidationError):  # `input` and `ctx` are left out: they repeat what was sent
        fields = (InvalidField(loc=error["loc"], msg=error["msg"], type=error["type"]) for error in problem.errors())
        return ApiError(Kind.INVALID_REQUEST, *fields)
    # a host's configuration of structlog might log the message as well
    logger.error("crash", request_id=request_id, exception=without_message(problem))
    return ApiError(Kind.INTERNAL_ERROR)


def method_not_allowed(request: Request) -> Response:
    """The response for a path that takes other methods; the framework names those of the first route that matches."""
    allowed = []
    for method in HTTPMethod:
        scope = {**request.scope, "method": method.value}
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes):
            allowed.append(method.value)
    return problem_response(request.scope, ApiError(Kind.METHOD_NOT_ALLOWED), {"Allow": ", ".join(sorted(allowed))})


class ProblemRoute(APIRoute):
    """Refuses a request in the order of the token, the body's size and type, its content; errors end as documents."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler with the bounds in front and the errors translated."""
        handler = super().get_route_handler()
        takes_body = self.body_field is not None
        reads_body = not {"GET", "HEAD"} & (self.methods or set())  # in which a body has no meaning: RFC 9110, 9.3.1

        async def respond(request: Request) -> Response:
            request_id, is_new = request_id_of(request.scope)
            try:
                if reads_body and _has_body(request):
                    request = await _with_body(request, takes_body=takes_body)
                response = await handler(request)
            except HTTPException:
                raise  # of a dependency that the host added: the host's to answer
            except ClientDisconnect:
                response = Response(status_code=_CLIENT_CLOSED_REQUEST)  # for the log; nobody is there to read it
            except Exception as problem:
                response = problem_response(request.scope, _translated(problem, request_id))
            if is_new:  # without this package's middleware
                response.raw_headers.extend(response_headers(request_id))
            return response

        return respond

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond, also to a method that no route at this path takes."""
        if self.methods is None or scope["method"] in self.methods:
            await super().handle(scope, receive, send)
            return
        request_id, is_new = request_id_of(scope)
        response = method_not_allowed(Request(scope))
        response.raw_headers.extend(response_headers(request_id) if is_new else [])
        await response(scope, receive, send)
