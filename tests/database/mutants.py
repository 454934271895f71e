"""Weakens the database in every way that the catalogs suggest, and asks the policy tests to notice.

Each mutant lives in a transaction on a cloned database, and is rolled back with the test that it is shown to.
`make mutants` prints what each mutant was killed by, and ends with 1 if one survives; `make test` tries a sample.
"""

import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any, Final

import psycopg

from edge_api.local import stack as local_stack
from edge_api.local.postgres import postgres_version
from tests.database import tap
from tests.database.project import Project, run_project

_WORKERS: Final = 4
# The cheapest killer first: most mutants are rights. The definitions last: they are to notice what no behavior shows.
_FILES: Final = sorted(tap.FILES, key=lambda file: ("definitions" in file.stem) - ("rights" in file.stem))
_ROLES: Final = ("public", "anon", "authenticated", "service_role")
# What the migrations made: a schema, and all that is in it, that the migrating role owns. Supabase's own are another's.
_OURS: Final = (
    "(nspname = 'public' or nspowner = 'postgres'::regrole) and nspname not in ('extensions', 'supabase_migrations')"
)


@dataclass(frozen=True)
class Mutant:
    """A way in which the database could be weaker."""

    name: str
    statement: str


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant."""

    mutant: Mutant
    killed_by: str | None


def derive(database: psycopg.Connection) -> list[Mutant]:
    """All mutants of a database with the migrations in."""
    return [
        *_policies(database),
        *_row_security(database),
        *_rights(database),
        *_default_privileges(database),
        *_functions(database),
        *_triggers(database),
        *_constraints(database),
        *_bodies(database),
        *_additions(database),
    ]


def _rows(database: psycopg.Connection, query: str) -> Sequence[Any]:
    return database.execute(query.encode()).fetchall()


def _policies(database: psycopg.Connection) -> Iterator[Mutant]:
    query = f"""
        select format('%I', policyname), format('%I.%I', schemaname, tablename), permissive, roles::text[], cmd,
            qual, with_check
        from pg_policies inner join pg_namespace on nspname = schemaname where {_OURS}"""
    for policy, table, permissive, roles, command, using, check in _rows(database, query):
        on = f"policy {policy} on {table}"
        clauses = (f" using ({using})" if using else "") + (f" with check ({check})" if check else "")
        yield Mutant(f"drop {on}", f"drop {on}")
        for clause, expression in (("using", using), ("with check", check)):
            if expression not in (None, "true"):
                for exception in (
                    "(auth.jwt() -> 'user_metadata' ->> 'is_admin') = 'true'",
                    "user_id = '00000000-0000-4000-8000-000000000000'",
                    "extract(second from now()) < 0",
                ):
                    yield Mutant(f"{on}: {clause} or {exception}", f"alter {on} {clause} ({expression} or {exception})")
                yield Mutant(f"{on}: {clause} (true)", f"alter {on} {clause} (true)")
                bare = re.sub(r"\( SELECT (auth\.\w+\(\)) AS \w+\)", r"\1", expression)
                if bare != expression:
                    yield Mutant(f"{on}: {clause} asks for the caller row by row", f"alter {on} {clause} ({bare})")
        for more in (role for role in _ROLES if role not in roles):
            to = "public" if more == "public" else ", ".join([*roles, more])
            yield Mutant(f"{on}: to {more} too", f"alter {on} to {to}")
        other = "restrictive" if permissive == "PERMISSIVE" else "permissive"
        yield Mutant(
            f"{on}: {other}",
            f"drop {on}; create {on} as {other} for {command} to {', '.join(roles)}{clauses}",
        )


def _row_security(database: psycopg.Connection) -> Iterator[Mutant]:
    query = f"""
        select format('%I.%I', nspname, relname)
        from pg_class inner join pg_namespace on relnamespace = pg_namespace.oid
        where relkind in ('r', 'p') and {_OURS}"""
    for (table,) in _rows(database, query):
        for what in ("disable", "no force"):
            yield Mutant(f"{what} row level security on {table}", f"alter table {table} {what} row level security")


def _rights(database: psycopg.Connection) -> Iterator[Mutant]:
    """Each right that a role lacks, granted; each that it has, revoked, or given with the right to pass it on."""
    query = f"""
        with objects (kind, name, privileges, acl) as (
            select 'schema', format('%I', nspname), acldefault('n', nspowner),
                coalesce(nspacl, acldefault('n', nspowner))
            from pg_namespace where {_OURS}
            union all
            select case relkind when 'S' then 'sequence' else 'table' end, format('%I.%I', nspname, relname),
                acldefault(case relkind when 'S' then 's' else 'r' end::"char", relowner),
                coalesce(relacl, acldefault(case relkind when 'S' then 's' else 'r' end::"char", relowner))
            from pg_class inner join pg_namespace on relnamespace = pg_namespace.oid
            where relkind in ('r', 'p', 'v', 'm', 'f', 'S') and {_OURS}
            union all
            select 'function', oid::regprocedure::text, acldefault('f', proowner),
                coalesce(proacl, acldefault('f', proowner))
            from pg_proc where pronamespace in (select oid from pg_namespace where {_OURS})
        )
        select o.kind, o.name, p.privilege_type, r.role,
            r.oid in (select grantee from aclexplode(o.acl) where privilege_type = p.privilege_type)
        from objects as o
        cross join lateral (select distinct privilege_type from aclexplode(o.privileges)) as p
        cross join (
            select 'public' as role, 0 as oid
            union all select rolname, oid from pg_roles where rolname in ('anon', 'authenticated', 'service_role')
        ) as r
        order by 1, 2, 3, 4"""
    for kind, name, privilege, role, held in _rows(database, query):
        right = f"{privilege.lower()} on {kind} {name}"
        if held:
            yield Mutant(f"revoke {right} from {role}", f"revoke {right} from {role}")
        else:
            yield Mutant(f"grant {right} to {role}", f"grant {right} to {role}")
        if held and role != "public":
            passing_on = f"grant {right} to {role} with grant option"
            yield Mutant(passing_on, passing_on)
    query = f"""
        select format('%I', attname), format('%I.%I', nspname, relname), privilege, role,
            role::regrole in (select grantee from aclexplode(attacl) where privilege_type = privilege)
        from pg_attribute
        inner join pg_class on attrelid = pg_class.oid
        inner join pg_namespace on relnamespace = pg_namespace.oid
        cross join unnest(array['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) as privilege
        cross join unnest(array['anon', 'authenticated', 'service_role']) as role
        where relkind in ('r', 'p', 'v', 'm', 'f') and attnum > 0 and not attisdropped and {_OURS}"""
    for column, table, privilege, role, held in _rows(database, query):
        right = f"{privilege.lower()} ({column}) on table {table}"
        statement = f"revoke {right} from {role}" if held else f"grant {right} to {role}"
        yield Mutant(statement, statement)


def _default_privileges(database: psycopg.Connection) -> Iterator[Mutant]:
    """What later objects will be created with; in public that is for the project to decide."""
    schemas = [name for (name,) in _rows(database, f"select nspname from pg_namespace where {_OURS}")]
    for schema in (f" in schema {name}" for name in schemas if name != "public"):
        for kind in ("tables", "functions", "sequences"):
            for role in ("anon", "authenticated", "service_role"):
                for where in (schema, ""):
                    change = f"alter default privileges for role postgres{where} grant all on {kind} to {role}"
                    yield Mutant(change, change)


def _functions(database: psycopg.Connection) -> Iterator[Mutant]:
    query = f"""
        select oid::regprocedure::text, prosecdef, provolatile, proconfig is not null from pg_proc
        where pronamespace in (select oid from pg_namespace where {_OURS})"""
    for function, definer, volatility, configured in _rows(database, query):
        changes = ["security invoker" if definer else "security definer"]
        changes += [word for word in ("volatile", "stable", "immutable") if word[0] != volatility]
        changes += ["reset all", "set search_path = public"] if configured else []
        for change in changes:
            yield Mutant(f"function {function}: {change}", f"alter function {function} {change}")


def _triggers(database: psycopg.Connection) -> Iterator[Mutant]:
    query = f"""
        select format('%I', tgname), tgrelid::regclass::text, pg_get_triggerdef(pg_trigger.oid) from pg_trigger
        inner join pg_class on tgrelid = pg_class.oid inner join pg_namespace on relnamespace = pg_namespace.oid
        where not tgisinternal and {_OURS}"""
    for trigger, table, definition in _rows(database, query):
        yield Mutant(f"disable trigger {trigger}", f"alter table {table} disable trigger {trigger}")
        yield Mutant(f"drop trigger {trigger}", f"drop trigger {trigger} on {table}")
        conditional = definition.replace("FOR EACH ROW", "FOR EACH ROW WHEN (new.account_name != 'x')")
        yield Mutant(f"trigger {trigger}: on a condition", f"drop trigger {trigger} on {table}; {conditional}")


def _constraints(database: psycopg.Connection) -> Iterator[Mutant]:
    query = f"""
        select conrelid::regclass::text, format('%I', conname), contype, pg_get_constraintdef(pg_constraint.oid)
        from pg_constraint inner join pg_class on conrelid = pg_class.oid
        inner join pg_namespace on relnamespace = pg_namespace.oid
        where contype in ('p', 'u', 'f', 'c', 'x') and {_OURS}"""
    for table, constraint, kind, definition in _rows(database, query):
        drop = f"alter table {table} drop constraint {constraint}"
        yield Mutant(f"drop constraint {constraint}", f"{drop} cascade")
        others = []
        if kind in "cf":
            others.append(f"{definition} not valid")
        if kind in "puf":
            others += [f"{definition} deferrable", f"{definition} deferrable initially deferred"]
        if kind == "f":
            bare = re.sub(r" ON DELETE (CASCADE|SET NULL|SET DEFAULT|RESTRICT)", "", definition)
            others += [f"{bare} on delete {action}" for action in ("no action", "restrict", "set null", "set default")]
            others.append(f"{definition} on update cascade")
        for other in others:
            yield Mutant(f"constraint {constraint}: {other}", f"{drop}, add constraint {constraint} {other}")
    query = f"""
        select format('%I.%I', nspname, relname), format('%I', attname), attnotnull and not exists (
            select 1 from pg_index where indrelid = attrelid and indisprimary and attnum = any (indkey)
        ), atthasdef
        from pg_attribute inner join pg_class on attrelid = pg_class.oid
        inner join pg_namespace on relnamespace = pg_namespace.oid
        where relkind in ('r', 'p') and attnum > 0 and not attisdropped and {_OURS}"""
    for table, column, required, has_default in _rows(database, query):
        alter = f"alter table {table} alter column {column}"
        if required:
            yield Mutant(f"{table}.{column}: drop not null", f"{alter} drop not null")
        if has_default:
            yield Mutant(f"{table}.{column}: drop default", f"{alter} drop default")


# By hand: function, what stands in its body, what is put in its place.
_BODIES: Final = (
    ("get_or_create_account", "on conflict on constraint user_accounts_user_id_key do nothing", ""),
    ("get_or_create_account", "ua.updated_at, false", "ua.updated_at, true"),
    ("get_or_create_account", "ua.updated_at, true", "ua.updated_at, false"),
    ("get_or_create_account", "where ua.user_id = caller", ""),
    ("get_or_create_account", "where ua.user_id = caller", "where ua.user_id = caller and ua.is_active"),
    ("get_or_create_account", "where ua.user_id = caller", "where ua.user_id = coalesce(caller, ua.user_id)"),
    ("get_or_create_account", "1..3", "1..1"),
    ("get_or_create_account", "1..3", "1..1000"),
    ("get_or_create_account", "'insufficient_privilege'", "'serialization_failure'"),
    ("get_or_create_account", "'insufficient_privilege'", "'deadlock_detected'"),
    ("get_or_create_account", "raise exception", "raise notice"),
    ("get_or_create_account", "(get_or_create_account.default_name)", "('Default Alpaca Account')"),
    ("get_or_create_account", "auth.uid()", "coalesce(auth.uid(), (select u.id from auth.users as u limit 1))"),
    ("get_or_create_account_for", "on conflict on constraint user_accounts_user_id_key do nothing", ""),
    ("get_or_create_account_for", "ua.updated_at, false", "ua.updated_at, true"),
    ("get_or_create_account_for", "where ua.user_id = get_or_create_account_for.owner", ""),
    ("get_or_create_account_for", "(get_or_create_account_for.owner,", "(coalesce(owner, auth.uid()),"),
    ("get_or_create_account_for", "get_or_create_account_for.default_name)", "'Default Alpaca Account')"),
    ("get_or_create_account_for", "'insufficient_privilege'", "'serialization_failure'"),
    ("get_or_create_account_for", "raise exception", "raise notice"),
    ("list_accounts", "where ua.user_id = caller", ""),
    ("list_accounts", "= caller", "= coalesce(caller, ua.user_id)"),
    ("list_accounts", "ua.created_at desc", "ua.created_at asc"),
    ("list_accounts", "order by ua.created_at desc, ua.id asc", ""),
    ("get_account", "and ua.user_id = caller", ""),
    ("get_account", "ua.id = get_account.account_id", "true"),
    ("rename_account", "and ua.user_id = caller", ""),
    ("rename_account", "ua.id = rename_account.account_id", "true"),
    ("rename_account", "= rename_account.account_name", "= pg_catalog.btrim(rename_account.account_name)"),
    ("create_account", "values (create_account.account_name)", "values (coalesce(create_account.account_name, 'x'))"),
    ("get_account", "ua.*", "ua.id, ua.user_id, ua.account_name, ua.is_active, ua.created_at, ua.updated_at"),
    ("create_account", "returning ua.*", "on conflict (user_id) do update set account_name = 'x' returning ua.*"),
    ("active_account_ids", "and ua.is_active", ""),
    ("active_account_ids", "ua.user_id = caller", "true"),
    ("active_account_ids", "= caller", "= coalesce(caller, ua.user_id)"),
    ("set_updated_at", "pg_catalog.now()", "old.updated_at"),
    ("set_updated_at", "pg_catalog.now()", "new.updated_at"),
    ("set_updated_at", "pg_catalog.now()", "now()"),
    ("set_updated_at", "return new;", "new.created_at := old.created_at; return new;"),
)
# At the beginning of every body: what changes nothing but who waits, and for how long.
_DELAYS: Final = (
    "perform pg_catalog.pg_advisory_xact_lock_shared(1);",
    "perform pg_catalog.pg_sleep(0);",
    "perform ua.id from public.user_accounts as ua for update;",
)


def _bodies(database: psycopg.Connection) -> Iterator[Mutant]:
    query = f"""
        select proname, pg_get_functiondef(oid) from pg_proc
        where pronamespace in (select oid from pg_namespace where {_OURS})"""
    definitions = dict(_rows(database, query))
    for function, old, new in _BODIES:
        definition = definitions[function]
        if old not in definition:
            raise LookupError(f"{function} has no {old!r}: bring the mutant up to date")
        yield Mutant(f"function {function}: {old!r} becomes {new!r}", definition.replace(old, new, 1))
    for function, definition in definitions.items():
        for delay in _DELAYS:
            yield Mutant(f"function {function}: {delay}", definition.replace("\nbegin\n", f"\nbegin\n    {delay}\n", 1))


def _additions(database: psycopg.Connection) -> Iterator[Mutant]:
    """What can be hung onto a table: other tables' rows, readers, writers."""
    query = f"""
        select format('%I.%I', nspname, relname), array(
            select format('%I', attname) from pg_attribute
            where attrelid = pg_class.oid and attnum > 0 and not attisdropped
        )
        from pg_class inner join pg_namespace on relnamespace = pg_namespace.oid
        where relkind = 'r' and {_OURS}"""
    for table, columns in _rows(database, query):
        for schema in ("public", "elsewhere"):
            create = f"create schema if not exists elsewhere; create table {schema}.other"
            yield Mutant(
                f"{table}: inherits from a table in {schema}",
                f"{create} (like {table}); alter table {table} inherit {schema}.other",
            )
            yield Mutant(
                f"{table}: a partition of a table in {schema}",
                f"{create} (like {table}) partition by list ({columns[0]}); "
                f"alter table {schema}.other attach partition {table} default",
            )
            yield Mutant(f"{table}: inherited by a table in {schema}", f"{create} () inherits ({table})")
        for kind in ("view", "materialized view"):
            yield Mutant(
                f"{table}: a {kind} in elsewhere",
                f"create schema elsewhere; grant usage on schema elsewhere to anon; create {kind} elsewhere.leak as "
                f"select * from {table}; grant select on elsewhere.leak to anon",
            )
        yield Mutant(
            f"{table}: a view of a view in elsewhere",
            f"create schema elsewhere; grant usage on schema elsewhere to anon; create view elsewhere.between with "
            f"(security_invoker) as select * from {table}; create view elsewhere.leak as select * from "
            f"elsewhere.between; grant select on elsewhere.leak to anon",
        )
        yield Mutant(
            f"{table}: a rule on a view in elsewhere",
            f"create schema elsewhere; grant usage on schema elsewhere to authenticated; "
            f"create view elsewhere.leak with (security_invoker) as select * from {table}; "
            f"create rule leak as on update to elsewhere.leak do instead "
            f"update {table} set {columns[-1]} = new.{columns[-1]}; "
            f"grant select, update on elsewhere.leak to authenticated",
        )
        for column in columns:
            yield Mutant(f"{table}: an index on {column}", f"create index on {table} ({column})")
            yield Mutant(f"{table}: a unique index on {column}", f"create unique index on {table} ({column})")
        yield Mutant(f"{table}: one more column", f"alter table {table} add column note text")
        yield Mutant(f"{table}: a publication", f"create publication leak for table {table}")
        yield Mutant(f"{table}: replica identity", f"alter table {table} replica identity full")
        yield Mutant(f"{table}: unlogged", f"alter table {table} set unlogged")
        yield Mutant(f"{table}: a rule", f"create rule leak as on delete to {table} do instead nothing")
        for role in ("anon", "authenticated"):
            yield Mutant(f"{table}: one more policy to {role}", f"create policy more on {table} to {role} using (true)")


def first_failure(project: Project, database: str, change: str | None = None) -> str | None:
    """What the policy tests first object to in a database (with a change made to it), None if to nothing."""
    for file in _FILES:
        failure = tap.run(project.cluster, database, file, changes=[change] if change else []).failure
        if failure is not None:
            return f"{file.stem}: {failure}"
    return None


def judge(project: Project, *, every: int = 1) -> list[Verdict]:
    """The verdicts on mutants, in their order: on all, or on one in `every`."""
    with ExitStack() as clones:
        databases: Queue[str] = Queue()
        for _ in range(_WORKERS):
            databases.put(clones.enter_context(project.clone()))
        with project.connect(databases.queue[0]) as database:
            mutants = derive(database)

        def verdict(mutant: Mutant) -> Verdict:
            name = databases.get()
            try:
                return Verdict(mutant, first_failure(project, name, mutant.statement))
            finally:
                databases.put(name)

        with ThreadPoolExecutor(_WORKERS) as threads:
            return list(threads.map(verdict, mutants[::every]))


def survivors(verdicts: Iterable[Verdict]) -> list[str]:
    """The mutants that nobody noticed."""
    return [v.mutant.name for v in verdicts if v.killed_by is None]


def main() -> int:
    """Print the verdicts; returns the exit code."""
    version = postgres_version(os.environ.get("EDGE_POSTGRES_VERSION"))
    with tempfile.TemporaryDirectory(prefix="edge-api-mutants-") as folder:
        state = Path(folder) / "state"
        try:
            with run_project(state, version) as project:
                verdicts = judge(project)
        finally:
            local_stack.reset(state)
    print(f"PostgreSQL {version}")
    width = max(len(verdict.mutant.name) for verdict in verdicts)
    for verdict in verdicts:
        print(f"  {verdict.mutant.name:<{min(width, 100)}}  {verdict.killed_by or 'SURVIVED'}")
    alive = len(survivors(verdicts))
    print(f"{len(verdicts) - alive} of {len(verdicts)} killed")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
