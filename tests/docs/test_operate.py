"""The SQL of docs/operate.md does what the page says."""

import json
import re
from typing import Any, Final
from uuid import UUID

import httpx
import psycopg
import pytest

from edge_api.local.packages import PROJECT
from edge_api.local.stack import Stack
from tests.support import ACCOUNTS, GET_OR_CREATE, NO_CERTIFICATES, UNKNOWN_ID, User, acting_as, stored_accounts
from tests.target import as_key

PAGE: Final = (PROJECT / "docs" / "operate.md").read_text()


def run(database: psycopg.Connection, task: str, user_id: UUID) -> list[tuple[Any, ...]]:
    """Run the SQL that the page gives for a task (the words in bold before it) for a user."""
    (statement,) = re.findall(rf"\*\*{task}[^`]*```sql\n(.*?)```", PAGE, re.DOTALL)
    assert statement.count(UNKNOWN_ID) == 1
    cursor = database.execute(statement.replace(UNKNOWN_ID, str(user_id)).encode())
    return cursor.fetchall() if cursor.description else []


@pytest.fixture
def bystander(other_user: User) -> User:
    """A user with an account, who must notice nothing."""
    other_user.api.post(GET_OR_CREATE)
    return other_user


def test_an_account_that_was_switched_off_is_read_and_not_changed(
    stack: Stack, user: User, bystander: User, database: psycopg.Connection
) -> None:
    account = user.api.post(GET_OR_CREATE).json()["account"]
    before = stored_accounts(stack, bystander.id)
    run(database, "Switch an account off", user.id)
    (inactive,) = user.api.get(ACCOUNTS).json()["accounts"]
    assert inactive == {**account, "is_active": False, "updated_at": inactive["updated_at"]}
    assert user.api.patch(f"{ACCOUNTS}/{account['id']}", json={"account_name": "Renamed"}).status_code == 403
    run(database, "Switch it on again", user.id)
    assert user.api.patch(f"{ACCOUNTS}/{account['id']}", json={"account_name": "Renamed"}).status_code == 200
    assert stored_accounts(stack, bystander.id) == before


def test_a_backend_with_the_secret_key_does_it_without_sql(stack: Stack, user: User) -> None:
    if not stack.keys.secret:
        pytest.skip("SUPABASE_SECRET_KEY is not set: this test acts as a trusted backend")
    headers = {**as_key(stack.keys.secret), "Prefer": "return=representation"}
    with httpx.Client(base_url=f"{stack.supabase_url}/rest/v1", headers=headers, verify=NO_CERTIFICATES) as backend:
        (created,) = backend.post("/rpc/get_or_create_account_for", json={"owner": str(user.id)}).json()
        (off,) = backend.patch(f"/user_accounts?user_id=eq.{user.id}", json={"is_active": False}).json()
        gone = backend.post("/rpc/get_or_create_account_for", json={"owner": UNKNOWN_ID})
    assert (created["user_id"], created["created"]) == (str(user.id), True)
    assert (off["id"], off["is_active"]) == (created["id"], False)
    assert user.api.post(GET_OR_CREATE).json()["account"]["id"] == created["id"]
    assert (gone.status_code, gone.json()["code"]) == (409, "23503")


def test_a_user_names_nobody(stack: Stack, user: User, other_user: User) -> None:
    headers = {"apikey": stack.keys.publishable, "Authorization": f"Bearer {user.token}"}
    url = f"{stack.supabase_url}/rest/v1/rpc/get_or_create_account_for"
    for owner in (user, other_user):
        response = httpx.post(url, headers=headers, json={"owner": str(owner.id)}, verify=NO_CERTIFICATES)
        assert (response.status_code, response.json()["code"]) == (403, "42501")
        assert stored_accounts(stack, owner.id) == []


def test_a_user_gets_all_that_is_stored_and_nothing_of_others(
    user: User, bystander: User, database: psycopg.Connection
) -> None:
    account = user.api.post(GET_OR_CREATE).json()["account"]
    ((text,),) = run(database, "Hand a user their data", user.id)
    data = json.loads(text)
    assert data["user"]["id"] == str(user.id)
    assert data["user"]["email"] == user.email
    (stored,) = data["accounts"]
    assert stored.keys() == account.keys()
    assert (stored["id"], stored["account_name"]) == (account["id"], account["account_name"])
    assert bystander.email not in text


def test_a_user_who_has_no_account_gets_an_empty_list(user: User, database: psycopg.Connection) -> None:
    ((text,),) = run(database, "Hand a user their data", user.id)
    assert json.loads(text)["accounts"] == []


def test_a_user_goes_with_everything_and_a_valid_token_brings_nothing_back(
    stack: Stack, user: User, bystander: User, database: psycopg.Connection
) -> None:
    user.api.post(GET_OR_CREATE)
    before = stored_accounts(stack, bystander.id)
    run(database, "Remove a user with everything", user.id)
    assert stored_accounts(stack, user.id) == []
    assert user.api.get(ACCOUNTS).json()["accounts"] == []
    assert user.api.post(GET_OR_CREATE).status_code == 401
    assert stored_accounts(stack, user.id) == []
    assert stored_accounts(stack, bystander.id) == before
    with acting_as(database, user.id):
        assert database.execute("select * from public.user_accounts").fetchall() == []
