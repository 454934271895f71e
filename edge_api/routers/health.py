"""Is the process alive, and can it serve?"""

import asyncio
from typing import Final, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from edge_api.errors import ApiError, MigrationsMissingError, SupabaseUnreachableError, documented
from edge_api.upstream import Supabase

router = APIRouter(tags=["health"])

# Every SQL function that the endpoints call, with arguments of the right names: PostgREST finds a function by them.
_ID: Final = "00000000-0000-0000-0000-000000000000"
FUNCTIONS: Final[dict[str, dict[str, str]]] = {
    "list_accounts": {},
    "get_or_create_account": {},
    "create_account": {"account_name": "x"},
    "get_account": {"account_id": _ID},
    "rename_account": {"account_id": _ID, "account_name": "x"},
}


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
    responses=documented(SupabaseUnreachableError, MigrationsMissingError),
)
async def readyz(request: Request) -> ReadyResponse:
    """200 when Supabase answers and its database has the accounts functions; else 503 with which of the two failed."""
    supabase: Supabase = request.state.supabase
    try:
        there = await asyncio.gather(
            *(
                supabase.has_function(function, params, request_id=request.state.request_id)
                for function, params in FUNCTIONS.items()
            )
        )
    except ApiError:
        raise SupabaseUnreachableError from None
    if not all(there):
        raise MigrationsMissingError
    return ReadyResponse()
