"""Is the process alive, and can it serve?"""

import asyncio
import time
from operator import attrgetter
from typing import Final, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from edge_api.errors import (
    ApiError,
    KeyRefusedError,
    MigrationsMissingError,
    NotReadyError,
    PublishableKeyRefusedError,
    SupabaseUnreachableError,
    documented,
)
from edge_api.upstream import Supabase

router = APIRouter(tags=["health"], generate_unique_id_function=attrgetter("name"))

# Every SQL function that the endpoints call, with arguments of the right names: PostgREST finds a function by them.
_ID: Final = "00000000-0000-0000-0000-000000000000"
FUNCTIONS: Final[dict[str, dict[str, str]]] = {
    "list_accounts": {},
    "get_or_create_account": {},
    "create_account": {"account_name": "x"},
    "get_account": {"account_id": _ID},
    "rename_account": {"account_id": _ID, "account_name": "x"},
}
# Whoever asks, and however often, Supabase is asked once in this time.
_SECONDS: Final = 1.0


class Readiness:
    """Whether Supabase answers and has the functions, as of a second ago at most."""

    def __init__(self, supabase: Supabase) -> None:
        self._supabase = supabase
        self._check: asyncio.Task[type[NotReadyError] | None] | None = None
        self._stale_at = 0.0

    async def problem(self) -> type[NotReadyError] | None:
        """What is missing, or None."""
        if self._check is None or (self._check.done() and time.monotonic() >= self._stale_at):
            self._check = asyncio.create_task(self._ask())
        return await asyncio.shield(self._check)  # others wait for it too

    async def _ask(self) -> type[NotReadyError] | None:
        try:
            there = await asyncio.gather(
                *(self._supabase.has_function(function, params) for function, params in FUNCTIONS.items())
            )
        except KeyRefusedError:
            return PublishableKeyRefusedError
        except ApiError:
            return SupabaseUnreachableError
        finally:
            self._stale_at = time.monotonic() + _SECONDS
        return None if all(there) else MigrationsMissingError


class HealthResponse(BaseModel):
    """The process lives."""

    status: Literal["ok"] = "ok"


class ReadyResponse(BaseModel):
    """Requests can be served."""

    status: Literal["ready"] = "ready"


@router.get("/healthz", summary="Does the process live?")
async def healthz() -> HealthResponse:
    """Always 200. Touches nothing else."""
    return HealthResponse()


@router.get(
    "/readyz",
    summary="Can requests be served?",
    responses=documented(SupabaseUnreachableError, PublishableKeyRefusedError, MigrationsMissingError),
)
async def readyz(request: Request) -> ReadyResponse:
    """200 when Supabase answers and its database has the accounts functions; else 503 with what is at fault."""
    readiness: Readiness = request.state.readiness
    if problem := await readiness.problem():
        raise problem
    return ReadyResponse()
