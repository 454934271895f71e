"""What a table user_accounts becomes that is adopted: all is there afterwards, and nothing is left open."""

import re
from dataclasses import asdict
from pathlib import Path

import pytest
from psycopg import errors

from edge_api.local.node import supabase
from edge_api.local.postgres import SUPERUSER
from edge_api.local.stack import MIGRATOR
from edge_api.verify.drift import Expected
from edge_api.verify.migrations import copy, packaged
from tests.database import tap
from tests.database.adopted import SHAPES, Account, Shape, user
from tests.database.adoption import (
    ADOPTED,
    DEPLOY,
    OLD_TABLE,
    SCRIPT,
    SIMPLE,
    Adoption,
    every_shape,
    refusal,
)
from tests.database.project import Project
from tests.support import acting_as


def test_the_script_includes_every_migration_in_order() -> None:
    included = re.findall(r"^\\ir (\S+)$", SCRIPT.read_text(), re.MULTILINE)
    assert [(SCRIPT.parent / path).resolve() for path in included] == [migration.path for migration in packaged()]


@every_shape
def test_rows_ids_and_times_are_what_they_were(adoption: Adoption, shape: Shape) -> None:
    adoption.prepare(shape)
    ((earliest,),) = adoption.rows("select now()")
    assert adoption.run(shape.leave_columns).returncode == ADOPTED
    ((latest,),) = adoption.rows("select now()")
    actual = [
        Account(*row)
        for row in adoption.rows(
            "select user_id, id, account_name, is_active, created_at, updated_at"
            " from public.user_accounts order by user_id"
        )
    ]
    for account, before in zip(actual, shape.accounts, strict=True):
        kept = {name: value for name, value in asdict(before).items() if value is not None}
        assert kept.items() <= asdict(account).items()
        chosen_times = {"created_at", "updated_at"} - kept.keys()
        assert all(earliest <= getattr(account, name) <= latest for name in chosen_times)


@every_shape
def test_the_result_is_what_the_migrations_create(
    adoption: Adoption, shape: Shape, expected: Expected, subtests: pytest.Subtests
) -> None:
    adoption.adopt(shape)
    # not the kind of reference that the project chose
    graver = [finding for finding in adoption.findings(expected) if finding.level != "info"]
    assert {finding.subject.partition(" ")[0] for finding in graver} == {"migration"}
    # the last of the files drops the unique constraint for a while, on which a reference to user_id depends
    adoption.connection.execute('alter table if exists public.orders drop constraint if exists "to user"')
    for file in tap.FILES:
        changes = ["set local tests.shared_project = 'on'"]
        tap.assert_passes(tap.run(adoption.project.cluster, adoption.database, file, changes=changes), subtests)


@every_shape
def test_a_further_run_changes_nothing(adoption: Adoption, shape: Shape) -> None:
    adoption.adopt(shape)
    for then in ("select", "drop schema accounts_before_adoption cascade"):
        adoption.connection.execute(then)
        before = adoption.dump()
        done = adoption.run(shape.leave_columns)
        assert refusal(done) == "nothing was changed: the schema accounts_private or accounts_before_adoption exists"
        assert adoption.dump() == before


@every_shape
def test_each_user_has_the_five_calls_and_nobody_elses_row(adoption: Adoption, shape: Shape) -> None:
    adoption.adopt(shape)
    database = adoption.connection
    for own in shape.accounts:
        with acting_as(database, own.user_id):
            ((account_id, name),) = adoption.rows("select id, account_name from public.list_accounts()")
            assert name == own.name
            assert adoption.rows("select id, created from public.get_or_create_account()") == [(account_id, False)]
            assert database.execute("select id from public.get_account(%s)", [account_id]).fetchall() == [(account_id,)]
            assert adoption.rows("select user_id from public.user_accounts") == [(own.user_id,)]
        rename = "select account_name from public.rename_account(%s, 'Renamed')"
        if own.is_active:
            with acting_as(database, own.user_id):
                assert database.execute(rename, [account_id]).fetchall() == [("Renamed",)]
        else:
            with pytest.raises(errors.InsufficientPrivilege), acting_as(database, own.user_id):
                database.execute(rename, [account_id])
        with pytest.raises(errors.UniqueViolation), acting_as(database, own.user_id):
            database.execute("select public.create_account('Second')")


@every_shape
@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role", "pg_monitor"])
def test_the_old_table_is_out_of_reach(adoption: Adoption, shape: Shape, role: str) -> None:
    """By its schema, and, for whoever should be let into that, by its own rights and policies."""
    adoption.adopt(shape)
    row = adoption.connection.execute(
        "select has_schema_privilege(%(role)s, %(schema)s, 'usage, create'),"
        " has_table_privilege(%(role)s, %(table)s, 'select, insert, update, delete, truncate, references, trigger'),"
        " has_any_column_privilege(%(role)s, %(table)s, 'select, insert, update, references'),"
        " relrowsecurity, (select count(*) from pg_policy where polrelid = pg_class.oid)"
        " from pg_class where oid = %(table)s::regclass",
        {"role": role, "schema": "accounts_before_adoption", "table": OLD_TABLE},
    ).fetchone()
    assert row == (False, False, False, True, 0)
    granted = """
        select relname, grantee::regrole::text from pg_class cross join aclexplode(relacl)
        where relnamespace = 'accounts_before_adoption'::regnamespace and grantee != relowner"""
    assert adoption.rows(granted) == []


def test_a_table_of_a_role_that_postgres_is_a_member_of_is_adopted(adoption: Adoption) -> None:
    adoption.prepare(SIMPLE)
    with adoption.project.connect(adoption.database, SUPERUSER) as admin:
        admin.execute("alter table public.user_accounts owner to gateway")
    assert adoption.run().returncode == ADOPTED
    assert adoption.rows(
        "select relowner::regrole::text, has_schema_privilege('gateway', 'accounts_before_adoption', 'usage')"
        " from pg_class where oid = 'public.user_accounts'::regclass"
    ) == [("postgres", False)]


def test_references_from_uuid_columns_follow(adoption: Adoption) -> None:
    adoption.adopt(SIMPLE)
    definitions = """
        select conrelid::regclass::text, confrelid::regclass::text, pg_get_constraintdef(oid) from pg_constraint
        where contype = 'f' and conrelid in ('orders'::regclass, 'parts'::regclass, 'part'::regclass)
        order by 1, 3"""
    assert adoption.rows(definitions) == [
        (
            "orders",
            "user_accounts",
            "FOREIGN KEY (account_id) REFERENCES user_accounts(id) ON DELETE CASCADE DEFERRABLE",
        ),
        ("orders", "user_accounts", "FOREIGN KEY (user_id) REFERENCES user_accounts(user_id)"),
        ("part", "user_accounts", "FOREIGN KEY (account_id) REFERENCES user_accounts(id)"),
        ("parts", "user_accounts", "FOREIGN KEY (account_id) REFERENCES user_accounts(id)"),
    ]
    with pytest.raises(errors.ForeignKeyViolation):
        adoption.connection.execute("insert into public.orders values (3, gen_random_uuid())")


@pytest.mark.parametrize(
    "shape", [SHAPES["serial ids, everything in the way"], SHAPES["ids that are uuids as text, some of them"]]
)
def test_references_by_other_ids_are_carried_over_as_documented(adoption: Adoption, shape: Shape) -> None:
    adoption.adopt(shape)
    (statements,) = re.findall(r"```sql\n([^`]*accounts_before_adoption[^`]*)```", DEPLOY.read_text())
    adoption.connection.execute(statements.encode())
    assert adoption.rows(
        "select o.id, a.user_id from public.orders as o"
        " inner join public.user_accounts as a on o.account_id = a.id order by 1"
    ) == [(1, user(1)), (2, user(3))]


def test_a_user_is_removed_with_the_account_as_before(adoption: Adoption) -> None:
    """The old table, whose foreign key had no action, does not stand in the way of it."""
    adoption.adopt(SIMPLE)
    adoption.connection.execute("delete from auth.users where id = %s", [user(1)])
    assert adoption.rows("select user_id from public.user_accounts") == [(user(2),)]


def test_recorded_migrations_leave_verify_silent(
    project: Project, adoption: Adoption, expected: Expected, tmp_path: Path
) -> None:
    """Recorded as in the docs, among migrations of the project's own, they are what a push records."""
    migrations = tmp_path / "supabase" / "migrations"
    migrations.mkdir(parents=True)
    (migrations / "20990101000000_orders.sql").write_text("select 1;")
    copy(migrations, lambda _line: None)
    versions = [file.name.partition("_")[0] for file in sorted(migrations.iterdir())[1:]]
    adoption.adopt(SIMPLE)
    remote = project.cluster.url(MIGRATOR, with_password=False, database=adoption.database)
    supabase(
        [
            *("migration", "repair", "--yes", "--workdir", str(tmp_path), f"--remote={remote}"),
            *("--status", "applied", *versions),
        ],
        env=project.cluster.password_environment(MIGRATOR),
        state=tmp_path,
    )
    recorded = "select name, statements from supabase_migrations.schema_migrations order by version"
    with project.clone() as other, project.connect(other) as pushed:
        assert adoption.rows(recorded) == pushed.execute(recorded).fetchall()
    assert [finding for finding in adoption.findings(expected) if finding.level != "info"] == []


def test_a_new_database_from_the_projects_own_migrations_has_the_accounts(
    adoption: Adoption, expected: Expected, tmp_path: Path
) -> None:
    """The project creates its table, removes it as documented, and goes on with the copies."""
    (removal,) = re.findall(r"`(drop table public\.user_accounts[^`]*)`", DEPLOY.read_text())
    (tmp_path / "20990101000000_own_accounts.sql").write_text(SIMPLE.setup)
    (tmp_path / "20990102000000_remove_user_accounts.sql").write_text(removal)
    copy(tmp_path, lambda _line: None)
    for file in sorted(tmp_path.iterdir()):
        with adoption.connection.transaction():
            adoption.connection.execute(file.read_bytes())
    assert {finding.subject.partition(" ")[0] for finding in adoption.findings(expected)} == {"migration"}
