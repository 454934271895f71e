-- Creates what a hosted Supabase project has before its first migration and a plain PostgreSQL does not.
--
-- Run once, in one transaction, on a fresh cluster by its bootstrap superuser (supabase_admin, as on the hosted
-- product). No password is set here: it is set afterwards, in a form that no log shows.

-- Roles: the API's three, in order of power, and the one that runs the migrations --------------------------------

create role anon nologin noinherit;
create role authenticated nologin noinherit;
create role service_role nologin noinherit bypassrls;

-- Not a superuser, as on the hosted product: a migration that needs more than a project's owner has fails here too.
create role postgres login createdb createrole bypassrls;
grant anon to postgres with admin option;
grant authenticated to postgres with admin option;
grant service_role to postgres with admin option;

-- The embedded REST and Auth connect as this role. At the first requests they try to grant ALL on public's tables to
-- the API roles, which would undo the migrations' revokes. This role cannot, because it owns nothing there. It inherits
-- the API roles' rights, which turns the refusal into a warning instead of an error.
create role gateway login inherit;
grant anon to gateway;
grant authenticated to gateway;
grant service_role to gateway;

-- The gateway alters its tables in these two schemas at each start, migrations refer to auth.users, and
-- `supabase db push` records in supabase_migrations what it applied.
grant gateway to postgres;

alter database postgres owner to postgres;
grant create on database postgres to gateway;

-- Schemas ---------------------------------------------------------------------------------------------------------

-- public is pg_database_owner's, as PostgreSQL creates it: the owner of the database is a member.
create schema extensions authorization postgres;
create schema auth authorization gateway;
create schema supabase_migrations authorization gateway;

grant usage on schema public, auth, extensions to anon, authenticated, service_role;

-- Default privileges: everything new in public is open to the API roles, as in hosted projects until 30 October 2026.
-- From then on a new table is closed until it is granted. The open kind is the stricter test: a migration that forgets
-- to revoke is found here.
-- https://supabase.com/changelog/45329-breaking-change-tables-not-exposed-to-data-and-graphql-api-automatically

alter default privileges for role postgres in schema public
grant all on tables to anon, authenticated, service_role;
alter default privileges for role postgres in schema public
grant all on functions to anon, authenticated, service_role;
alter default privileges for role postgres in schema public
grant all on sequences to anon, authenticated, service_role;
