"""`edge-api serve --check`: the settings, and whether the project is ready."""

from contextlib import aclosing

from edge_api import telemetry
from edge_api.settings import Settings
from edge_api.supabase_client import Supabase


async def check(settings: Settings) -> tuple[bool, str]:
    """Whether the project is ready, and a line for it and for each setting but the key."""
    try:
        async with aclosing(Supabase(settings)) as supabase:
            not_ready = await supabase.not_ready()
        project = f"{not_ready.code}: {not_ready.detail}" if not_ready else "ready"
    except Exception as error:  # whatever it is, the lines below are said
        project = f"cannot be checked: {type(error).__name__}"
    lines = [f"{settings.supabase_url}: {project}", f"traces: {telemetry.traces()}"]
    values = settings.model_dump(mode="json", exclude={"supabase_publishable_key"}, exclude_none=True)
    for name, value in values.items():
        lines.append(f"{name.upper()}={','.join(value) if isinstance(value, list) else value}")
    return project == "ready", "\n".join(lines)
