"""The migrations on databases that are in use: names that are taken, default privileges of each kind, class 40."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, LiteralString

import psycopg
import pytest
from psycopg import errors

from edge_api.local.node import supabase
from edge_api.local.processes import StackError
from edge_api.local.stack import MIGRATOR
from edge_api.verify.drift import Expected
from edge_api.verify.migrations import packaged
from edge_api.verify.questions import verify
from tests.database import tap
from tests.database.project import REMOVE, Project

# What can have one of the names, and how the error lists it.
TAKEN: Final = {
    "create schema accounts_private": "schema accounts_private",
    "create table public.user_accounts ()": "table public.user_accounts",
    "create view public.user_accounts as select 1 as id": "view public.user_accounts",
    "create sequence public.user_accounts": "sequence public.user_accounts",
    "create type public.user_accounts as (id int)": "composite type public.user_accounts",
    "create type public.user_accounts as enum ('a')": "type public.user_accounts",
    "create domain public.user_accounts as int": "type public.user_accounts",
    "create table public.other (id int constraint user_accounts_pkey primary key)": "index public.user_accounts_pkey",
    "create table public.user_accounts_user_id_key ()": "table public.user_accounts_user_id_key",
    "create function public.list_accounts() returns int return 1": "function public.list_accounts()",
    "create function public.list_accounts(page int default 1) returns int return 1": (
        "function public.list_accounts(integer)"
    ),
    "create function public.get_account(text) returns int return 1": "function public.get_account(pg_catalog.text)",
    "create function public.create_account(text, text) returns int return 1": (
        "function public.create_account(pg_catalog.text,pg_catalog.text)"
    ),
    "create procedure public.rename_account() language sql as 'select 1'": "procedure public.rename_account()",
    "create aggregate public.get_or_create_account(int) (sfunc = int4pl, stype = int)": (
        "aggregate public.get_or_create_account(integer)"
    ),
    "create function public.get_or_create_account_for(int) returns int return 1": (
        "function public.get_or_create_account_for(integer)"
    ),
}
DEFAULT_PRIVILEGES: Final = {
    "all": "grant all on {kind} to anon, authenticated, service_role",
    "none": "revoke all on {kind} from anon, authenticated, service_role",
}
_OBJECTS: Final = """
    select classid::regclass::text, objid from pg_depend where refclassid = 'pg_namespace'::regclass
    and refobjid = 'public'::regnamespace
    union all select 'pg_namespace', oid from pg_namespace order by 1, 2"""


@pytest.fixture
def before(project: Project, clone: str) -> Iterator[psycopg.Connection]:
    """A project without the migrations, as the role that runs them."""
    with project.connect(clone) as connection:
        connection.execute(REMOVE)
        yield connection


def migrate(database: psycopg.Connection) -> None:
    """As the CLI does it: each file in a transaction of its own."""
    for migration in packaged():
        with database.transaction():
            database.execute(migration.sql.encode())


def objects(database: psycopg.Connection) -> Sequence[Any]:
    return database.execute(_OBJECTS).fetchall()


@pytest.mark.parametrize(("statement", "name"), TAKEN.items(), ids=TAKEN.values())
def test_a_name_that_is_taken_is_listed_and_nothing_is_created(
    before: psycopg.Connection, statement: LiteralString, name: str
) -> None:
    before.execute(statement)
    there = objects(before)
    with pytest.raises(errors.DuplicateObject) as raised:
        migrate(before)
    assert f"are taken: {name}\n" in f"{raised.value.diag.message_primary}\n"
    assert objects(before) == there


def test_all_names_that_are_taken_are_listed_at_once(before: psycopg.Connection) -> None:
    before.execute("create table public.user_accounts (id int constraint user_accounts_pkey primary key)")
    before.execute("create function public.list_accounts(page int) returns int return 1")
    before.execute("create function public.get_account() returns int return 1")
    with pytest.raises(errors.DuplicateObject) as raised:
        migrate(before)
    assert str(raised.value.diag.message_primary).partition(": ")[2].split(", ") == [
        "function public.get_account()",
        "function public.list_accounts(integer)",
        "table public.user_accounts",
        "index public.user_accounts_pkey",
    ]


def test_the_same_names_elsewhere_are_not_taken(before: psycopg.Connection) -> None:
    before.execute("create schema shop")
    before.execute("create table shop.user_accounts (id int constraint user_accounts_pkey primary key)")
    before.execute("create function shop.list_accounts() returns int return 1")
    migrate(before)
    assert before.execute("select * from public.list_accounts()").fetchall() == []


def test_a_push_where_a_name_is_taken_records_nothing(
    project: Project, clone: str, before: psycopg.Connection, tmp_path: Path
) -> None:
    before.execute("create function public.list_accounts(page int default 1) returns int return 1")
    there = objects(before)
    with pytest.raises(StackError, match=r"names are taken: function public\.list_accounts\(integer\)"):
        supabase(
            ["db", "push", "--yes", f"--remote={project.cluster.url(MIGRATOR, with_password=False, database=clone)}"],
            env=project.cluster.password_environment(MIGRATOR),
            state=tmp_path,
        )
    assert objects(before) == there
    assert before.execute("select from supabase_migrations.schema_migrations").fetchall() == []
    assert before.execute("select public.list_accounts()").fetchall() == [(1,)]


@pytest.mark.parametrize("change", DEFAULT_PRIVILEGES.values(), ids=DEFAULT_PRIVILEGES)
def test_either_kind_of_default_privileges_gives_the_same_rights(
    project: Project,
    clone: str,
    before: psycopg.Connection,
    expected: Expected,
    *,
    change: str,
    subtests: pytest.Subtests,
) -> None:
    """Hosted projects grant everything new in public to the API's roles until 30 October 2026, and nothing after it."""
    for kind in ("tables", "functions", "sequences"):
        statement = f"alter default privileges for role postgres in schema public {change.format(kind=kind)}"
        before.execute(statement.encode())
    migrate(before)
    for file in tap.FILES:
        tap.assert_passes(tap.run(project.cluster, clone, file), subtests)
    findings = verify(before, expected)
    # they were not pushed, but run
    assert {finding.subject.partition(" ")[0] for finding in findings} <= {"migration"}


def test_no_function_raises_an_error_that_postgrest_retries_for_ever(clone: str, project: Project) -> None:
    """Class 40, by code or by one of its names; where it could come from elsewhere, see the races."""
    with project.connect(clone) as database:
        bodies = database.execute(
            "select proname, prosrc from pg_proc inner join pg_namespace on pronamespace = pg_namespace.oid"
            " where nspname in ('public', 'accounts_private')"
        ).fetchall()
    class_40 = re.compile(
        r"\b40[0-9A-Z]{3}\b|serialization_failure|deadlock_detected|transaction_rollback|statement_completion_unknown"
        r"|transaction_integrity_constraint_violation"
    )
    assert len(bodies) == 8
    assert [name for name, body in bodies if class_40.search(body)] == []
