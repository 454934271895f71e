"""An Auth server that has had enough is waited for, and not for ever."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import httpx
import pytest

from edge_api.local.gateway import Keys
from tests.edge.scripted import Received, Script, ScriptedUpstream, http, scripted_upstream
from tests.pacing import PacedTransport
from tests.target import Database, Target

USER_ID = uuid4()
SIGNING_IN = "/auth/v1/token?grant_type=password"
CREATING = "/auth/v1/admin/users"
CREDENTIALS = ("user@example.com", "a password")


def auth(refusals: int, headers: dict[str, str]) -> Script:
    """A script that refuses so many sign-ins with 429, and does what it is asked to after that."""
    left = iter(range(refusals))

    async def script(received: Received, writer: asyncio.StreamWriter) -> None:
        session = {"access_token": "a.b.c", "user": {"id": str(USER_ID)}}
        if received.path == SIGNING_IN and next(left, None) is not None:
            writer.write(http(429, {"error_code": "over_request_rate_limit"}, headers))
        else:
            writer.write(http(200, {"id": str(USER_ID), **session}))

    return script


@contextmanager
def project(
    refusals: int, *, patience_seconds: float = 120, jwt_secret: str = "", headers: dict[str, str] | None = None
) -> Iterator[tuple[Target, ScriptedUpstream, list[float]]]:
    """A project whose Auth refuses so often, and the pauses that were created for it."""
    pauses: list[float] = []
    transport = PacedTransport(patience_seconds, pauses.append)
    with scripted_upstream(auth(refusals, headers or {})) as upstream, httpx.Client(transport=transport) as client:
        keys = Keys(jwt_secret, "sb_publishable_abc", "sb_secret_abc")
        yield Target(Database(None), upstream.url, keys, "", (), client, True, True), upstream, pauses


def test_a_sign_in_that_is_refused_is_made_again_after_a_pause() -> None:
    with project(refusals=3) as (target, upstream, pauses):
        session = target.sign_up(*CREDENTIALS)
    assert session["access_token"] == "a.b.c"
    assert pauses == [2, 2, 2]
    assert [call.path for call in upstream.received] == [CREATING] + [SIGNING_IN] * 4
    assert len({call.body for call in upstream.received if call.path == SIGNING_IN}) == 1


@pytest.mark.parametrize(
    ("retry_after", "pause"), [("7", 7), ("0", 2), ("Fri, 27 Nov 2026 08:00:00 GMT", 2), ("-5", 2), ("soon", 2)]
)
def test_as_long_a_pause_is_made_as_is_asked_for(retry_after: str, pause: float) -> None:
    with project(1, headers={"Retry-After": retry_after}) as (target, _, pauses):
        target.sign_up(*CREDENTIALS)
    assert pauses == [pause]


@pytest.mark.parametrize(("headers", "expected"), [({}, [2, 2, 2]), ({"Retry-After": "300"}, [])])
def test_it_is_not_waited_for_ever(headers: dict[str, str], expected: list[float]) -> None:
    with project(1000, patience_seconds=7, headers=headers) as (target, _, pauses):
        with pytest.raises(httpx.HTTPStatusError, match="429"):
            target.sign_up(*CREDENTIALS)
        assert target.created == [USER_ID]  # to be removed, though nobody signed in
    assert pauses == expected


def test_nobody_signs_in_where_the_secret_is_known() -> None:
    with project(1000, jwt_secret="s" * 32) as (target, upstream, pauses):
        session = target.sign_up(*CREDENTIALS)
    assert session["access_token"].count(".") == 2
    assert [call.path for call in upstream.received] == [CREATING]
    assert pauses == []
