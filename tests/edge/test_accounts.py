"""The account endpoints, as a signed-in user meets them."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import pytest

from edge_api.local.stack import Stack
from edge_api.schemas.account_schemas import UserAccountResponse
from tests.support import ACCOUNTS, GET_OR_CREATE, UNKNOWN_ID, User, stored_accounts


def test_a_new_users_list_is_empty(user: User) -> None:
    response = user.api.get(ACCOUNTS)
    assert response.status_code == 200
    assert response.json() == {"status": "success", "accounts": [], "count": 0}


def test_get_or_create_makes_the_default_account_once(user: User) -> None:
    first = user.api.post(GET_OR_CREATE)
    assert first.status_code == 200
    assert first.json()["created"] is True
    assert first.json()["account"]["account_name"] == "Default Alpaca Account"

    second = user.api.post(GET_OR_CREATE)
    assert second.status_code == 200
    assert second.json() == {"account": first.json()["account"], "created": False}

    assert user.api.get(ACCOUNTS).json() == {"status": "success", "accounts": [first.json()["account"]], "count": 1}


def test_an_account_has_exactly_the_documented_fields(user: User) -> None:
    account = user.api.post(GET_OR_CREATE).json()["account"]
    assert set(account) == {"id", "user_id", "account_name", "is_active", "created_at", "updated_at"}
    assert UUID(account["user_id"]) == user.id
    assert account["is_active"] is True
    for field in ("created_at", "updated_at"):
        time = datetime.fromisoformat(account[field])
        assert time.utcoffset() == timedelta(0)
        assert abs(datetime.now(UTC) - time) < timedelta(minutes=5)


@pytest.mark.parametrize("body", [b"{}", b'{"default_name": "Mine"}', b"null", b" ", b"no JSON"])
@pytest.mark.parametrize("content_type", ["application/json", "text/plain", None])
def test_get_or_create_refuses_any_body(stack: Stack, user: User, body: bytes, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    response = user.api.post(GET_OR_CREATE, content=body, headers=headers)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert response.json()["errors"] == [
        {"loc": ["body"], "msg": "This request takes no body", "type": "body_not_allowed"}
    ]
    assert stored_accounts(stack, user.id) == []


def test_get_or_create_takes_a_body_of_no_bytes(user: User) -> None:
    headers = {"Content-Type": "application/json"}
    assert user.api.post(GET_OR_CREATE, content=b"", headers=headers).status_code == 200
    assert user.api.post(GET_OR_CREATE, content=iter([b""]), headers=headers).status_code == 200


def test_a_get_takes_no_notice_of_a_body(user: User) -> None:
    assert user.api.request("GET", ACCOUNTS, json={}).status_code == 200


def test_create_responds_201_with_the_path_of_the_account(user: User) -> None:
    response = user.api.post(ACCOUNTS, json={"account_name": "Mine"})
    assert response.status_code == 201
    account = response.json()
    assert account["account_name"] == "Mine"
    assert UUID(account["user_id"]) == user.id
    assert response.headers["Location"] == f"{ACCOUNTS}/{account['id']}"
    assert user.api.get(response.headers["Location"]).json() == account


def test_a_second_account_is_refused_and_the_first_one_untouched(stack: Stack, user: User) -> None:
    user.api.post(ACCOUNTS, json={"account_name": "First"}).raise_for_status()
    before = stored_accounts(stack, user.id)

    response = user.api.post(ACCOUNTS, json={"account_name": "Second"})

    assert response.status_code == 409
    assert response.json()["code"] == "account_exists"
    assert GET_OR_CREATE in response.json()["detail"]
    assert stored_accounts(stack, user.id) == before


def test_get_or_create_returns_an_account_created_under_another_name(user: User) -> None:
    account = user.api.post(ACCOUNTS, json={"account_name": "Mine"}).json()
    assert user.api.post(GET_OR_CREATE).json() == {"account": account, "created": False}


def test_rename_changes_the_name_and_the_time_and_nothing_else(user: User) -> None:
    before = user.api.post(GET_OR_CREATE).json()["account"]

    response = user.api.patch(f"{ACCOUNTS}/{before['id']}", json={"account_name": "Renamed"})

    assert response.status_code == 200
    after = response.json()
    assert after == {**before, "account_name": "Renamed", "updated_at": after["updated_at"]}
    assert datetime.fromisoformat(after["updated_at"]) > datetime.fromisoformat(before["updated_at"])
    assert user.api.get(f"{ACCOUNTS}/{before['id']}").json() == after


@pytest.mark.parametrize("account_id", [UNKNOWN_ID, UNKNOWN_ID.upper(), UNKNOWN_ID.replace("-", "")])
def test_an_id_that_nobody_has_is_404(user: User, account_id: str) -> None:
    user.api.post(GET_OR_CREATE)
    path = f"{ACCOUNTS}/{account_id}"
    for response in (user.api.get(path), user.api.patch(path, json={"account_name": "Mine"})):
        assert response.status_code == 404
        assert response.json()["code"] == "account_not_found"


@pytest.mark.parametrize("account_id", ["1", "not-a-uuid", f"{UNKNOWN_ID}0", "%00", "null"])
def test_an_id_that_is_no_uuid_is_422(user: User, account_id: str) -> None:
    path = f"{ACCOUNTS}/{account_id}"
    for response in (user.api.get(path), user.api.patch(path, json={"account_name": "Mine"})):
        assert response.status_code == 422
        assert [error["loc"] for error in response.json()["errors"]] == [["path", "account_id"]]


def test_the_schema_reads_attributes_too() -> None:
    class Row:
        id = UUID(UNKNOWN_ID)
        user_id = UUID(UNKNOWN_ID)
        account_name = "Mine"
        is_active = True
        created_at = updated_at = datetime.now(UTC)

    assert UserAccountResponse.model_validate(Row()).account_name == "Mine"


@pytest.mark.parametrize(
    "time",
    [
        "2026-11-23 01:51:12.79+00",
        "2026-11-23T01:51:12.79+00:00",
        "2026-11-22 20:51:12.79-05",
    ],
)
def test_times_are_read_in_every_form_that_servers_write(time: str) -> None:
    account = {"id": UNKNOWN_ID, "user_id": UNKNOWN_ID, "account_name": "Mine", "is_active": True}
    read = UserAccountResponse.model_validate({**account, "created_at": time, "updated_at": time})
    assert read.created_at == datetime(2026, 11, 23, 1, 51, 12, 790_000, tzinfo=UTC)


def test_health_needs_no_token(api: httpx.Client) -> None:
    assert (api.get("/healthz").status_code, api.get("/healthz").json()) == (200, {"status": "ok"})
    assert (api.get("/readyz").status_code, api.get("/readyz").json()) == (200, {"status": "ready"})
