"""Tables user_accounts as projects have them: what is in the way of adopting each, and what it becomes."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, LiteralString
from uuid import UUID

# What there is in every project: users 1 to 6.
USERS: Final[LiteralString] = """
    insert into auth.users (id, email)
    select ('00000000-0000-4000-8000-00000000000' || n)::uuid, n || '@example.com' from generate_series(1, 6) as n;"""
NEW: Final = None
NOW: Final = None


def user(number: int) -> UUID:
    return UUID(f"00000000-0000-4000-8000-{number:012}")


def on_day(day: int) -> datetime:
    return datetime(2024, 1, day, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Account:
    """A row of the accounts: NEW and NOW where the adoption chooses the value."""

    user_id: UUID
    id: UUID | None
    name: str
    is_active: bool
    created_at: datetime | None
    updated_at: datetime | None


@dataclass(frozen=True)
class Shape:
    """A table of a project's own."""

    setup: LiteralString
    """Creates the table, and what refers to it."""
    obstacles: str
    """What the script lists, line by line."""
    accounts: tuple[Account, ...]
    """What the rows become once what is in the way is removed as the script proposes."""
    leave_columns: str = ""


SHAPES: Final = {
    "serial ids, everything in the way": Shape(
        """
        create table public.user_accounts (
            id serial primary key, user_id varchar, account_name varchar(300), is_active boolean,
            created_at timestamp, updated_at timestamp, broker text, note text
        );
        insert into public.user_accounts (user_id, account_name, is_active, created_at, updated_at) values
        ('00000000-0000-4000-8000-000000000001', 'Ada', true, '2024-01-01 12:00', '2024-01-02 12:00'),
        ('00000000-0000-4000-8000-000000000002', E'\\u3000Bob ', false, '2024-01-01 12:00', null),
        ('00000000-0000-4000-8000-000000000002', ' Bob', false, '2024-01-03 12:00', null),
        ('00000000000040008000000000000003', E'a\\tb', null, null, '2024-01-02 12:00'),
        ('00000000-0000-4000-8000-000000000004', repeat('x', 254) || ' y', true, null, null),
        ('00000000-0000-4000-8000-000000000005', null, true, null, null),
        ('00000000-0000-4000-8000-000000000006', '', true, null, null),
        ('90000000-0000-4000-8000-000000000001', 'Nobody', true, null, null),
        ('auth0|6', 'Foreign', true, null, null), ('', 'Nothing', true, null, null), (null, 'Null', true, null, null);
        create view public.names as select account_name from public.user_accounts;
        create materialized view public.names_stored as select account_name from public.user_accounts;
        create function public.rows() returns setof public.user_accounts language plpgsql as 'begin end';
        create function public.counted(public.user_accounts []) returns int language sql as 'select 1';
        create function public.stamp() returns trigger language plpgsql as 'begin return new; end';
        create trigger stamp before update on public.user_accounts for each row execute function public.stamp();
        create rule keep as on delete to public.user_accounts where old.note is not null do instead nothing;
        create publication "all changes" for table public.user_accounts;
        create table public.orders (
            id int, account_id int constraint "to account" references public.user_accounts (id)
        );
        insert into public.orders values (1, 1), (2, 4);
        create policy "their own" on public.orders
        using (account_id in (select id from public.user_accounts where user_id = auth.uid()::text));
        """,
        """columns that accounts do not have: 2 (broker text, note text)
objects that depend on the table: 8 (function public.counted(public.user_accounts[]), function public.rows(), \
materialized view public.names_stored, policy "their own" on public.orders, \
publication relation public.user_accounts in publication all changes, rule keep on public.user_accounts, \
trigger stamp on public.user_accounts, view public.names)
foreign keys to another column than an id or user_id of type uuid: 1 ("to account" on public.orders)
rows whose user_id is null: 1
rows whose user_id is not a uuid: 2
rows whose user_id is not the id of a user: 1
rows whose account_name is null or empty: 2
rows whose account_name has control characters: 1
rows whose account_name has white space at an end: 2
rows whose account_name is too long: 1
rows whose is_active is null: 1
users with several rows: 1 (2 rows)""",
        (
            Account(user(1), NEW, "Ada", True, on_day(1), on_day(2)),
            Account(user(2), NEW, "Bob", False, on_day(3), on_day(3)),
            Account(user(3), NEW, "a b", False, on_day(2), on_day(2)),
            Account(user(4), NEW, "x" * 254, True, NOW, NOW),
            Account(user(5), NEW, "Default Alpaca Account", True, NOW, NOW),
            Account(user(6), NEW, "Default Alpaca Account", True, NOW, NOW),
        ),
        leave_columns="broker,note",
    ),
    "ids that are uuids as text, some of them": Shape(
        """
        create table public.user_accounts (
            id varchar(36) primary key, user_id char(36), account_name text not null, is_active integer default 1,
            created_at text, updated_at timestamptz
        );
        insert into public.user_accounts values
        ('A0000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000001', 'Ada', 1,
            '2024-01-01T12:00:00', '2024-01-02T13:00:00+01:00'),
        ('b0000000000040008000000000000002', '00000000-0000-4000-8000-000000000002', 'Bob', 0,
            '2024-01-01T12:00:00Z', '2024-01-02T12:00:00Z'),
        ('account-3', '00000000-0000-4000-8000-000000000003', 'Carol ', 1, null, '2024-01-02T12:00:00Z');
        create table public.orders (id int, account_id varchar(36) references public.user_accounts (id));
        insert into public.orders values (1, 'A0000000-0000-4000-8000-000000000001'), (2, 'account-3');
        """,
        """columns of another type: 3 (user_id character, is_active integer, created_at text)
foreign keys to another column than an id or user_id of type uuid: 1 (orders_account_id_fkey on public.orders)
rows whose account_name has white space at an end: 1""",
        (
            Account(user(1), UUID("a0000000-0000-4000-8000-000000000001"), "Ada", True, on_day(1), on_day(2)),
            Account(user(2), UUID("b0000000-0000-4000-8000-000000000002"), "Bob", False, on_day(1), on_day(2)),
            Account(user(3), NEW, "Carol", True, on_day(2), on_day(2)),
        ),
    ),
    "uuid ids with references and an open policy": Shape(
        """
        create table public.user_accounts (
            id uuid primary key default gen_random_uuid(), user_id uuid unique references auth.users (id),
            account_name text, is_active boolean, created_at timestamptz, updated_at timestamptz
        );
        alter table public.user_accounts enable row level security;
        alter table public.user_accounts force row level security;
        create policy "open" on public.user_accounts using (true) with check (true);
        create index on public.user_accounts (account_name);
        grant all on public.user_accounts to anon, authenticated, service_role, pg_monitor;
        grant select (account_name) on public.user_accounts to public, pg_monitor;
        insert into public.user_accounts values
        ('a0000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000001', 'Ada', true,
            '2024-01-01 12:00+00', '2024-01-02 12:00+00'),
        ('a0000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000002', 'Bob', null,
            '2024-01-01 12:00+00', '2024-01-02 12:00+00');
        create table public.orders (
            id int, account_id uuid references public.user_accounts (id) on delete cascade deferrable,
            user_id uuid constraint "to user" references public.user_accounts (user_id)
        );
        insert into public.orders values (1, 'a0000000-0000-4000-8000-000000000001', null),
        (2, null, '00000000-0000-4000-8000-000000000002');
        create table public.parts (account_id uuid) partition by list (account_id);
        create table public.part partition of public.parts default;
        alter table public.parts add foreign key (account_id) references public.user_accounts;
        """,
        "rows whose is_active is null: 1",
        (
            Account(user(1), UUID("a0000000-0000-4000-8000-000000000001"), "Ada", True, on_day(1), on_day(2)),
            Account(user(2), UUID("a0000000-0000-4000-8000-000000000002"), "Bob", False, on_day(1), on_day(2)),
        ),
    ),
    "bigint identity ids, few columns, several rows a user": Shape(
        """
        create table public.user_accounts (
            id bigint generated always as identity, user_id text, account_name text
        );
        insert into public.user_accounts (user_id, account_name) values
        ('00000000-0000-4000-8000-000000000001', E'\\u00a0Ada\\n'), ('00000000-0000-4000-8000-000000000002', 'Bob'),
        ('00000000-0000-4000-8000-000000000001', E'\\u00a0Ada'), ('00000000-0000-4000-8000-000000000002', 'Bob'),
        ('00000000-0000-4000-8000-000000000001', 'Ada '), ('00000000-0000-4000-8000-000000000003', 'Carol');
        """,
        """rows whose account_name has control characters: 1
rows whose account_name has white space at an end: 3
users with several rows: 2 (5 rows)""",
        (
            Account(user(1), NEW, "Ada", True, NOW, NOW),
            Account(user(2), NEW, "Bob", True, NOW, NOW),
            Account(user(3), NEW, "Carol", True, NOW, NOW),
        ),
    ),
}
