"""Offers load: a process of its own, so that it takes no time from whoever measures.

Reads what to do from its standard input as JSON; writes what came of it to its standard output.
"""

import asyncio
import json
import random
import sys
import time
from collections import Counter
from typing import Any

import aiohttp

from tests.support import ACCOUNTS, GET_OR_CREATE

SEED = 20261123


async def offer(url: str, tokens: list[str], connections: int, seconds: float) -> dict[str, Any]:
    """Call for `seconds` on each of so many connections, each time as soon as the last response is read.

    Args:
        url: the API's.
        tokens: of the users who call.
        connections: how many call at the same time.
        seconds: for how long; calls under way are waited for.
    """
    responses: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    latencies: list[float] = []
    choose = random.Random(SEED)  # noqa: S311 - to be the same again, not to be secret
    until = time.monotonic() + seconds
    async with aiohttp.ClientSession(
        url, connector=aiohttp.TCPConnector(limit=connections), timeout=aiohttp.ClientTimeout(total=60)
    ) as session:

        async def call_again_and_again() -> None:
            while time.monotonic() < until:
                headers = {"Authorization": f"Bearer {choose.choice(tokens)}"}
                method, path = choose.choice([("GET", ACCOUNTS), ("POST", GET_OR_CREATE)])
                since = time.monotonic()
                try:
                    async with session.request(method, path, headers=headers) as response:
                        await response.read()
                except (aiohttp.ClientError, TimeoutError) as error:
                    faults[type(error).__name__] += 1
                    continue
                latencies.append(time.monotonic() - since)
                responses[str(response.status)] += 1
                if response.status == 503 and int(response.headers.get("Retry-After", "0")) < 1:
                    faults["503 without Retry-After"] += 1

        await asyncio.gather(*(call_again_and_again() for _ in range(connections)))
    latencies.sort()
    quantiles = {name: latencies[int(len(latencies) * share)] for name, share in (("p50", 0.5), ("p99", 0.99))}
    return {"responses": responses, "faults": faults, **quantiles, "max": latencies[-1]}


if __name__ == "__main__":
    json.dump(asyncio.run(offer(**json.load(sys.stdin))), sys.stdout)
