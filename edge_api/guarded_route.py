"""The order in which a request is refused."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from email.message import Message
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import Headers

from edge_api import strict_json
from edge_api.auth import authenticate
from edge_api.errors import (
    BodyTimeoutError,
    BodyTooLargeError,
    InvalidField,
    InvalidRequestError,
    UnsupportedMediaTypeError,
)

MAX_BODY_BYTES: Final = 16 * 1024
_BODY_SECONDS: Final = 10.0


class _BoundedRequest(Request):
    """A request whose body is read up to the limit and no further.

    FastAPI's own `max_body_size` answers in plain text, and does so before the token is looked at.
    """

    async def stream(self) -> AsyncGenerator[bytes, None]:
        declared = self.headers.get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > MAX_BODY_BYTES:
            raise BodyTooLargeError
        size = 0
        async for chunk in super().stream():
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise BodyTooLargeError
            yield chunk

    async def json(self) -> object:
        """The body, of which Python's own parser would take NaN, and of two fields with one name the last."""
        return strict_json.loads(await self.body())


def _is_plain_json(headers: Headers) -> bool:
    message = Message()
    message["content-type"] = headers.get("content-type", "")
    subtype = message.get_content_subtype()
    return (
        message.get_content_maintype() == "application"
        and (subtype == "json" or subtype.endswith("+json"))
        and headers.get("content-encoding", "identity").lower() == "identity"
    )


class GuardedRoute(APIRoute):
    """A route for signed-in users: looks at the token first, then at the body's size and type, then at its content.

    FastAPI by itself parses the body before any dependency runs, and so would tell strangers about their JSON.
    The user is left in `request.state.user`.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler with the guard in front."""
        handler = super().get_route_handler()
        takes_body = self.body_field is not None
        refuses_body = not takes_body and "GET" not in (self.methods or ())  # of a GET, it has no meaning: RFC 9110

        async def guarded(request: Request) -> Response:
            request = _BoundedRequest(request.scope, request.receive)
            request.state.user = authenticate(request)
            # without either there is no body: RFC 9112, 6.3
            if request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers:
                try:
                    async with asyncio.timeout(_BODY_SECONDS):
                        body = await request.body()
                except TimeoutError:
                    raise BodyTimeoutError from None
                if body and refuses_body:
                    raise InvalidRequestError(
                        InvalidField(loc=["body"], msg="This request takes no body", type="body_not_allowed")
                    )
                if takes_body and body and not _is_plain_json(request.headers):
                    raise UnsupportedMediaTypeError
            return await handler(request)

        return guarded
