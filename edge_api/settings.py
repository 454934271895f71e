"""Settings, read from the environment once at the start. docs/settings.md says what each is for."""

import os
import re
from contextlib import suppress
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from edge_api.auth import claims_of

# Of the checkout's own tools, in whose terminal the service may be started.
_OTHERS: Final = {"EDGE_API_URL", "EDGE_CHROMIUM", "EDGE_POSTGRES_VERSION", "EDGE_STATE_DIR"}
_KEY: Final = r"[A-Za-z0-9._~+/=-]+"
_HOST: Final = r"(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])"
_THIS_MACHINE: Final = r"(.+\.)?localhost|127(\.\d{1,3}){3}|\[::1\]"
# As browsers send it (https://www.rfc-editor.org/rfc/rfc6454#section-6.2), or as apps and extensions do
_ORIGIN: Final = (
    rf"\*|http://{_HOST}(:(?!80$)\d{{1,5}})?|https://{_HOST}(:(?!443$)\d{{1,5}})?"
    r"|(?!(https?|wss?|ftp|file|data|blob)://)[a-z][a-z0-9+.-]*://[A-Za-z0-9.-]+"
)
_HEADER: Final = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_PATH: Final = r"(/[A-Za-z0-9._~-]+)*"


class InvalidSettingsError(Exception):
    """A setting is missing or wrong. The message names each variable and repeats no value."""


def _project_url(value: str) -> str:
    match = re.fullmatch(rf"(https?)://((?i:{_HOST}))(?::(\d{{1,5}}))?/?", value.strip())
    if match is None or not 0 < int(match[3] or 443) < 65536:
        raise ValueError("must be the project's address and nothing more, such as https://abcdefgh.supabase.co")
    if match[1] == "http" and not re.fullmatch(_THIS_MACHINE, match[2]):
        raise ValueError("must begin with https://, unless it is on this machine: tokens would travel in clear text")
    return value.strip().rstrip("/")


def _publishable_key(value: str) -> str:
    """Refuse a privileged key: it would bypass row-level security."""
    if not re.fullmatch(_KEY, value):
        raise ValueError("must be a key as the project's settings show it, without spaces or quotes")
    if value.lower().startswith(("sb_", "sbp_")) and not value.startswith("sb_publishable_"):
        raise ValueError("must be the publishable key, not a secret one or a personal access token")
    if value.count(".") == 2:  # a legacy key is a JWT
        with suppress(ValueError):
            if claims_of(value).get("role") == "anon":
                return value
        raise ValueError("must be the key of the role anon")
    return value


def _matching(pattern: str, expected: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"must be {expected}")
        return value

    return AfterValidator(check)


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


_Listed = (NoDecode, BeforeValidator(_split))
_Origin = Annotated[str, _matching(_ORIGIN, "origins such as https://app.example.com, separated by commas")]
_Header = Annotated[str, _matching(_HEADER, "names of headers, separated by commas")]
_Port = Annotated[int, Field(ge=1, le=65535)]
_Seconds = Annotated[float, Field(gt=0, le=60)]


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
    edge_api_port: _Port = 9403
    edge_root_path: Annotated[str, _matching(_PATH, "the path that the proxy strips, such as /accounts-api")] = ""
    edge_api_workers: Annotated[int, Field(ge=1, le=64)] = 1
    edge_upstream_timeout: _Seconds = 10.0
    edge_upstream_connect_timeout: _Seconds = 3.0
    edge_upstream_connections: Annotated[int, Field(ge=1, le=1000)] = 32
    edge_upstream_waiting: Annotated[int, Field(ge=0, le=10_000)] = 128
    edge_cors_origins: Annotated[tuple[_Origin, ...], *_Listed] = ()
    edge_cors_headers: Annotated[tuple[_Header, ...], *_Listed] = ()
    edge_metrics_host: str = "127.0.0.1"
    edge_metrics_port: _Port | None = None
    edge_docs: bool = True
    edge_log_level: Literal["debug", "info", "warning", "error"] = "info"

    @classmethod
    def from_environment(cls) -> Self:
        """The settings of a service that has the environment to itself. Raises InvalidSettingsError."""
        known = {name.upper() for name in cls.model_fields} | _OTHERS
        names = sorted(name for name in os.environ if name.startswith("EDGE_") and name not in known)
        lines = [f"{name}: there is no such setting" for name in names]
        try:
            settings = cls()
        except ValidationError as error:
            for problem in error.errors(include_url=False, include_context=False, include_input=False):
                message = f"is wrong: {problem['msg'].removeprefix('Value error, ')}"
                name = ".".join(map(str, problem["loc"])).upper()
                lines.append(f"{name}: {'is not set' if problem['type'] == 'missing' else message}")
        if lines:
            raise InvalidSettingsError("\n".join(lines))
        return settings
