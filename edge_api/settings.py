"""Settings, read from the environment once at the start."""

import re
from ipaddress import ip_network
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from edge_api.auth import claims_of


class InvalidSettingsError(Exception):
    """The environment lacks a setting or holds a wrong one. The message names each variable and no value."""


# As browsers send it: https://www.rfc-editor.org/rfc/rfc6454#section-6.2
_ORIGIN = re.compile(r"http://[a-z0-9.-]+(:(?!80$)\d{1,5})?|https://[a-z0-9.-]+(:(?!443$)\d{1,5})?")

_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")


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
            role = claims_of(value).get("role")
        except ValueError:
            role = None
        if role != "anon":
            raise ValueError("must be the key of the role anon")
    return value


def _root_path(value: str) -> str:
    if not _PATH.fullmatch(value):
        raise ValueError("must be the path that the proxy strips, such as /accounts-api")
    return value


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _origin(value: str) -> str:
    """Refuse what a browser would never send as an origin, and so would never match."""
    if value != "*" and not _ORIGIN.fullmatch(value):
        raise ValueError("must be origins such as https://app.example.com, separated by commas")
    return value


def _proxy(value: str) -> str:
    try:
        ip_network(value)
    except ValueError:
        raise ValueError("must be IP addresses or networks, separated by commas") from None
    return value


class Settings(BaseSettings):
    """What `edge-api serve` needs to know. Each field is the environment variable of the same name in upper case."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True, hide_input_in_errors=True, frozen=True, extra="ignore", populate_by_name=True
    )

    supabase_url: Annotated[str, AfterValidator(_project_url)]
    supabase_publishable_key: Annotated[
        str,
        AfterValidator(_publishable_key),
        Field(validation_alias=AliasChoices("SUPABASE_PUBLISHABLE_KEY", "SUPABASE_ANON_KEY"), repr=False),
    ]
    edge_api_host: str = "127.0.0.1"
    edge_api_port: Annotated[int, Field(ge=1, le=65535)] = 9403
    edge_root_path: Annotated[
        str, AfterValidator(_root_path), Field(description="The prefix of all paths that a proxy in front strips.")
    ] = ""
    edge_api_workers: Annotated[int, Field(ge=1, le=64, description="Processes that serve, one a core.")] = 1
    edge_upstream_timeout: Annotated[float, Field(gt=0, le=60, description="Seconds for a call to Supabase.")] = 10.0
    edge_upstream_connect_timeout: Annotated[
        float, Field(gt=0, le=60, description="Seconds of that for making a connection.")
    ] = 3.0
    edge_upstream_connections: Annotated[int, Field(ge=1, le=1000, description="Connections to Supabase at most.")] = 32
    edge_upstream_waiting: Annotated[
        int, Field(ge=0, le=10_000, description="Calls that may wait for one of them; any more are refused at once.")
    ] = 128
    edge_cors_origins: Annotated[
        tuple[Annotated[str, AfterValidator(_origin)], ...],
        NoDecode,
        BeforeValidator(_split),
        Field(description="The web origins whose pages may call, separated by commas."),
    ] = ()
    edge_trusted_proxies: Annotated[
        tuple[Annotated[str, AfterValidator(_proxy)], ...],
        NoDecode,
        BeforeValidator(_split),
        Field(description="The addresses of proxies whose X-Forwarded-* headers are believed, separated by commas."),
    ] = ()
    edge_metrics_host: Annotated[str, Field(description="Where Prometheus is answered.")] = "127.0.0.1"
    edge_metrics_port: Annotated[
        int | None, Field(ge=1, le=65535, description="The port for Prometheus; not answered unless set.")
    ] = None
    edge_docs: Annotated[bool, Field(description="Whether /docs and /openapi.json are there.")] = True
    edge_log_level: Literal["debug", "info", "warning", "error"] = "info"
    edge_log_format: Annotated[
        Literal["json", "console"] | None, Field(description="console at a terminal and json elsewhere, unless set.")
    ] = None

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
