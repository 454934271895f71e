"""The same work straight at the gateway, as a client with supabase-py does it."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from supabase.lib.client_options import SyncClientOptions

from edge_api.local.stack import Stack
from edge_api.schemas.account_schemas import GetOrCreateAccountRow, UserAccountResponse
from supabase import Client, PostgrestAPIError, create_client
from tests.pacing import PacedTransport
from tests.support import ACCOUNTS, GET_OR_CREATE, User, stored_accounts
from tests.target import Target


@pytest.fixture(scope="module")
def connections() -> Iterator[httpx.Client]:
    with httpx.Client(transport=PacedTransport()) as connections:
        yield connections


@pytest.fixture
def unauthenticated(stack: Stack, connections: httpx.Client) -> Client:
    """supabase-py, signed in as nobody."""
    options = SyncClientOptions(auto_refresh_token=False, persist_session=False, httpx_client=connections)
    return create_client(stack.supabase_url, stack.keys.publishable, options)


@pytest.fixture
def client(unauthenticated: Client, user: User) -> Client:
    """supabase-py with a user's token."""
    unauthenticated.postgrest.auth(user.token)
    return unauthenticated


def rows(response: Any) -> list[dict[str, Any]]:
    assert isinstance(response.data, list)
    return response.data


def account(data: Any) -> UserAccountResponse:
    return UserAccountResponse.model_validate(data)


def test_the_gateway_and_the_api_give_the_same_account(stack: Stack, unauthenticated: Client, user: User) -> None:
    """To one who signs in with the password, as a frontend's user does."""
    if isinstance(stack, Target):
        stack.need_auth()
    client = unauthenticated
    session = client.auth.sign_in_with_password({"email": user.email, "password": user.password})
    assert session.user is not None
    assert session.user.id == str(user.id)

    (first,) = rows(client.rpc("get_or_create_account", {}).execute())
    created = GetOrCreateAccountRow.model_validate(first)
    assert created.created is True
    assert created.account_name == "Default Alpaca Account"

    through_api = account(user.api.post(GET_OR_CREATE).json()["account"])
    assert through_api == account(first)
    assert [account(row) for row in rows(client.table("user_accounts").select("*").execute())] == [through_api]
    assert [account(row) for row in rows(client.rpc("list_accounts", {}).execute())] == [through_api]
    assert [account(row) for row in rows(client.rpc("get_account", {"account_id": str(created.id)}).execute())] == [
        through_api
    ]


def test_get_or_create_takes_another_default_name(client: Client) -> None:
    (row,) = rows(client.rpc("get_or_create_account", {"default_name": "Paper"}).execute())
    assert (row["account_name"], row["created"]) == ("Paper", True)
    (row,) = rows(client.rpc("get_or_create_account", {"default_name": "Live"}).execute())
    assert (row["account_name"], row["created"]) == ("Paper", False)


def test_create_and_rename_are_seen_through_the_api(client: Client, user: User) -> None:
    created = account(client.rpc("create_account", {"account_name": "Mine"}).execute().data)
    arguments = {"account_id": str(created.id), "account_name": "Renamed"}
    (renamed,) = rows(client.rpc("rename_account", arguments).execute())
    assert user.api.get(f"{ACCOUNTS}/{created.id}").json()["account_name"] == renamed["account_name"] == "Renamed"


def test_a_plain_insert_and_update_of_the_name_work(client: Client, user: User) -> None:
    (created,) = rows(client.table("user_accounts").insert({"account_name": "Mine"}).execute())
    assert created["user_id"] == str(user.id)
    client.table("user_accounts").update({"account_name": "Renamed"}).eq("id", created["id"]).execute()
    assert user.api.get(f"{ACCOUNTS}/{created['id']}").json()["account_name"] == "Renamed"


@pytest.mark.parametrize(
    "row",
    [
        {"account_name": "Mine", "user_id": str(uuid4())},
        {"account_name": "Mine", "is_active": False},
        {"account_name": "Mine", "is_active": True},
        {"account_name": "Mine", "id": str(uuid4())},
        {"account_name": "Mine", "created_at": "2020-01-01T00:00:00Z"},
        {"account_name": "Mine", "updated_at": "2020-01-01T00:00:00Z"},
    ],
    ids=lambda row: list(row)[-1],
)
def test_an_insert_sets_nothing_but_the_name(stack: Stack, client: Client, user: User, row: dict[str, Any]) -> None:
    with pytest.raises(PostgrestAPIError) as refused:
        client.table("user_accounts").insert(row).execute()
    assert refused.value.code == "42501"
    assert stored_accounts(stack, user.id) == []


def test_not_even_ones_own_user_id_can_be_inserted(stack: Stack, client: Client, user: User) -> None:
    with pytest.raises(PostgrestAPIError) as refused:
        client.table("user_accounts").insert({"account_name": "Mine", "user_id": str(user.id)}).execute()
    assert refused.value.code == "42501"
    assert stored_accounts(stack, user.id) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.update({"is_active": False}),
        lambda table: table.update({"user_id": str(uuid4())}),
        lambda table: table.update({"created_at": "2020-01-01T00:00:00Z"}),
        lambda table: table.update({"account_name": "Renamed", "is_active": False}),
        lambda table: table.delete(),
    ],
    ids=["is_active", "user_id", "created_at", "name and is_active", "delete"],
)
def test_nothing_but_the_name_can_be_changed(
    stack: Stack, client: Client, user: User, change: Callable[[Any], Any]
) -> None:
    user.api.post(GET_OR_CREATE)
    before = stored_accounts(stack, user.id)
    with pytest.raises(PostgrestAPIError) as refused:
        change(client.table("user_accounts")).eq("user_id", str(user.id)).execute()
    assert refused.value.code == "42501"
    assert stored_accounts(stack, user.id) == before


def test_another_users_account_is_out_of_reach(stack: Stack, client: Client, other_user: User) -> None:
    theirs = other_user.api.post(GET_OR_CREATE).json()["account"]
    before = stored_accounts(stack, other_user.id)
    table = client.table("user_accounts")
    assert rows(table.select("*").execute()) == []
    assert rows(table.select("*").eq("id", theirs["id"]).execute()) == []
    assert rows(table.update({"account_name": "Taken over"}).eq("id", theirs["id"]).execute()) == []
    assert rows(client.rpc("get_account", {"account_id": theirs["id"]}).execute()) == []
    arguments = {"account_id": theirs["id"], "account_name": "Taken over"}
    assert rows(client.rpc("rename_account", arguments).execute()) == []
    assert stored_accounts(stack, other_user.id) == before


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("list_accounts", {}),
        ("get_or_create_account", {}),
        ("create_account", {"account_name": "Mine"}),
        ("get_account", {"account_id": str(uuid4())}),
        ("rename_account", {"account_id": str(uuid4()), "account_name": "Mine"}),
    ],
)
def test_without_signing_in_no_function_runs(unauthenticated: Client, function: str, arguments: dict[str, str]) -> None:
    with pytest.raises(PostgrestAPIError) as refused:
        unauthenticated.rpc(function, arguments).execute()
    assert refused.value.code == "42501"


def test_without_signing_in_the_table_is_closed(unauthenticated: Client) -> None:
    with pytest.raises(PostgrestAPIError) as refused:
        unauthenticated.table("user_accounts").select("*").execute()
    assert refused.value.code == "42501"


@pytest.mark.parametrize("function", ["active_account_ids", "set_updated_at"])
def test_internals_are_not_served(client: Client, function: str) -> None:
    with pytest.raises(PostgrestAPIError) as refused:
        client.rpc(function, {}).execute()
    assert refused.value.code == "PGRST202"
