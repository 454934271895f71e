"""Builds the application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypedDict

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from pydantic.json_schema import models_json_schema

from edge_api import __version__, docs, errors, telemetry
from edge_api.middleware import RequestMiddleware
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
    readiness: health.Readiness


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
            # FastAPI's own way would look at the token here too; that is done in GuardedRoute, before the body is read
            description["components"]["securitySchemes"] = {
                "HTTPBearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "The access token of a signed-in Supabase user.",
                }
            }
            for path, operations in description["paths"].items():
                for operation in operations.values() if path.startswith(accounts.router.prefix) else ():
                    operation["security"] = [{"HTTPBearer": []}]
            for unused in ("HTTPValidationError", "ValidationError"):  # FastAPI's own, which no answer uses
                schemas.pop(unused, None)
        return self.openapi_schema or {}


def create_app(settings: Settings) -> FastAPI:
    """The application for the Supabase project that `settings` name. Connects to nothing before it is started."""
    observers = telemetry.observers(settings)
    project = telemetry.observed(observers) if observers else Supabase

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
        try:
            async with project.connect(settings) as supabase:
                yield {"supabase": supabase, "readiness": health.Readiness(supabase)}
        finally:
            for observer in observers:
                observer.close()

    app = EdgeApi(
        title="Accounts API",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url="/openapi.json" if settings.edge_docs else None,
        docs_url=None,  # see edge_api.docs
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # which would hold the messages of crashes
        redirect_slashes=False,  # a redirect would be built from the Host header
    )
    errors.install(app)
    if settings.edge_cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.edge_cors_origins,
            allow_methods=["GET", "POST", "PATCH"],
            allow_headers=["Authorization", "Content-Type", "X-Request-ID"],
            expose_headers=["Location", "Retry-After", "WWW-Authenticate", "X-Request-ID"],
        )
    if observers:
        app.add_middleware(telemetry.ObservedMiddleware, observers=observers)
    app.add_middleware(RequestMiddleware)
    # not `include_router`, which compares each path with each route several times a request
    app.router.routes.extend([*accounts.router.routes, *health.router.routes])
    if settings.edge_docs:
        docs.install(app)
    return app
