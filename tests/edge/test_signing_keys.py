"""Where a project publishes its signing keys, only what they have signed comes through, and looking is cheap."""

import asyncio
import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache, wraps
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final, ParamSpec
from uuid import uuid4

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import Request
from jwt.algorithms import get_default_algorithms

from edge_api.errors import ApiError, BadUpstreamError, InvalidTokenError, UpstreamUnavailableError
from edge_api.local.processes import free_port
from edge_api.settings import Settings
from edge_api.signing_keys import ALGORITHMS, SigningKeys
from edge_api.tokens import Authenticator
from edge_api.upstream import Supabase
from tests.edge.scripted import Received, Script, ScriptedUpstream, answering, http, scripted_upstream
from tests.edge.test_serve import read, serving
from tests.support import ACCOUNTS, GET_OR_CREATE, NO_CERTIFICATES, NOBODYS_ID

ASYMMETRIC: Final = sorted(ALGORITHMS)
HASHES: Final = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}
SECRET: Final = b"a secret of the attacker's choice, long enough for anybody"
ABSENT: Final = object()
ISSUER: Final = "https://auth.example.com/auth/v1"
USER: Final = "b0b5c0de-0000-4000-8000-000000000001"
ROW: Final = {
    "id": NOBODYS_ID,
    "user_id": USER,
    "account_name": "Mine",
    "is_active": True,
    "created_at": "2026-01-01T00:00:00+00:00",
    "updated_at": "2026-01-01T00:00:00+00:00",
    "created": False,
}

PrivateKey = EllipticCurvePrivateKey | RSAPrivateKey | Ed25519PrivateKey
P = ParamSpec("P")
MakesToken = Callable[["Project"], str]


@dataclass(frozen=True)
class Project:
    """A project that publishes keys, the API in front of it, and a stranger who publishes keys of their own."""

    upstream: ScriptedUpstream
    api: httpx.Client
    stranger: ScriptedUpstream
    issuer: str

    def call(self, token: str) -> httpx.Response:
        return self.api.post(GET_OR_CREATE, headers={"Authorization": f"Bearer {token}"})


def issuer_of(upstream: ScriptedUpstream) -> str:
    return f"{upstream.url}/auth/v1"


@cache
def private_key(algorithm: str, owner: str = "the project") -> PrivateKey:
    """The key of an owner, made on first need."""
    match algorithm:
        case "ES256":
            return generate_ec_key(SECP256R1())
        case "RS256":
            return generate_rsa_key(65537, 2048)
        case _:
            return Ed25519PrivateKey.generate()


def public_jwk(algorithm: str, owner: str = "the project", **members: object) -> dict[str, Any]:
    jwk = get_default_algorithms()[algorithm].to_jwk(private_key(algorithm, owner).public_key(), as_dict=True)
    return {**jwk, "kid": f"the {algorithm} key", "alg": algorithm, "use": "sig", **members}


def key_set(owner: str = "the project") -> list[dict[str, Any]]:
    return [public_jwk(algorithm, owner) for algorithm in ASYMMETRIC]


def public_pem(algorithm: str, owner: str = "the project") -> bytes:
    return private_key(algorithm, owner).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def public_der(algorithm: str) -> bytes:
    return private_key(algorithm).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def ordinary(issuer: str, **changes: object) -> dict[str, object]:
    """The claims of an ordinary user's token with changes; ABSENT takes one away."""
    now = int(time.time())
    claims = {
        "iss": issuer,
        "sub": USER,
        "aud": "authenticated",
        "role": "authenticated",
        "iat": now,
        "exp": now + 600,
        **changes,
    }
    return {name: value for name, value in claims.items() if value is not ABSENT}


def base64(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def serialised(part: object) -> bytes:
    if isinstance(part, bytes):
        return part
    return part.encode() if isinstance(part, str) else json.dumps(part).encode()


def compact(header: object, claims: object, sign: Callable[[bytes], bytes]) -> str:
    """A token of these parts. Text and bytes stand for themselves: no library makes what is to be refused."""
    signed_part = f"{base64(serialised(header))}.{base64(serialised(claims))}"
    return f"{signed_part}.{base64(sign(signed_part.encode()))}"


def token(claims: object, algorithm: str = "ES256", owner: str = "the project", **header: object) -> str:
    """A token with the key of an owner, whatever its header says."""
    full = {"alg": algorithm, "typ": "JWT", "kid": f"the {algorithm} key", **header}
    return signed_under({name: value for name, value in full.items() if value is not ABSENT}, claims, algorithm, owner)


def signed_under(header: object, claims: object, algorithm: str = "ES256", owner: str = "the project") -> str:
    key = private_key(algorithm, owner)
    return compact(header, claims, lambda content: get_default_algorithms()[algorithm].sign(content, key))


def shared(claims: object, algorithm: str = "HS256", secret: bytes = SECRET, **header: object) -> str:
    """A token with a shared secret. By hand: PyJWT does not take a public key for one."""
    return compact(
        {"alg": algorithm, "typ": "JWT", **header},
        claims,
        lambda content: hmac.digest(secret, content, HASHES[algorithm]),
    )


def twice(part: dict[str, object], name: str, value: object) -> str:
    """JSON in which a name comes once more, last."""
    return f"{json.dumps(part)[:-1]}, {json.dumps(name)}: {json.dumps(value)}}}"


def with_number(part: dict[str, object], name: str, digits: str) -> str:
    """JSON in which a number is spelled as no serialiser would."""
    return (
        f"{json.dumps({key: value for key, value in part.items() if key != name})[:-1]}, {json.dumps(name)}: {digits}}}"
    )


def genuine(project: Project, **claims: object) -> str:
    return token(ordinary(project.issuer, **claims))


def unsigned(spelling: str, signature: bytes) -> MakesToken:
    return lambda project: compact({"alg": spelling, "typ": "JWT"}, ordinary(project.issuer), lambda _: signature)


def badly_signed(algorithm: str) -> MakesToken:
    return lambda project: token(ordinary(project.issuer), algorithm, owner="a stranger")


def with_kid(kid: object, owner: str = "the project") -> MakesToken:
    return lambda project: token(ordinary(project.issuer), owner=owner, kid=kid)


def claiming(**changes: Callable[[int], object]) -> MakesToken:
    """Genuine but for claims, which are computed from the time."""
    return lambda project: genuine(project, **{name: made(int(time.time())) for name, made in changes.items()})


def always(value: object) -> Callable[[int], object]:
    return lambda _now: value


def confused(algorithm: str, form: str, of: str) -> MakesToken:
    """Signed with what is public, for a verifier that takes the key for a secret because the header says so."""
    return lambda project: shared(ordinary(project.issuer), algorithm, FORMS[form](of), kid=f"the {of} key")


FORMS: Final[dict[str, Callable[[str], bytes]]] = {
    "PEM": public_pem,
    "PEM without its last newline": lambda of: public_pem(of).strip(),
    "DER": public_der,
    "JWK": lambda of: json.dumps(public_jwk(of)).encode(),
    "compact JWK": lambda of: json.dumps(public_jwk(of), separators=(",", ":")).encode(),
}


# What names the attacker's own keys in a header, for a server that would fetch or believe them.
POINTERS: Final[dict[str, Callable[[str], dict[str, Any]]]] = {
    "jku": lambda url: {"jku": f"{url}/auth/v1/.well-known/jwks.json"},
    "x5u": lambda url: {"x5u": f"{url}/certificate.pem"},
    "jwk": lambda _url: {"jwk": public_jwk("ES256", "a stranger")},
    "x5c": lambda _url: {"x5c": [public_pem("ES256", "a stranger").decode()]},
}


def pointed_at(name: str, kid: str) -> MakesToken:
    return lambda project: token(
        ordinary(project.issuer), owner="a stranger", kid=kid, **POINTERS[name](project.stranger.url)
    )


# Nobody but the project has its private keys; these try without.
FORGED: Final[dict[str, MakesToken]] = {
    **{f"{algorithm} with a bad signature": badly_signed(algorithm) for algorithm in ASYMMETRIC},
    "the claims of one and the signature of another": lambda project: ".".join(
        [*genuine(project, sub=str(uuid4())).split(".")[:2], genuine(project).split(".")[2]]
    ),
    "half a signature": lambda project: genuine(project)[:-43],
    "a signature of zeros": lambda project: compact(  # CVE-2022-21449
        {"alg": "ES256", "kid": "the ES256 key"}, ordinary(project.issuer), lambda _: bytes(64)
    ),
    **{
        f"alg {spelling!r}, {'no' if not signature else 'some'} signature": unsigned(spelling, signature)
        for spelling in ("none", "None", "nOnE", "NONE", "", "none ")
        for signature in (b"", b"some")
    },
    "no alg": lambda project: token(ordinary(project.issuer), alg=ABSENT),
    "alg null": lambda project: token(ordinary(project.issuer), alg=None),
    "alg a list": lambda project: token(ordinary(project.issuer), alg=["ES256"]),
    "alg in lower case": lambda project: token(ordinary(project.issuer), alg="es256"),
    "a header that nests deep": lambda project: signed_under(
        f'{{"alg": "ES256", "kid": "the ES256 key", "x": {"[" * 2500}{"]" * 2500}}}',
        ordinary(project.issuer),
        owner="a stranger",
    ),
    "a header that is no object": lambda project: signed_under(["ES256"], ordinary(project.issuer)),
    "two algs": lambda project: signed_under(
        twice({"alg": "HS256", "kid": "the ES256 key"}, "alg", "ES256"), ordinary(project.issuer)
    ),
    "two algs the other way": lambda project: signed_under(
        twice({"alg": "ES256", "kid": "the ES256 key"}, "alg", "HS256"), ordinary(project.issuer)
    ),
    "ES256 over the RSA key's id": lambda project: token(ordinary(project.issuer), kid="the RS256 key"),
    "RS256 over the EC key's id": lambda project: token(ordinary(project.issuer), "RS256", kid="the ES256 key"),
    "EdDSA over the EC key's id": lambda project: token(ordinary(project.issuer), "EdDSA", kid="the ES256 key"),
    "an RSA signature that says ES256": lambda project: token(ordinary(project.issuer), "RS256", alg="ES256"),
    "an unknown kid": with_kid("of no key"),
    "an empty kid": with_kid(""),
    "a kid that is a path": with_kid("../../dev/null"),
    "a kid in SQL": with_kid("' union select 'secret' --"),
    "a very long kid": with_kid("k" * 5000),
    "a numeric kid": with_kid(1),
    "a kid that is a list": with_kid(["the ES256 key"]),
    "a kid that is an object": with_kid({"kid": "the ES256 key"}),
    "kid null and another key": with_kid(None, owner="a stranger"),
    "no kid and another key": with_kid(ABSENT, owner="a stranger"),
    **{f"{name} and the attacker's kid": pointed_at(name, "the attacker's key") for name in POINTERS},
    **{f"{name} and the project's kid": pointed_at(name, "the ES256 key") for name in POINTERS},
    "of another project with keys of the same ids": lambda project: token(
        ordinary(issuer_of(project.stranger)), owner="a stranger"
    ),
}

# Refused where keys are published; where secrets are still in use too, what has HS256 is for Supabase to refuse.
SHARED_SECRETS: Final[dict[str, MakesToken]] = {
    "any secret": lambda project: shared(ordinary(project.issuer)),
    "any secret and the kid of a key": lambda project: shared(ordinary(project.issuer), kid="the ES256 key"),
    "an empty secret": lambda project: shared(ordinary(project.issuer), secret=b""),
    **{
        f"{algorithm} with the {of} key's {form} for a secret": confused(algorithm, form, of)
        for algorithm in HASHES
        for of in ASYMMETRIC
        for form in FORMS
    },
}

# The project's own signature, on what no user of its should be let in with.
WRONG_CLAIMS: Final[dict[str, MakesToken]] = {
    "expired": claiming(exp=lambda now: now - 3600),
    "no exp": claiming(exp=always(ABSENT)),
    "exp null": claiming(exp=always(None)),
    "exp a word": claiming(exp=always("tomorrow")),
    "exp a list": claiming(exp=lambda now: [now + 600]),
    "exp true": claiming(exp=always(True)),
    "exp negative": claiming(exp=lambda now: -now - 600),
    "exp NaN": claiming(exp=always(float("nan"))),
    "NaN anywhere": claiming(app_metadata=always({"x": float("nan")})),
    "exp Infinity": claiming(exp=always(float("inf"))),
    "exp beyond floating point": lambda project: token(with_number(ordinary(project.issuer), "exp", "1e400")),
    "exp of 5000 digits": lambda project: token(with_number(ordinary(project.issuer), "exp", "9" * 5000)),
    "nbf in the future": claiming(nbf=lambda now: now + 3600),
    "nbf a word": claiming(nbf=always("yesterday")),
    "iat in the future": claiming(iat=lambda now: now + 3600),
    "iss of another project": claiming(iss=always("https://abcdefgh.supabase.co/auth/v1")),
    "iss with a slash more": lambda project: genuine(project, iss=f"{project.issuer}/"),
    "iss missing": claiming(iss=always(ABSENT)),
    "iss a list": lambda project: genuine(project, iss=[project.issuer]),
    "aud of something else": claiming(aud=always("anon")),
    "aud that only begins so": claiming(aud=always("authenticated-not")),
    "aud a list of something else": claiming(aud=always(["anon", "service_role"])),
    "aud an empty list": claiming(aud=always([])),
    "aud an object": claiming(aud=always({"authenticated": True})),
    "aud missing": claiming(aud=always(ABSENT)),
    "sub no UUID": claiming(sub=always("somebody")),
    "sub missing": claiming(sub=always(ABSENT)),
    "sub null": claiming(sub=always(None)),
    "sub a number": claiming(sub=always(7)),
    "sub a list": claiming(sub=always([USER])),
    "two roles": lambda project: token(twice(ordinary(project.issuer, role="anon"), "role", "authenticated")),
    "two subs": lambda project: token(twice(ordinary(project.issuer), "sub", str(uuid4()))),
    "two exps": lambda project: token(twice(ordinary(project.issuer, exp=1), "exp", int(time.time()) + 600)),
    "two roles deep inside": lambda project: token(
        f'{json.dumps(ordinary(project.issuer))[:-1]}, "app_metadata": {{"role": "a", "role": "b"}}}}'
    ),
    "an unknown extension that is critical": lambda project: token(ordinary(project.issuer), crit=["once"], once=True),
    "an empty crit": lambda project: token(ordinary(project.issuer), crit=[]),
    "a payload that is not in the token": lambda project: token(ordinary(project.issuer), b64=False, crit=["b64"]),
    "claims that are a list": lambda project: token([ordinary(project.issuer)]),
    "claims that are a text": lambda _project: token('"claims"'),
    "claims that are null": lambda _project: token(None),
    "claims that are no JSON": lambda _project: token("{"),
    "claims that are no text": lambda _project: token(b"\xff\xfe\xfd"),
    "over 8192 characters": lambda project: genuine(project, padding="x" * 6000),
}

NO_USERS: Final[dict[str, MakesToken]] = {
    "service_role": claiming(role=always("service_role")),
    "anon": claiming(role=always("anon")),
    "in capitals": claiming(role=always("AUTHENTICATED")),
    "empty": claiming(role=always("")),
    "missing": claiming(role=always(ABSENT)),
    "null": claiming(role=always(None)),
    "a list": claiming(role=always(["authenticated"])),
    "an object": claiming(role=always({"authenticated": True})),
}


NO_BEARERS: Final[dict[str, Callable[[str], list[tuple[str, str]]]]] = {
    "none": lambda _token: [],
    "an empty one": lambda _token: [("Authorization", "")],
    "Basic": lambda token: [("Authorization", f"Basic {token}")],
    "Token": lambda token: [("Authorization", f"Token {token}")],
    "the token alone": lambda token: [("Authorization", token)],
    "Bearer with a colon": lambda token: [("Authorization", f"Bearer: {token}")],
    "Bearer without a token": lambda _token: [("Authorization", "Bearer")],
    "a tab in between": lambda token: [("Authorization", f"Bearer\t{token}")],
    "two": lambda token: [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")],
    "the second another scheme": lambda token: [("Authorization", f"Bearer {token}"), ("authorization", "Basic eDp5")],
    "the token elsewhere": lambda token: [("X-Authorization", f"Bearer {token}"), ("Cookie", f"access_token={token}")],
}
NO_TOKENS: Final[dict[str, Callable[[str], str]]] = {
    "two with a comma": lambda token: f"Bearer {token}, Bearer {token}",
    "two with a comma and no blank": lambda token: f"Bearer {token},{token}",
    "two with a blank": lambda token: f"Bearer {token} {token}",
    "one in quotes": lambda token: f'Bearer "{token}"',
    "a parameter": lambda token: f'Bearer {token}, realm="accounts"',
    "a fourth part": lambda token: f"Bearer {token}.{token}",
    "padding": lambda token: f"Bearer {token}==",
}


async def supabase(received: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(http(200, [ROW] if received.path.endswith("/get_or_create_account") else []))


@contextmanager
def in_front_of(upstream: ScriptedUpstream, folder: Path, **settings: str) -> Iterator[httpx.Client]:
    """A client of the API that serves the project behind it."""
    with (
        serving(folder, upstream.url, "sb_publishable_abc", **settings) as (url, _),
        httpx.Client(base_url=url, timeout=30, verify=NO_CERTIFICATES) as api,
    ):
        yield api


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with (
        scripted_upstream(supabase, key_set()) as upstream,
        scripted_upstream(supabase, [public_jwk("ES256", "a stranger", kid="the attacker's key")]) as stranger,
        in_front_of(upstream, tmp_path_factory.mktemp("api")) as api,
    ):
        yield Project(upstream, api, stranger, issuer_of(upstream))


@pytest.fixture(scope="module")
def migrating(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Between a secret and keys, and reached under another address than its tokens name."""
    settings = {"EDGE_TOKEN_ALLOW_HS256": "true", "EDGE_TOKEN_ISSUER": ISSUER}
    with (
        scripted_upstream(supabase, key_set()) as upstream,
        scripted_upstream() as stranger,
        in_front_of(upstream, tmp_path_factory.mktemp("api"), **settings) as api,
    ):
        yield Project(upstream, api, stranger, ISSUER)


def assert_401(answer: httpx.Response, code: str) -> None:
    assert answer.status_code == 401
    assert answer.json()["code"] == code
    challenge = answer.headers["WWW-Authenticate"]
    assert challenge.startswith("Bearer ")
    # RFC 6750: without credentials, the challenge tells of no error
    assert ('error="invalid_token"' in challenge) == (code == "invalid_token")


@contextmanager
def no_call(upstream: ScriptedUpstream) -> Iterator[None]:
    before = list(upstream.calls)
    yield
    assert upstream.calls == before


def forwarded(upstream: ScriptedUpstream) -> str:
    """The credentials of the latest call."""
    return upstream.calls[-1].headers["authorization"]


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_a_genuine_token_is_let_in_and_passed_on_unchanged(project: Project, algorithm: str) -> None:
    bearer = f"Bearer {token(ordinary(project.issuer), algorithm)}"
    answer = project.api.post(GET_OR_CREATE, headers={"Authorization": bearer})
    assert (answer.status_code, answer.json()["account"]["id"]) == (200, NOBODYS_ID)
    assert forwarded(project.upstream) == bearer
    answer = project.api.get(ACCOUNTS, headers={"Authorization": bearer})
    assert (answer.status_code, answer.json()["accounts"]) == (200, [])
    assert forwarded(project.upstream) == bearer


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": ["authenticated"]},
        {"aud": ["something else", "authenticated"]},
        {"iat": ABSENT},
        {"nbf": 1},
        {"exp": time.time() + 600.5},
        {"app_metadata": {"role": "service_role"}, "session_id": str(uuid4()), "aal": "aal1", "is_anonymous": False},
    ],
    ids=["aud a list", "aud a longer list", "no iat", "nbf long ago", "exp a fraction", "more claims"],
)
def test_what_genuine_tokens_may_differ_in_is_let_in(project: Project, claims: dict[str, object]) -> None:
    assert project.call(genuine(project, **claims)).status_code == 200


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_a_genuine_token_need_not_name_its_key(project: Project, algorithm: str) -> None:
    assert project.call(token(ordinary(project.issuer), algorithm, kid=ABSENT)).status_code == 200


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "bEaReR"])
def test_the_scheme_is_passed_on_as_bearer_however_it_is_written(project: Project, scheme: str) -> None:
    sent = genuine(project)
    assert project.api.post(GET_OR_CREATE, headers={"Authorization": f"{scheme} {sent}"}).status_code == 200
    assert forwarded(project.upstream) == f"Bearer {sent}"


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_token_is_401_and_costs_no_call(project: Project, kind: str) -> None:
    with no_call(project.upstream):
        assert_401(project.call(FORGED[kind](project)), "invalid_token")
    assert project.stranger.received == []


@pytest.mark.parametrize("kind", SHARED_SECRETS)
def test_no_secret_stands_in_for_a_key(project: Project, kind: str) -> None:
    with no_call(project.upstream):
        assert_401(project.call(SHARED_SECRETS[kind](project)), "invalid_token")


@pytest.mark.parametrize("kind", WRONG_CLAIMS)
def test_a_genuine_signature_on_wrong_claims_is_401_and_costs_no_call(project: Project, kind: str) -> None:
    with no_call(project.upstream):
        assert_401(project.call(WRONG_CLAIMS[kind](project)), "invalid_token")


@pytest.mark.parametrize("role", NO_USERS)
def test_a_genuine_token_of_no_end_user_is_403_and_costs_no_call(project: Project, role: str) -> None:
    with no_call(project.upstream):
        answer = project.call(NO_USERS[role](project))
    assert (answer.status_code, answer.json()["code"]) == (403, "not_a_user")


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
def test_a_time_in_quotes_is_401(project: Project, claim: str) -> None:
    """RFC 7519: a NumericDate is a number."""
    now = int(time.time())
    times = {"exp": now + 600, "nbf": now - 10, "iat": now - 10}
    with no_call(project.upstream):
        assert_401(project.call(genuine(project, **{claim: str(times[claim])})), "invalid_token")


def test_claims_that_nest_deep_are_no_crash(project: Project) -> None:
    """Whether Python's parser gives up on them differs by its version; either way they are genuine."""
    claims = f'{json.dumps(ordinary(project.issuer))[:-1]}, "x": {"[" * 2500}{"]" * 2500}}}'
    assert project.call(token(claims)).status_code in {200, 401}


@pytest.mark.parametrize("kind", NO_BEARERS)
def test_other_than_one_bearer_header_is_a_missing_token(project: Project, kind: str) -> None:
    with no_call(project.upstream):
        answer = project.api.post(GET_OR_CREATE, headers=NO_BEARERS[kind](genuine(project)))
        assert_401(answer, "missing_token")


@pytest.mark.parametrize("header", ["Bearer ", "Bearer   ", "Bearer \t", "Bearer \xa0"])
def test_bearer_and_blanks_is_a_missing_token(project: Project, header: str) -> None:
    """By the standard library: httpx does not send such a header."""
    connection = HTTPConnection(project.api.base_url.host, project.api.base_url.port or 0, timeout=30)
    with closing(connection), no_call(project.upstream):
        connection.request("POST", GET_OR_CREATE, headers={"Authorization": header})
        answer = connection.getresponse()
        assert (answer.status, json.load(answer)["code"]) == (401, "missing_token")


@pytest.mark.parametrize("kind", NO_TOKENS)
def test_more_than_a_token_after_bearer_is_an_invalid_token(project: Project, kind: str) -> None:
    with no_call(project.upstream):
        answer = project.api.post(GET_OR_CREATE, headers={"Authorization": NO_TOKENS[kind](genuine(project))})
        assert_401(answer, "invalid_token")


def test_clocks_may_differ_by_seconds_but_not_by_minutes(project: Project) -> None:
    now = int(time.time())
    for claims in ({"exp": now - 10}, {"nbf": now + 10}, {"iat": now + 10}):
        assert project.call(genuine(project, **claims)).status_code == 200
    with no_call(project.upstream):
        for claims in ({"exp": now - 120}, {"nbf": now + 120}, {"iat": now + 120}):
            assert_401(project.call(genuine(project, **claims)), "invalid_token")


def test_invented_key_ids_hardly_cost_a_request(project: Project) -> None:
    before = project.upstream.key_requests
    tokens = [token(ordinary(project.issuer), kid=str(uuid4())) for _ in range(300)]
    with no_call(project.upstream), ThreadPoolExecutor(16) as callers:
        for answer in callers.map(project.call, tokens):
            assert_401(answer, "invalid_token")
    assert project.upstream.key_requests - before <= 2
    assert project.call(genuine(project)).status_code == 200


def test_where_secrets_are_still_in_use_their_tokens_are_passed_on(migrating: Project) -> None:
    tokens = [shared(ordinary("whoever")), *(shared(ordinary("whoever"), kid=kid) for kid in ("x", "the ES256 key"))]
    for sent in tokens:
        assert migrating.call(sent).status_code == 200
        assert forwarded(migrating.upstream) == f"Bearer {sent}"


def test_where_secrets_are_still_in_use_keys_prove_as_much_as_ever(migrating: Project) -> None:
    for algorithm in ASYMMETRIC:
        assert migrating.call(token(ordinary(migrating.issuer), algorithm)).status_code == 200


@pytest.mark.parametrize("kind", FORGED)
def test_where_secrets_are_still_in_use_a_forged_token_is_401(migrating: Project, kind: str) -> None:
    with no_call(migrating.upstream):
        assert_401(migrating.call(FORGED[kind](migrating)), "invalid_token")


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_where_secrets_are_still_in_use_it_is_for_hs256_alone(migrating: Project, algorithm: str) -> None:
    with no_call(migrating.upstream):
        assert_401(migrating.call(shared(ordinary(migrating.issuer), algorithm)), "invalid_token")


def test_another_issuer_takes_the_place_of_the_projects_address(migrating: Project) -> None:
    assert migrating.call(genuine(migrating)).status_code == 200
    with no_call(migrating.upstream):
        assert_401(migrating.call(token(ordinary(f"{migrating.upstream.url}/auth/v1"))), "invalid_token")


NOTHING_USABLE: Final[dict[str, Callable[[], Script]]] = {
    "an empty set": lambda: answering(200, {"keys": []}),
    "no Auth server": lambda: answering(404, {"message": "no such path"}),
    "only a secret": lambda: answering(
        200, {"keys": [{"kty": "oct", "k": base64(SECRET), "kid": "the ES256 key", "alg": "HS256"}]}
    ),
    "only keys to encrypt with": lambda: answering(
        200, {"keys": [public_jwk(algorithm, use="enc") for algorithm in ASYMMETRIC]}
    ),
}
OUT_OF_ORDER: Final[dict[str, Script]] = {
    "an error": answering(500, {"message": "out of order"}),
    "no JSON": answering(200, "<html>"),
    "no text": answering(200, b"\xff\xfe\xfd"),
    "deep nested": answering(200, "[" * 50_000),
    "too much": answering(200, {"keys": [], "padding": "x" * 70_000}),
    "refused": answering(401, {"message": "No API key"}),
    "elsewhere": answering(302, "", {"Location": "/"}),
}
NO_SETS: Final[dict[str, Script]] = {
    "an error that says 200": answering(200, {"message": "out of order"}),
    "null": answering(200, None),
    "a list": answering(200, []),
    "keys null": answering(200, {"keys": None}),
    "keys an object": answering(200, {"keys": {"a": 1}}),
}


@pytest.mark.parametrize("kind", NOTHING_USABLE)
def test_without_usable_keys_secrets_are_in_use(tmp_path: Path, kind: str) -> None:
    with scripted_upstream(supabase) as upstream:
        upstream.keys = NOTHING_USABLE[kind]()
        with in_front_of(upstream, tmp_path) as api:
            sent = shared(ordinary(issuer_of(upstream)))
            assert api.post(GET_OR_CREATE, headers={"Authorization": f"Bearer {sent}"}).status_code == 200
            assert forwarded(upstream) == f"Bearer {sent}"
            with no_call(upstream):
                for algorithm in ASYMMETRIC:
                    bearer = f"Bearer {token(ordinary(issuer_of(upstream)), algorithm)}"
                    assert_401(api.post(GET_OR_CREATE, headers={"Authorization": bearer}), "invalid_token")


@pytest.mark.parametrize("kind", ["an error", "no JSON"])
def test_while_the_keys_cannot_be_had_what_needs_them_is_503(tmp_path: Path, kind: str) -> None:
    with scripted_upstream(supabase) as upstream:
        upstream.keys = OUT_OF_ORDER[kind]
        with in_front_of(upstream, tmp_path) as api:
            bearer = f"Bearer {token(ordinary(issuer_of(upstream)))}"
            with no_call(upstream):
                answer = api.post(GET_OR_CREATE, headers={"Authorization": bearer})
            assert (answer.status_code, answer.json()["code"]) == (503, "upstream_unavailable")
            assert int(answer.headers["Retry-After"]) > 0
            sent = shared(ordinary(issuer_of(upstream)))
            assert api.post(GET_OR_CREATE, headers={"Authorization": f"Bearer {sent}"}).status_code == 200
            assert forwarded(upstream) == f"Bearer {sent}"


def test_while_nothing_can_be_reached_a_token_is_not_called_invalid(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with (
        serving(tmp_path, url, "sb_publishable_abc") as (api, _),
        httpx.Client(base_url=api, verify=NO_CERTIFICATES) as client,
    ):
        bearer = f"Bearer {token(ordinary(f'{url}/auth/v1'))}"
        assert client.post(GET_OR_CREATE, headers={"Authorization": bearer}).status_code == 503


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Publisher:
    """Publishes keys, counts how often it is asked, and can be made to fail or to hang."""

    def __init__(self, *key_ids: str) -> None:
        self.key_ids = list(key_ids)
        self.failure: ApiError | None = None
        self.asked = 0
        self.gave_up = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.is_asked = asyncio.Event()

    async def __call__(self) -> object:
        self.asked += 1
        self.is_asked.set()
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.gave_up += 1
            raise
        if self.failure is not None:
            raise self.failure
        return {"keys": [public_jwk("ES256", kid=kid) for kid in self.key_ids]}

    def hang(self) -> None:
        self.is_asked.clear()
        self.may_answer.clear()


def in_a_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test in an event loop of its own."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


async def key_ids(keys: SigningKeys, key_id: str | None) -> list[str | None]:
    return [key.key_id for key in await keys.matching("ES256", key_id)]


@in_a_loop
async def test_the_keys_are_fetched_once_for_many_tokens() -> None:
    publisher = Publisher("a", "b")
    async with SigningKeys(publisher, Clock()) as keys:
        for _ in range(100):
            assert await key_ids(keys, "a") == ["a"]
            assert await key_ids(keys, None) == ["a", "b"]
            assert await keys.published()
    assert publisher.asked == 1


@in_a_loop
async def test_callers_at_the_start_share_one_fetch() -> None:
    publisher = Publisher("a")
    publisher.hang()
    async with SigningKeys(publisher, Clock()) as keys:
        callers = [asyncio.create_task(key_ids(keys, "a")) for _ in range(50)]
        await publisher.is_asked.wait()
        publisher.may_answer.set()
        assert await asyncio.gather(*callers) == [["a"]] * 50
    assert publisher.asked == 1


@in_a_loop
async def test_the_keys_are_refreshed_while_the_old_ones_answer() -> None:
    publisher, clock = Publisher("a"), Clock()
    async with SigningKeys(publisher, clock) as keys:
        await key_ids(keys, "a")
        clock.now += 299
        assert await key_ids(keys, "a") == ["a"]
        await asyncio.sleep(0)  # a fetch in the background would begin now
        assert publisher.asked == 1

        clock.now += 2
        publisher.hang()
        publisher.key_ids = ["b"]
        assert await key_ids(keys, "a") == ["a"]
        await publisher.is_asked.wait()
        for _ in range(10):
            assert await key_ids(keys, "a") == ["a"]
            assert await keys.published()
        assert publisher.asked == 2

        publisher.may_answer.set()
        assert await key_ids(keys, "b") == ["b"]  # waits for the fetch that is under way
        assert publisher.asked == 2
        assert await key_ids(keys, "a") == []


@in_a_loop
async def test_a_rotation_is_found_at_once() -> None:
    publisher = Publisher("a")
    async with SigningKeys(publisher, Clock()) as keys:
        await key_ids(keys, "a")
        publisher.key_ids = ["b", "a"]
        assert await key_ids(keys, "b") == ["b"]
        assert await key_ids(keys, "a") == ["a"]
    assert publisher.asked == 2


@in_a_loop
async def test_a_rotation_is_found_by_all_who_come_at_once() -> None:
    publisher = Publisher("a")
    async with SigningKeys(publisher, Clock()) as keys:
        await key_ids(keys, "a")
        publisher.key_ids = ["b"]
        publisher.hang()
        callers = [asyncio.create_task(key_ids(keys, "b")) for _ in range(10)]
        await publisher.is_asked.wait()
        publisher.may_answer.set()
        assert await asyncio.gather(*callers) == [["b"]] * 10
    assert publisher.asked == 2


@in_a_loop
async def test_invented_key_ids_cause_a_fetch_in_ten_seconds_at_most() -> None:
    publisher, clock = Publisher("a"), Clock()
    async with SigningKeys(publisher, clock) as keys:
        await key_ids(keys, "a")
        for asked in (2, 3, 4):
            for _ in range(500):
                assert await key_ids(keys, str(uuid4())) == []
            found = await asyncio.gather(*(key_ids(keys, str(uuid4())) for _ in range(500)))
            assert not any(found)
            assert publisher.asked == asked
            clock.now += 9.9
            assert await key_ids(keys, str(uuid4())) == []
            assert publisher.asked == asked
            clock.now += 0.2


@in_a_loop
async def test_the_keys_are_kept_while_they_cannot_be_fetched() -> None:
    publisher, clock = Publisher("a"), Clock()
    async with SigningKeys(publisher, clock) as keys:
        await key_ids(keys, "a")
        publisher.failure = UpstreamUnavailableError()
        for _ in range(3):
            clock.now += 301
            assert await key_ids(keys, "unknown") == []  # waits for the fetch
            assert await key_ids(keys, "a") == ["a"]
            assert await keys.published()
        assert publisher.asked == 4

        publisher.failure = None
        publisher.key_ids = ["b"]
        clock.now += 11  # it is asked for again sooner than a fresh one would be
        await key_ids(keys, "a")
        assert await key_ids(keys, "b") == ["b"]
    assert publisher.asked == 5


@pytest.mark.parametrize("failure", [UpstreamUnavailableError, BadUpstreamError])
@in_a_loop
async def test_without_a_first_answer_a_token_can_be_proved_later(failure: type[ApiError]) -> None:
    publisher, clock = Publisher("a"), Clock()
    publisher.failure = failure()
    async with SigningKeys(publisher, clock) as keys:
        for _ in range(100):
            with pytest.raises(UpstreamUnavailableError):
                await key_ids(keys, "a")
            assert not await keys.published()
        assert publisher.asked == 2  # the first, and a search
        publisher.failure = None
        clock.now += 10
        assert await key_ids(keys, "a") == ["a"]
        assert await keys.published()
    assert publisher.asked == 3


@in_a_loop
async def test_a_caller_who_gives_up_does_not_end_the_fetch_of_others() -> None:
    publisher = Publisher("a")
    publisher.hang()
    async with SigningKeys(publisher, Clock()) as keys:
        hasty, patient = (asyncio.create_task(key_ids(keys, "a")) for _ in range(2))
        await publisher.is_asked.wait()
        hasty.cancel()
        assert isinstance((await asyncio.gather(hasty, return_exceptions=True))[0], asyncio.CancelledError)
        publisher.may_answer.set()
        assert await patient == ["a"]
    assert (publisher.asked, publisher.gave_up) == (1, 0)


@in_a_loop
async def test_the_end_does_not_wait_for_a_fetch_that_hangs() -> None:
    publisher = Publisher("a")
    publisher.hang()
    async with SigningKeys(publisher, Clock()):
        await publisher.is_asked.wait()
    assert publisher.gave_up == 1
    assert asyncio.all_tasks() == {asyncio.current_task()}


def as_private(jwk: dict[str, Any]) -> dict[str, Any]:
    return {**jwk, **get_default_algorithms()["ES256"].to_jwk(private_key("ES256"), as_dict=True)}


# In place of a key. What is a dict comes on top of an ordinary key's members.
JUNK: Final[dict[str, Callable[[dict[str, Any]], object]]] = {
    "null": lambda _jwk: None,
    "a number": lambda _jwk: 5,
    "a text": lambda _jwk: "key",
    "a list": lambda jwk: [jwk],
    "an empty object": lambda _jwk: {},
    "no numbers": lambda _jwk: {"kty": "EC"},
    "kty a list": lambda jwk: {**jwk, "kty": []},
    "a secret": lambda _jwk: {"kty": "oct", "k": base64(SECRET), "kid": "a"},
    "a secret that says it is a key": lambda _jwk: {"kty": "oct", "k": base64(SECRET), "kid": "a", "alg": "ES256"},
    "alg HS256": lambda jwk: {**jwk, "alg": "HS256"},
    "alg none": lambda jwk: {**jwk, "alg": "none"},
    "alg a list": lambda jwk: {**jwk, "alg": ["ES256"]},
    "alg of another kind": lambda jwk: {**jwk, "alg": "RS256"},
    "alg that nobody knows": lambda jwk: {**jwk, "alg": "ES1024"},
    "a key to encrypt with": lambda jwk: {**jwk, "use": "enc"},
    "a private key": as_private,
    "x a number": lambda jwk: {**jwk, "x": 5},
    "no point of the curve": lambda jwk: {**jwk, "y": base64(bytes(32))},
    "another curve": lambda jwk: {**jwk, "crv": "P-384"},
    "kid a list": lambda jwk: {**jwk, "kid": []},
}


@pytest.mark.parametrize(
    "kind",
    JUNK,
)
@in_a_loop
async def test_what_is_no_key_to_prove_with_is_passed_over(kind: str) -> None:
    junk = JUNK[kind](public_jwk("ES256", kid="a"))

    async def fetch() -> object:
        return {"keys": [junk, public_jwk("ES256", kid="b"), junk]}

    async with SigningKeys(fetch, Clock()) as keys:
        assert await key_ids(keys, "b") == ["b"]
        for algorithm in (*ASYMMETRIC, *HASHES, "none"):
            found = [key.key_id for key in await keys.matching(algorithm, None)]
            assert found == (["b"] if algorithm == "ES256" else [])


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with scripted_upstream(keys=key_set()) as running:
        yield running


async def tried(keys: SigningKeys) -> str:
    try:
        return "found" if await keys.matching("ES256", "the ES256 key") else "unknown"
    except UpstreamUnavailableError:
        return "unavailable"


@pytest.mark.parametrize(
    "kind",
    [
        *OUT_OF_ORDER,
        *NO_SETS,
    ],
)
@in_a_loop
async def test_what_is_no_key_set_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, upstream: ScriptedUpstream, kind: str
) -> None:
    """Neither is it taken for one without keys at first, nor does it displace the keys that are known."""
    bad, clock = (OUT_OF_ORDER | NO_SETS)[kind], Clock()
    settings = read(monkeypatch, {"SUPABASE_URL": upstream.url, "SUPABASE_PUBLISHABLE_KEY": "sb_publishable_abc"})
    upstream.keys, good = bad, upstream.keys
    async with Supabase.connect(settings) as supabase, SigningKeys(supabase.published_keys, clock) as keys:
        assert not await keys.published()
        assert await tried(keys) == "unavailable"
        upstream.keys = good
        clock.now += 10
        assert await tried(keys) == "found"
        upstream.keys = bad
        clock.now += 301
        await keys.matching("ES256", "unknown")  # waits for the fetch
        assert await tried(keys) == "found"
    assert upstream.key_requests == 4
    assert {request.headers["apikey"] for request in upstream.received} == {"sb_publishable_abc"}
    assert [record for record in caplog.records if record.name == "asyncio"] == []  # no task has crashed


def test_whose_genuine_token_it_was_is_logged_whatever_supabase_says(tmp_path: Path) -> None:
    user_id = str(uuid4())
    with scripted_upstream(answering(503, ""), key_set()) as upstream:
        with in_front_of(upstream, tmp_path) as api:
            issuer = issuer_of(upstream)
            sent = token(ordinary(issuer, sub=user_id))
            for _ in range(2):  # a token that is known already too
                assert api.post(GET_OR_CREATE, headers={"Authorization": f"Bearer {sent}"}).status_code == 503
            forged = token(ordinary(issuer, sub=user_id), owner="a stranger")
            assert api.post(GET_OR_CREATE, headers={"Authorization": f"Bearer {forged}"}).status_code == 401
        lines = [json.loads(line) for line in (tmp_path / "api.log").read_text().splitlines()]
    requests = [line for line in lines if line["event"] == "request" and line["route"] == GET_OR_CREATE]
    assert [line.get("user_id") for line in requests] == [user_id, user_id, None]


@in_a_loop
async def test_a_token_that_was_let_in_is_refused_once_its_key_is_gone() -> None:
    """It is not looked at again for every call, but it is with every new set of keys."""
    publisher, clock, url = Publisher("a"), Clock(), "https://abcdefgh.supabase.co"
    sent = token(ordinary(f"{url}/auth/v1"), kid="a")
    request = Request({"type": "http", "headers": [(b"authorization", f"Bearer {sent}".encode())]})
    async with SigningKeys(publisher, clock) as keys:
        authenticate = Authenticator(Settings.model_validate({"supabase_url": url, "SUPABASE_ANON_KEY": "x"}), keys)
        assert (await authenticate(request)).is_genuine
        publisher.key_ids = ["b"]
        clock.now += 301
        before = keys.refresh()
        assert (await authenticate(request)).is_genuine
        for _ in range(100):  # turns of the loop, for the refresh in the background
            await asyncio.sleep(0)
        assert keys.refresh() > before
        with pytest.raises(InvalidTokenError):
            await authenticate(request)


@in_a_loop
async def test_a_token_that_was_let_in_is_refused_once_it_has_expired() -> None:
    url = "https://abcdefgh.supabase.co"
    almost_expired = int(time.time()) - 28  # 30 s of leeway
    sent = token(ordinary(f"{url}/auth/v1", exp=almost_expired), kid="a")
    request = Request({"type": "http", "headers": [(b"authorization", f"Bearer {sent}".encode())]})
    async with SigningKeys(Publisher("a"), Clock()) as keys:
        authenticate = Authenticator(Settings.model_validate({"supabase_url": url, "SUPABASE_ANON_KEY": "x"}), keys)

        async def call_until_refused() -> None:
            for _ in range(200):
                assert (await authenticate(request)).is_genuine
                await asyncio.sleep(0.05)

        with pytest.raises(InvalidTokenError):
            await call_until_refused()
        assert time.time() >= almost_expired + 29
