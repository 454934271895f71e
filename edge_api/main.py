"""Builds the application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypedDict

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from edge_api import __version__, docs, errors
from edge_api.middleware import RequestIdMiddleware
from edge_api.routers import accounts, health
from edge_api.settings import Settings
from edge_api.upstream import Supabase

DESCRIPTION = """\
Which account does a broker credential belong to? One account per user, made on first need, visible to its owner only.

Every call but the health checks needs the access token of a signed-in Supabase user: press **Authorize** and paste it.
Errors are problem documents (RFC 9457): `code` is for programs, `detail` for people."""


class State(TypedDict):
    """What lives as long as the application, found in `request.state`."""

    supabase: Supabase


class EdgeApi(FastAPI):
    """FastAPI with this API's error document in its OpenAPI description."""

    def openapi(self) -> dict[str, Any]:
        """The description, built once."""
        if self.openapi_schema is None:
            description = super().openapi()
            _, definitions = models_json_schema(
                [(errors.Problem, "serialization")], ref_template="#/components/schemas/{model}"
            )
            schemas = description["components"]["schemas"]
            schemas.update(definitions["$defs"])
            for unused in ("HTTPValidationError", "ValidationError"):  # FastAPI's own, which no answer uses
                schemas.pop(unused, None)
        return self.openapi_schema or {}


def create_app(settings: Settings) -> FastAPI:
    """The application for the Supabase project that `settings` name. Connects to nothing before it is started."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
        async with Supabase.connect(settings) as supabase:
            yield {"supabase": supabase}

    app = EdgeApi(
        title="Accounts API",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # see edge_api.docs
        redoc_url=None,
        redirect_slashes=False,  # a redirect would be built from the Host header
    )
    app.add_middleware(RequestIdMiddleware)
    errors.install(app)
    app.include_router(accounts.router)
    app.include_router(health.router)
    docs.install(app)
    return app
