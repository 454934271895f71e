"""The error response: a problem document (RFC 9457), and its part of the OpenAPI description."""

import random
import re
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal, cast

from fastapi import Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, create_model
from starlette.types import Scope

from edge_api.errors import ApiError, InvalidField, Kind

MEDIA_TYPE: Final = "application/problem+json"
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9_.-]{8,128}")
# In the words of RFC 9110, which Python has for the last two from 3.13 on
TITLES: Final = {status.value: status.phrase for status in HTTPStatus}
TITLES.update({413: "Content Too Large", 422: "Unprocessable Content"})


class Problem(BaseModel):
    """An error response, `application/problem+json` (RFC 9457)."""

    type: Annotated[str, Field(description="Always `about:blank`: `code` tells the kind of problem.")] = "about:blank"
    title: Annotated[str, Field(description="The status in words.")]
    status: int
    detail: Annotated[str, Field(description="What went wrong and what to do, for people.")]
    code: Annotated[str, Field(description="The kind of problem, for programs.")]
    request_id: Annotated[str, Field(description="Also in the header `X-Request-ID`; quote it when asking for help.")]


def log_fields(scope: Scope) -> dict[str, Any]:
    """What the log line of a request says besides what each has: its id at first. Add to it."""
    fields: dict[str, Any] | None = scope.get("edge_api.log")
    if fields is None:
        sent = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = sent.decode() if _REQUEST_ID.fullmatch(sent) else f"{random.getrandbits(128):032x}"
        fields = scope["edge_api.log"] = {"request_id": request_id}
    return fields


def request_id_of(scope: Scope) -> str:
    """The id of a request: the client's own if it sent a well-formed one, else a new one."""
    return str(log_fields(scope)["request_id"])


def with_headers(scope: Scope, response: Response) -> Response:
    """Add the headers that every response of an endpoint has: each belongs to one user, or to this moment."""
    headers = {"x-content-type-options": "nosniff", "cache-control": "no-store", "x-request-id": request_id_of(scope)}
    response.raw_headers.extend((name.encode(), value.encode()) for name, value in headers.items())
    return response


def _document(error: ApiError, request_id: str) -> dict[str, Any]:
    kind = error.kind
    names = {"title": TITLES[kind.status], "status": kind.status, "detail": kind.detail, "code": kind.code}
    errors = {"errors": [field.model_dump() for field in error.errors]} if error.errors else {}
    return {"type": "about:blank", **names, "request_id": request_id, **errors}


def problem_response(scope: Scope, error: ApiError, headers: Mapping[str, str] | None = None) -> Response:
    """The response to an error, with the headers of its kind and these. Leaves its code in the scope, for metrics."""
    scope["edge_api.problem"] = error.kind.code
    document = _document(error, request_id_of(scope))
    all_headers = {**error.kind.headers, **(headers or {})}
    return with_headers(scope, JSONResponse(document, error.kind.status, all_headers, MEDIA_TYPE))


class _Content(dict[str, Any]):
    """FastAPI puts a `model` under the route's own media type, this under the problem's (fastapi/fastapi#3122)."""

    def setdefault(self, _media_type: str, default: Any = None) -> Any:  # noqa: ANN401 - as in dict
        return super().setdefault(MEDIA_TYPE, default)


@cache
def _model(name: str, status: int, codes: tuple[str, ...]) -> type[Problem]:
    literal = cast("Any", Literal)
    fields: dict[str, Any] = {"status": (literal[status], ...), "code": (literal[codes], ...)}
    if Kind.INVALID_REQUEST.code in codes:
        fields["errors"] = (Annotated[list[InvalidField], Field(description="Each thing that is wrong.")], ...)
    return create_model(name, __base__=Problem, __doc__=Problem.__doc__, **fields)


def problem_responses(*kinds: Kind, name: str = "Problem") -> dict[int | str, dict[str, Any]]:
    """The OpenAPI `responses` of an endpoint that responds with these errors, with an example of each.

    Args:
        kinds: all kinds of each status.
        name: the prefix of the schemas' names; that of status 500 is the prefix itself.
    """
    responses: dict[int | str, dict[str, Any]] = {}
    for status in dict.fromkeys(kind.status for kind in kinds):
        same = {kind.code: kind for kind in kinds if kind.status == status}
        examples = {code: {"value": _document(ApiError(kind), "0c2f1d6e5b7a4f7c")} for code, kind in same.items()}
        headers = {header: {"schema": {"type": "string"}} for kind in same.values() for header in kind.headers}
        responses[status] = {
            "description": TITLES[status],
            "model": _model(name + (str(status) if status != Kind.INTERNAL_ERROR.status else ""), status, tuple(same)),
            "content": _Content({MEDIA_TYPE: {"examples": examples}}),
            **({"headers": headers} if headers else {}),
        }
    return responses
