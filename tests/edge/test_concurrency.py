"""Calls at the same moment."""

import asyncio

import httpx

from edge_api.local.stack import Stack
from tests.support import GET_OR_CREATE, User, stored_accounts


def test_of_100_first_calls_exactly_one_makes_the_account(stack: Stack, user: User) -> None:
    async def call_100_times() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(base_url=stack.api_url, limits=limits, timeout=30) as client:
            headers = {"Authorization": f"Bearer {user.token}"}
            await asyncio.gather(*(client.get("/healthz") for _ in range(100)))  # all connections are open
            return await asyncio.gather(*(client.post(GET_OR_CREATE, headers=headers) for _ in range(100)))

    answers = asyncio.run(call_100_times())

    assert [answer.status_code for answer in answers] == [200] * 100
    assert sorted(answer.json()["created"] for answer in answers) == [False] * 99 + [True]
    (row,) = stored_accounts(stack, user.id)
    assert {answer.json()["account"]["id"] for answer in answers} == {str(row[0])}
