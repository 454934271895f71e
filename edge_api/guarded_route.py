"""The order in which a request is refused."""

from collections.abc import AsyncGenerator, Callable, Coroutine
from email.message import Message
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute

from edge_api.errors import BodyTooLargeError, UnsupportedMediaTypeError
from edge_api.tokens import authenticate

MAX_BODY_BYTES: Final = 16 * 1024


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


def _is_json(content_type: str) -> bool:
    message = Message()
    message["content-type"] = content_type
    subtype = message.get_content_subtype()
    return message.get_content_maintype() == "application" and (subtype == "json" or subtype.endswith("+json"))


class GuardedRoute(APIRoute):
    """A route for signed-in users: looks at the token first, then at the body's size and type, then at its content.

    FastAPI by itself parses the body before any dependency runs, and so would tell strangers about their JSON.
    The caller is left in `request.state.caller`.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler with the guard in front."""
        handler = super().get_route_handler()
        takes_body = self.body_field is not None

        async def guarded(request: Request) -> Response:
            request = _BoundedRequest(request.scope, request.receive)
            request.state.caller = authenticate(request)
            body = await request.body()
            if takes_body and body and not _is_json(request.headers.get("content-type", "")):
                raise UnsupportedMediaTypeError
            return await handler(request)

        return guarded
