"""The rules in the database itself, as the roles that come to it."""

import unicodedata
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import errors

from edge_api.local.stack import MIGRATOR, Stack
from tests.support import FUNCTIONS, GET_OR_CREATE, User, acting_as, stored_accounts
from tests.target import Target


def test_of_20_first_calls_over_20_connections_exactly_one_makes_the_account(stack: Stack, user: User) -> None:
    together = Barrier(20, timeout=30)

    def first_call() -> tuple[UUID, bool]:
        with stack.cluster.connect(MIGRATOR) as connection:
            together.wait()
            with acting_as(connection, user.id):
                row = connection.execute("select id, created from public.get_or_create_account()").fetchone()
        assert row is not None
        return row[0], row[1]

    with ThreadPoolExecutor(20) as threads:
        responses = [future.result() for future in [threads.submit(first_call) for _ in range(20)]]

    assert sorted(created for _, created in responses) == [False] * 19 + [True]
    (row,) = stored_accounts(stack, user.id)
    assert {account_id for account_id, _ in responses} == {row[0]}


def test_a_first_call_waits_for_one_that_is_under_way(stack: Stack, user: User, database: psycopg.Connection) -> None:
    """The other call rolls back: then this one makes the account."""
    with stack.cluster.connect(MIGRATOR) as other, ThreadPoolExecutor(1) as thread:
        other.autocommit = False
        other.execute("insert into public.user_accounts (user_id, account_name) values (%s, 'Other')", [user.id])

        def call() -> Any:
            with acting_as(database, user.id):
                return database.execute("select account_name, created from public.get_or_create_account()").fetchone()

        waiting = thread.submit(call)
        with stack.cluster.connect(MIGRATOR) as observer:
            waits = "select wait_event_type = 'Lock' from pg_catalog.pg_stat_activity where pid = %s"
            while observer.execute(waits, [database.info.backend_pid]).fetchone() != (True,):
                assert not waiting.done()
        other.rollback()
        assert waiting.result(timeout=30) == ("Default Alpaca Account", True)


def test_an_existing_account_is_returned_without_writing_or_locking(user: User, database: psycopg.Connection) -> None:
    user.api.post(GET_OR_CREATE)
    with acting_as(database, user.id):
        (before,) = database.execute("select pg_catalog.pg_current_xact_id_if_assigned()").fetchone() or ()
        row = database.execute("select created from public.get_or_create_account()").fetchone()
        (after,) = database.execute("select pg_catalog.pg_current_xact_id_if_assigned()").fetchone() or ()
        locks = database.execute(
            "select mode from pg_catalog.pg_locks where pid = pg_catalog.pg_backend_pid()"
            " and relation = 'public.user_accounts'::regclass"
        ).fetchall()
    assert row == (False,)
    assert before is after is None  # a transaction that writes or locks a row is given an id
    assert locks == [("AccessShareLock",)]


def test_truncate_is_refused(user: User, database: psycopg.Connection) -> None:
    with pytest.raises(errors.InsufficientPrivilege), acting_as(database, user.id):
        database.execute("truncate public.user_accounts")


@pytest.mark.parametrize("claims", [{}, {"sub": None}], ids=["no sub", "a null sub"])
def test_a_caller_without_identity_sees_and_makes_nothing(
    user: User, database: psycopg.Connection, claims: dict[str, Any]
) -> None:
    user.api.post(GET_OR_CREATE)
    with acting_as(database, None, **claims):
        assert database.execute("select * from public.list_accounts()").fetchall() == []
        assert database.execute("select * from public.user_accounts").fetchall() == []
    with pytest.raises(errors.InsufficientPrivilege), acting_as(database, None, **claims):
        database.execute("select * from public.get_or_create_account()")


def test_the_account_goes_with_its_user(stack: Stack, user: User, database: psycopg.Connection) -> None:
    user.api.post(GET_OR_CREATE)
    database.execute("delete from auth.users where id = %s", [user.id])
    assert stored_accounts(stack, user.id) == []


def test_the_database_and_python_agree_on_every_character(user: User, database: psycopg.Connection) -> None:
    """Each code point at the start, in the middle and at the end of a name, under the constraints themselves."""
    characters = [chr(point) for point in range(1, 0x11_0000) if not 0xD800 <= point <= 0xDFFF]
    # the constraints' own text, so that this test cannot lag behind them
    checks = database.execute(
        "select pg_catalog.pg_get_expr(conbin, conrelid) from pg_catalog.pg_constraint"
        " where conrelid = 'public.user_accounts'::regclass and contype = 'c'"
    ).fetchall()
    assert len(checks) == 3
    allowed = " and ".join(check for (check,) in checks)

    def refused(pattern: str) -> set[str]:
        query = (
            "select character from unnest(%s::text[]) as character"
            f" cross join lateral (select pg_catalog.format(%s, character) as account_name) as name"
            f" where not ({allowed})"
        )
        return {row[0] for row in database.execute(query.encode(), [characters, pattern]).fetchall()}

    control = {character for character in characters if unicodedata.category(character) == "Cc"}
    white_space = {character for character in characters if character.isspace()}
    assert refused("a%sa") == control
    assert refused("%sa") == refused("a%s") == control | white_space


@pytest.mark.parametrize("name", ["", "x" * 256, " x", "x\u3000", "x\ty"])
def test_the_database_refuses_a_wrong_name_by_itself(stack: Stack, user: User, name: str) -> None:
    for statement in ("create_account(%s)", "get_or_create_account(%s)"):
        with (
            stack.cluster.connect(MIGRATOR) as connection,
            pytest.raises(errors.CheckViolation),
            acting_as(connection, user.id),
        ):
            connection.execute(f"select * from public.{statement}".encode(), [name])
    assert stored_accounts(stack, user.id) == []


def test_the_helper_for_child_tables_knows_active_accounts_only(
    user: User, other_user: User, database: psycopg.Connection
) -> None:
    account_id = UUID(user.api.post(GET_OR_CREATE).json()["account"]["id"])
    other_user.api.post(GET_OR_CREATE)

    def active_account_ids() -> list[Any]:
        with acting_as(database, user.id):
            return database.execute("select * from accounts_private.active_account_ids()").fetchall()

    assert active_account_ids() == [(account_id,)]
    database.execute("update public.user_accounts set is_active = false where id = %s", [account_id])
    assert active_account_ids() == []


def test_updated_at_cannot_be_set_by_anybody(user: User, database: psycopg.Connection) -> None:
    user.api.post(GET_OR_CREATE)
    row = database.execute(
        "update public.user_accounts set updated_at = '2000-01-01' where user_id = %s returning updated_at = now()",
        [user.id],
    ).fetchone()
    assert row == (True,)


@pytest.mark.parametrize(
    ("privilege", "expected"),
    [
        ("select", {"authenticated", "service_role"}),
        ("insert", {"service_role"}),
        ("update", {"service_role"}),
        ("delete", {"service_role"}),
        ("truncate", set()),
        ("references", set()),
        ("trigger", set()),
    ],
)
def test_rights_on_the_table(database: psycopg.Connection, privilege: str, expected: set[str]) -> None:
    """As they are while the gateway runs, which would have granted more if it could."""
    query = "select rolname from pg_catalog.pg_roles where has_table_privilege(oid, 'public.user_accounts', %s)"
    roles = {row[0] for row in database.execute(query, [privilege]).fetchall()}
    assert roles & {"anon", "authenticated", "service_role"} == expected


def test_rights_on_columns(database: psycopg.Connection) -> None:
    query = (
        "select attname from pg_catalog.pg_attribute where attrelid = 'public.user_accounts'::regclass and attnum > 0"
        " and has_column_privilege('authenticated', attrelid, attnum, %s)"
    )
    for privilege in ("insert", "update"):
        assert database.execute(query, [privilege]).fetchall() == [("account_name",)]


def test_every_function_is_closed_but_to_those_whom_it_is_for(stack: Stack, database: psycopg.Connection) -> None:
    ours = [*FUNCTIONS, "get_or_create_account_for", "active_account_ids", "set_updated_at"]
    executable: dict[str, set[str]] = {}
    for function, role in database.execute(
        "select p.proname, r.rolname from pg_catalog.pg_proc as p, pg_catalog.pg_roles as r"
        " where p.pronamespace in ('public'::regnamespace, 'accounts_private'::regnamespace)"
        " and r.rolname in ('anon', 'authenticated', 'service_role')"
        " and has_function_privilege(r.oid, p.oid, 'execute') and (p.proname = any(%s) or %s)",
        [ours, not isinstance(stack, Target)],  # of a project of others' no more than what is ours
    ).fetchall():
        executable.setdefault(function, set()).add(role)
    assert executable == {
        **{function: {"authenticated"} for function in (*FUNCTIONS, "active_account_ids")},
        "get_or_create_account_for": {"service_role"},
    }
