"""A success of Supabase's that cannot be right never reaches a client: not its bytes, its rows or its owner."""

import gzip
import json
from typing import Final
from uuid import uuid4

import pytest

from tests.edge.faults import (
    ACCOUNT_ID,
    CALLS,
    CHUNKED,
    OK,
    ROW,
    ROW_AND_CREATED,
    USER_ID,
    Edge,
    resetting,
    sending,
)
from tests.edge.problems import MARK, assert_problem
from tests.edge.scripted import Script, http, responding

UNUSABLE: Final[dict[str, Script]] = {
    "garbage": sending(b"\x00\xff\xfe" + MARK.encode() + b"\r\n\r\n"),
    "no head": sending(b"[]"),
    "another protocol": sending(b"SSH-2.0-OpenSSH_9.9\r\n"),
    "a TLS alert": sending(b"\x15\x03\x01\x00\x02\x02\x28"),
    "a truncated body": sending(http(200, [ROW])[:-10]),
    "a truncated chunk": sending(CHUNKED + b"ff\r\n[]"),
    "no last chunk": sending(CHUNKED + b"2\r\n[]\r\n"),
    "a bad chunk": sending(CHUNKED + b"kilroy\r\n[]\r\n"),
    "two lengths": sending(OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n[]]"),
    "a length and chunks": sending(
        OK + b"Connection: close\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "a negative length": sending(OK + b"Content-Length: -2\r\n\r\n[]"),
    "a reset after the head": resetting(OK + b"Content-Length: 2000\r\n\r\n["),
    "status 99": sending(b"HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\n[]"),
    "status 999": sending(b"HTTP/1.1 999 High\r\nConnection: close\r\nContent-Length: 2\r\n\r\n[]"),
    "another protocol from here on": sending(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: kilroy\r\n\r\n"),
    "an empty body": responding(200, b""),
    "white space": responding(200, b" \r\n"),
    "no content": sending(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"),
    "HTML": responding(200, f"<html>{MARK}</html>", {"Content-Type": "text/html"}),
    "HTML in an unknown character set": responding(200, f"<p>{MARK}", {"Content-Type": "text/html; charset=kilroy"}),
    "text": responding(200, MARK, {"Content-Type": "text/plain"}),
    "null": responding(200, None),
    "true": responding(200, True),
    "a number": responding(200, 1),
    "a string": responding(200, MARK),
    "rows of null": responding(200, [None]),
    "rows of lists": responding(200, [[ROW_AND_CREATED]]),
    "an envelope": responding(200, {"data": [ROW_AND_CREATED]}),
    "an error's body": responding(200, {"code": "42501", "message": MARK}),
    "not in UTF-8": responding(200, b'[{"account_name": "\xe9"}]'),
    "in UTF-16": responding(200, json.dumps(MARK).encode("utf-16")),
    "NaN": responding(200, b'[{"account_name": NaN}]'),
    "a number of 5,000 digits": responding(200, b"1" * 5000),
    "cut JSON": responding(200, json.dumps([ROW])[:-10]),
    "JSON of depth 30,000": responding(200, b"[" * 30_000 + b"]" * 30_000),
    "a row of 100 kB": responding(200, [{**ROW_AND_CREATED, "account_name": "x" * 100_000}]),
    "100 kB of rows": responding(200, [ROW_AND_CREATED] * 500),
    "gzip": responding(200, gzip.compress(json.dumps([ROW_AND_CREATED]).encode()), {"Content-Encoding": "gzip"}),
    "what only says that it is gzip": responding(200, MARK, {"Content-Encoding": "gzip"}),
    "what only says that it is deflate": responding(200, b"x", {"Content-Encoding": "deflate"}),
    "60 MB in 60 kB": responding(200, gzip.compress(b" " * 60_000_000), {"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("fault", UNUSABLE)
def test_an_unusable_response_is_502(edge: Edge, fault: str) -> None:
    response, received = edge.with_fault(CALLS["get or create"], UNUSABLE[fault])
    assert_problem(response, 502, "bad_upstream")
    assert received == 1


@pytest.mark.parametrize("kind", CALLS)
def test_an_empty_body_is_not_an_empty_list(edge: Edge, kind: str) -> None:
    response, _ = edge.with_fault(CALLS[kind], responding(200, b""))
    assert_problem(response, 502, "bad_upstream")


# Some are other types that could be taken for the right ones with some good will.
WRONG: Final[dict[str, tuple[object, ...]]] = {
    "id": (None, 1, 1.5, True, "", "kilroy", [ACCOUNT_ID], {}),
    "user_id": (None, 1, 1.5, False, "", "kilroy", [USER_ID], {}),
    "account_name": (None, 1, 1.5, True, ["Mine"], {"is": "Mine"}, "\ud800"),
    "is_active": (None, 0, 1, 2, 1.5, "", "kilroy", "true", "yes", [True], {}),
    "created_at": (None, True, "", "kilroy", "2026-11-23", "2026-11-23T18:56:19", "infinity", ["now"], {}, 1.79e9),
    "updated_at": (None, False, "", "kilroy", "2026-11-23", "2026-11-23T18:56:19", "-infinity", [], {}, 1_790_000_000),
    "created": (None, 1, 2, "", "true", "kilroy", [False], {}),
}


@pytest.mark.parametrize("column", WRONG)
def test_a_column_of_another_type_is_502(edge: Edge, column: str) -> None:
    call = CALLS["get or create"]
    for value in WRONG[column]:
        response, received = edge.with_fault(call, responding(200, call.with_row({column: value})))
        assert response.status_code == 502, value
        assert_problem(response, 502, "bad_upstream")
        assert received == 1


@pytest.mark.parametrize("column", ROW_AND_CREATED)
def test_a_missing_column_is_502(edge: Edge, column: str) -> None:
    call = CALLS["get or create"]
    response, _ = edge.with_fault(call, responding(200, call.with_row(without=column)))
    assert_problem(response, 502, "bad_upstream")
    assert edge.lines()[-1]["reason"] == f"0.{column}: missing"


@pytest.mark.parametrize("kind", CALLS)
def test_a_column_too_many_is_left_out(edge: Edge, kind: str) -> None:
    """A migration may add one before the edge knows it."""
    call = CALLS[kind]
    response, _ = edge.with_fault(call, responding(200, call.with_row({"inside": {"note": [MARK, {"more": MARK}]}})))
    assert response.status_code == call.status
    assert "kilroy" not in response.text


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        ("get or create", []),
        ("get or create", [ROW_AND_CREATED, ROW_AND_CREATED]),
        ("get or create", ROW_AND_CREATED),
        ("create", []),
        ("create", [ROW]),
        ("create", {}),
        ("list", ROW),
        ("list", [ROW, {}]),
        ("get", ROW),
        ("rename", ROW),
    ],
)
def test_another_number_of_rows_is_502(edge: Edge, kind: str, rows: object) -> None:
    response, _ = edge.with_fault(CALLS[kind], responding(200, rows))
    assert_problem(response, 502, "bad_upstream")


@pytest.mark.parametrize("kind", CALLS)
def test_a_row_of_another_user_is_502_and_nothing_of_it_is_told(edge: Edge, kind: str) -> None:
    call = CALLS[kind]
    theirs = str(uuid4())
    response, received = edge.with_fault(
        call, responding(200, call.with_row({"user_id": theirs, "account_name": MARK}))
    )
    assert_problem(response, 502, "bad_upstream")
    assert received == 1
    assert theirs not in response.text
    line = edge.lines()[-1]
    assert (line["level"], line["event"]) == ("error", "Supabase failed")
    assert (line["function"], line["cause"], line["reason"]) == (call.function, "bad_upstream", "another user_id")
    assert theirs not in edge.log()


@pytest.mark.parametrize("kind", ["get", "rename"])
def test_another_row_of_ones_own_is_502(edge: Edge, kind: str) -> None:
    call = CALLS[kind]
    response, _ = edge.with_fault(call, responding(200, call.with_row({"id": str(uuid4())})))
    assert_problem(response, 502, "bad_upstream")
    assert edge.lines()[-1]["reason"] == "another id"


def test_one_row_of_another_user_among_ones_own_is_502(edge: Edge) -> None:
    response, _ = edge.with_fault(CALLS["list"], responding(200, [ROW, {**ROW, "user_id": str(uuid4())}]))
    assert_problem(response, 502, "bad_upstream")


@pytest.mark.parametrize("kind", ["get", "rename"])
def test_no_row_is_404(edge: Edge, kind: str) -> None:
    response, received = edge.with_fault(CALLS[kind], responding(200, []))
    assert_problem(response, 404, "account_not_found")
    assert received == 1
