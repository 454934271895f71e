"""Which names an account can have."""

import json
from typing import Any

import pytest

from edge_api.local.stack import Stack
from tests.support import ACCOUNTS, GET_OR_CREATE, User, stored_accounts

WRONG_BODIES: dict[str, tuple[Any, list[str], str]] = {
    "empty": ({"account_name": ""}, ["body", "account_name"], "string_too_short"),
    "blank": ({"account_name": "   "}, ["body", "account_name"], "string_characters"),
    "256 characters": ({"account_name": "x" * 256}, ["body", "account_name"], "string_too_long"),
    "256 emoji": ({"account_name": "🏦" * 256}, ["body", "account_name"], "string_too_long"),
    "leading white space": ({"account_name": " Mine"}, ["body", "account_name"], "string_characters"),
    "trailing white space": ({"account_name": "Mine\u00a0"}, ["body", "account_name"], "string_characters"),
    "an ideographic space": ({"account_name": "\u3000Mine"}, ["body", "account_name"], "string_characters"),
    "a NUL": ({"account_name": "Mi\u0000ne"}, ["body", "account_name"], "string_characters"),
    "a line break": ({"account_name": "Mi\nne"}, ["body", "account_name"], "string_characters"),
    "a trailing line break": ({"account_name": "Mine\n"}, ["body", "account_name"], "string_characters"),
    "a C1 control": ({"account_name": "Mi\u0085ne"}, ["body", "account_name"], "string_characters"),
    "a delete": ({"account_name": "Mi\u007fne"}, ["body", "account_name"], "string_characters"),
    "a number": ({"account_name": 7}, ["body", "account_name"], "string_type"),
    "a boolean": ({"account_name": True}, ["body", "account_name"], "string_type"),
    "a list": ({"account_name": ["Mine"]}, ["body", "account_name"], "string_type"),
    "null": ({"account_name": None}, ["body", "account_name"], "string_type"),
    "missing": ({}, ["body", "account_name"], "missing"),
    "an unknown field": ({"account_name": "Mine", "is_active": False}, ["body", "is_active"], "extra_forbidden"),
    "somebody's user_id": ({"account_name": "Mine", "user_id": "x"}, ["body", "user_id"], "extra_forbidden"),
    "not an object": (["Mine"], ["body"], "model_attributes_type"),
    "no body": (None, ["body"], "model_attributes_type"),
}
NAMES = {
    "one character": "x",
    "255 characters": "x" * 255,
    "255 emoji": "🏦" * 255,
    "inner white space": "My  Alpaca\u00a0Account",
    "emoji with joiners": "👩🏽‍🚀 Rocket 🏴‍☠️",
    "right to left": "حساب التداول",
    "mixed directions": "Alpaca חשבון 1",
    "combining": "Cafe\u0301 A\u030a",
    "precomposed": "Caf\u00e9 \u00c5",
    "beyond the basic plane": "𝔄𝔩𝔭𝔞𝔠𝔞 𒀀",
    "markup": "<script>alert('x')</script>",
    "SQL": "'; drop table user_accounts; --",
    "JSON": '{"a": "\\u0000"}',
}


@pytest.mark.parametrize("kind", WRONG_BODIES)
def test_a_wrong_body_is_422_and_nothing_is_stored(stack: Stack, user: User, kind: str) -> None:
    body, loc, error_type = WRONG_BODIES[kind]
    response = user.api.post(ACCOUNTS, content=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert response.json()["code"] == "invalid_request"
    assert [(error["loc"], error["type"]) for error in response.json()["errors"]] == [(loc, error_type)]
    assert all(error["msg"] for error in response.json()["errors"])
    assert stored_accounts(stack, user.id) == []


def test_a_wrong_body_renames_nothing(stack: Stack, user: User) -> None:
    account = user.api.post(GET_OR_CREATE).json()["account"]
    before = stored_accounts(stack, user.id)
    for kind, (body, loc, _) in WRONG_BODIES.items():
        response = user.api.patch(
            f"{ACCOUNTS}/{account['id']}",
            content=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        assert response.status_code == 422, kind
        assert [error["loc"] for error in response.json()["errors"]] == [loc], kind
    assert stored_accounts(stack, user.id) == before


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"account_name=Mine",
        b'{"account_name": "\xff"}',
        b'{"account_name": NaN}',
        b'{"account_name": "\\ud800"}',
        b"[" * 10_000,
    ],
    ids=["cut off", "a form", "not UTF-8", "NaN", "a lone surrogate", "nested too deep"],
)
def test_a_body_that_is_not_good_json_is_422(stack: Stack, user: User, content: bytes) -> None:
    response = user.api.post(ACCOUNTS, content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert response.json()["errors"][0]["loc"][0] == "body"
    assert stored_accounts(stack, user.id) == []


@pytest.mark.parametrize("kind", NAMES)
def test_a_name_comes_back_to_the_byte(stack: Stack, user: User, kind: str) -> None:
    name = NAMES[kind]
    created = user.api.post(ACCOUNTS, json={"account_name": name})
    assert created.status_code == 201
    path = created.headers["Location"]
    for account in (created.json(), user.api.get(path).json(), user.api.get(ACCOUNTS).json()["accounts"][0]):
        assert account["account_name"].encode() == name.encode()
    renamed = user.api.patch(path, json={"account_name": f"2{name[1:]}"})
    assert renamed.json()["account_name"].encode() == f"2{name[1:]}".encode()
    (row,) = stored_accounts(stack, user.id)
    assert row[2] == f"2{name[1:]}"
