"""`edge-api serve --check`: what would be served, and whether the project is ready for it."""

import asyncio
from typing import Final

from edge_api import telemetry
from edge_api.settings import Settings
from edge_api.supabase_client import Supabase

# Whatever the settings allow: a person waits for this.
_SECONDS: Final = 30.0


async def check(settings: Settings) -> tuple[bool, str]:
    """What would be served.

    Returns:
        Whether the project is ready, and a line for each thing that is set. No secret is in it.
    """
    ready, supabase = False, Supabase(settings)
    try:
        async with asyncio.timeout(_SECONDS), supabase.open():
            not_ready = await supabase.not_ready()
        ready, project = not_ready is None, f"{not_ready.code}: {not_ready.detail}" if not_ready else "ready"
    except TimeoutError:
        project = f"no response within {_SECONDS:g} s"
    except Exception as error:  # whatever it is, the lines below are said
        project = f"cannot be checked: {type(error).__name__}"
    on = telemetry.tracing_requested()
    traces = (telemetry.tracing_unavailable() or "as the OTEL_ variables say") if on else "off"
    workers, port = settings.edge_api_workers, settings.edge_metrics_port
    lines = {
        "address": f"http://{settings.edge_api_host}:{settings.edge_api_port}, {workers} worker{'s' * (workers > 1)}",
        "project": f"{settings.supabase_url}: {project}",
        "limits": f"of each worker: {settings.edge_upstream_connections} connections to Supabase, "
        f"{settings.edge_upstream_waiting} calls may wait, {settings.edge_upstream_timeout:g} s a call",
        "CORS": ", ".join(settings.edge_cors_origins) or "no pages of other origins",
        "docs": "/docs and /openapi.json" if settings.edge_docs else "off",
        "metrics": f"http://{settings.edge_metrics_host}:{port}/metrics" if port else "off",
        "traces": traces,
        "logs": f"{settings.edge_log_level}, {settings.edge_log_format or 'console at a terminal, else json'}",
    }
    width = max(map(len, lines))
    return ready, "\n".join(f"{name:<{width}}  {value}" for name, value in lines.items())
