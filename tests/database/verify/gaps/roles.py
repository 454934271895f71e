"""Roles: what they are, whose members they are, and what their sessions begin with."""

from typing import Final

from tests.database.verify.gap import CONTESTED, Gap, contested, locked_out, own, reached, weaker

# What a member can do besides reading tables.
_FILES = "create temporary table said (line text); copy said from '/etc/passwd'; select count(*) > 0 from said"
_PROGRAM = "create temporary table said (line text); copy said from program 'echo x'; select count(*) = 1 from said"
_WRITE = "copy (select 1) to '/dev/null'; select true"

GAPS: Final[dict[str, Gap]] = {
    "authenticated is a superuser": reached("alter role authenticated superuser", superuser=True),
    "anon is a superuser": reached("alter role anon superuser", superuser=True),
    "authenticated bypasses": reached("alter role authenticated bypassrls", superuser=True),
    "anon bypasses": contested("alter role anon bypassrls", superuser=True),
    "anon bypasses and may": reached(
        "alter role anon bypassrls; grant select on public.user_accounts to anon", superuser=True
    ),
    "service_role does not bypass": contested("alter role service_role nobypassrls", superuser=True),
    "authenticated creates roles": contested("alter role authenticated createrole", superuser=True),
    "authenticated creates databases": weaker("alter role authenticated createdb", superuser=True),
    "authenticated replicates": contested("alter role authenticated replication", superuser=True),
    "anon logs in": weaker("alter role anon login", superuser=True, levels="error warning info"),
    "authenticated logs in": weaker("alter role authenticated login", superuser=True, levels="error warning info"),
    "authenticator is a superuser": contested("alter role authenticator superuser", superuser=True),
    "authenticator bypasses": weaker(
        "alter role authenticator bypassrls", superuser=True, levels="error warning info none"
    ),
    "authenticator inherits": weaker(
        "alter role authenticator inherit", superuser=True, levels="error warning info none"
    ),
    "authenticator is no member of authenticated": locked_out(
        "revoke authenticated from authenticator", superuser=True, levels="error"
    ),
    "service_role to authenticated": contested("grant service_role to authenticated", superuser=True),
    "service_role to anon, inherited": contested("grant service_role to anon with inherit true", superuser=True),
    "service_role to authenticated through another": contested(
        "create role middle in role service_role; grant middle to authenticated", superuser=True
    ),
    "authenticated to anon": weaker("grant authenticated to anon", superuser=True, levels="error warning info"),
    "authenticated to anon, inherited": weaker(
        "grant authenticated to anon with inherit true", superuser=True, levels="error warning info"
    ),
    "the owner of auth.users to authenticated, inherited": reached(
        "create role supabase_auth_admin noinherit; grant usage on schema auth to supabase_auth_admin; "
        "alter table auth.users owner to supabase_auth_admin; grant all on auth.users to postgres; "
        "grant supabase_auth_admin to authenticated with inherit true",
        superuser=True,
    ),
    "the owner of auth.users to anon through another": reached(
        "create role middle; grant usage on schema auth to middle; alter table auth.users owner to middle; "
        "create role outer_role in role middle; "
        "grant outer_role to anon with inherit true",
        superuser=True,
    ),
    "a superuser to authenticated": contested("grant supabase_admin to authenticated", superuser=True),
    **{
        f"a role of its own, {attribute}, to {role}": weaker(
            f"create role team {attribute}; grant team to {role}", superuser=True, levels="warning"
        )
        for attribute, role in (
            ("bypassrls", "authenticated"),
            ("createrole", "anon"),
            ("replication", "authenticated"),
            ("superuser", "service_role"),
        )
    },
    "a superuser of its own, to give itself": contested(
        "create role boss superuser; grant boss to authenticated with admin true, inherit false, set false",
        superuser=True,
        since=16,
    ),
    "a role of its own that creates objects, to authenticated": weaker(
        "create role team; grant create on schema public to team; grant team to authenticated",
        superuser=True,
        levels="warning",
    ),
    "a role of its own that sets a parameter, through another": contested(
        "create role team; grant set on parameter session_replication_role to team; create role middle in role team; "
        "grant middle to anon",
        superuser=True,
    ),
    "a role of its own that leads nowhere": own(
        "create table public.todos (id int); create role team login; grant usage on schema public to team; "
        "grant all on public.todos to team; grant team to anon, authenticated, service_role",
        superuser=True,
    ),
    "authenticated to the owner, who is authenticated's": own("grant authenticated to postgres", superuser=True),
    "pg_read_all_data to authenticated, inherited": reached(
        "grant pg_read_all_data to authenticated with inherit true", superuser=True
    ),
    "pg_read_all_data to anon, inherited": reached("grant pg_read_all_data to anon with inherit true", superuser=True),
    "pg_read_all_data to anon": contested("grant pg_read_all_data to anon", superuser=True),
    "pg_read_all_data to anon through another": reached(
        "create role middle in role pg_read_all_data; grant middle to anon with inherit true", superuser=True
    ),
    "pg_write_all_data to authenticated, inherited": reached(
        "grant pg_write_all_data to authenticated with inherit true", superuser=True
    ),
    "pg_write_all_data to anon": contested("grant pg_write_all_data to anon", superuser=True),
    "pg_execute_server_program to authenticated, inherited": reached(
        "grant pg_execute_server_program to authenticated with inherit true", superuser=True, attack=_PROGRAM
    ),
    "pg_execute_server_program to anon": contested("grant pg_execute_server_program to anon", superuser=True),
    "pg_read_server_files to anon, inherited": reached(
        "grant pg_read_server_files to anon with inherit true", superuser=True, attack=_FILES
    ),
    "pg_read_server_files to authenticated": contested("grant pg_read_server_files to authenticated", superuser=True),
    "pg_write_server_files to authenticated, inherited": reached(
        "grant pg_write_server_files to authenticated with inherit true", superuser=True, attack=_WRITE
    ),
    **{
        f"{role} to authenticated": weaker(
            f"grant {role} to authenticated with inherit true", superuser=True, levels="warning info"
        )
        for role in ("pg_monitor", "pg_read_all_settings", "pg_read_all_stats", "pg_stat_scan_tables")
    },
    **{
        f"{role} to anon": weaker(f"grant {role} to anon with inherit true", superuser=True, levels=levels, since=since)
        for role, levels, since in (
            ("pg_signal_backend", "error warning", 0),
            ("pg_checkpoint", "warning info", 0),
            ("pg_create_subscription", "error warning", 16),
            ("pg_use_reserved_connections", "warning info", 16),
            ("pg_maintain", "error warning", 17),
            ("pg_signal_autovacuum_worker", "warning info", 18),
        )
    },
    "a login that is authenticated": weaker(
        "create role analyst login in role authenticated", levels="error warning info none", only_person=True
    ),
    "a login that is authenticated and bypasses": reached(
        "create role analyst login bypassrls in role authenticated", superuser=True, levels=CONTESTED, only_person=True
    ),
    "a login that is authenticated and reads everything": reached(
        "create role analyst login in role authenticated, pg_read_all_data",
        superuser=True,
        levels=CONTESTED,
        only_person=True,
    ),
    "a login that is anon, with rights of its own": reached(
        "create role analyst login bypassrls in role anon; grant select on public.user_accounts to analyst",
        superuser=True,
        levels=CONTESTED,
        only_person=True,
    ),
    "a login with a policy of its own": reached(
        "create role analyst login in role anon; grant select on public.user_accounts to analyst; "
        "create policy analysts on public.user_accounts for select to analyst using (true)"
    ),
    "requests without a token are service_role's": reached(
        "alter role authenticator set pgrst.db_anon_role = 'service_role'", superuser=True
    ),
    "requests without a token are authenticated's": weaker(
        "alter role authenticator set pgrst.db_anon_role = 'authenticated'", superuser=True, levels="error warning info"
    ),
    "requests without a token are the owner's": reached(
        "alter role authenticator set pgrst.db_anon_role = 'postgres'; grant postgres to authenticator", superuser=True
    ),
    "requests without a token, in this database": reached(
        "do $$begin execute format('alter role authenticator in database %I set pgrst.db_anon_role = service_role', "
        "current_database()); end$$",
        superuser=True,
    ),
    "users choose their role": reached(
        "alter role authenticator set pgrst.jwt_role_claim_key = '.user_metadata.role'", superuser=True
    ),
    "a function before each request that changes the role": reached(
        """create function public.before() returns void language plpgsql as
        $$begin perform set_config('role', 'service_role', true); end$$;
        alter role authenticator set pgrst.db_pre_request = 'public.before'""",
        superuser=True,
        levels=CONTESTED,
        only_person=True,
    ),
    "a function before each request that changes the claims": reached(
        """create function public.before() returns void language plpgsql as $$begin perform set_config(
        'request.jwt.claims', '{"sub": "00000000-0000-4000-8000-00000000001a"}', true); end$$;
        alter role authenticator set pgrst.db_pre_request = 'public.before'""",
        superuser=True,
        levels=CONTESTED,
        only_person=True,
    ),
    "the private schema is exposed": weaker(
        "alter role authenticator set pgrst.db_schemas = 'public, accounts_private'",
        superuser=True,
        levels="error warning",
    ),
    "auth is exposed": weaker(
        "alter role authenticator set pgrst.db_schemas = 'public, auth'", superuser=True, levels="error warning"
    ),
    "public is not exposed": weaker(
        "alter role authenticator set pgrst.db_schemas = 'api'", superuser=True, levels="error warning"
    ),
    "a JWT secret in the database": weaker(
        "alter role authenticator set pgrst.jwt_secret = 'a secret that somebody wrote into a catalog'",
        superuser=True,
        levels="error warning",
    ),
    "everybody is the victim": reached(
        "alter role authenticator set request.jwt.claim.sub = '00000000-0000-4000-8000-00000000001a'", superuser=True
    ),
    "everybody in this database is the victim": reached(
        """do $$begin execute format('alter database %I set request.jwt.claim.sub = %L', current_database(),
        '00000000-0000-4000-8000-00000000001a'); end$$""",
        superuser=True,
    ),
    "every role is the victim": reached(
        "alter role all set request.jwt.claim.sub = '00000000-0000-4000-8000-00000000001a'", superuser=True
    ),
    "no triggers in requests": weaker(
        "alter role authenticator set session_replication_role = replica", superuser=True, levels="error warning"
    ),
    "no triggers in this database": weaker(
        "do $$begin execute format('alter database %I set session_replication_role = replica', "
        "current_database()); end$$",
        superuser=True,
        levels="error warning",
    ),
    "no row level security in requests": locked_out("alter role authenticator set row_security = off", superuser=True),
    "no row level security for authenticated": locked_out("alter role authenticated set row_security = off"),
    "no row level security in this database": locked_out(
        "do $$begin execute format('alter database %I set row_security = off', current_database()); end$$"
    ),
    "another role from the start": weaker(
        "alter role authenticator set role = 'service_role'", superuser=True, levels="error warning info"
    ),
    "another search path for requests": weaker(
        "alter role authenticator set search_path = extensions, public", superuser=True, levels="warning info none"
    ),
    "a parameter for authenticated": contested(
        "grant set on parameter session_replication_role to authenticated", superuser=True
    ),
    "a parameter for public": contested("grant set on parameter session_replication_role to public", superuser=True),
    "a parameter that a role could make permanent": contested(
        "grant alter system on parameter shared_preload_libraries to anon", superuser=True
    ),
}
