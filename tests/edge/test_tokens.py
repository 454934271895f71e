"""What of a token is read before Supabase proves it: enough to refuse early, never to let in."""

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx
import pytest
from fastapi import Request

from edge_api.auth import authenticate
from edge_api.errors import ApiError, Kind
from tests.edge.faults import eventually
from tests.edge.scripted import ScriptedUpstream, responding, scripted_upstream
from tests.edge.serving import serving
from tests.support import ACCOUNTS, NO_CERTIFICATES

USER_ID: Final = "01a209c4-2582-7088-9473-495d5ac64f35"


def jwt_of(claims: object, *, header: object = None, signature: str = "c2lnbmF0dXJl") -> str:
    """A token in a JWT's form. Claims that are text are taken as they are."""

    def part(content: object) -> str:
        text = content if isinstance(content, str) else json.dumps(content)
        return urlsafe_b64encode(text.encode()).decode().rstrip("=")

    return f"{part(header or {'alg': 'HS256', 'typ': 'JWT'})}.{part(claims)}.{signature}"


def claims(**changes: object) -> dict[str, object]:
    return {"sub": USER_ID, "role": "authenticated", "exp": int(time.time()) + 86_400, **changes}


def without(name: str) -> dict[str, object]:
    return {key: value for key, value in claims().items() if key != name}


def request(*authorization: str) -> Request:
    headers = [(b"authorization", value.encode("latin-1")) for value in authorization]
    return Request({"type": "http", "method": "GET", "headers": headers})


def test_of_a_token_the_user_is_read() -> None:
    token = jwt_of(claims())
    user = authenticate(request(f"Bearer {token}"))
    assert (user.token, user.id) == (token, UUID(USER_ID))
    assert token not in repr(user)


@pytest.mark.parametrize("header", [f"bearer {jwt_of(claims())}", f"BEARER   {jwt_of(claims())}  "])
def test_the_scheme_is_read_in_any_case(header: str) -> None:
    assert authenticate(request(header)).id == UUID(USER_ID)


@pytest.mark.parametrize(
    "headers",
    [(), ("",), ("Bearer",), ("Bearer  ",), ("Basic YWRhOnNlY3JldA==",), (f"Bearer {jwt_of(claims())}",) * 2],
    ids=["none", "empty", "no token", "blanks", "another scheme", "two headers"],
)
def test_other_than_one_bearer_token_is_a_missing_token(headers: tuple[str, ...]) -> None:
    with pytest.raises(ApiError) as refused:
        authenticate(request(*headers))
    assert refused.value.kind is Kind.MISSING_TOKEN


# Supabase says what is genuine: whatever a project accepts is passed on, signed in whichever way, by whomever.
PASSED_ON: Final[dict[str, str]] = {
    "ES256 with a key id": jwt_of(claims(), header={"alg": "ES256", "kid": "standby"}),
    "RS256 without a key id": jwt_of(claims(), header={"alg": "RS256"}),
    "another issuer": jwt_of(claims(iss="https://auth.example.com/auth/v1")),
    "another audience": jwt_of(claims(aud=["orders", "authenticated"])),
    "no expiry": jwt_of(without("exp")),
    "an expiry in quotes": jwt_of(claims(exp="1")),
    "not valid yet": jwt_of(claims(nbf=2_000_000_000)),
    "an expiry beyond all times": jwt_of(claims(exp=10**18)),
    "an expiry of 300 digits": jwt_of(f'{{"role":"authenticated","sub":"{USER_ID}","exp":{"9" * 300}}}'),
}
INVALID: Final[dict[str, str]] = {
    "one part": "garbage",
    "two parts": "gar.bage",
    "three parts of garbage": "gar.ba.ge",
    "four parts": f"{jwt_of(claims())}.more",
    "more behind": f"{jwt_of(claims())} more",
    "no signature": jwt_of(claims(), signature=""),
    "padding": jwt_of(claims(), signature="c2ln="),
    "another alphabet": jwt_of(claims(), signature="+/+/"),
    "no UTF-8": "e30.gICA.c2ln",
    "no JSON": jwt_of("{"),
    "a list": jwt_of([claims()]),
    "a string": jwt_of(json.dumps("claims")),
    "null": jwt_of("null"),
    "NaN": jwt_of(f'{{"role":"authenticated","sub":"{USER_ID}","exp":NaN}}'),
    "Infinity": jwt_of(f'{{"role":"authenticated","sub":"{USER_ID}","exp":-Infinity}}'),
    "a number beyond floats": jwt_of(f'{{"role":"authenticated","sub":"{USER_ID}","exp":-1e999}}'),
    "nested 1,500 deep": jwt_of(f'{{"role":{"[" * 1500}{"]" * 1500}}}'),
    "over 8 KiB": jwt_of(claims(padding="x" * 8192)),
    "expired": jwt_of(claims(exp=int(time.time()) - 31)),
    "expired long ago": jwt_of(claims(exp=0)),
    "expired before all times": jwt_of(claims(exp=-(10**18))),
    "expired, the last of two": jwt_of(f'{{"role":"authenticated","sub":"{USER_ID}","exp":9999999999,"exp":1}}'),
    "no subject": jwt_of(without("sub")),
    "a subject of null": jwt_of(claims(sub=None)),
    "a subject of a number": jwt_of(claims(sub=7)),
    "a subject of a list": jwt_of(claims(sub=[USER_ID])),
    "a subject that is no UUID": jwt_of(claims(sub="auth0|1234")),
    "a subject in capitals": jwt_of(claims(sub=USER_ID.upper())),
    "a subject in braces": jwt_of(claims(sub=f"{{{USER_ID}}}")),
    "a subject without hyphens": jwt_of(claims(sub=USER_ID.replace("-", ""))),
    "a subject with a blank": jwt_of(claims(sub=f"{USER_ID} ")),
}
NO_USERS: Final[dict[str, str]] = {
    **{f"role {role!r}": jwt_of(claims(role=role)) for role in ("anon", "service_role", "", None, ["authenticated"])},
    "no role": jwt_of(without("role")),
    "a service without a subject": jwt_of({"role": "service_role"}),
}


@pytest.mark.parametrize("kind", PASSED_ON)
def test_what_supabase_has_to_judge_is_passed_on(kind: str) -> None:
    assert authenticate(request(f"Bearer {PASSED_ON[kind]}")).token == PASSED_ON[kind]


def test_clocks_may_differ_by_seconds() -> None:
    token = jwt_of(claims(exp=int(time.time()) - 5))
    assert authenticate(request(f"Bearer {token}")).token == token


@pytest.mark.parametrize(
    ("kind", "token", "refused"),
    [(kind, token, Kind.INVALID_TOKEN) for kind, token in INVALID.items()]
    + [(kind, token, Kind.NOT_A_USER) for kind, token in NO_USERS.items()],
)
def test_what_supabase_would_refuse_is_refused_early(kind: str, token: str, refused: Kind) -> None:
    with pytest.raises(ApiError) as error:
        authenticate(request(f"Bearer {token}"))
    assert error.value.kind is refused


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Callable[[str], httpx.Response], Any]]:
    with (
        scripted_upstream() as upstream,
        serving(tmp_path_factory.mktemp("tokens"), upstream.url, "sb_publishable_abc") as (url, child),
        httpx.Client(base_url=url, verify=NO_CERTIFICATES) as client,
    ):
        yield lambda token: client.get(ACCOUNTS, headers={"Authorization": f"Bearer {token}"}), (upstream, child.log)


def test_each_is_a_problem_document_and_costs_no_call(edge: tuple[Callable[[str], httpx.Response], Any]) -> None:
    call, (upstream, _) = edge
    upstream.received.clear()
    for tokens, status, code in ((INVALID, 401, "invalid_token"), (NO_USERS, 403, "not_a_user")):
        for kind, token in tokens.items():
            response = call(token)
            assert (kind, response.status_code, response.json()["code"]) == (kind, status, code)
    assert upstream.received == []


def test_a_token_is_passed_on_unchanged_and_asked_about_each_time(
    edge: tuple[Callable[[str], httpx.Response], tuple[ScriptedUpstream, Path]],
) -> None:
    """Nothing is remembered: what Supabase accepted once may have been revoked since."""
    call, (upstream, log) = edge
    upstream.received.clear()
    token = jwt_of(claims(), header={"alg": "ES256", "kid": "standby"})
    assert call(token).status_code == 200
    upstream.script = responding(401, {"code": "PGRST301"})
    refused = call(token)
    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_token")
    assert [received.headers["authorization"] for received in upstream.received] == [f"Bearer {token}"] * 2
    eventually(lambda: USER_ID in log.read_text())


def test_whose_token_supabase_refused_is_not_logged(tmp_path: Path) -> None:
    with (
        scripted_upstream(responding(401, {"code": "PGRST301"})) as upstream,
        serving(tmp_path, upstream.url, "sb_publishable_abc") as (url, child),
    ):
        headers = {"Authorization": f"Bearer {jwt_of(claims())}"}
        assert httpx.get(f"{url}{ACCOUNTS}", headers=headers, verify=NO_CERTIFICATES).status_code == 401
        assert httpx.get(f"{url}/healthz", verify=NO_CERTIFICATES).status_code == 200
    assert '"status":401' in child.log.read_text()
    assert USER_ID not in child.log.read_text()
