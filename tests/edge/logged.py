"""What `edge-api serve` logs, for tests to read: canaries that must not be in it, and its lines."""

import json
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt

from edge_api.local.processes import Child
from tests.edge.serving import serving

# `edge-api serve` as it is, its application with some routes more.
MORE_ROUTES = """
import os
import sys
from edge_api import cli, server
from edge_api.main import create_app

def with_more_routes(settings):
    app = create_app(settings)
    more = {}
    exec(sys.argv[1], more)
    more["add_to"](app)
    return app

server.create_app = with_more_routes
if "at a terminal" in sys.argv:
    os.isatty = lambda descriptor: True
cli.serve()
"""

USER_ID = str(uuid4())


class Canaries:
    """Words that nobody would write by chance, each put into one place that must not be logged."""

    def __init__(self) -> None:
        self._places: dict[str, str] = {}

    def __call__(self, place: str) -> str:
        canary = f"canary{secrets.token_hex(8)}"
        self._places[canary] = place
        return canary

    def watch(self, place: str, secret: str) -> str:
        self._places[secret] = place
        return secret

    def token(self, place: str, **claims: Any) -> str:
        """A user's token with a canary in all that it tells about the user."""
        now = int(time.time())
        ordinary = {"sub": USER_ID, "aud": "authenticated", "role": "authenticated", "iat": now, "exp": now + 600}
        personal = {
            "email": f"{self(f'{place}: e-mail')}@example.com",
            "phone": self(f"{place}: phone"),
            "user_metadata": {"full_name": self(f"{place}: name"), self(f"{place}: key"): {}},
            "app_metadata": {"provider": self(f"{place}: provider")},
            "session_id": self(f"{place}: session"),
        }
        token = jwt.encode({**ordinary, **personal, **claims}, "x" * 32, algorithm="HS256")
        _, payload, signature = token.split(".")
        self.watch(f"{place}: payload", payload)
        self.watch(f"{place}: signature", signature)
        return token

    def headers(self, place: str) -> dict[str, str]:
        names = ("User-Agent", "X-Forwarded-For", "X-Real-IP", "Forwarded", "Referer", "Origin", "Accept-Language")
        return {
            **{name: self(f"{place}: header {name}") for name in names},
            "Cookie": f"{self(f'{place}: cookie name')}={self(f'{place}: cookie')}",
            f"X-{self(f'{place}: header name')}": self(f"{place}: header of any name"),
            "X-Request-ID": f"<{self(f'{place}: malformed X-Request-ID')}>",
            "apikey": self(f"{place}: header apikey"),
        }

    def in_(self, text: str) -> list[str]:
        return sorted({place for canary, place in self._places.items() if canary in text})


def records(log: Path) -> list[dict[str, Any]]:
    """What was logged as JSON. Each line must be."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def requests_in(log: Path, count: int) -> list[dict[str, Any]]:
    """The lines about requests, once there are `count`: each is written when its response is on its way."""
    deadline = time.monotonic() + 10
    while True:
        text = log.read_text()
        found = [record for record in map(json.loads, text.splitlines()) if record["event"] == "request"]
        if len(found) >= count or time.monotonic() > deadline:
            assert len(found) == count
            return found
        time.sleep(0.01)


@contextmanager
def serving_more(
    folder: Path, routes: str, supabase_url: str, *arguments: str, **settings: str
) -> Iterator[tuple[str, Child]]:
    """Like `serving`, with the routes that the function `add_to(app)` of a piece of Python adds.

    With the argument "at a terminal", lines are written as they are there.
    """
    command = [sys.executable, "-c", MORE_ROUTES, routes, *arguments]
    with serving(folder, supabase_url, "sb_publishable_abc", command=command, **settings) as running:
        yield running
