"""The same endpoint, built in the other ways.

python -m bench.candidates NAME PORT, with SUPABASE_URL and SUPABASE_PUBLISHABLE_KEY in the environment
"""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

import aiohttp
import uvicorn
from fastapi import FastAPI, Header, Request
from pydantic import Field, TypeAdapter

from edge_api.schemas.account_schemas import GetOrCreateAccountResponse, GetOrCreateAccountRow
from supabase import AsyncClient, create_async_client

PATH: Final = "/api/accounts/get-or-create"
_URL: Final = os.environ.get("SUPABASE_URL", "")
_KEY: Final = os.environ.get("SUPABASE_PUBLISHABLE_KEY", "")
_ROWS: Final = TypeAdapter(Annotated[list[GetOrCreateAccountRow], Field(min_length=1, max_length=1)])
Authorization = Annotated[str, Header()]


def noop() -> FastAPI:
    """A constant: what FastAPI and uvicorn cost by themselves."""
    app = FastAPI()

    @app.post(PATH)
    async def get_or_create_account() -> dict[str, str]:
        return {"status": "ok"}

    return app


def raw() -> FastAPI:
    """By hand: a bare aiohttp session and Pydantic. No logs, no look at the token, no error handling."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=32)) as session:
            yield {"session": session}

    app = FastAPI(lifespan=lifespan)

    @app.post(PATH)
    async def get_or_create_account(request: Request, authorization: Authorization) -> GetOrCreateAccountResponse:
        session: aiohttp.ClientSession = request.state.session
        headers = {"apikey": _KEY, "Authorization": authorization, "Content-Type": "application/json"}
        async with session.post(f"{_URL}/rest/v1/rpc/get_or_create_account", data=b"{}", headers=headers) as response:
            response.raise_for_status()
            (account,) = _ROWS.validate_json(await response.read())
        return GetOrCreateAccountResponse(account=account, created=account.created)

    return app


def shared() -> FastAPI:
    """One supabase-py client with its default transport, for all users: the token is put on the one call."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        yield {"supabase": await create_async_client(_URL, _KEY)}

    app = FastAPI(lifespan=lifespan)

    @app.post(PATH)
    async def get_or_create_account(request: Request, authorization: Authorization) -> GetOrCreateAccountResponse:
        supabase: AsyncClient = request.state.supabase
        call = supabase.rpc("get_or_create_account", {})
        call.request.headers["Authorization"] = authorization
        (account,) = _ROWS.validate_python((await call.execute()).data)
        return GetOrCreateAccountResponse(account=account, created=account.created)

    return app


def per_request() -> FastAPI:
    """A supabase-py client for each request, as its documentation has it."""
    app = FastAPI()

    @app.post(PATH)
    async def get_or_create_account(authorization: Authorization) -> GetOrCreateAccountResponse:
        supabase = await create_async_client(_URL, _KEY)
        supabase.postgrest.auth(authorization.removeprefix("Bearer "))
        (account,) = _ROWS.validate_python((await supabase.rpc("get_or_create_account", {}).execute()).data)
        return GetOrCreateAccountResponse(account=account, created=account.created)

    return app


APPS: Final = {"noop": noop, "raw": raw, "shared": shared, "per-request": per_request}

if __name__ == "__main__":
    uvicorn.run(
        APPS[sys.argv[1]](),
        host="127.0.0.1",
        port=int(sys.argv[2]),
        loop="uvloop",
        access_log=False,
        log_level="warning",
    )
