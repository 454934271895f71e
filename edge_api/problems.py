"""The error response: a problem document (RFC 9457), and its part of the OpenAPI description."""

from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal, cast

from fastapi import Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, create_model
from starlette.types import Scope

from edge_api.errors import INTERNAL_ERROR, INVALID_REQUEST, ApiError, InvalidField, Kind
from edge_api.middleware import request_id_of

MEDIA_TYPE: Final = "application/problem+json"
# Of RFC 9110; Python has them from 3.13 on.
_NEWER_TITLES: Final = {413: "Content Too Large", 422: "Unprocessable Content"}
_ID: Final = "0c2f1d6e5b7a4f7c9a3e8d1b2c4f6a80"
_FIELD: Final = InvalidField(loc=["body", "account_name"], msg="Field required", type="missing")


class Problem(BaseModel):
    """An error response, `application/problem+json` (RFC 9457)."""

    type: Annotated[str, Field(description="Always `about:blank`: `code` tells the kind of problem.")] = "about:blank"
    title: Annotated[str, Field(description="The status in words.")]
    status: int
    detail: Annotated[str, Field(description="What went wrong and what to do, for people.")]
    code: Annotated[str, Field(description="The kind of problem, for programs.")]
    request_id: Annotated[str, Field(description="Also in the header `X-Request-ID`; quote it when asking for help.")]


def title(status: int) -> str:
    """The status in words, the same on every version of Python."""
    return _NEWER_TITLES.get(status, HTTPStatus(status).phrase)


def _document(error: ApiError, request_id: str) -> dict[str, Any]:
    kind = error.kind
    names = {"title": title(kind.status), "status": kind.status, "detail": kind.detail, "code": kind.code}
    errors = {"errors": [field.model_dump() for field in error.errors]} if error.errors else {}
    return {"type": "about:blank", **names, "request_id": request_id, **errors}


def problem_response(scope: Scope, error: ApiError, headers: Mapping[str, str] | None = None) -> Response:
    """The response to an error, with the headers of its kind and these. Its code is left in the scope, for metrics."""
    scope["edge_api.problem"] = error.kind.code
    document, all_headers = _document(error, request_id_of(scope)[0]), {**error.kind.headers, **(headers or {})}
    return JSONResponse(document, error.kind.status, headers=all_headers, media_type=MEDIA_TYPE)


class _Content(dict[str, Any]):
    """FastAPI puts a `model` under the route's own media type, this under the problem's.

    https://github.com/fastapi/fastapi/issues/3122
    """

    def setdefault(self, _media_type: str, default: Any = None) -> Any:  # noqa: ANN401 - as in dict
        return super().setdefault(MEDIA_TYPE, default)


@cache
def _model(name: str, status: int, codes: tuple[str, ...]) -> type[Problem]:
    literal: Any = cast("Any", Literal)
    fields: dict[str, Any] = {"status": (literal[status], ...), "code": (literal[codes], ...)}
    if INVALID_REQUEST.code in codes:
        fields["errors"] = (Annotated[list[InvalidField], Field(description="Each thing that is wrong.")], ...)
    return create_model(name, __base__=Problem, __doc__=Problem.__doc__, **fields)


def problem_responses(*kinds: Kind, name: str = "Problem") -> dict[int | str, dict[str, Any]]:
    """The OpenAPI `responses` of an endpoint that responds with these errors, with an example of each.

    Args:
        kinds: all kinds of the statuses that they have.
        name: what the names of the schemas begin with; that of status 500 is the name itself.
    """
    responses: dict[int | str, dict[str, Any]] = {}
    for status in dict.fromkeys(kind.status for kind in kinds):
        same = [kind for kind in kinds if kind.status == status]
        examples = {
            kind.code: {"value": _document(ApiError(kind, *(_FIELD,) * (kind is INVALID_REQUEST)), _ID)}
            for kind in same
        }
        suffix = "" if status == INTERNAL_ERROR.status else str(status)
        responses[status] = {
            "description": title(status),
            "model": _model(name + suffix, status, tuple(kind.code for kind in same)),
            "content": _Content({MEDIA_TYPE: {"examples": examples}}),
        }
        if headers := {header: {"schema": {"type": "string"}} for kind in same for header in kind.headers}:
            responses[status]["headers"] = headers
    return responses
