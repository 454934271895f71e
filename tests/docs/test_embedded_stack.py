"""What docs/embedded-stack.md says that the embedded stack lacks: a newer version of its packages may have it."""

from collections.abc import Iterator

import httpx
import jwt
import pytest

from edge_api.local.stack import MIGRATOR, Stack
from tests import target
from tests.support import User, signed

pytestmark = pytest.mark.skipif(target.is_named(), reason="about the embedded stack")


@pytest.fixture
def supabase(stack: Stack) -> Iterator[httpx.Client]:
    headers = {"apikey": stack.keys.publishable}
    with httpx.Client(base_url=stack.supabase_url, headers=headers, timeout=30) as client:
        yield client


def test_there_is_no_anonymous_sign_in(supabase: httpx.Client) -> None:
    response = supabase.post("/auth/v1/signup", json={})
    assert (response.status_code, response.json()["error_code"]) == (422, "anonymous_provider_disabled")


def test_there_is_no_admin_api(supabase: httpx.Client, stack: Stack) -> None:
    secret = {"apikey": stack.keys.secret, "Authorization": f"Bearer {stack.keys.secret}"}
    assert supabase.get("/auth/v1/admin/users", headers=secret).status_code == 401
    assert supabase.get("/rest/v1/user_accounts?limit=1", headers=secret).status_code == 200


def test_there_are_no_signing_keys_and_few_claims(supabase: httpx.Client, user: User) -> None:
    assert supabase.get("/auth/v1/.well-known/jwks.json").json() == {"keys": []}
    assert jwt.get_unverified_header(user.token)["alg"] == "HS256"
    claims = jwt.decode(user.token, options={"verify_signature": False})
    assert set(claims) == {"sub", "aud", "role", "email", "session_id", "iat", "exp"}


def test_a_legacy_key_is_refused(supabase: httpx.Client, stack: Stack) -> None:
    key = signed(stack, {"role": "anon"})
    assert supabase.get("/rest/v1/user_accounts", headers={"apikey": key}).status_code == 401


def test_no_plan_is_shown(supabase: httpx.Client, user: User) -> None:
    headers = {"Authorization": f"Bearer {user.token}", "Accept": "application/vnd.pgrst.plan"}
    assert supabase.get("/rest/v1/user_accounts", headers=headers).status_code == 406


def test_the_database_has_no_extensions_and_no_time_limits(stack: Stack) -> None:
    with stack.cluster.connect(MIGRATOR) as connection:
        assert connection.execute("select extname from pg_extension").fetchall() == [("plpgsql",)]
        query = "select count(*) from pg_db_role_setting"
        assert connection.execute(query).fetchone() == (0,)
