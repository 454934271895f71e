"""Builds the application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Final

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.exceptions import HTTPException

from edge_api import __version__, docs, telemetry
from edge_api.middleware import RequestMiddleware, on_http_exception
from edge_api.routers.accounts import accounts_router
from edge_api.routers.health import health_router
from edge_api.settings import Settings
from edge_api.supabase_client import Supabase

DESCRIPTION = """\
Which account does a broker credential belong to? One per user, created on first need, visible to its owner only.

Every request but the health checks needs the access token of a signed-in user: press **Authorize** and paste it.
Errors are problem documents (RFC 9457): `code` is for programs, `detail` for people."""
# What the API reads, and what supabase-js and tracing in browsers add to each request of a page.
_CORS_HEADERS: Final = (
    *("Authorization", "Content-Type", "X-Request-ID", "apikey", "x-client-info"),
    *("traceparent", "tracestate", "baggage", "sentry-trace"),
)

EXPOSED_HEADERS: Final = ("Location", "Retry-After", "WWW-Authenticate", "X-Request-ID")


def create_app(settings: Settings) -> FastAPI:
    """The application for the Supabase project that `settings` name. Connects to nothing before it is started."""
    observer = telemetry.observer(settings)
    supabase = Supabase(settings, observer)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        with closing(observer):
            yield

    app = FastAPI(
        title="Accounts API",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url="/openapi.json" if settings.edge_docs else None,
        docs_url=None,  # see edge_api.docs
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # which would hold the messages of crashes
        redirect_slashes=False,  # a redirect would be built from the Host header
        exception_handlers={HTTPException: on_http_exception},
    )
    if settings.edge_cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.edge_cors_origins,
            allow_methods=["GET", "POST", "PATCH"],
            allow_headers=[*_CORS_HEADERS, *settings.edge_cors_headers],
            expose_headers=EXPOSED_HEADERS,
        )
    app.add_middleware(RequestMiddleware, observer=observer)
    app.include_router(accounts_router(settings, supabase))
    app.include_router(health_router(supabase))
    if settings.edge_docs:
        docs.install(app)
    return app
