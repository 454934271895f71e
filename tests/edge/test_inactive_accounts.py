"""An inactive account, whichever way its owner comes in: it is read, and nothing changes it."""

from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from edge_api.local.stack import Stack
from tests.support import ACCOUNTS, GET_OR_CREATE, NO_CERTIFICATES, User
from tests.target import Target


@pytest.fixture
def inactive(user: User, database: psycopg.Connection) -> dict[str, Any]:
    """The account of the user, switched off."""
    account: dict[str, Any] = user.api.post(GET_OR_CREATE).json()["account"]
    database.execute("update public.user_accounts set is_active = false where id = %s", [account["id"]])
    return account


@pytest.fixture
def rest(stack: Stack, user: User) -> Iterator[httpx.Client]:
    """Supabase's REST API, as the user's frontend uses it."""
    headers = {
        "apikey": stack.keys.publishable,
        "Authorization": f"Bearer {user.token}",
        "Prefer": "return=representation",
    }
    url = f"{stack.supabase_url}/rest/v1"
    with httpx.Client(base_url=url, headers=headers, timeout=30, verify=NO_CERTIFICATES) as client:
        yield client


def test_its_owner_reads_it(user: User, inactive: dict[str, Any], rest: httpx.Client) -> None:
    through_the_api = [
        user.api.get(ACCOUNTS).json()["accounts"][0],
        user.api.get(f"{ACCOUNTS}/{inactive['id']}").json(),
        user.api.post(GET_OR_CREATE).json()["account"],
    ]
    directly = [
        rest.get("/user_accounts").json()[0],
        rest.post("/rpc/list_accounts").json()[0],
        rest.post("/rpc/get_account", json={"account_id": inactive["id"]}).json()[0],
        rest.post("/rpc/get_or_create_account").json()[0],
    ]
    for account in through_the_api + directly:
        assert (account["id"], account["is_active"]) == (inactive["id"], False)


def test_its_owner_changes_nothing(
    user: User, inactive: dict[str, Any], rest: httpx.Client, database: psycopg.Connection
) -> None:
    query = "select * from public.user_accounts where id = %s"
    before = database.execute(query, [inactive["id"]]).fetchone()
    renamed = {"account_name": "Renamed"}
    refused = [
        user.api.patch(f"{ACCOUNTS}/{inactive['id']}", json=renamed),
        rest.post("/rpc/rename_account", json={"account_id": inactive["id"], **renamed}),
        rest.patch(f"/user_accounts?id=eq.{inactive['id']}", json=renamed),
        rest.patch(f"/user_accounts?id=eq.{inactive['id']}", json={"is_active": True}),
        rest.post(
            "/user_accounts?on_conflict=user_id", json=renamed, headers={"Prefer": "resolution=merge-duplicates"}
        ),
        rest.delete(f"/user_accounts?id=eq.{inactive['id']}"),
    ]
    assert [response.status_code for response in refused] == [403] * len(refused)
    assert refused[0].json()["code"] == "permission_denied"
    assert {response.json()["code"] for response in refused[1:]} == {"42501"}
    assert database.execute(query, [inactive["id"]]).fetchone() == before


def test_its_owner_creates_no_other(user: User, inactive: dict[str, Any], rest: httpx.Client) -> None:
    assert user.api.post(ACCOUNTS, json={"account_name": "Another"}).status_code == 409
    assert rest.post("/user_accounts", json={"account_name": "Another"}).status_code == 409


def test_where_a_policy_hides_it_get_or_create_is_refused_at_once(
    stack: Stack, user: User, inactive: dict[str, Any], rest: httpx.Client, database: psycopg.Connection
) -> None:
    """PostgREST would repeat an error of class 40 for ever."""
    if isinstance(stack, Target):
        pytest.skip("adds a policy to the table: not for a project that may be in use")
    database.execute(
        'create policy "hide inactive" on public.user_accounts as restrictive for select to authenticated'
        " using (is_active)"
    )
    try:
        through_the_api, directly = user.api.post(GET_OR_CREATE), rest.post("/rpc/get_or_create_account")
        listed = user.api.get(ACCOUNTS).json()["accounts"]
    finally:
        database.execute('drop policy "hide inactive" on public.user_accounts')
    assert (through_the_api.status_code, through_the_api.json()["code"]) == (403, "permission_denied")
    assert (directly.status_code, directly.json()["code"]) == (403, "42501")
    assert listed == []
    assert user.api.get(ACCOUNTS).json()["accounts"][0]["id"] == inactive["id"]
