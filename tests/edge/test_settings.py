"""Settings: what is wrong is refused at the start, by its name, and never repeated."""

import subprocess
from typing import Final

import pytest
from pydantic import ValidationError

from edge_api import __version__
from edge_api.settings import InvalidSettingsError, Settings
from tests.edge.serving import COMPLETE, SERVE, read

JWT_OF_A_SERVICE: Final = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.c2lnbmF0dXJl"


def refused(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> list[str]:
    """The lines of the error."""
    with pytest.raises(InvalidSettingsError) as error:
        read(monkeypatch, {**COMPLETE, **environment})
    return str(error.value).splitlines()


@pytest.mark.parametrize("name", ["EDGE_API_PROT", "EDGE_TOKEN_ISSUER", "EDGE_", "EDGE_CORS_ORIGIN"])
def test_a_variable_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert refused(monkeypatch, {name: "1"}) == [f"{name}: there is no such setting"]


def test_the_variables_of_the_checkouts_tools_are_none_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    others = {"EDGE_API_URL": "x", "EDGE_STATE_DIR": "x", "EDGE_POSTGRES_VERSION": "18", "EDGE_CHROMIUM": "x"}
    assert read(monkeypatch, {**COMPLETE, **others}).edge_api_port == 9403


def test_not_set_and_wrong_read_differently_and_all_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = refused(monkeypatch, {"SUPABASE_URL": "", "EDGE_API_PORT": "http", "EDGE_LOG_LEVLE": "debug"})
    assert lines[:2] == ["EDGE_LOG_LEVLE: there is no such setting", "SUPABASE_URL: is not set"]
    assert lines[2].startswith("EDGE_API_PORT: is wrong: ")
    assert len(lines) == 3


@pytest.mark.parametrize(
    "url", ["http://kong:8000", "http://192.0.2.7", "http://localhost.example.com", "http://[2001:db8::1]:8000"]
)
def test_tokens_travel_in_clear_text_on_this_machine_only(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    (line,) = refused(monkeypatch, {"SUPABASE_URL": url})
    assert line.startswith("SUPABASE_URL: is wrong: must begin with https://")


@pytest.mark.parametrize("host", ["abc def.co", "ex<>.co", "a%20b.co", "a_b.co", "[::1", "abc.co:0", "abc.co:65536"])
def test_what_cannot_be_a_host_is_refused(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    (line,) = refused(monkeypatch, {"SUPABASE_URL": f"https://{host}"})
    assert line.startswith("SUPABASE_URL: is wrong: must be the project's address")


def test_blanks_around_the_address_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, {**COMPLETE, "SUPABASE_URL": " https://ABC.supabase.co/ \n"})
    assert settings.supabase_url == "https://ABC.supabase.co"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:54321", "http://localhost:54321", "http://[::1]:54321", "http://supabase.localhost"]
)
def test_on_this_machine_they_may(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    assert read(monkeypatch, {**COMPLETE, "SUPABASE_URL": url}).supabase_url == url


@pytest.mark.parametrize(
    "key",
    [
        "sb_secret_abc",
        "sb_SECRET_abc",
        "SB_secret_abc",
        "sbp_abc",
        "SBP_abc",
        "sb_PUBLISHABLE_abc",
        " sb_secret_abc",
        "sb_publishable_abc ",
        "sb_publishable abc",
        "sb_publishable_abc\tsb_secret_abc",
        '"sb_secret_abc"',
        "'sb_publishable_abc'",
        "schlüssel",
        "not.a.jwt",
        JWT_OF_A_SERVICE,
    ],
)
def test_what_is_no_publishable_key_is_refused(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    (line,) = refused(monkeypatch, {"SUPABASE_PUBLISHABLE_KEY": key})
    assert line.startswith("SUPABASE_PUBLISHABLE_KEY: is wrong: must be ")
    assert key.strip() not in line


@pytest.mark.parametrize("key", ["sb_publishable_AbC-123_x", "any-text-where-no-gateway-looks"])
def test_what_may_be_one_is_taken(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    assert read(monkeypatch, {**COMPLETE, "SUPABASE_PUBLISHABLE_KEY": key}).supabase_publishable_key == key


@pytest.mark.parametrize(
    "origin",
    [
        "capacitor://localhost",
        "ionic://localhost",
        "tauri://localhost",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
        "moz-extension://2c127fa4-62c7-7e4f-90e5-472b45eecfdc",
        "http://[::1]:3000",
        "https://[2001:db8::1]",
        "http://localhost:3000",
    ],
)
def test_apps_and_addresses_are_origins(monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    assert read(monkeypatch, {**COMPLETE, "EDGE_CORS_ORIGINS": origin}).edge_cors_origins == (origin,)


@pytest.mark.parametrize(
    "origin", ["file://app", "ws://app.example.com", "data://x", "capacitor://", "http://[::1", "http://::1:3000"]
)
def test_what_is_no_origin_is_refused(monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    (line,) = refused(monkeypatch, {"EDGE_CORS_ORIGINS": origin})
    assert line.startswith("EDGE_CORS_ORIGINS.0: is wrong: must be origins")


@pytest.mark.parametrize("name", ["x y", "x:", "x\ny", "é"])
def test_what_is_no_name_of_a_header_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (line,) = refused(monkeypatch, {"EDGE_CORS_HEADERS": f"x-app, {name}"})
    assert line.startswith("EDGE_CORS_HEADERS.1: is wrong: must be names of headers")


def test_a_host_may_do_without_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    read(monkeypatch, COMPLETE)
    settings = Settings(supabase_url="https://hijklmno.supabase.co", supabase_publishable_key="sb_publishable_host")
    assert settings.supabase_publishable_key == "sb_publishable_host"
    with pytest.raises(ValidationError):
        Settings(supabase_url="https://hijklmno.supabase.co", supabase_publishable_key="sb_secret_host")


def test_it_says_its_version() -> None:
    done = subprocess.run([SERVE[0], "--version"], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == f"edge-api {__version__}\n"
