"""The page /docs, from this server alone: FastAPI's own loads its scripts from somebody else's."""

from typing import Final

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

_ASSETS: Final = "/docs/assets"
# Swagger UI has a dark form, which a switch in a layout with a top bar turns on; here the browser's setting does.
_COLORS: Final = """\
<script>
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();
</script>
"""


def install(app: FastAPI) -> None:
    """Serve Swagger UI at /docs."""
    app.mount(_ASSETS, StaticFiles(packages=[("fastapi_swagger", "resources")]), name="docs-assets")

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        prefix = request.scope.get("root_path", "")
        page = get_swagger_ui_html(
            openapi_url=f"{prefix}{app.openapi_url}",
            title=app.title,
            swagger_js_url=f"{prefix}{_ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{prefix}{_ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{prefix}{_ASSETS}/favicon-32x32.png",
        )
        return HTMLResponse(bytes(page.body).decode().replace("</head>", f"{_COLORS}</head>"))
