"""The embedded Supabase gateway: REST (PostgREST-compatible) and Auth (GoTrue-compatible) on one port."""

import json
import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from edge_api.local.node import node, tool_home
from edge_api.local.packages import PROJECT
from edge_api.local.processes import Child, StackError, accepts_connections

ROLE: Final = "gateway"
_PROGRAM: Final = Path(__file__).with_suffix(".mjs")
_AUTH_SETTINGS: Final = ("enabled", "site_url", "jwt_expiry", "enable_signup", "minimum_password_length")


@dataclass(frozen=True)
class Keys:
    """What the gateway signs tokens with and knows its clients by."""

    jwt_secret: str = field(repr=False)
    publishable: str = field(repr=False)
    secret: str = field(repr=False)


def start(*, state: Path, port: int, database_url: str, keys: Keys) -> Child:
    """Start the gateway; returns when it listens, with the schema `auth` created.

    It reads the project's schema at the first request and keeps it: apply the migrations before that, then `warm_up`.
    """
    gateway = Child(
        "the Supabase gateway",
        [node(), _PROGRAM],
        log=state / "gateway.log",
        cwd=tool_home(state),
        env={"PATH": os.defpath, "HOME": str(tool_home(state)), "LITE_TELEMETRY": "0", "DO_NOT_TRACK": "1"},
        stdin=json.dumps(_config(port, database_url, keys)).encode(),
    )
    try:
        gateway.wait_until(lambda: accepts_connections(port), seconds=30)
    except BaseException:
        gateway.stop(grace_seconds=1)
        raise
    return gateway


def _config(port: int, database_url: str, keys: Keys) -> dict[str, object]:
    """What the gateway takes of the official config.toml, and what it needs besides."""
    official = tomllib.loads((PROJECT / "supabase" / "config.toml").read_text())
    return {
        "host": "127.0.0.1",
        "port": port,
        "databaseUrl": database_url,
        "api": {name: official["api"][name] for name in ("schemas", "max_rows")},
        "auth": {
            **{name: official["auth"][name] for name in _AUTH_SETTINGS},
            "email": {"enable_confirmations": official["auth"]["email"]["enable_confirmations"]},
            "jwt_secret": keys.jwt_secret,
            "publishable_key": keys.publishable,
            "secret_key": keys.secret,
        },
    }


def warm_up(gateway: Child, *, url: str, keys: Keys) -> None:
    """Send the first request, at which the gateway reads the schema, and see that it knows the table.

    Raises:
        StackError: it does not.
    """
    try:
        with httpx.Client(trust_env=False, timeout=10) as client:
            response = client.get(f"{url}/rest/v1/user_accounts?select=id&limit=1", headers={"apikey": keys.secret})
    except httpx.HTTPError as error:
        raise StackError(f"{gateway.name} does not respond: {type(error).__name__}", gateway.log) from None
    if response.status_code != httpx.codes.OK:
        raise StackError(f"{gateway.name} responds {response.status_code} for the accounts table", gateway.log)
