"""What a call costs does not grow with the number of accounts: one index probe, whatever it asks for."""

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest

from edge_api.local.postgres import SUPERUSER
from tests.database.project import Project
from tests.support import acting_as

ACCOUNTS = 20_000
USER = UUID("5d1f3c8e-0000-4000-8000-000000000000")
ACCOUNT = UUID("a11ce000-0000-4000-8000-000000000000")

# Every call for an account that is there, and what stands for its arguments in the statement that finds the account.
CALLS: dict[str, dict[str, object]] = {
    "list_accounts()": {"caller": USER},
    f"get_account('{ACCOUNT}')": {"get_account.account_id": ACCOUNT, "caller": USER},
    "get_or_create_account()": {"caller": USER},
    f"rename_account('{ACCOUNT}', 'Other')": {
        "rename_account.account_id": ACCOUNT,
        "rename_account.account_name": "Other",
        "caller": USER,
    },
}
UNIQUE_INDEXES = {"user_accounts_pkey", "user_accounts_user_id_key"}
READING = [call for call in CALLS if not call.startswith("rename")]


@pytest.fixture(scope="module")
def filled(project: Project) -> Iterator[psycopg.Connection]:
    """A database with many accounts, one of them with a known id and user."""
    with project.clone() as name, project.connect(name, SUPERUSER) as connection:
        connection.execute(
            "insert into auth.users (id, email) select gen_random_uuid(), n || '@example.com'"
            " from generate_series(1, %s::int) as n",
            [ACCOUNTS],
        )
        connection.execute("insert into auth.users (id, email) values (%s, 'ada@example.com')", [USER])
        connection.execute(
            "insert into public.user_accounts (user_id, account_name) select id, 'Account' from auth.users"
        )
        connection.execute("update public.user_accounts set id = %s where user_id = %s", [ACCOUNT, USER])
        connection.execute("vacuum (freeze, analyze) public.user_accounts")
        yield connection


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def explained(connection: psycopg.Connection, options: str, statement: str) -> dict[str, Any]:
    row = connection.execute(f"explain ({options}, format json) {statement}".encode()).fetchone()
    assert row is not None
    plan: dict[str, Any] = row[0][0]["Plan"]
    return plan


@pytest.mark.parametrize("call", CALLS, ids=lambda call: str(call).partition("(")[0])
def test_the_statement_is_an_index_probe_and_asks_who_calls_once(filled: psycopg.Connection, call: str) -> None:
    """Also as the generic plan that a server's pooled connections come to use."""
    arguments = CALLS[call]
    function = call.partition("(")[0]
    row = filled.execute("select prosrc from pg_catalog.pg_proc where proname = %s", [function]).fetchone()
    assert row is not None
    (source,) = row
    in_block = re.search(r"return query\s+(.*?);", source, re.DOTALL)
    assert in_block is not None
    statement = in_block[1]
    for number, name in enumerate(arguments, 1):
        statement = re.sub(rf"\b{re.escape(name)}\b(?! =)", f"${number}", statement)
    values = ", ".join(f"'{value}'" for value in arguments.values())
    with acting_as(filled, USER):
        filled.execute("set local plan_cache_mode = force_generic_plan")
        filled.execute(f"prepare call as {statement}".encode())
        try:
            plan = explained(filled, "analyze, verbose", f"execute call({values})" if values else "execute call")
        finally:
            filled.execute("deallocate call")

    scans = [node for node in nodes(plan) if node.get("Relation Name") and "Scan" in node["Node Type"]]
    (scan,) = scans
    assert (scan["Node Type"], scan["Actual Loops"]) == ("Index Scan", 1)
    assert scan["Index Name"] in UNIQUE_INDEXES
    assert scan["Actual Rows"] == 1
    assert scan.get("Rows Removed by Filter", 0) == 0
    # who calls is asked for in init plans, once for each statement, and not for each row
    asking = [node for node in nodes(plan) if "uid()" in json.dumps([node.get("Output"), node.get("Filter")])]
    askers = [node for node in nodes(plan) if node.get("Parent Relationship") == "InitPlan"]
    assert askers
    assert all(node["Actual Loops"] == 1 for node in askers)
    assert all(node in askers for node in asking if node["Node Type"] == "Result")
    assert "uid()" not in json.dumps([scan.get("Filter"), scan.get("Index Cond")])


@pytest.mark.parametrize("call", CALLS, ids=lambda call: str(call).partition("(")[0])
def test_calls_never_scan_the_table(filled: psycopg.Connection, call: str) -> None:
    def scans() -> tuple[int, int]:
        filled.execute("select pg_stat_force_next_flush()")
        row = filled.execute(
            "select seq_scan, idx_scan from pg_stat_user_tables where relid = 'public.user_accounts'::regclass"
        ).fetchone()
        assert row is not None
        return row[0], row[1]

    before = scans()
    for _ in range(10):
        with acting_as(filled, USER):
            assert len(filled.execute(f"select * from public.{call}".encode()).fetchall()) == 1
    after = scans()
    assert (after[0] - before[0], after[1] - before[1]) == (0, 10)


@pytest.mark.parametrize("call", READING, ids=lambda call: str(call).partition("(")[0])
def test_a_call_for_an_account_that_is_there_writes_nothing(filled: psycopg.Connection, call: str) -> None:
    with acting_as(filled, USER):
        plan = explained(filled, "analyze, wal, buffers", f"select * from public.{call}")
        assert plan["Actual Rows"] == 1
        assert (plan["WAL Records"], plan["WAL Bytes"]) == (0, 0)
        assert plan["Shared Dirtied Blocks"] == 0
        # neither a row lock nor a new row version, which would both need a transaction id
        assert filled.execute("select pg_current_xact_id_if_assigned()").fetchone() == (None,)


def test_no_function_is_planned_anew_at_each_call(filled: psycopg.Connection) -> None:
    """As the bodies of functions in SQL are before PostgreSQL 18."""
    languages = filled.execute(
        "select distinct l.lanname from pg_catalog.pg_proc as p"
        " inner join pg_catalog.pg_language as l on l.oid = p.prolang"
        " where p.proowner = 'postgres'::regrole and p.pronamespace in"
        " ('public'::regnamespace, 'accounts_private'::regnamespace)"
    ).fetchall()
    assert languages == [("plpgsql",)]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: str(call).partition("(")[0])
def test_a_session_that_kept_its_plans_takes_a_new_column_in(project: Project, call: str) -> None:
    """As PostgREST's pooled sessions do while a migration goes in."""
    with project.clone() as name, project.connect(name, SUPERUSER) as connection:
        connection.execute("insert into auth.users (id, email) values (%s, 'ada@example.com')", [USER])
        connection.execute(
            "insert into public.user_accounts (id, user_id, account_name) values (%s, %s, 'Mine')", [ACCOUNT, USER]
        )

        def response() -> dict[str, Any]:
            with acting_as(connection, USER):
                row = connection.execute(f"select to_jsonb(a) from public.{call} as a".encode()).fetchone()
            assert row is not None
            returned: dict[str, Any] = row[0]
            return returned

        for _ in range(10):
            before = response()
        connection.execute("alter table public.user_accounts add column nickname text not null default 'x'")
        changes = {} if call.startswith("get_or_create") else {"nickname": "x"}
        after = response()
        assert {**after, "updated_at": 0} == {**before, **changes, "updated_at": 0}
