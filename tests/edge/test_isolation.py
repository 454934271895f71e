"""Two users never see, change or infer each other's account."""

from edge_api.local.stack import Stack
from tests.support import ACCOUNTS, GET_OR_CREATE, UNKNOWN_ID, User, stored_accounts


def test_lists_hold_ones_own_account_only(user: User, other_user: User) -> None:
    mine = user.api.post(GET_OR_CREATE).json()["account"]
    theirs = other_user.api.post(GET_OR_CREATE).json()["account"]
    assert mine["id"] != theirs["id"]
    assert user.api.get(ACCOUNTS).json()["accounts"] == [mine]
    assert other_user.api.get(ACCOUNTS).json()["accounts"] == [theirs]


def test_get_or_create_never_returns_another_users_account(user: User, other_user: User) -> None:
    theirs = other_user.api.post(ACCOUNTS, json={"account_name": "Theirs"}).json()
    mine = user.api.post(GET_OR_CREATE).json()
    assert mine["created"] is True
    assert mine["account"]["id"] != theirs["id"]
    assert mine["account"]["user_id"] == str(user.id)


def test_another_users_account_reads_like_one_that_does_not_exist(stack: Stack, user: User, other_user: User) -> None:
    theirs = other_user.api.post(GET_OR_CREATE).json()["account"]
    before = stored_accounts(stack, other_user.id)

    for method, body in (("GET", None), ("PATCH", {"account_name": "Taken over"})):
        response = user.api.request(method, f"{ACCOUNTS}/{theirs['id']}", json=body)
        missing = user.api.request(method, f"{ACCOUNTS}/{UNKNOWN_ID}", json=body)
        assert response.status_code == missing.status_code == 404
        assert {**response.json(), "request_id": ""} == {**missing.json(), "request_id": ""}

    assert stored_accounts(stack, other_user.id) == before
