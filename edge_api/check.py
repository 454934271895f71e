"""`edge-api serve --check`: what would be served, and whether the project is ready for it."""

import asyncio
from typing import Final

from edge_api import telemetry
from edge_api.settings import Settings
from edge_api.supabase_client import Supabase

# Whatever the settings allow: a person waits for this.
_SECONDS: Final = 30.0


async def _project(settings: Settings) -> tuple[bool, str]:
    """Whether the project is ready, and what it says."""
    supabase = Supabase(settings)
    async with supabase.open():
        problem = await supabase.not_ready()
    return problem is None, "ready" if problem is None else f"{problem.code}: {problem.detail}"


async def check(settings: Settings) -> tuple[bool, str]:
    """What would be served.

    Returns:
        Whether the project is ready, and a line for each thing that is set. No secret is in it.
    """
    try:
        async with asyncio.timeout(_SECONDS):
            ready, project = await _project(settings)
    except TimeoutError:
        ready, project = False, f"no response within {_SECONDS:g} s"
    except Exception as error:  # whatever it is, the lines below are said
        ready, project = False, f"cannot be checked: {type(error).__name__}"
    metrics = "off"
    if settings.edge_metrics_port is not None:
        metrics = f"http://{settings.edge_metrics_host}:{settings.edge_metrics_port}/metrics"
    workers = settings.edge_api_workers
    lines = {
        "address": f"http://{settings.edge_api_host}:{settings.edge_api_port}, "
        f"{workers} worker{'s' if workers > 1 else ''}",
        "project": f"{settings.supabase_url}: {project}",
        "limits": f"of each worker: {settings.edge_upstream_connections} connections to Supabase, "
        f"{settings.edge_upstream_waiting} calls may wait, {settings.edge_upstream_timeout:g} s a call",
        "CORS": ", ".join(settings.edge_cors_origins) or "no pages of other origins",
        "proxies": ", ".join(settings.edge_trusted_proxies) or "none believed",
        "docs": "/docs and /openapi.json" if settings.edge_docs else "off",
        "metrics": metrics,
        "traces": telemetry.traces_lack() or "as the OTEL_ variables say" if telemetry.traces_wanted() else "off",
        "logs": f"{settings.edge_log_level}, {settings.edge_log_format or 'console at a terminal, else json'}",
    }
    width = max(map(len, lines))
    return ready, "\n".join(f"{name:<{width}}  {value}" for name, value in lines.items())
