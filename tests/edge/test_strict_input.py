"""What the application takes for JSON, for a media type and for an id: nothing that is in doubt."""

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Final
from uuid import UUID

import pytest

from edge_api.local.stack import Stack
from tests.edge.problems import assert_problem, secrets_of
from tests.support import ACCOUNTS, User, stored_accounts

MINE: Final = b'{"account_name": "Mine"}'
JSON: Final = {"Content-Type": "application/json"}
REFUSED: Final = {413: "body_too_large", 415: "unsupported_media_type", 422: "invalid_request"}


def account_id(user: User) -> UUID:
    return UUID(user.api.get(ACCOUNTS).json()["accounts"][0]["id"])


BAD_BODIES: dict[str, bytes] = {
    "16,000 nested lists": b"[" * 16_000,
    "8,000 nested lists, closed again": b'{"account_name": %s}' % (b"[" * 8000 + b"]" * 8000),
    "500 nested lists, closed again": b'{"account_name": %s}' % (b"[" * 500 + b"]" * 500),
    "3,200 nested objects": b'{"a":' * 3200,
    "2,500 nested objects, closed again": b'{"account_name":%s}' % (b'{"a":' * 2500 + b"1" + b"}" * 2500),
    "NaN": b'{"account_name": NaN}',
    "Infinity": b'{"account_name": Infinity}',
    "-Infinity": b'{"account_name": -Infinity}',
    "NaN in an unknown field": b'{"account_name": "Mine", "x": NaN}',
    "a number beyond floats": b'{"account_name": 1e400}',
    "an integer of 16,000 digits": b'{"account_name": %s}' % (b"9" * 16_000),
    "a fraction of 16,000 digits": b'{"account_name": 0.%s}' % (b"9" * 16_000),
    "a lone high surrogate": b'{"account_name": "\\ud800"}',
    "a lone low surrogate": b'{"account_name": "\\udc00x"}',
    "surrogates in the wrong order": b'{"account_name": "\\udc00\\ud800"}',
    "a lone surrogate as it is": b'{"account_name": "\xed\xa0\x80"}',
    "a pair of surrogates as they are": b'{"account_name": "\xed\xa0\xbd\xed\xb8\x80"}',
    "a lone surrogate in a field's name": b'{"account_name": "Mine", "\\ud800": 1}',
    "a lone surrogate as it is in a field's name": b'{"account_name": "Mine", "\xed\xa0\x80": 1}',
    "a NUL": b'{"account_name": "Mi\\u0000ne"}',
    "a NUL as it is": b'{"account_name": "Mi\x00ne"}',
    "a NUL in a field's name": b'{"account_name": "Mine", "\\u0000": 1}',
    "a NUL at the end": MINE + b"\x00",
    "a line break as it is": b'{"account_name": "Mi\nne"}',
    "no UTF-8": b'{"account_name": "\xff\xfe"}',
    "UTF-8 that breaks off": b'{"account_name": "Mine\xf0\x9f\x8f"}',
    "UTF-8 beyond Unicode": b'{"account_name": "\xf4\x90\x80\x80"}',
    "an overlong slash": b'{"account_name": "\xc0\xaf"}',
    "an overlong NUL": b'{"account_name": "\xc0\x80"}',
    "an overlong quote": b'{"account_name": "Mine\xc0\xa2}',
    "Latin-1": '{"account_name": "Café"}'.encode("latin-1"),
    "UTF-16": MINE.decode().encode("utf-16"),
    "UTF-16, little end first": MINE.decode().encode("utf-16-le"),
    "UTF-16, big end first": MINE.decode().encode("utf-16-be"),
    "UTF-32": MINE.decode().encode("utf-32"),
    "UTF-32, little end first": MINE.decode().encode("utf-32-le"),
    "UTF-32, big end first": MINE.decode().encode("utf-32-be"),
    "two byte order marks": b"\xef\xbb\xbf\xef\xbb\xbf" + MINE,
    "nothing": b"",
    "white space": b" \r\n\t",
    "a vertical tab": b"\x0b" + MINE,
    "a no-break space": b"\xc2\xa0" + MINE,
    "two documents": MINE + MINE,
    "a trailing comma": b'{"account_name": "Mine",}',
    "a comment": b'{"account_name": "Mine" /* mine */}',
    "single quotes": b"{'account_name': 'Mine'}",
    "a name without quotes": b'{account_name: "Mine"}',
    "a list of the object": b"[%s]" % MINE,
    "the object as a string": json.dumps(MINE.decode()).encode(),
    "1,500 unknown fields": b"{%s}" % b",".join(b'"%d":1' % number for number in range(1500)),
    "a field's name of 16,000 characters": b'{"%s": 1}' % (b"k" * 16_000),
    "__proto__": b'{"account_name": "Mine", "__proto__": {"is_active": false}}',
}


def assert_creates_nothing(stack: Stack, newcomer: User, *, status: int, body: bytes, headers: dict[str, str]) -> None:
    response = newcomer.api.post(ACCOUNTS, content=body, headers=headers)
    assert_problem(response, status, REFUSED[status], *secrets_of(stack, newcomer))
    assert stored_accounts(stack, newcomer.id) == []


@pytest.mark.parametrize("kind", BAD_BODIES)
def test_a_body_that_is_not_strict_json_creates_nothing(stack: Stack, newcomer: User, kind: str) -> None:
    assert_creates_nothing(stack, newcomer, status=422, body=BAD_BODIES[kind], headers={**JSON})


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_json_number_is_no_value_of_any_field(newcomer: User, constant: str) -> None:
    response = newcomer.api.post(ACCOUNTS, content=f'{{"account_name": {constant}}}', headers=JSON)
    assert [error["type"] for error in response.json()["errors"]] == ["json_invalid"]


UNREAD_BODIES: dict[str, tuple[int, bytes, dict[str, str]]] = {
    "gzip": (415, gzip.compress(MINE), {**JSON, "Content-Encoding": "gzip"}),
    "gzip in upper case": (415, gzip.compress(MINE), {**JSON, "Content-Encoding": "GZIP"}),
    "deflate": (415, zlib.compress(MINE), {**JSON, "Content-Encoding": "deflate"}),
    "br": (415, b"\x0b\x0b\x80" + MINE + b"\x03", {**JSON, "Content-Encoding": "br"}),
    "zstd": (415, b"\x28\xb5\x2f\xfd" + MINE, {**JSON, "Content-Encoding": "zstd"}),
    "two codings": (415, gzip.compress(gzip.compress(MINE)), {**JSON, "Content-Encoding": "gzip, gzip"}),
    "an unknown coding": (415, MINE, {**JSON, "Content-Encoding": "x"}),
    "gzip that is not told": (422, gzip.compress(MINE), {**JSON}),
    "gzip of 100 MB": (415, gzip.compress(bytes(100_000_000))[:16_384], {**JSON, "Content-Encoding": "gzip"}),
    "no type": (415, MINE, {}),
    "a type that is none": (415, MINE, {"Content-Type": "?/;;=="}),
    "a form's type": (415, MINE, {"Content-Type": "application/x-www-form-urlencoded"}),
    "a type that begins like JSON": (415, MINE, {"Content-Type": "application/jsonp"}),
    "100,000 nested lists": (413, b"[" * 100_000, {**JSON}),
    "one byte too many": (413, MINE.ljust(16_385), {**JSON}),
}


@pytest.mark.parametrize("kind", UNREAD_BODIES)
def test_a_body_that_is_not_even_read_creates_nothing(stack: Stack, newcomer: User, kind: str) -> None:
    status, body, headers = UNREAD_BODIES[kind]
    assert_creates_nothing(stack, newcomer, status=status, body=body, headers=headers)


def test_none_of_these_bodies_renames_anything(stack: Stack, owner: User) -> None:
    before = stored_accounts(stack, owner.id)
    path = f"{ACCOUNTS}/{account_id(owner)}"
    for status, body, headers in (*((422, body, JSON) for body in BAD_BODIES.values()), *UNREAD_BODIES.values()):
        response = owner.api.patch(path, content=body, headers=headers)
        assert_problem(response, status, REFUSED[status], *secrets_of(stack, owner))
    assert stored_accounts(stack, owner.id) == before


def test_a_byte_order_mark_is_refused_or_ignored_and_never_part_of_the_name(stack: Stack, newcomer: User) -> None:
    response = newcomer.api.post(ACCOUNTS, content=b"\xef\xbb\xbf" + MINE, headers=JSON)
    assert response.status_code in {201, 422}
    assert [row[2] for row in stored_accounts(stack, newcomer.id)] == (["Mine"] if response.is_success else [])


ID_FORMS: dict[str, Callable[[UUID], str]] = {
    "upper case": lambda account: str(account).upper(),
    "braces": lambda account: f"{{{account}}}",
    "escaped braces": lambda account: f"%7B{account}%7D",
    "a URN": lambda account: account.urn,
    "a URN in upper case": lambda account: account.urn.upper(),
    "no hyphens": lambda account: account.hex,
    "more hyphens": lambda account: str(account).replace("-", "--"),
    "a hyphen short": lambda account: f"{str(account)[:23]}{str(account)[24:]}",
    "a leading blank": lambda account: f"%20{account}",
    "a trailing line break": lambda account: f"{account}%0A",
    "a trailing NUL": lambda account: f"{account}%00",
    "a trailing slash": lambda account: f"{account}/",
    "a trailing parameter": lambda account: f"{account};x",
    "an integer": lambda account: str(account.int),
    "a sign": lambda account: f"+{account}",
    "full-width digits": lambda account: "".join(f"%EF%BC%9{c}" if c.isdecimal() else c for c in str(account)),
    "two ids": lambda account: f"{account},{account}",
    "a wildcard": lambda account: f"{str(account)[:35]}*",
    "a filter": lambda account: f"eq.{account}",
    "SQL": lambda account: f"{account}'%20or%20true--",
}


@pytest.mark.parametrize("kind", ID_FORMS)
def test_an_id_in_another_form_is_ones_own_account_or_nothing(
    stack: Stack, owner: User, second_owner: User, kind: str
) -> None:
    write = ID_FORMS[kind]
    before = [stored_accounts(stack, user.id) for user in (owner, second_owner)]
    mine = account_id(owner)
    for method, account, outcomes in (
        ("GET", mine, {200, 404, 422}),
        ("GET", account_id(second_owner), {404, 422}),
        ("PATCH", account_id(second_owner), {404, 422}),
    ):
        response = owner.api.request(method, f"{ACCOUNTS}/{write(account)}", content=MINE, headers=JSON)
        assert response.status_code in outcomes
        if response.status_code == 200:
            assert UUID(response.json()["id"]) == mine
        else:
            assert_problem(response, response.status_code, response.json()["code"], *secrets_of(stack, owner))
    assert [stored_accounts(stack, user.id) for user in (owner, second_owner)] == before
