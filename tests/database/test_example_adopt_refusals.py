"""What the script that adopts a table user_accounts refuses: it says all of it, and changes nothing."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import LiteralString

import pytest
from psycopg import errors, sql

from edge_api.local.postgres import SUPERUSER
from edge_api.local.stack import MIGRATOR
from edge_api.verify.drift import Expected
from tests.database.adopted import Shape, user
from tests.database.adoption import ADOPTED, SCRIPT, SIMPLE, Adoption, every_shape, obstacles, proposed_fixes, refusal


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
