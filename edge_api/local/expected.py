"""What `edge-api verify` compares with: what the migrations create, and the statements that restore it."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from typing import Any, Final

import psycopg

from edge_api.local import stack
from edge_api.local.packages import PROJECT
from edge_api.local.postgres import SUPERUSER, Cluster
from edge_api.verify import drift
from edge_api.verify.drift import Object
from edge_api.verify.findings import Finding, Level

_AUTH: Final = PROJECT / "sql" / "local" / "auth.sql"
# What the migrations create, of what the role that runs them owns: the schemas in the list come before the first one.
_CREATED: Final = """
with created as (
    select oid, nspname::text as name
    from pg_catalog.pg_namespace
    where nspname not in ('extensions', 'supabase_migrations')
)

select 'schemas', name
from created
where oid in (select n.oid from pg_catalog.pg_namespace as n where n.nspowner = %(role)s::regrole)
union all
select 'relations', pg_catalog.format('%%I.%%I', created.name, c.relname)
from pg_catalog.pg_class as c
inner join created on c.relnamespace = created.oid
where c.relowner = %(role)s::regrole and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
union all
select 'functions', pg_catalog.format('%%I.%%I', created.name, p.proname)
from pg_catalog.pg_proc as p
inner join created on p.pronamespace = created.oid
where p.proowner = %(role)s::regrole
"""
_FAILS: Final = "users' requests fail"
_IN_THE_WAY: Final = "if rows or names are in the way, the script says so and goes on: decide about them"
# The statements that create an object of a kind: these, and those below that give it an aspect which a new one lacks.
_CREATION: Final = {
    "schema": ["create schema if not exists {name}"],
    "table": ["create table if not exists {name} ()"],
    "column": ["alter {parent} add column if not exists {bare} {type}{with_default}"],
    "constraint": [
        "alter {parent} drop constraint if exists {bare}",
        # an index of this name that is no constraint's would be in the way
        "drop index if exists {schema}.{bare}",
        "alter {parent} add constraint {bare} {definition}",
    ],
    "function": ["drop function if exists {name}", "{definition}"],
    "index": ["drop index if exists {name}", "{definition}"],
    "trigger": ["drop trigger if exists {name}", "{definition}"],
    "policy": ["drop policy if exists {name}", "{definition}"],
}
_LACKED: Final = ("row level security", "row level security for its owner", "not null", "owner", "comment", "rights")
# What an aspect with another value means, and the statements that restore it; none where it takes a creation.
_ASPECTS: Final[dict[str, tuple[Level, str, list[str]]]] = {
    "comment": ("info", "has another comment", ["comment on {subject} is {comment}"]),
    "owner": (
        "warning",
        "is owned by {actual}, not {owner}: an owner may do everything with it",
        ["alter {subject} owner to {owner}"],
    ),
    "row level security": (
        "warning",
        "row level security is disabled: rights alone decide who reaches which rows",
        ["alter {subject} {row level security} row level security"],
    ),
    "row level security for its owner": (
        "warning",
        "row level security does not apply to its owner",
        ["alter {subject} {row level security for its owner} row level security"],
    ),
    "persistence": ("warning", "is {actual}: a crash empties it", ["alter {subject} set {persistence}"]),
    "replica identity": (
        "info",
        "has another replica identity: replicas learn more or less of a changed row",
        ["alter {subject} replica identity {replica identity}"],
    ),
    "type": (
        "warning",
        "is of type {actual}, not {type}",
        ["alter {parent} alter column {bare} type {type}"],
    ),
    "not null": (
        "warning",
        "may be null, or was not checked for rows that exist",
        ["alter {parent} alter column {bare} set not null"],
    ),
    "default": (
        "warning",
        "has the default {actual}, not {default}",
        [
            # it can have been made a generated one
            "alter {parent} alter column {bare} drop identity if exists",
            "alter {parent} alter column {bare} drop expression if exists",
            "alter {parent} alter column {bare} {set_default}",
        ],
    ),
    "signature": ("error", f"is declared as {{actual}}, not {{signature}}: {_FAILS}", []),
    "definition": ("warning", "is changed: {actual}", []),
    "rights": ("warning", "", ["revoke all on {subject} from public, anon, authenticated, service_role cascade"]),
    # of what Supabase creates
    "usage for users": ("error", f"authenticated has no usage: {_FAILS}", []),
    "usage for a backend": ("warning", "service_role has no usage: a backend's requests fail", []),
    "create for migrations": ("warning", "postgres may not create objects in it: migrations fail", []),
    "first creation": ("info", "was created again, without what Supabase gives it", []),
    "execute for users": ("error", f"authenticated may not execute it: {_FAILS}", []),
    "options": ("warning", "decides who is calling, and has options of its own: {actual}", []),
    "identity": ("error", "is not Supabase's own: it decides who is calling", []),
}
_IDENTITY: Final = [
    "{definition}",
    "grant execute on {subject} to public",
    # Auth could not replace a function of somebody else's
    """do $$declare auth regrole; begin
for auth in select relowner from pg_catalog.pg_class where oid = pg_catalog.to_regclass('auth.users') loop
    execute pg_catalog.format('alter {subject} owner to %s', auth);
end loop; end$$""",
]
# Of what Supabase creates, only what the API needs is compared; what lacks some of that gets all of this.
_OF_SUPABASE: Final = {
    "schema public": [
        "create schema if not exists public",
        "alter schema public owner to pg_database_owner",
        "grant all on schema public to pg_database_owner",
        "grant usage on schema public to public, anon, authenticated, service_role",
        "comment on schema public is 'standard public schema'",
    ],
    "schema auth": [
        "create schema if not exists auth",
        "grant usage on schema auth to anon, authenticated, service_role",
    ],
    "function auth.uid()": _IDENTITY,
    "function auth.jwt()": _IDENTITY,
}


def expected_state(cluster: Cluster, database: str) -> str:
    """What the migrations create, and `auth` as hosted projects have it."""
    with (
        cluster.connect(SUPERUSER, database=database) as connection,
        connection.transaction(force_rollback=True),
    ):
        connection.execute(_AUTH.read_bytes())
        created = connection.execute(_CREATED, {"role": stack.MIGRATOR}).fetchall()
        scope = {
            kind: sorted(name for each, name in created if each == kind)
            for kind in ("schemas", "relations", "functions")
        }
        with drift.scoped(connection, scope):
            objects = [asdict(_with_findings(connection, each)) for each in drift.read(connection).values()]
    return json.dumps({"scope": scope, "objects": objects}, indent=2, ensure_ascii=False) + "\n"


def _with_findings(connection: psycopg.Connection, item: Object) -> Object:
    """What to report of it if it is missing, if an aspect has another value, and if rights differ."""
    values = _values(connection, item)

    def filled(templates: Iterable[str]) -> tuple[str, ...]:
        return tuple(template.format_map(values) for template in templates)

    def finding(level: Level, message: str, fix: tuple[str, ...]) -> Finding:
        guarded = item.kind in {"column", "constraint"} and level != "info"
        return Finding("drift", level, item.subject, message.format_map(values), _IN_THE_WAY if guarded else "", fix)

    fixes = {aspect: filled(_ASPECTS[aspect][2]) for aspect in item.aspects}
    if item.kind in {"schema", "table", "function"} and "owner" in item.aspects:
        fixes["rights"] = (*filled(_ASPECTS["rights"][2]), *_grants(item))
    if item.kind == "function" and "owner" in item.aspects:
        fixes["definition"] = filled(["{definition}"])
    creation = filled(_OF_SUPABASE.get(item.subject) or _CREATION[item.kind])
    creation += tuple(statement for aspect in _LACKED for statement in fixes.get(aspect, ()))
    missing: tuple[Level, str] = ("error", f"is missing: {_FAILS}") if item.needed else ("warning", "is missing")
    findings = {"missing": finding(*missing, creation)}
    for aspect, fix in fixes.items():
        level, message, _ = _ASPECTS[aspect]
        if (item.kind == "constraint" and item.needed) or values.get(aspect) == "auth.uid()":
            level, message = "error", f"{message}: {_FAILS}"
        findings[aspect] = finding(level, message, fix)
    return replace(item, findings=findings)


def _values(connection: psycopg.Connection, item: Object) -> dict[str, Any]:
    """What stands in the templates."""
    name, whole = (subject.partition(" ")[2] for subject in (item.subject, item.parent))
    values = item.aspects | {"subject": item.subject, "name": name, "parent": item.parent, "actual": "{actual}"}
    values["schema"] = whole.partition(".")[0]
    values["bare"] = name.removeprefix(f"{whole}.").removesuffix(f" on {whole}")
    if item.kind == "function":
        query = "select rtrim(pg_get_functiondef(%s::regprocedure), e'\\n')"
        (values["definition"],) = connection.execute(query, [name]).fetchone() or [""]
    elif item.kind == "policy":
        values["definition"] = _policy(name, item.aspects["definition"])
    elif item.kind == "column":
        default = "" if item.aspects["default"] == "nothing" else f"default {item.aspects['default']}"
        values |= {
            "with_default": f" {default}".rstrip(),
            "set_default": f"set {default}" if default else "drop default",
        }
    return values


def _policy(name: str, policy: dict[str, Any]) -> str:
    using = f" using ({policy['qual']})" if policy["qual"] else ""
    check = f" with check ({policy['with_check']})" if policy["with_check"] else ""
    kind = f"as {policy['permissive']} for {policy['cmd']}".lower()
    return f"create policy {name} {kind} to {', '.join(policy['roles'])}{using}{check}"


def _grants(item: Object) -> Iterator[str]:
    for role in dict.fromkeys(role for role, _ in item.rights):
        yield f"grant {', '.join(right for each, right in item.rights if each == role)} on {item.subject} to {role}"
