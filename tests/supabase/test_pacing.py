"""An Auth server that has had enough is waited for, and not for ever."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from edge_api.local.gateway import Keys
from edge_api.local.stack import Stack
from tests.edge.scripted import Received, Script, ScriptedUpstream, http, scripted_upstream
from tests.pacing import PacedTransport
from tests.target import Target


def refusing(times: int, headers: dict[str, str]) -> Script:
    """A script that refuses as often with 429, and then takes what was sent."""
    left = iter(range(times))

    async def script(received: Received, writer: asyncio.StreamWriter) -> None:
        refused = next(left, None) is not None
        writer.write(http(429, {"error_code": "over_request_rate_limit"}, headers) if refused else http(200, received.body))

    return script
