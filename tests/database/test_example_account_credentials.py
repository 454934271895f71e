"""The example of a table that hangs off an account: what it promises whoever copies it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import Any, Final
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors, sql

from edge_api.local.packages import PROJECT
from tests.database.project import Project
from tests.support import UNKNOWN_ID, acting_as

EXAMPLE: Final = PROJECT / "sql" / "examples" / "account_credentials.sql"
ADD: Final = "select account_id from public.add_credential(%s, gen_random_uuid())"
INSERT: Final = (
    "insert into public.account_credentials (account_id, label, vault_secret_id) values (%s, %s, gen_random_uuid())"
)


@pytest.fixture
def database(project: Project, clone: str) -> Iterator[psycopg.Connection]:
    """A database with the example in, as the role that runs the migrations."""
    with project.connect(clone) as connection:
        connection.execute(EXAMPLE.read_bytes())
        yield connection


@pytest.fixture
def user_id(database: psycopg.Connection) -> UUID:
    return new_user(database)


@pytest.fixture
def other_user_id(database: psycopg.Connection) -> UUID:
    return new_user(database)


@contextmanager
def acting_as_role(database: psycopg.Connection, role: str) -> Iterator[None]:
    with database.transaction():
        database.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
        yield


def new_user(database: psycopg.Connection) -> UUID:
    user_id = uuid4()
    database.execute("insert into auth.users (id, email) values (%s, %s)", [user_id, f"user-{user_id}@example.com"])
    return user_id


def add_credential(database: psycopg.Connection, user_id: UUID, label: str = "Paper", **claims: Any) -> UUID:
    """Add a credential and return the id of the account that it went to."""
    with acting_as(database, user_id, **claims):
        row = database.execute(ADD, [label]).fetchone()
    assert row is not None
    account_id: UUID = row[0]
    return account_id


def switch_off(database: psycopg.Connection, account_id: UUID) -> None:
    with acting_as_role(database, "service_role"):
        database.execute("update public.user_accounts set is_active = false where id = %s", [account_id])


def labels_seen_by(database: psycopg.Connection, user_id: UUID) -> list[str]:
    with acting_as(database, user_id):
        rows = database.execute("select label from public.account_credentials order by label").fetchall()
    return [label for (label,) in rows]


def stored_labels(database: psycopg.Connection) -> list[str]:
    """The labels of all credentials, whoever may see them."""
    rows = database.execute("select label from public.account_credentials order by label").fetchall()
    return [label for (label,) in rows]


def stored_account_ids(database: psycopg.Connection) -> list[UUID]:
    return [account_id for (account_id,) in database.execute("select id from public.user_accounts").fetchall()]


# The account -------------------------------------------------------------------------------------------------------


def test_the_first_credential_makes_the_account_in_the_same_transaction(
    database: psycopg.Connection, user_id: UUID
) -> None:
    account_id = add_credential(database, user_id, "Paper")
    # xmin: the transaction that wrote a row
    rows = database.execute(
        "select ua.id, ua.user_id, ua.account_name, ac.label, ua.xmin = ac.xmin"
        " from public.user_accounts as ua join public.account_credentials as ac on ac.account_id = ua.id"
    ).fetchall()
    assert rows == [(account_id, user_id, "Default Alpaca Account", "Paper", True)]


def test_adding_returns_the_whole_credential(database: psycopg.Connection, user_id: UUID) -> None:
    with acting_as(database, user_id):
        response = database.execute("select * from public.add_credential('Paper', %s)", [UNKNOWN_ID]).fetchone()
    assert response == database.execute("select * from public.account_credentials").fetchone()
    assert response is not None
    assert response[2:4] == ("Paper", UUID(UNKNOWN_ID))


@pytest.mark.parametrize("label", ["", "x" * 101, " x", "x\u3000", "x\ty"])
def test_a_credential_with_a_bad_label_leaves_no_account_behind(
    database: psycopg.Connection, user_id: UUID, label: str
) -> None:
    with pytest.raises(errors.CheckViolation):
        add_credential(database, user_id, label)
    assert stored_account_ids(database) == []


def test_a_second_credential_goes_to_the_same_account(database: psycopg.Connection, user_id: UUID) -> None:
    account_id = add_credential(database, user_id, "Live")
    assert add_credential(database, user_id, "Paper") == account_id
    assert stored_account_ids(database) == [account_id]
    assert labels_seen_by(database, user_id) == ["Live", "Paper"]


def test_ten_first_credentials_at_once_go_to_one_account(
    project: Project, clone: str, database: psycopg.Connection, user_id: UUID
) -> None:
    together = Barrier(10, timeout=30)

    def first_call(number: int) -> UUID:
        with project.connect(clone) as connection:
            together.wait()
            return add_credential(connection, user_id, f"Credential {number}")

    with ThreadPoolExecutor(10) as threads:
        account_ids = set(threads.map(first_call, range(10)))

    assert account_ids == set(stored_account_ids(database))
    assert len(account_ids) == 1
    assert len(stored_labels(database)) == 10


def test_a_label_is_taken_within_its_account_only(
    database: psycopg.Connection, user_id: UUID, other_user_id: UUID
) -> None:
    add_credential(database, user_id, "Paper")
    add_credential(database, other_user_id, "Paper")
    with pytest.raises(errors.UniqueViolation):
        add_credential(database, user_id, "Paper")


def test_a_secret_belongs_to_one_credential_only(
    database: psycopg.Connection, user_id: UUID, other_user_id: UUID
) -> None:
    add = "select public.add_credential('Paper', %s)"
    with acting_as(database, user_id):
        database.execute(add, [UNKNOWN_ID])
    with pytest.raises(errors.UniqueViolation), acting_as(database, other_user_id):
        database.execute(add, [UNKNOWN_ID])


def test_credentials_go_with_their_account(database: psycopg.Connection, user_id: UUID, other_user_id: UUID) -> None:
    account_id = add_credential(database, user_id, "Mine")
    add_credential(database, other_user_id, "Theirs")
    database.execute("delete from public.user_accounts where id = %s", [account_id])
    assert stored_labels(database) == ["Theirs"]


def test_credentials_go_with_their_user(database: psycopg.Connection, user_id: UUID, other_user_id: UUID) -> None:
    add_credential(database, user_id, "Mine")
    add_credential(database, other_user_id, "Theirs")
    database.execute("delete from auth.users where id = %s", [user_id])
    assert stored_labels(database) == ["Theirs"]


# The owner and everybody else --------------------------------------------------------------------------------------


def test_users_see_their_own_credentials_only(database: psycopg.Connection, user_id: UUID, other_user_id: UUID) -> None:
    add_credential(database, user_id, "Mine")
    add_credential(database, other_user_id, "Theirs")
    assert labels_seen_by(database, user_id) == ["Mine"]
    assert labels_seen_by(database, other_user_id) == ["Theirs"]
    assert labels_seen_by(database, new_user(database)) == []


def test_users_cannot_add_to_another_users_account(
    database: psycopg.Connection, user_id: UUID, other_user_id: UUID
) -> None:
    add_credential(database, user_id, "Mine")
    account_id = add_credential(database, other_user_id, "Theirs")
    with pytest.raises(errors.InsufficientPrivilege), acting_as(database, user_id):
        database.execute(INSERT, [account_id, "Planted"])
    assert stored_labels(database) == ["Mine", "Theirs"]


def test_a_refused_insert_does_not_tell_whether_the_account_or_the_label_is_there(
    database: psycopg.Connection, user_id: UUID, other_user_id: UUID
) -> None:
    account_id = add_credential(database, other_user_id, "Theirs")
    refusals = set()
    for where in ([account_id, "Theirs"], [account_id, "New"], [UNKNOWN_ID, "New"]):
        with pytest.raises(errors.InsufficientPrivilege) as refusal, acting_as(database, user_id):
            database.execute(INSERT, where)
        refusals.add(str(refusal.value))
    assert len(refusals) == 1


def test_users_delete_their_own_credentials_only(
    database: psycopg.Connection, user_id: UUID, other_user_id: UUID
) -> None:
    add_credential(database, user_id, "Mine")
    add_credential(database, other_user_id, "Theirs")
    with acting_as(database, user_id):
        assert database.execute("delete from public.account_credentials").rowcount == 1
    assert stored_labels(database) == ["Theirs"]


def test_a_caller_without_identity_sees_and_adds_nothing(database: psycopg.Connection, user_id: UUID) -> None:
    account_id = add_credential(database, user_id)
    with acting_as(database, None):
        assert database.execute("select * from public.account_credentials").fetchall() == []
    for statement, values in ((ADD, ["Live"]), (INSERT, [account_id, "Live"])):
        with pytest.raises(errors.InsufficientPrivilege), acting_as(database, None):
            database.execute(statement, values)


@pytest.mark.parametrize(
    "statement",
    [
        "select * from public.account_credentials",
        f"insert into public.account_credentials (account_id, label, vault_secret_id)"
        f" values ('{UNKNOWN_ID}', 'Paper', '{UNKNOWN_ID}')",
        "update public.account_credentials set label = 'Live'",
        "delete from public.account_credentials",
        "truncate public.account_credentials",
        f"select public.add_credential('Paper', '{UNKNOWN_ID}')",
    ],
    ids=["select", "insert", "update", "delete", "truncate", "add_credential"],
)
def test_anon_gets_nothing(database: psycopg.Connection, statement: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege, match="permission denied for"), acting_as_role(database, "anon"):
        database.execute(statement.encode())


@pytest.mark.parametrize(
    "statement",
    [
        "truncate public.account_credentials",
        "update public.account_credentials set label = 'Live'",
        f"update public.account_credentials set account_id = '{UNKNOWN_ID}'",
    ],
    ids=["truncate", "update of the label", "update of the account"],
)
def test_owners_neither_truncate_nor_update(database: psycopg.Connection, user_id: UUID, statement: str) -> None:
    add_credential(database, user_id)
    with pytest.raises(errors.InsufficientPrivilege, match="permission denied for"), acting_as(database, user_id):
        database.execute(statement.encode())


def test_rights_are_what_the_pattern_needs_and_no_more(database: psycopg.Connection) -> None:
    """As they are where default privileges give ALL on each new table and function to every role of the API."""
    on_table = database.execute(
        "select privilege_type, grantee::regrole::text from pg_catalog.pg_class, pg_catalog.aclexplode(relacl)"
        " where oid = 'public.account_credentials'::regclass and grantee <> relowner"
    ).fetchall()
    assert {right for right in on_table if right[1] != "service_role"} == {
        ("SELECT", "authenticated"),
        ("DELETE", "authenticated"),
    }
    assert {privilege for privilege, role in on_table if role == "service_role"} == {
        *("SELECT", "INSERT", "UPDATE", "DELETE")
    }
    on_columns = database.execute(
        "select privilege_type, grantee::regrole::text, attname"
        " from pg_catalog.pg_attribute, pg_catalog.aclexplode(attacl)"
        " where attrelid = 'public.account_credentials'::regclass"
    ).fetchall()
    assert set(on_columns) == {
        ("INSERT", "authenticated", column) for column in ("account_id", "label", "vault_secret_id")
    }
    on_function = database.execute(
        "select grantee::regrole::text from pg_catalog.pg_proc, pg_catalog.aclexplode(proacl)"
        " where oid = 'public.add_credential(text, uuid)'::regprocedure and grantee <> proowner"
    ).fetchall()
    assert on_function == [("authenticated",)]


def test_row_level_security_is_enabled_and_forced(database: psycopg.Connection) -> None:
    row = database.execute(
        "select relrowsecurity, relforcerowsecurity from pg_catalog.pg_class"
        " where oid = 'public.account_credentials'::regclass"
    ).fetchone()
    assert row == (True, True)


# Inactive accounts and anonymous sign-ins --------------------------------------------------------------------------


def test_an_inactive_account_takes_no_credential(database: psycopg.Connection, user_id: UUID) -> None:
    account_id = add_credential(database, user_id, "Paper")
    switch_off(database, account_id)
    for statement, values in ((ADD, ["Live"]), (INSERT, [account_id, "Live"])):
        with pytest.raises(errors.InsufficientPrivilege), acting_as(database, user_id):
            database.execute(statement, values)
    assert stored_labels(database) == ["Paper"]


def test_an_inactive_account_keeps_its_credentials_out_of_sight_until_it_is_back(
    database: psycopg.Connection, user_id: UUID
) -> None:
    account_id = add_credential(database, user_id, "Paper")
    switch_off(database, account_id)
    assert labels_seen_by(database, user_id) == []
    with acting_as(database, user_id):
        assert database.execute("delete from public.account_credentials").rowcount == 0
    database.execute("update public.user_accounts set is_active = true where id = %s", [account_id])
    assert labels_seen_by(database, user_id) == ["Paper"]


def test_an_anonymous_sign_in_makes_neither_account_nor_credential(database: psycopg.Connection, user_id: UUID) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        add_credential(database, user_id, is_anonymous=True)
    assert stored_account_ids(database) == []


def test_an_anonymous_sign_in_with_an_account_still_writes_nothing(database: psycopg.Connection, user_id: UUID) -> None:
    account_id = add_credential(database, user_id, "Paper")
    for statement, values in ((ADD, ["Live"]), (INSERT, [account_id, "Live"])):
        with pytest.raises(errors.InsufficientPrivilege), acting_as(database, user_id, is_anonymous=True):
            database.execute(statement, values)
    with acting_as(database, user_id, is_anonymous=True):
        assert database.execute("delete from public.account_credentials").rowcount == 0
    assert stored_labels(database) == ["Paper"]


@pytest.mark.parametrize("claim", [False, "maybe", None])
def test_a_claim_that_is_not_true_is_an_ordinary_users(
    database: psycopg.Connection, user_id: UUID, claim: object
) -> None:
    add_credential(database, user_id, is_anonymous=claim)
    assert labels_seen_by(database, user_id) == ["Paper"]


def test_service_role_sees_and_writes_every_accounts_credentials(
    database: psycopg.Connection, user_id: UUID, other_user_id: UUID
) -> None:
    switch_off(database, add_credential(database, user_id, "Mine"))
    account_id = add_credential(database, other_user_id, "Theirs")
    with acting_as_role(database, "service_role"):
        database.execute(INSERT, [account_id, "Ours"])
        assert stored_labels(database) == ["Mine", "Ours", "Theirs"]
        assert database.execute("delete from public.account_credentials").rowcount == 3


# Scale -------------------------------------------------------------------------------------------------------------


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def table_reads(database: psycopg.Connection) -> dict[str, tuple[int, int]]:
    """How often this transaction has scanned each table, inside functions too: in sequence, and by index."""
    rows = database.execute(
        "select relname, seq_scan, idx_scan from pg_catalog.pg_stat_xact_user_tables"
        " where relid in ('public.user_accounts'::regclass, 'public.account_credentials'::regclass)"
    ).fetchall()
    return {table: (in_sequence, by_index) for table, in_sequence, by_index in rows}


def test_among_20_000_accounts_a_statement_asks_for_the_callers_once_and_reads_by_index_only(
    project: Project, clone: str, database: psycopg.Connection
) -> None:
    for fill in (
        "insert into auth.users (id, email)"
        " select gen_random_uuid(), pg_catalog.format('user-%s@example.com', number)"
        " from pg_catalog.generate_series(1, 20000) as number",
        "insert into public.user_accounts (user_id, account_name) select id, 'Mine' from auth.users",
        "insert into public.account_credentials (account_id, label, vault_secret_id)"
        " select id, 'Paper', gen_random_uuid() from public.user_accounts",
        "analyze public.user_accounts, public.account_credentials",
    ):
        database.execute(fill.encode())
    (user_id,) = database.execute("select user_id from public.user_accounts limit 1").fetchone() or ()

    for statement in (
        "select * from public.account_credentials",
        "select label from public.account_credentials where label = 'Paper'",
        "delete from public.account_credentials",
    ):
        explain = f"explain (analyze, verbose, format json) {statement}"
        # a connection of its own, which has read nothing yet
        with project.connect(clone) as connection, acting_as(connection, user_id):
            (plans,) = connection.execute(explain.encode()).fetchone() or ()
            reads = table_reads(connection)
        plan = list(nodes(plans[0]["Plan"]))

        (helper,) = [node for node in plan if "active_account_ids" in str(node.get("Output"))]
        assert (helper["Parent Relationship"], helper["Actual Loops"]) == ("InitPlan", 1)

        scans = [node for node in plan if node["Node Type"].endswith("Scan")]
        assert {node["Node Type"] for node in scans} <= {
            *("Index Scan", "Index Only Scan", "Bitmap Heap Scan", "Bitmap Index Scan")
        }
        (by_account,) = [node for node in scans if "Index Cond" in node]
        assert by_account["Index Name"] == "account_credentials_account_id_label_key"
        assert by_account["Actual Rows"] == by_account["Actual Loops"] == 1

        # the helper's own query is not in the plan, but it is in the counts
        assert reads == {"user_accounts": (0, 1), "account_credentials": (0, 1)}
