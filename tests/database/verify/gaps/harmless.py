"""What projects have of their own, and what is tighter than the migrations need."""

from typing import Final

from tests.database.verify.gap import Gap, own, tighter

_UID = "create or replace function auth.uid() returns uuid language sql stable as"
_CLAIM = "current_setting('request.jwt.claim.sub', true)"
_CLAIMS = "current_setting('request.jwt.claims', true)"

GAPS: Final[dict[str, Gap]] = {
    "an open table": own(
        "create table public.todos (id int, user_id uuid); grant all on public.todos to public, anon, authenticated; "
        "create policy everything on public.todos using (true)"
    ),
    "a table with row level security": own(
        "create table public.todos (id int, user_id uuid); alter table public.todos enable row level security; "
        "create policy mine on public.todos using (user_id = auth.uid())"
    ),
    "a view of its own table": own(
        "create table public.todos (id int); create view public.v as select * from public.todos"
    ),
    "a materialized view of its own table": own(
        "create table public.todos (id int); create materialized view public.v as select * from public.todos"
    ),
    "an invoker view of the accounts": own(
        "create view public.mine with (security_invoker = on) as select * from public.user_accounts"
    ),
    "an invoker view that joins": own(
        "create table public.todos (user_id uuid); create view public.mine with (security_invoker = true) as "
        "select t.*, ua.account_name from public.todos as t inner join public.user_accounts as ua using (user_id)"
    ),
    "an invoker function": own(
        "create function public.f() returns bigint language sql as 'select count(*) from public.user_accounts'"
    ),
    "an invoker function of any statement": own(
        "create function public.f(query text) returns void language plpgsql as 'begin execute query; end'"
    ),
    "a definer function of its own table": own(
        "create table public.todos (id int); create function public.f() returns int language sql security definer "
        "set search_path = '' as 'select id from public.todos'"
    ),
    "a definer function that calls its own": own(
        "create table public.todos (id int); create function public.g() returns int language sql security definer "
        "set search_path = '' as 'select id from public.todos'; create function public.f() returns int language "
        "plpgsql security definer set search_path = '' as 'begin return public.g(); end'"
    ),
    "a table of the same name": own(
        "create schema shop; create table shop.user_accounts (id int, name text); "
        "create view shop.v as select * from shop.user_accounts; grant usage on schema shop to anon; "
        "grant select on shop.v to anon"
    ),
    "functions of the same names": own(
        "create schema shop; create function shop.create_account() returns int language sql as 'select 1'; "
        "grant usage on schema shop to anon"
    ),
    "policies of its own that ask for the accounts": own(
        """create table public.orders (
            id int, account_id uuid references public.user_accounts (id) on delete cascade
        );
        alter table public.orders enable row level security;
        create policy mine on public.orders for select to authenticated
        using (account_id = any (array(select accounts_private.active_account_ids())))"""
    ),
    "a foreign key that follows": own(
        "create table public.orders (account_id uuid references public.user_accounts (id) on delete cascade); "
        "alter table public.orders enable row level security"
    ),
    "a trigger on its own table": own(
        """create table public.todos (id int);
        create function public.stamp() returns trigger language plpgsql as 'begin return new; end';
        create trigger stamp before update on public.todos for each row execute function public.stamp()"""
    ),
    "a profile for each new user": own(
        """create table public.profiles (id uuid primary key references auth.users (id) on delete cascade);
        alter table public.profiles enable row level security;
        create function public.handle_new_user() returns trigger language plpgsql security definer
        set search_path = '' as $$begin insert into public.profiles (id) values (new.id); return new; end$$;
        create trigger on_auth_user_created after insert on auth.users for each row
        execute function public.handle_new_user()""",
        superuser=True,
    ),
    "a publication of its own table": own(
        "create table public.todos (id int); create publication supabase_realtime for table public.todos"
    ),
    "a publication of nothing": own("create publication supabase_realtime"),
    "a rule on its own table": own(
        "create table public.todos (id int); create table public.log (id int); "
        "create rule r as on insert to public.todos do also insert into public.log values (new.id)"
    ),
    "partitions of its own": own(
        "create table public.events (day date) partition by range (day); "
        "create table public.events_all partition of public.events default"
    ),
    "roles, schemas, types and sequences": own(
        """create role reporting; create schema shop; create type public.color as enum ('red');
        create domain public.positive as int check (value > 0); create sequence public.numbers;
        grant all on sequence public.numbers to anon; grant usage on schema public to reporting;
        comment on schema shop is 'user_accounts'"""
    ),
    "aggregates, operators and casts": own(
        """create function public.plus(int, int) returns int language sql immutable as 'select $1 + $2';
        create aggregate public.total(int) (sfunc = public.plus, stype = int);
        create operator public.## (leftarg = int, rightarg = int, function = public.plus)"""
    ),
    "rights on its own schema for public": own(
        "create schema shop; alter default privileges in schema shop grant all on tables to public; "
        "create table shop.orders (id int); grant usage on schema shop to public"
    ),
    "a login of its own": own(
        "create role app login; create table public.todos (id int); grant all on public.todos to app; "
        "grant usage on schema public to app"
    ),
    "migrations of its own": own(
        """insert into supabase_migrations.schema_migrations (version, name, statements)
        select (20250101000000 + n)::text, 'step_' || n, array['select ' || n] from generate_series(1, 30) as n"""
    ),
    "default privileges as of old projects": own(
        """alter default privileges for role postgres in schema public grant all on tables to anon, authenticated,
        service_role; alter default privileges for role postgres in schema public grant all on functions to anon,
        authenticated, service_role"""
    ),
    "auth.uid() as hosted projects have it, another layout": own(
        f"{_UID} $$\n  select \n  \tcoalesce(\n\t\tnullif({_CLAIM}, ''),\n\t\t(nullif({_CLAIMS}, '')::jsonb ->> "
        f"'sub')\n\t)::uuid\n$$",
        superuser=True,
    ),
    "the roles of a hosted project": own(
        """create role supabase_auth_admin login noinherit createrole;
        create role supabase_storage_admin login noinherit createrole;
        create role supabase_replication_admin login replication;
        create role supabase_read_only_user login bypassrls in role pg_read_all_data;
        create role supabase_realtime_admin noinherit; create role dashboard_user createdb createrole replication;
        create role supabase_etl_admin login replication in role pg_read_all_data; create role pgbouncer login;
        grant anon, authenticated, service_role to supabase_storage_admin;
        grant pg_monitor, pg_read_all_data, pg_signal_backend to postgres; grant supabase_auth_admin to postgres""",
        superuser=True,
    ),
    "the settings of a hosted project": own(
        """alter role anon set statement_timeout = '3s'; alter role authenticated set statement_timeout = '8s';
        alter role authenticator set statement_timeout = '8s'; alter role authenticator set lock_timeout = '8s';
        alter role authenticator set session_preload_libraries = 'safeupdate';
        alter role postgres set search_path = "$user", public, extensions""",
        superuser=True,
    ),
    "the settings of an API": own(
        """alter role authenticator set pgrst.db_schemas = 'public, graphql_public';
        alter role authenticator set pgrst.db_max_rows = '1000'""",
        superuser=True,
    ),
    "auth as hosted projects have it": own(
        """alter table auth.users enable row level security; create role supabase_auth_admin login noinherit;
        grant usage, create on schema auth to supabase_auth_admin; alter table auth.users owner to supabase_auth_admin;
        alter function auth.uid() owner to supabase_auth_admin; alter function auth.jwt() owner to supabase_auth_admin;
        grant execute on function auth.uid() to dashboard""".replace("dashboard", "postgres"),
        superuser=True,
    ),
    "default privileges as of new projects": tighter(
        """alter default privileges for role postgres in schema public revoke all on tables from anon, authenticated,
        service_role; alter default privileges for role postgres in schema public revoke all on functions from anon,
        authenticated, service_role; alter default privileges for role postgres in schema public revoke all on
        sequences from anon, authenticated, service_role"""
    ),
    "functions closed by default": tighter(
        "alter default privileges for role postgres revoke execute on functions from public"
    ),
    "no rights for anon in public": tighter("revoke all on all tables in schema public from anon"),
    "auth.email() for nobody": tighter("revoke execute on function auth.email() from public", superuser=True),
    "a time-out for users": tighter("alter role authenticated set statement_timeout = '15s'"),
    "a limit on connections": tighter("alter role authenticator connection limit 20", superuser=True),
    "an equality of its own": own(
        """create function public.same(uuid, uuid) returns boolean language sql as 'select true';
        create operator public.= (leftarg = uuid, rightarg = uuid, function = public.same)"""
    ),
    "a superuser of its own": own("create role boss superuser login", superuser=True),
    "many tables and functions": own(
        """do $$begin for n in 1..50 loop
        execute format('create table public.t%s (id int primary key, note text); alter table public.t%s enable
        row level '
        'security; create policy p on public.t%s using (true); create index on public.t%s (note); '
        'create view public.v%s as select * from public.t%s; create function public.f%s() returns bigint '
        'language sql security definer as $f$select count(*) from public.t%s$f$', n, n, n, n, n, n, n, n);
        end loop; end$$"""
    ),
    "a definer function that is for the trigger of its own table": own(
        """create table public.todos (id int); create function public.stamp() returns trigger language plpgsql
        security definer set search_path = '' as $$begin perform count(*) from public.todos; return new; end$$;
        create trigger stamp before update on public.todos for each row execute function public.stamp()"""
    ),
    "a procedure and an aggregate": own(
        """create procedure public.tidy() language plpgsql as 'begin null; end';
        create function public.step(text, text) returns text language sql as 'select $1 || $2';
        create aggregate public.joined(text) (sfunc = public.step, stype = text)"""
    ),
}
