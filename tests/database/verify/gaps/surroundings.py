"""What the migrations rely on: the schema auth, owners, default privileges, event triggers, PostgreSQL's objects."""

from typing import Final

from tests.database.verify.gap import CONTESTED, Gap, contested, locked_out, reached, weaker
from tests.database.verify.oracle import VICTIM

_UID = "create or replace function auth.uid() returns uuid language sql stable as"
_JWT = "create or replace function auth.jwt() returns jsonb language sql stable as"
_CLAIMS = "nullif(current_setting('request.jwt.claims', true), '')::jsonb"

GAPS: Final[dict[str, Gap]] = {
    "auth.uid() is the victim": reached(f"{_UID} $$select '{VICTIM}'::uuid$$", superuser=True),
    "auth.uid() by a claim that users choose": reached(
        f"{_UID} $$select coalesce({_CLAIMS} -> 'user_metadata' ->> 'sub', {_CLAIMS} ->> 'sub')::uuid$$", superuser=True
    ),
    "auth.uid() by a header": contested(
        f"{_UID} $$select coalesce(current_setting('request.headers', true)::json ->> 'x-user', {_CLAIMS} ->> "
        f"'sub')::uuid$$",
        superuser=True,
    ),
    "auth.uid() for requests without a user": reached(
        f"{_UID} $$select coalesce({_CLAIMS} ->> 'sub', '{VICTIM}')::uuid$$", superuser=True
    ),
    "auth.uid() is nobody": locked_out(f"{_UID} 'select null::uuid'", superuser=True),
    "auth.uid() asks for a row": reached(
        f"{_UID} 'select id from auth.users order by id limit 1' security definer", superuser=True
    ),
    "auth.uid() is of authenticated": contested("alter function auth.uid() owner to authenticated", superuser=True),
    "auth.uid() is dropped and recreated by hand": locked_out(
        "drop function auth.uid() cascade; "
        f"create function auth.uid() returns uuid language sql as $$select '{VICTIM}'::uuid$$",
        superuser=True,
    ),
    "auth.uid() cannot be called": locked_out(
        "revoke execute on function auth.uid() from public, authenticated", superuser=True
    ),
    "auth.uid() of the project's search path": weaker(
        "alter function auth.uid() security definer", superuser=True, levels="error warning info none"
    ),
    "auth.jwt() is empty": contested(f"{_JWT} $$select '{{}}'::jsonb$$", superuser=True),
    "auth.jwt() without is_anonymous": contested(f"{_JWT} $$select {_CLAIMS} - 'is_anonymous'$$", superuser=True),
    "auth.jwt() cannot be called": locked_out(
        "revoke execute on function auth.jwt() from public, authenticated", superuser=True
    ),
    "users for anon": reached("grant select on auth.users to anon", superuser=True),
    "users for authenticated": reached("grant select on auth.users to authenticated", superuser=True),
    "users for public": reached("grant select on auth.users to public", superuser=True),
    "a column of users": reached("grant select (email) on auth.users to authenticated", superuser=True),
    "users can be deleted": reached("grant delete on auth.users to authenticated", superuser=True),
    "users can be changed": reached("grant update (email) on auth.users to authenticated", superuser=True),
    "users can be truncated": reached(
        "grant truncate on all tables in schema auth to anon; grant truncate on public.user_accounts to anon",
        superuser=True,
        attack="truncate auth.users cascade",
    ),
    "users for anon, with row level security": weaker(
        "alter table auth.users enable row level security; grant select on auth.users to anon",
        superuser=True,
        levels="error warning info",
    ),
    "users of authenticated": reached(
        "alter table auth.users owner to authenticated", superuser=True, only_person=True
    ),
    "a trigger on users for a function that anybody can call": weaker(
        """create function public.on_user() returns trigger language plpgsql security definer set search_path = '' as
        $$begin insert into public.user_accounts (user_id, account_name) values (new.id, 'First'); return new; end$$;
        create trigger on_user after insert on auth.users for each row execute function public.on_user()""",
        superuser=True,
        only_person=True,
        levels="warning info none",
    ),
    "public is of authenticated": reached(
        "alter schema public owner to authenticated",
        superuser=True,
        levels=CONTESTED,
        attack="drop table public.user_accounts cascade; select true",
    ),
    "public is of anon": reached(
        "alter schema public owner to anon",
        superuser=True,
        levels=CONTESTED,
        attack="drop table public.user_accounts cascade; select true",
    ),
    "public is of a superuser": weaker(
        "alter schema public owner to supabase_admin; grant all on schema public to postgres",
        superuser=True,
        levels="warning info none",
    ),
    "auth is of authenticated": reached(
        "alter schema auth owner to authenticated",
        superuser=True,
        levels=CONTESTED,
        attack="drop table auth.users cascade; select true",
    ),
    "accounts_private is of authenticated": contested(
        "alter schema accounts_private owner to authenticated", superuser=True
    ),
    "accounts_private is of a superuser": weaker(
        "alter schema accounts_private owner to supabase_admin", superuser=True, levels="warning info"
    ),
    "the database is of authenticated": contested(
        "do $$begin execute format('alter database %I owner to authenticated', current_database()); end$$",
        superuser=True,
    ),
    "new tables for anon": weaker("alter default privileges for role postgres grant select on tables to anon"),
    "new tables for public": weaker("alter default privileges for role postgres grant all on tables to public"),
    "new tables of a superuser": weaker(
        "alter default privileges for role supabase_admin grant all on tables to anon", superuser=True
    ),
    "new functions for anon": weaker("alter default privileges for role postgres grant execute on functions to anon"),
    "new schemas for anon": weaker("alter default privileges for role postgres grant usage on schemas to anon"),
    "new tables in accounts_private": weaker(
        "alter default privileges for role postgres in schema accounts_private grant select on tables to authenticated"
    ),
    "new functions in accounts_private": weaker(
        "alter default privileges for role postgres in schema accounts_private grant execute on functions to anon"
    ),
    "an event trigger": weaker(
        """create function public.on_ddl() returns event_trigger language plpgsql as 'begin end';
        create event trigger on_ddl on ddl_command_end execute function public.on_ddl()""",
        superuser=True,
        only_person=True,
        levels="error warning info",
    ),
    "an event trigger that opens tables": weaker(
        """create function public.on_ddl() returns event_trigger language plpgsql security definer as
        $$begin execute 'grant all on all tables in schema public to anon'; end$$;
        create event trigger on_ddl on ddl_command_end when tag in ('CREATE TABLE') execute function public.on_ddl()""",
        superuser=True,
        only_person=True,
        levels="error warning",
    ),
    "files can be read": reached(
        "grant execute on function pg_read_file(text) to authenticated",
        superuser=True,
        attack="select length(pg_read_file('PG_VERSION')) > 0",
        levels=CONTESTED,
    ),
    "folders can be listed": weaker(
        "grant execute on function pg_ls_dir(text) to public", superuser=True, levels="error warning info none"
    ),
    "statistics can be read": reached(
        "analyze public.user_accounts; grant select on pg_catalog.pg_statistic to authenticated",
        superuser=True,
        levels=CONTESTED,
        attack="select string_agg(concat_ws(',', stavalues1::text, stavalues2::text), ';') from pg_statistic "
        "where starelid = 'public.user_accounts'::regclass",
    ),
    "password hashes can be read": weaker(
        "grant select on pg_catalog.pg_authid to anon", superuser=True, levels="error warning info none"
    ),
    "a language that can do everything": weaker(
        "update pg_language set lanpltrusted = true where lanname = 'c'; grant usage on language c to authenticated",
        superuser=True,
        levels="error warning info none",
        only_person=True,
    ),
    "auth.uid() of another return": weaker(
        "alter function auth.uid() volatile; alter function auth.uid() parallel safe",
        superuser=True,
        levels="warning info none",
    ),
    "users may be added": reached(
        "grant insert on auth.users to anon",
        superuser=True,
        levels=CONTESTED,
        attack="insert into auth.users (id, email) values (gen_random_uuid(), 'x'); select true",
    ),
    "a view of users in auth": reached(
        "create view auth.people as select id, email from auth.users; grant select on auth.people to anon",
        superuser=True,
    ),
}
