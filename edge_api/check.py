"""`edge-api serve --check`: the settings, and whether the project is ready."""

from contextlib import aclosing

from edge_api import telemetry
from edge_api.settings import Settings
from edge_api.supabase_client import Supabase


async def check(settings: Settings) -> tuple[bool, str]:
    """Whether the project is ready, and a line for it and for each setting but the key."""
    ready = False
    try:
        async with aclosing(Supabase(settings)) as supabase:
            not_ready = await supabase.not_ready()
        ready, project = not_ready is None, f"{not_ready.code}: {not_ready.detail}" if not_ready else "ready"
    except Exception as error:  # whatever it is, the lines below are said
        project = f"cannot be checked: {type(error).__name__}"
    on = telemetry.tracing_requested()
    traces = (telemetry.tracing_unavailable() or "as the OTEL_ variables say") if on else "off"
    values = settings.model_dump(mode="json", exclude={"supabase_publishable_key"}, exclude_none=True)
    lines = [
        f"{name.upper()}={','.join(value) if isinstance(value, list) else value}" for name, value in values.items()
    ]
    return ready, "\n".join([f"{settings.supabase_url}: {project}", f"traces: {traces}", *lines])
