"""The script that adopts a table user_accounts of a project's own: all of it or nothing, and nothing left open."""

import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, LiteralString

import psycopg
import pytest
from psycopg import errors, sql

from edge_api.embedded.packages import PROJECT
from edge_api.embedded.postgres import SUPERUSER
from edge_api.local.node import supabase
from edge_api.local.stack import MIGRATOR
from edge_api.migrations import copy, packaged
from edge_api.verify import Expected, Finding, verify
from tests.database import tap
from tests.database.adopted import SHAPES, USERS, Account, Shape, user
from tests.database.project import REMOVE, Project
from tests.database.test_policies import assert_passes
from tests.support import acting_as

SCRIPT: Final = PROJECT / "sql" / "examples" / "adopt_user_accounts.sql"
DEPLOY: Final = PROJECT / "docs" / "deploy.md"
OLD_TABLE: Final = "accounts_before_adoption.user_accounts"
ADOPTED: Final = 0
REFUSED: Final = 3
SIMPLE: Final = SHAPES["uuid ids with references and an open policy"]

every_shape: Final = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


class Adoption:
    """A database without the migrations, on which the script runs."""

    def __init__(self, project: Project, database: str, connection: psycopg.Connection) -> None:
        self.project = project
        self.database = database
        self.connection = connection

    def run(self, leave_columns: str | None = None, *, role: str = MIGRATOR) -> subprocess.CompletedProcess[str]:
        variables = () if leave_columns is None else ("--set", f"leave_columns={leave_columns}")
        return self.project.cluster.run_client(
            "psql", "--no-psqlrc", *variables, "--file", SCRIPT, role=role, database=self.database, seconds=60
        )

    def dump(self) -> str:
        """Everything that is in the database, except pgTAP."""
        done = self.project.cluster.run_client(
            "pg_dump", "--exclude-schema=extensions", role=SUPERUSER, database=self.database, seconds=60
        )
        assert done.returncode == 0, done.stderr
        return re.sub(r"^\\(un)?restrict .*$", "", done.stdout, flags=re.MULTILINE)  # a random key in each dump

    def prepare(self, shape: Shape) -> None:
        """Create a shape and remove what is in the way, as the script proposes."""
        self.connection.execute(shape.setup)
        self.connection.execute(proposed_fixes(self.run(shape.leave_columns)).encode())

    def adopt(self, shape: Shape) -> None:
        self.prepare(shape)
        done = self.run(shape.leave_columns)
        assert (done.returncode, done.stderr) == (ADOPTED, "")

    def rows(self, query: LiteralString) -> list[Any]:
        return self.connection.execute(query).fetchall()

    def findings(self, expected: Expected) -> list[Finding]:
        """What `edge-api verify` reports."""
        with self.connection.transaction():
            return verify(self.connection, expected)


@pytest.fixture
def adoption(project: Project, clone: str) -> Iterator[Adoption]:
    with project.connect(clone) as connection:
        connection.execute(REMOVE)
        connection.execute(USERS)
        yield Adoption(project, clone, connection)


def obstacles(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr.partition("DETAIL:  ")[2].partition("\nHINT:")[0]


def proposed_fixes(done: subprocess.CompletedProcess[str]) -> str:
    """The SQL in the hint, after the line that introduces it."""
    assert done.returncode == REFUSED, done.stderr
    return done.stderr.partition("HINT:  ")[2].partition("\n")[2]


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stdout) == (REFUSED, "")
    return done.stderr.splitlines()[0].partition("ERROR:  ")[2]


# What is in the way --------------------------------------------------------------------------------------------------


@every_shape
def test_what_is_in_the_way_is_listed_and_nothing_is_changed(adoption: Adoption, shape: Shape) -> None:
    adoption.connection.execute(shape.setup)
    before = adoption.dump()
    done = adoption.run()
    assert refusal(done) == "nothing was changed: this is in the way of adopting public.user_accounts"
    assert obstacles(done) == shape.obstacles
    assert adoption.dump() == before


@pytest.mark.parametrize(
    ("table", "listed"),
    [
        ("create table public.user_accounts (owner int)", "columns that are missing: 2 (account_name, user_id)"),
        (
            "create table public.user_accounts (user_id int, account_name int, created_at date)",
            "columns of another type: 3 (user_id integer, account_name integer, created_at date)",
        ),
        (
            "create table public.user_accounts (user_id uuid, account_name text);"
            " create table public.other (account public.user_accounts)",
            "objects that depend on the table: 1 (table public.other)",
        ),
        (
            "create table public.user_accounts (id uuid, user_id uuid, account_name text, unique (id, user_id));"
            " create table public.other (a uuid, b uuid, constraint c foreign key (a, b) references"
            " public.user_accounts (id, user_id))",
            "foreign keys to another column than an id or user_id of type uuid: 1 (c on public.other)",
        ),
    ],
)
def test_a_table_that_cannot_be_copied_is_refused(adoption: Adoption, table: LiteralString, listed: str) -> None:
    adoption.connection.execute(table)
    assert listed in obstacles(adoption.run()).splitlines()


def test_a_column_is_left_only_where_it_is_named(adoption: Adoption) -> None:
    adoption.connection.execute(
        "create table public.user_accounts (user_id uuid, account_name text, broker text, note text)"
    )
    assert obstacles(adoption.run("broker,notes")) == "columns that accounts do not have: 1 (note text)"
    assert adoption.run("broker,note").returncode == ADOPTED
    assert adoption.rows("select * from accounts_before_adoption.user_accounts") == []


def test_a_column_that_accounts_have_cannot_be_left(adoption: Adoption) -> None:
    adoption.prepare(SIMPLE)
    created = "select id, created_at from public.user_accounts order by id"
    before = adoption.rows(created)
    assert adoption.run("created_at").returncode == ADOPTED
    assert adoption.rows(created) == before


def test_a_name_is_in_the_way_exactly_where_the_constraints_refuse_it(adoption: Adoption) -> None:
    """White space and control characters, their neighbors, and lengths, each as the name of a user's account."""
    characters = [chr(c) for c in (*range(1, 256), 0x1680, *range(0x1FFF, 0x2030), 0x205F, 0x2060, 0x3000, 0xFEFF)]
    names = ["", "x", "x" * 255, "x" * 256, *(f"{c}x" for c in characters), *(f"x{c}" for c in characters)]
    names += [f"x{c}x" for c in characters]
    adoption.connection.execute(
        "create table public.user_accounts (id uuid default gen_random_uuid(), user_id uuid, account_name text)"
    )
    adoption.connection.execute("insert into auth.users (id) select gen_random_uuid() from generate_series(1, 1000)")
    with adoption.connection.cursor() as cursor:
        cursor.execute("insert into public.user_accounts (account_name) select unnest(%s::text[])", [names])
        cursor.execute(
            "update public.user_accounts as a set user_id = u.id from"
            " (select id, row_number() over () as n from auth.users) as u,"
            " (select id, row_number() over () as n from public.user_accounts) as b where u.n = b.n and a.id = b.id"
        )
    adoption.connection.execute("create table public.copy as table public.user_accounts")
    adoption.connection.execute(proposed_fixes(adoption.run()).encode())
    done = adoption.run()
    assert (done.returncode, done.stderr) == (ADOPTED, "")

    def is_refused(name: str) -> bool:
        try:
            with adoption.connection.transaction(force_rollback=True):
                adoption.connection.execute(
                    "update public.user_accounts set account_name = %s where id = %s", [name, any_id]
                )
        except errors.CheckViolation:
            return True
        return False

    pairs = adoption.rows(
        "select c.account_name, a.account_name, a.id from public.copy as c join public.user_accounts as a using (id)"
    )
    any_id = pairs[0][2]
    assert len(pairs) == len(names)
    assert [old for old, new, _ in pairs if (old != new) != is_refused(old)] == []


# What is refused before it is looked at ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("select", "there is no table public.user_accounts"),
        ("create view public.user_accounts as select 1 as id", "public.user_accounts is not a plain table"),
        (
            "create table public.user_accounts (id int) partition by list (id)",
            "public.user_accounts is not a plain table",
        ),
        (
            "create table public.user_accounts (id int); create table public.child () inherits (public.user_accounts)",
            "public.user_accounts is not a plain table",
        ),
        (
            "create table public.parent (id int); create table public.user_accounts () inherits (public.parent)",
            "public.user_accounts is not a plain table",
        ),
        (
            "create schema accounts_private; create table public.user_accounts (id int)",
            "the schema accounts_private or accounts_before_adoption exists",
        ),
        (
            "create schema accounts_before_adoption; create table public.user_accounts (id int)",
            "the schema accounts_private or accounts_before_adoption exists",
        ),
    ],
)
def test_what_is_not_a_table_to_adopt_is_refused(adoption: Adoption, before: LiteralString, message: str) -> None:
    adoption.connection.execute(before)
    dump = adoption.dump()
    assert refusal(adoption.run()) == f"nothing was changed: {message}"
    assert adoption.dump() == dump


@pytest.mark.parametrize(
    ("owner", "role"), [("supabase_admin", MIGRATOR), ("postgres", SUPERUSER)], ids=["owner", "role"]
)
def test_only_postgres_adopts_and_only_what_it_may(adoption: Adoption, owner: str, role: str) -> None:
    adoption.prepare(SIMPLE)
    with adoption.project.connect(adoption.database, SUPERUSER) as admin:
        admin.execute(sql.SQL("alter table public.user_accounts owner to {}").format(sql.Identifier(owner)))
    assert (
        refusal(adoption.run(role=role)) == f"nothing was changed: {role} cannot adopt a table that belongs to {owner}"
    )


def test_a_table_in_use_is_refused_after_a_bounded_wait(adoption: Adoption) -> None:
    adoption.prepare(SIMPLE)
    with adoption.project.connect(adoption.database) as other, other.transaction():
        other.execute("select from public.user_accounts")
        assert refusal(adoption.run()) == "nothing was changed: public.user_accounts is in use"
    assert adoption.run().returncode == ADOPTED


def test_a_sign_up_that_inserts_a_row_itself_waits_or_is_waited_for(adoption: Adoption) -> None:
    """By a trigger, as in many projects: taken in another order than the script's, the locks would be a deadlock."""
    adoption.prepare(SIMPLE)
    adoption.connection.execute(
        """
        create function public.on_sign_up() returns trigger language plpgsql security definer as $$
        begin
            perform pg_advisory_xact_lock(1);
            insert into public.user_accounts (user_id, account_name, is_active) values (new.id, 'New', true);
            return new;
        end $$;
        create trigger on_sign_up after insert on auth.users for each row execute function public.on_sign_up();
        """
    )
    with (
        adoption.project.connect(adoption.database, SUPERUSER) as holder,
        adoption.project.connect(adoption.database, SUPERUSER) as sign_up,
        ThreadPoolExecutor(2) as threads,
    ):
        waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"

        def waiting(number: int) -> None:
            deadline = time.monotonic() + 30
            while holder.execute(waits).fetchone() != (number,):
                assert time.monotonic() < deadline

        holder.execute("select pg_advisory_lock(1)")
        signed_up = threads.submit(sign_up.execute, "insert into auth.users (id) values (gen_random_uuid())")
        waiting(1)
        adopted = threads.submit(adoption.run)
        waiting(2)
        holder.execute("select pg_advisory_unlock(1)")
        signed_up.result(timeout=30)
        assert adopted.result(timeout=60).returncode == ADOPTED
    assert adoption.rows("select count(*) from public.user_accounts") == [(3,)]


def test_the_old_table_keeps_no_user_from_being_removed(adoption: Adoption) -> None:
    adoption.prepare(SIMPLE)
    adoption.connection.execute(
        "alter table public.user_accounts alter column user_id set not null,"
        " drop constraint user_accounts_user_id_fkey, add constraint user_accounts_user_id_fkey"
        " foreign key (user_id) references auth.users (id) on delete set null"
    )
    assert adoption.run().returncode == ADOPTED
    adoption.connection.execute("delete from auth.users where id = %s", [user(1)])
    assert adoption.rows("select user_id from public.user_accounts") == [(user(2),)]


@pytest.mark.parametrize(
    ("before", "listed"),
    [
        (
            "create function public.list_accounts(page int) returns int return 1;"
            " create procedure public.rename_account() language sql as 'select 1'",
            "functions that have a name of the migrations: 2 (public.list_accounts(integer), public.rename_account())",
        ),
        (
            "alter table public.user_accounts drop constraint user_accounts_pkey cascade;"
            " insert into public.user_accounts select id, '00000000-0000-4000-8000-000000000006', account_name, true"
            " from public.user_accounts limit 1",
            "rows whose id another row has: 2",
        ),
    ],
    ids=["names of functions", "ids"],
)
def test_what_would_fail_half_way_is_listed_before(adoption: Adoption, before: LiteralString, listed: str) -> None:
    adoption.prepare(SIMPLE)
    adoption.connection.execute(before)
    dump = adoption.dump()
    assert obstacles(adoption.run()) == listed
    assert adoption.dump() == dump


def test_the_script_knows_every_name_of_the_migrations_functions(expected: Expected) -> None:
    public = [name.removeprefix("public.") for name in expected.scope["functions"] if name.startswith("public.")]
    assert len(public) == 6
    assert [name for name in public if f"'{name}'" not in SCRIPT.read_text()] == []


def test_what_fails_half_way_changes_nothing(adoption: Adoption) -> None:
    """Another owner's table cannot be pointed to the new one."""
    adoption.prepare(SIMPLE)
    with adoption.project.connect(adoption.database, SUPERUSER) as admin:
        admin.execute("alter table public.orders owner to supabase_admin")
    dump = adoption.dump()
    assert "must be owner of table orders" in refusal(adoption.run())
    assert adoption.dump() == dump


# What it becomes -----------------------------------------------------------------------------------------------------


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
    assert {finding.subject.partition(" ")[0] for finding in adoption.findings(expected)} == {"migration"}
    # the last of the files drops the unique constraint for a while, on which a reference to user_id depends
    adoption.connection.execute('alter table if exists public.orders drop constraint if exists "to user"')
    for file in tap.FILES:
        changes = ["set local tests.others_are_here = 'on'"]
        assert_passes(tap.run(adoption.project.cluster, adoption.database, file, changes=changes), subtests)


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
    assert adoption.findings(expected) == []


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
