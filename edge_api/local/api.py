"""The API as `make dev` serves it: with a page at / to try it on."""

import os
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, JSONResponse
from starlette.staticfiles import StaticFiles

from edge_api import cli, server
from edge_api.local import DATABASE_ADDRESS
from edge_api.local.packages import PROJECT
from edge_api.main import EXPOSED_HEADERS
from edge_api.settings import Settings

APPLICATION: Final = "edge_api.local.api:application"
# A frontend's own development server, at whatever port it has
_LOOPBACK_ORIGIN: Final = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"
_PAGE: Final = Path(__file__).with_name("page")
_TYPES: Final = PROJECT / "supabase" / "database.types.ts"
_SUPABASE_JS: Final = PROJECT / "node_modules" / "@supabase" / "supabase-js" / "dist" / "umd" / "supabase.js"


def application() -> FastAPI:
    """The application that the environment asks for, with the page."""
    app = server.application()
    settings = Settings.from_environment()
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.edge_cors_origins,
        allow_origin_regex=_LOOPBACK_ORIGIN,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=EXPOSED_HEADERS,
    )
    headers = {
        # all of it from here, nothing inline, and calls to the API and to Supabase only
        "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        f"connect-src 'self' {settings.supabase_url}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
    }

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(_PAGE / "index.html", headers=headers)

    @app.get("/page/config.json", include_in_schema=False)
    async def config() -> JSONResponse:
        return JSONResponse(
            {
                "url": settings.supabase_url,
                "key": settings.supabase_publishable_key,
                "database": os.environ[DATABASE_ADDRESS],
            }
        )

    @app.get("/page/database.types.ts", include_in_schema=False)
    async def types() -> FileResponse:
        return FileResponse(_TYPES, media_type="text/plain")

    @app.get("/page/supabase.js", include_in_schema=False)
    async def supabase_js() -> FileResponse:
        return FileResponse(_SUPABASE_JS, media_type="text/javascript")

    app.mount("/page", StaticFiles(directory=_PAGE))
    return app


if __name__ == "__main__":
    cli.serve(APPLICATION)
