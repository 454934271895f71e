"""Health checks: liveness and readiness."""

import asyncio
import time
from operator import attrgetter
from typing import Final, Literal

from fastapi import APIRouter
from pydantic import BaseModel

from edge_api.errors import NOT_READY, ApiError, Kind
from edge_api.problems import problem_responses
from edge_api.routing import ProblemRoute
from edge_api.supabase_client import Supabase

_SECONDS: Final = 1.0  # in which Supabase is asked once, however often it is asked for here


class HealthResponse(BaseModel):
    """The process runs (ok), or requests can be served (ready)."""

    status: Literal["ok", "ready"]


def health_router(supabase: Supabase) -> APIRouter:
    """The health checks of a service that serves with this client."""
    router = APIRouter(tags=["health"], route_class=ProblemRoute, generate_unique_id_function=attrgetter("name"))
    asking = asyncio.Lock()
    not_ready: Kind | None = None
    stale_at = 0.0

    @router.head("/healthz", include_in_schema=False)
    @router.get("/healthz", summary="Liveness: the process runs", responses=problem_responses(Kind.INTERNAL_ERROR))
    async def healthz() -> HealthResponse:
        """Always 200. Touches nothing else."""
        return HealthResponse(status="ok")

    @router.head("/readyz", include_in_schema=False)
    @router.get(
        "/readyz",
        summary="Readiness: requests can be served",
        responses={**problem_responses(Kind.INTERNAL_ERROR), **problem_responses(*NOT_READY, name="NotReady")},
    )
    async def readyz() -> HealthResponse:
        """200 when Supabase responds and has the accounts functions; else 503, and `code` says what is at fault."""
        nonlocal not_ready, stale_at
        async with asking:
            if time.monotonic() >= stale_at:
                not_ready = await supabase.not_ready()
                stale_at = time.monotonic() + _SECONDS
        if not_ready:
            raise ApiError(not_ready, cause=not_ready)
        return HealthResponse(status="ready")

    return router
