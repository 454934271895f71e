"""Columns, constraints, indexes, triggers, the functions of the migrations, and what is missing."""

from typing import Final

from tests.database.verify.gap import CONTESTED, Gap, contested, locked_out, own, reached, weaker

_ALTER = "alter table public.user_accounts"
_ACCOUNT = "create or replace function public.get_account(account_id uuid) returns setof public.user_accounts"
_RENAME = (
    "create or replace function public.rename_account(account_id uuid, account_name text) "
    "returns setof public.user_accounts"
)
_STAMP = "create or replace function accounts_private.set_updated_at() returns trigger language plpgsql"
_SOMETHING = "warning info"
_CHECKS: Final = ("account_name_length", "account_name_no_control", "account_name_trimmed")
_FUNCTIONS: Final = (
    "list_accounts()",
    "get_or_create_account(text)",
    "create_account(text)",
    "get_account(uuid)",
    "rename_account(uuid, text)",
)

GAPS: Final[dict[str, Gap]] = {
    **{f"without check {name}": weaker(f"{_ALTER} drop constraint user_accounts_{name}") for name in _CHECKS},
    "a check that is not valid": weaker(
        f"{_ALTER} drop constraint user_accounts_account_name_length, add constraint user_accounts_account_name_length "
        "check (char_length(account_name) between 1 and 255) not valid"
    ),
    "a check of the same name": weaker(
        f"{_ALTER} drop constraint user_accounts_account_name_length, add constraint user_accounts_account_name_length "
        "check (char_length(account_name) < 1000)"
    ),
    "one more check": weaker(
        f"{_ALTER} add constraint theirs check (account_name != 'admin')", levels="warning info none", only_person=True
    ),
    "one more check that fails": locked_out(
        f"{_ALTER} add constraint theirs check (account_name like 'Account %') not valid", only_person=True
    ),
    "no primary key": weaker(f"{_ALTER} drop constraint user_accounts_pkey", levels=CONTESTED),
    "no unique constraint": locked_out(f"{_ALTER} drop constraint user_accounts_user_id_key"),
    "an index of the unique constraint's name": locked_out(
        f"{_ALTER} drop constraint user_accounts_user_id_key; "
        "create unique index user_accounts_user_id_key on public.user_accounts (user_id)"
    ),
    "an index of the unique constraint's name that is not unique": locked_out(
        f"{_ALTER} drop constraint user_accounts_user_id_key; "
        "create index user_accounts_user_id_key on public.user_accounts (user_id)"
    ),
    "a table of the unique constraint's name": locked_out(
        f"{_ALTER} drop constraint user_accounts_user_id_key; create table public.user_accounts_user_id_key (id int)",
        only_person=True,
    ),
    "a deferrable unique constraint": locked_out(
        f"{_ALTER} drop constraint user_accounts_user_id_key, "
        "add constraint user_accounts_user_id_key unique (user_id) deferrable"
    ),
    "a unique constraint of two columns": locked_out(
        f"{_ALTER} drop constraint user_accounts_user_id_key, "
        "add constraint user_accounts_user_id_key unique (user_id, account_name)"
    ),
    "a unique constraint of another name": locked_out(
        f"{_ALTER} rename constraint user_accounts_user_id_key to one_account", only_person=True
    ),
    "several rows of a user": locked_out(
        f"{_ALTER} drop constraint user_accounts_user_id_key; insert into public.user_accounts (user_id, account_name) "
        "select user_id, 'Second' from public.user_accounts limit 1",
        only_person=True,
        data_in_the_way=True,
    ),
    "no foreign key": weaker(f"{_ALTER} drop constraint user_accounts_user_id_fkey"),
    **{
        f"a foreign key on delete {action}": weaker(
            f"{_ALTER} drop constraint user_accounts_user_id_fkey, add constraint user_accounts_user_id_fkey "
            f"foreign key (user_id) references auth.users (id) on delete {action}",
            superuser=True,
        )
        for action in ("no action", "restrict", "set null")
    },
    "a foreign key that is not valid": weaker(
        f"{_ALTER} drop constraint user_accounts_user_id_fkey, add constraint user_accounts_user_id_fkey "
        "foreign key (user_id) references auth.users (id) on delete cascade not valid",
        superuser=True,
    ),
    "a deferrable foreign key": weaker(
        f"{_ALTER} drop constraint user_accounts_user_id_fkey, add constraint user_accounts_user_id_fkey "
        "foreign key (user_id) references auth.users (id) on delete cascade deferrable",
        superuser=True,
    ),
    "a foreign key that is not enforced": weaker(
        f"{_ALTER} drop constraint user_accounts_user_id_fkey, add constraint user_accounts_user_id_fkey "
        "foreign key (user_id) references auth.users (id) on delete cascade not enforced",
        superuser=True,
        since=18,
    ),
    "a check that is not enforced": weaker(
        f"{_ALTER} drop constraint user_accounts_account_name_length, add constraint user_accounts_account_name_length "
        "check (char_length(account_name) between 1 and 255) not enforced",
        since=18,
    ),
    **{
        f"{column} may be null": weaker(f"{_ALTER} alter column {column} drop not null")
        for column in ("user_id", "account_name", "is_active", "created_at", "updated_at")
    },
    "a not-null constraint that is not valid": weaker(
        f"{_ALTER} alter column account_name drop not null; "
        f"{_ALTER} add constraint user_accounts_account_name_not_null not null account_name not valid",
        since=18,
    ),
    "a not-null constraint of another name": weaker(
        f"{_ALTER} alter column account_name drop not null; {_ALTER} add constraint theirs not null account_name",
        since=18,
        levels="info none",
    ),
    "user_id without a default": locked_out(f"{_ALTER} alter column user_id drop default"),
    "user_id by chance": locked_out(f"{_ALTER} alter column user_id set default gen_random_uuid()"),
    "user_id of a claim": locked_out(
        f"{_ALTER} alter column user_id set default (auth.jwt() -> 'user_metadata' ->> 'sub')::uuid"
    ),
    "id without a default": locked_out(f"{_ALTER} alter column id drop default"),
    "id always the same": contested(f"{_ALTER} alter column id set default '00000000-0000-4000-8000-000000000001'"),
    "inactive from the start": contested(f"{_ALTER} alter column is_active set default false"),
    "created_at long ago": weaker(f"{_ALTER} alter column created_at set default '1970-01-01'", levels=CONTESTED),
    "a name by default": weaker(f"{_ALTER} alter column account_name set default 'x'"),
    "account_name of another type": locked_out(f"{_ALTER} alter column account_name type varchar(255)"),
    "created_at without a time zone": locked_out(f"{_ALTER} alter column created_at type timestamp"),
    "account_name with the collation C": weaker(f'{_ALTER} alter column account_name type text collate "C"'),
    "one more column": weaker(f"{_ALTER} add column note text", only_person=True, levels="warning info none"),
    "one more column that is required": locked_out(
        f"{_ALTER} add column note text not null default 'x'; {_ALTER} alter column note drop default", only_person=True
    ),
    "one more column that is generated": weaker(
        f"{_ALTER} add column shout text generated always as (upper(account_name)) stored",
        only_person=True,
        levels="warning info none",
    ),
    "without is_active": locked_out(f"{_ALTER} drop column is_active cascade"),
    "without user_id": locked_out(f"{_ALTER} drop column user_id cascade", only_person=True, data_in_the_way=True),
    "without updated_at": locked_out(f"{_ALTER} drop column updated_at"),
    "is_active dropped and added again": weaker(
        f"{_ALTER} drop column is_active cascade; {_ALTER} add column is_active boolean not null default true"
    ),
    "created_at dropped and added again": weaker(
        f"{_ALTER} drop column created_at; {_ALTER} add column created_at timestamptz not null default now()",
        levels="warning info none",
    ),
    "account_name dropped and added again": locked_out(
        f"{_ALTER} drop column account_name; {_ALTER} add column account_name text not null default 'x'",
        loses_rows=True,
    ),
    "account_name generated": locked_out(
        f"{_ALTER} drop column account_name; "
        f"{_ALTER} add column account_name text not null generated always as ('x') stored",
        loses_rows=True,
    ),
    "account_name generated anew at each reading": locked_out(
        f"{_ALTER} drop column account_name; {_ALTER} add column account_name text generated always as ('x') virtual",
        loses_rows=True,
        only_person=True,
        since=18,
    ),
    "another name for a column": locked_out(
        f"{_ALTER} rename column account_name to name", only_person=True, data_in_the_way=True
    ),
    "another name for the table": locked_out(f"{_ALTER} rename to accounts", only_person=True),
    "another schema for the table": locked_out(f"create schema shop; {_ALTER} set schema shop", only_person=True),
    "unlogged": weaker(f"{_ALTER} set unlogged"),
    "fillfactor": own(f"{_ALTER} set (fillfactor = 50)"),
    "statistics of a column": weaker(
        f"{_ALTER} alter column account_name set statistics 10", levels="warning info none"
    ),
    "an index": weaker("create index on public.user_accounts (created_at)", levels="info none", only_person=True),
    "a unique index": weaker("create unique index on public.user_accounts (account_name)", only_person=True),
    "a unique index of an expression": weaker(
        "create unique index on public.user_accounts (lower(account_name)) where is_active", only_person=True
    ),
    "an index that cannot be used": locked_out(
        "update pg_index set indisvalid = false where indexrelid = 'public.user_accounts_user_id_key'::regclass",
        superuser=True,
    ),
    "no trigger": weaker("drop trigger user_accounts_set_updated_at on public.user_accounts"),
    "a trigger that is off": weaker(f"{_ALTER} disable trigger user_accounts_set_updated_at"),
    "all triggers off": weaker(f"{_ALTER} disable trigger all", superuser=True),
    "a trigger for replicas": weaker(f"{_ALTER} enable replica trigger user_accounts_set_updated_at"),
    "a trigger always": weaker(f"{_ALTER} enable always trigger user_accounts_set_updated_at"),
    "a trigger of one column": weaker(
        "create or replace trigger user_accounts_set_updated_at before update of account_name on public.user_accounts "
        "for each row execute function accounts_private.set_updated_at()"
    ),
    "a trigger on a condition": weaker(
        "create or replace trigger user_accounts_set_updated_at before update on public.user_accounts for each row "
        "when (new.is_active) execute function accounts_private.set_updated_at()"
    ),
    "a trigger that does nothing": weaker(f"{_STAMP} as 'begin return new; end'"),
    "a trigger that drops changes": locked_out(f"{_STAMP} as 'begin return null; end'"),
    "a trigger that changes all rows": reached(
        f"""{_STAMP} security definer as $$begin if pg_trigger_depth() < 2 then
        update public.user_accounts set account_name = 'Reached' where id != new.id; end if; return new; end$$"""
    ),
    "the trigger's function is gone": weaker("drop function accounts_private.set_updated_at() cascade"),
    **{f"no {head}": locked_out(f"drop function public.{head}") for head in _FUNCTIONS},
    **{
        f"security definer: {head}": weaker(f"alter function public.{head} security definer", levels="error warning")
        for head in _FUNCTIONS
    },
    "no get_or_create_account_for": contested("drop function public.get_or_create_account_for(uuid, text)"),
    "no active_account_ids": contested("drop function accounts_private.active_account_ids()"),
    "a service's function for all": reached(
        "alter function public.get_or_create_account_for(uuid, text) security definer; "
        "grant execute on function public.get_or_create_account_for(uuid, text) to authenticated"
    ),
    "get_account of anybody": reached(
        f"{_ACCOUNT} language sql security definer set search_path = '' as "
        "'select * from public.user_accounts where id = account_id'"
    ),
    "get_account trusts the policies": weaker(
        f"{_ACCOUNT} language sql stable set search_path = '' as "
        "'select * from public.user_accounts where id = account_id'"
    ),
    "get_account that runs a text": reached(
        f"""{_ACCOUNT} language plpgsql security definer as
        $$begin return query execute 'select * from public.user_accounts'; end$$""",
        levels=CONTESTED,
    ),
    "rename_account of anybody": reached(
        f"{_RENAME} language sql security definer set search_path = '' as 'update public.user_accounts as ua "
        "set account_name = rename_account.account_name where id = account_id returning ua.*'"
    ),
    "list_accounts of everybody": reached(
        "create or replace function public.list_accounts() returns setof public.user_accounts "
        "language sql security definer as 'select * from public.user_accounts'"
    ),
    "active_account_ids of everybody": reached(
        "create or replace function accounts_private.active_account_ids() returns setof uuid "
        "language sql stable security definer as 'select id from public.user_accounts'"
    ),
    "create_account for the victim": locked_out(
        "create or replace function public.create_account(account_name text) returns public.user_accounts "
        "language plpgsql as $$begin raise exception 'closed'; end$$"
    ),
    "get_account is empty": locked_out(f"{_ACCOUNT} language sql as 'select * from public.user_accounts where false'"),
    "list_accounts in another language": weaker(
        "create or replace function public.list_accounts() returns setof public.user_accounts language sql stable "
        "set search_path = '' as 'select * from public.user_accounts where user_id = (select auth.uid())'"
    ),
    "get_account returns JSON": locked_out(
        "drop function public.get_account(uuid); create function public.get_account(account_id uuid) returns json "
        "language sql as 'select to_json(ua) from public.user_accounts as ua where id = account_id'"
    ),
    "get_account takes another name": locked_out(
        "drop function public.get_account(uuid); create function public.get_account(id uuid) returns setof "
        "public.user_accounts language sql as 'select * from public.user_accounts as ua where ua.id = get_account.id'; "
        "grant execute on function public.get_account(uuid) to authenticated"
    ),
    "get_account has another name": locked_out("alter function public.get_account(uuid) rename to account"),
    "get_account is elsewhere": locked_out(
        "create schema shop; alter function public.get_account(uuid) set schema shop"
    ),
    "an overload": weaker(
        "create function public.get_account(account_id text) returns int language sql as 'select 1'",
        only_person=True,
        levels="error",
    ),
    "an overload with a default": weaker(
        "create function public.list_accounts(page int) returns int language sql as 'select 1'",
        only_person=True,
        levels="error warning info",
    ),
    "the search path is the caller's": weaker("alter function public.list_accounts() reset all"),
    "the search path is public": weaker("alter function public.get_or_create_account(text) set search_path = public"),
    "one more setting": weaker("alter function public.list_accounts() set work_mem = '1MB'"),
    "row_security off in a function": locked_out("alter function public.list_accounts() set row_security = off"),
    "strict": weaker("alter function public.get_account(uuid) strict"),
    "leakproof": weaker("alter function public.list_accounts() leakproof", superuser=True),
    "parallel safe": weaker("alter function public.get_account(uuid) parallel safe"),
    "cost": own("alter function public.get_account(uuid) cost 1000"),
    "immutable": weaker("alter function public.list_accounts() immutable"),
    "a function of authenticated": contested(
        "alter function public.list_accounts() owner to authenticated", superuser=True
    ),
    "a function of a superuser": weaker(
        "alter function public.list_accounts() owner to supabase_admin", superuser=True
    ),
    "a definer function of a superuser": contested(
        "alter function public.list_accounts() owner to supabase_admin; "
        "alter function public.list_accounts() security definer",
        superuser=True,
    ),
    "a comment": weaker("comment on table public.user_accounts is 'x'", levels="info"),
    "a comment on a column": weaker("comment on column public.user_accounts.user_id is null", levels="info"),
    "a comment on a function": weaker("comment on function public.list_accounts() is null", levels="info"),
    "the schema public": locked_out(
        "drop schema public cascade; create schema public", superuser=True, loses_rows=True
    ),
    "the schema public, by its owner": locked_out(
        "drop schema public cascade; create schema public; grant usage on schema public to anon, authenticated, "
        "service_role; alter default privileges in schema public grant all on tables to anon, authenticated, "
        "service_role",
        loses_rows=True,
    ),
    "no schema public": locked_out("drop schema public cascade", superuser=True, loses_rows=True),
    "the schema accounts_private": contested("drop schema accounts_private cascade"),
    "all of it": locked_out(
        "drop schema accounts_private cascade; drop table public.user_accounts cascade; "
        "drop function public.get_or_create_account, public.get_or_create_account_for",
        loses_rows=True,
    ),
    "the table": locked_out("drop table public.user_accounts cascade", loses_rows=True),
    "another name for the schema": contested("alter schema accounts_private rename to private", only_person=True),
    "something in the schema": weaker("create table accounts_private.t (id int)", only_person=True),
    "a function in the schema": weaker(
        "create function accounts_private.f() returns int language sql as 'select 1'", only_person=True
    ),
    "no migration is recorded": weaker(
        "delete from supabase_migrations.schema_migrations", only_person=True, levels="error warning info"
    ),
    "a migration with other content": weaker(
        "update supabase_migrations.schema_migrations set statements[1] = statements[1] || ' -- by hand'",
        only_person=True,
        levels="warning info none",
    ),
    "functions of the same heads in another language": locked_out(
        "drop function public.get_account(uuid); create function public.get_account(account_id uuid) "
        "returns public.user_accounts language sql as 'select null::public.user_accounts'; "
        "drop function public.rename_account(uuid, text)"
    ),
    "rows that a check forbids": weaker(
        f"{_ALTER} drop constraint user_accounts_account_name_trimmed; "
        "update public.user_accounts set account_name = account_name || ' '",
        data_in_the_way=True,
    ),
    "rows without a name": weaker(
        f"{_ALTER} alter column account_name drop not null; "
        "update public.user_accounts set account_name = null where account_name like 'S%'",
        data_in_the_way=True,
    ),
    "rows of users that are gone": weaker(
        f"{_ALTER} drop constraint user_accounts_user_id_fkey; delete from auth.users where email like 'stranger@%'",
        data_in_the_way=True,
        superuser=True,
    ),
    "get_account takes one more": locked_out(
        "drop function public.get_account(uuid); create function public.get_account(account_id uuid, more int) "
        "returns setof public.user_accounts language sql as 'select * from public.user_accounts'",
        only_person=True,
    ),
    "everything at once": reached(
        f"""{_ALTER} disable row level security; {_ALTER} drop constraint user_accounts_user_id_key;
        {_ALTER} alter column user_id drop default; drop function public.list_accounts();
        alter function public.get_account(uuid) security definer; drop schema accounts_private cascade;
        grant all on public.user_accounts to anon; create policy p on public.user_accounts using (true);
        create view public.v as select * from public.user_accounts;
        revoke execute on function public.create_account(text) from authenticated"""
    ),
}
