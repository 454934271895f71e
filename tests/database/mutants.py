"""Weakens the database in every way that the catalogs suggest, and asks the policy tests to notice.

Each mutant lives in a transaction on a cloned database, and is rolled back with the test that it is shown to.
`python -m tests.database.mutants` prints what each mutant was killed by, and ends with 1 if one survives.
"""

import re
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any, Final

import psycopg

from edge_api.local import stack as local_stack
from edge_api.local.postgres import VERSIONS
from tests.database import tap
from tests.database.project import Project, run_project

EQUIVALENT: Final[dict[str, str]] = tomllib.loads(Path(__file__).with_name("equivalent_mutants.toml").read_text())
_WORKERS: Final = 4
# The cheapest killer first: most mutants are rights.
_FILES: Final = sorted(tap.FILES, key=lambda file: "rights" not in file.stem)
_ROLES: Final = ("public", "anon", "authenticated", "service_role")
# What the migrations made: a schema, and all that is in it, that the migrating role owns. Supabase's own are another's.
_OURS: Final = "nspowner = 'postgres'::regrole and nspname not in ('extensions', 'supabase_migrations')"


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
    """What tables, functions and sequences of later migrations will be born with."""
    query = f"""
        select nspname, kind, role, exists (
            select 1 from pg_default_acl cross join lateral aclexplode(defaclacl)
            where defaclnamespace = pg_namespace.oid and defaclrole = 'postgres'::regrole
            and defaclobjtype = code and grantee = role::regrole
        )
        from pg_namespace
        cross join (values ('tables', 'r'::"char"), ('functions', 'f'), ('sequences', 'S')) as kinds (kind, code)
        cross join unnest(array['anon', 'authenticated', 'service_role']) as role
        where {_OURS}"""
    for schema, kind, role, held in _rows(database, query):
        change = f"revoke all on {kind} from {role}" if held else f"grant all on {kind} to {role}"
        yield Mutant(
            f"default privileges in {schema}: {change}",
            f"alter default privileges for role postgres in schema {schema} {change}",
        )


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
        select format('%I', tgname), tgrelid::regclass::text from pg_trigger
        inner join pg_class on tgrelid = pg_class.oid inner join pg_namespace on relnamespace = pg_namespace.oid
        where not tgisinternal and {_OURS}"""
    for trigger, table in _rows(database, query):
        yield Mutant(f"disable trigger {trigger}", f"alter table {table} disable trigger {trigger}")
        yield Mutant(f"drop trigger {trigger}", f"drop trigger {trigger} on {table}")


def _constraints(database: psycopg.Connection) -> Iterator[Mutant]:
    query = f"""
        select conrelid::regclass::text, format('%I', conname), contype, pg_get_constraintdef(pg_constraint.oid)
        from pg_constraint inner join pg_class on conrelid = pg_class.oid
        inner join pg_namespace on relnamespace = pg_namespace.oid
        where contype in ('p', 'u', 'f', 'c', 'x') and {_OURS}"""
    for table, constraint, kind, definition in _rows(database, query):
        drop = f"alter table {table} drop constraint {constraint}"
        yield Mutant(f"drop constraint {constraint}", f"{drop} cascade")
        if kind == "f" and " ON DELETE " in definition:
            kept = re.sub(r" ON DELETE (CASCADE|SET NULL|SET DEFAULT|RESTRICT)", "", definition)
            yield Mutant(f"constraint {constraint}: {kept}", f"{drop}, add constraint {constraint} {kept}")
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
    ("get_or_create_account", "1..10", "1..1"),
    ("get_or_create_account", "'serialization_failure'", "'raise_exception'"),
    ("get_or_create_account", "raise exception", "raise notice"),
    ("get_or_create_account", "(get_or_create_account.default_name)", "('Default Alpaca Account')"),
    ("get_or_create_account", "auth.uid()", "coalesce(auth.uid(), (select u.id from auth.users as u limit 1))"),
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
    ("create_account", "returning ua.*", "on conflict (user_id) do update set account_name = 'x' returning ua.*"),
    ("active_account_ids", "and ua.is_active", ""),
    ("active_account_ids", "ua.user_id = caller", "true"),
    ("active_account_ids", "= caller", "= coalesce(caller, ua.user_id)"),
    ("set_updated_at", "pg_catalog.now()", "old.updated_at"),
    ("set_updated_at", "pg_catalog.now()", "new.updated_at"),
    ("set_updated_at", "pg_catalog.now()", "now()"),
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


def first_failure(project: Project, database: str, change: str | None = None) -> str | None:
    """What the policy tests first object to in a database (with a change made to it), None if to nothing."""
    for file in _FILES:
        failure = tap.run(project.cluster, database, file, changes=[change] if change else []).failure
        if failure is not None:
            return f"{file.stem}: {failure}"
    return None


def judge_all(project: Project) -> list[Verdict]:
    """The verdicts on all mutants, in their order."""
    with ExitStack() as clones:
        databases: Queue[str] = Queue()
        for _ in range(_WORKERS):
            databases.put(clones.enter_context(project.clone()))
        with project.connect(databases.queue[0]) as database:
            mutants = derive(database)

        def judge(mutant: Mutant) -> Verdict:
            name = databases.get()
            try:
                return Verdict(mutant, first_failure(project, name, mutant.statement))
            finally:
                databases.put(name)

        with ThreadPoolExecutor(_WORKERS) as threads:
            return list(threads.map(judge, mutants))


def survivors(verdicts: Iterable[Verdict]) -> list[str]:
    """The mutants that nobody noticed and nobody has argued to be equivalent."""
    return [v.mutant.name for v in verdicts if v.killed_by is None and v.mutant.name not in EQUIVALENT]


def main() -> int:
    """Print the verdicts on every version; returns the exit code."""
    alive = 0
    for version in VERSIONS:
        with tempfile.TemporaryDirectory(prefix="edge-api-mutants-") as folder:
            state = Path(folder) / "state"
            try:
                with run_project(state, version) as project:
                    verdicts = judge_all(project)
            finally:
                local_stack.reset(state)
        print(f"PostgreSQL {version}")
        width = max(len(verdict.mutant.name) for verdict in verdicts)
        for verdict in verdicts:
            by = verdict.killed_by or (
                "equivalent: " + EQUIVALENT[verdict.mutant.name] if verdict.mutant.name in EQUIVALENT else "SURVIVED"
            )
            print(f"  {verdict.mutant.name:<{min(width, 100)}}  {by}")
        left = survivors(verdicts)
        killed = sum(verdict.killed_by is not None for verdict in verdicts)
        print(
            f"{killed} of {len(verdicts)} killed, {len(verdicts) - killed - len(left)} equivalent, {len(left)} survived"
        )
        alive += len(left)
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
