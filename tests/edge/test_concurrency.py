"""Calls at the same moment."""

import asyncio
from collections.abc import Callable

import httpx

from edge_api.local.stack import Stack
from tests.support import ACCOUNTS, GET_OR_CREATE, User, stored_accounts


def test_of_100_first_calls_exactly_one_makes_the_account(stack: Stack, user: User) -> None:
    async def call_100_times() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(base_url=stack.api_url, limits=limits, timeout=30) as client:
            headers = {"Authorization": f"Bearer {user.token}"}
            await asyncio.gather(*(client.get("/healthz") for _ in range(100)))  # all connections are open
            return await asyncio.gather(*(client.post(GET_OR_CREATE, headers=headers) for _ in range(100)))

    responses = asyncio.run(call_100_times())

    assert [response.status_code for response in responses] == [200] * 100
    assert sorted(response.json()["created"] for response in responses) == [False] * 99 + [True]
    (row,) = stored_accounts(stack, user.id)
    assert {response.json()["account"]["id"] for response in responses} == {str(row[0])}


def test_interleaved_calls_of_many_users_are_never_mixed_up(stack: Stack, new_user: Callable[[], User]) -> None:
    users = [new_user() for _ in range(10)]
    own = {user.token: user.api.post(GET_OR_CREATE).json()["account"] for user in users}

    async def call_in_turn() -> list[tuple[str, httpx.Response]]:
        async with httpx.AsyncClient(base_url=stack.api_url, timeout=30) as client:

            async def call(token: str) -> tuple[str, httpx.Response]:
                return token, await client.get(ACCOUNTS, headers={"Authorization": f"Bearer {token}"})

            return await asyncio.gather(*(call(token) for _ in range(20) for token in own))

    for token, response in asyncio.run(call_in_turn()):
        assert response.json()["accounts"] == [own[token]]


def test_readiness_is_never_asked_for_in_a_users_name(stack: Stack, user: User) -> None:
    for _ in range(10):  # on whichever connection
        assert user.api.get(ACCOUNTS).json()["count"] == 0
        assert user.api.get("/readyz").status_code == 200
    assert stored_accounts(stack, user.id) == []
