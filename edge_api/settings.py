"""Settings, read from the environment once at the start."""

from typing import Annotated, Self
from urllib.parse import urlsplit

import jwt
from pydantic import AfterValidator, AliasChoices, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


class InvalidSettingsError(Exception):
    """The environment lacks a setting or holds a wrong one. The message names each variable and no value."""


def _project_url(value: str) -> str:
    try:
        url = urlsplit(value)
        usable = url.scheme in {"http", "https"} and url.hostname and (url.port is None or url.port > 0)
    except ValueError:
        usable = False
    if not usable or url.username or url.password or url.path.strip("/") or url.query or url.fragment:
        raise ValueError("must be the project's address and nothing more, such as https://abcdefgh.supabase.co")
    return f"{url.scheme}://{url.netloc}"


def _publishable_key(value: str) -> str:
    """Refuse a privileged key: the edge must never hold one (a mix-up would bypass row level security)."""
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("must be a key as the project's settings show it, without spaces")
    if value.startswith("sb_secret_"):
        raise ValueError("must be the publishable key, not a secret one")
    if value.count(".") == 2:  # the older kind of key is a JWT
        try:
            role = jwt.decode(value, options={"verify_signature": False}).get("role")
        except jwt.InvalidTokenError:
            role = None
        if role != "anon":
            raise ValueError("must be the key of the role anon")
    return value


class Settings(BaseSettings):
    """What `edge-api serve` needs to know. Each field is the environment variable of the same name in upper case."""

    model_config = SettingsConfigDict(env_ignore_empty=True, hide_input_in_errors=True, frozen=True, extra="ignore")

    supabase_url: Annotated[str, AfterValidator(_project_url)]
    supabase_publishable_key: Annotated[
        str,
        AfterValidator(_publishable_key),
        Field(validation_alias=AliasChoices("SUPABASE_PUBLISHABLE_KEY", "SUPABASE_ANON_KEY"), repr=False),
    ]
    edge_api_host: str = "127.0.0.1"
    edge_api_port: Annotated[int, Field(ge=1, le=65535)] = 9403
    edge_upstream_timeout: Annotated[float, Field(gt=0, le=60, description="Seconds for a call to Supabase.")] = 10.0
    edge_upstream_connect_timeout: Annotated[
        float, Field(gt=0, le=60, description="Seconds of that for making a connection.")
    ] = 3.0
    edge_upstream_connections: Annotated[int, Field(ge=1, le=1000, description="Connections to Supabase at most.")] = 32

    @classmethod
    def from_environment(cls) -> Self:
        """Read the settings.

        Raises:
            InvalidSettingsError: one or more variables are missing or wrong.
        """
        try:
            return cls()
        except ValidationError as error:
            lines = (
                f"{'.'.join(map(str, problem['loc'])).upper()}: "
                + ("is not set" if problem["type"] == "missing" else problem["msg"].removeprefix("Value error, "))
                for problem in error.errors(include_url=False, include_context=False, include_input=False)
            )
            raise InvalidSettingsError("\n".join(lines)) from None
