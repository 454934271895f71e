"""Is each object what the migrations create, and what they need of `public` and `auth` as Supabase creates it?

What it means if one is missing or was changed, and which statements restore it, is prepared in expected.json.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Any, Final, NamedTuple

import psycopg
from psycopg.errors import InsufficientPrivilege, UndefinedTable
from psycopg.rows import class_row

from edge_api.verify.conditions import is_open
from edge_api.verify.findings import Finding, Level
from edge_api.verify.migrations import Migration, packaged

_QUERY: Final = files(__package__).joinpath("drift.sql").read_bytes()
_MEANT: Final = "decide whether that is meant"


@dataclass(frozen=True)
class Object:
    """An object, or a part of one, with what decides what it does."""

    kind: str
    subject: str
    """Kind and qualified name, as `drop`, `grant` and `comment on` take them."""
    parent: str
    """The subject of the object that it is part of, or empty."""
    needed: bool
    """Whether users' requests fail without it."""
    added: Level | None
    """How much it matters if the migrations do not create it."""
    aspects: dict[str, Any]
    rights: list[tuple[str, str]]
    """Roles and privileges."""
    findings: dict[str, Finding] = field(default_factory=dict)
    """Of an expected one: what to report if it is missing, if an aspect is another, and if rights are."""


Objects = dict[str, Object]
Scope = dict[str, list[str]]


class Expected(NamedTuple):
    """What a database that has the migrations has, whatever its version of PostgreSQL."""

    scope: Scope
    objects: Objects
    migrations: tuple[Migration, ...]

    @classmethod
    def load(cls) -> "Expected":
        """What `make types` read from such a database. Raises MigrationsError if the package has no migrations."""
        document = json.loads(files(__package__).joinpath("expected.json").read_text("utf-8"))
        for each in document["objects"]:
            findings = each["findings"].items()
            each["findings"] = {of: Finding(**{**finding, "fix": tuple(finding["fix"])}) for of, finding in findings}
        return cls(document["scope"], {each["subject"]: Object(**each) for each in document["objects"]}, packaged())


@contextmanager
def scoped(connection: psycopg.Connection, scope: Scope) -> Iterator[None]:
    """What the queries of this package expect. Leaves the session as it was."""
    with connection.transaction(force_rollback=True):
        query = "select set_config('search_path', '', true), set_config('edge_api.scope', %s, true)"
        connection.execute(query, [json.dumps(scope)])
        yield


def read(connection: psycopg.Connection) -> Objects:
    """The objects in scope by subject. Inside `scoped`."""
    with connection.cursor(row_factory=class_row(Object)) as cursor:
        return {each.subject: each for each in cursor.execute(_QUERY)}


def compare(expected: Objects, actual: Objects) -> Iterator[Finding]:
    """All drift of what the migrations create, and what was added to it."""
    for subject, item in expected.items():
        if now := actual.get(subject):
            yield from _changed(item, now)
            yield from _rights(item, now)
        elif not item.parent or item.parent in actual:  # else the parent's own finding creates it
            yield _missing(item, expected, actual)
    for subject, item in actual.items():
        if item.added and subject not in expected and (not item.parent or item.parent in expected):
            yield _added(item, item.added)


def _missing(item: Object, expected: Objects, actual: Objects) -> Finding:
    finding = item.findings["missing"]
    for other in actual.values():
        if not item.parent and other.subject.endswith(item.subject.removeprefix(item.kind)):
            return replace(finding, advice=f"decide about the {other.subject}, which has its name", fix=())
        if item.kind == other.kind == "policy" and item.aspects["definition"] == other.aspects["definition"]:
            return replace(finding, level="warning", message="has another name")
    parts = [part.findings["missing"] for part in expected.values() if part.parent == item.subject]
    return replace(finding, fix=tuple(statement for each in (finding, *parts) for statement in each.fix))


def _changed(item: Object, now: Object) -> Iterator[Finding]:
    for aspect, before in item.aspects.items():
        if (after := now.aspects.get(aspect)) == before:
            continue
        finding = item.findings[aspect]
        if not finding.fix:  # it takes creating the object again
            finding = replace(finding, fix=item.findings["missing"].fix)
        must_be_given = aspect == "default" and now.added == "error" != item.added
        has_another_type = aspect == "type" and not str(after).startswith(before)  # else precision or collation
        if item.kind == "policy" and aspect == "definition":
            finding = _policy_changed(item, now, finding)
        elif must_be_given or has_another_type:
            finding = _grave(finding)
        yield replace(finding, message=finding.message.replace("{actual}", _difference(before, after)))


def _difference(before: object, after: object) -> str:
    """What of a value is not as it was, or the first line that is not."""
    if isinstance(after, dict):
        other = before if isinstance(before, dict) else {}
        return ", ".join(f"{name} {value}" for name, value in after.items() if value != other.get(name))
    lines = str(after or "nothing").splitlines()
    return next((line.strip() for line in lines if line not in str(before).splitlines()), "less")


def _policy_changed(item: Object, now: Object, finding: Finding) -> Finding:
    before, after = item.aspects["definition"], now.aspects["definition"]
    if _is_tighter(before, after):
        return replace(finding, level="info", message="is tighter: {actual}", advice=_MEANT, fix=())
    serves = now.needed and after["cmd"] in {before["cmd"], "ALL"}
    return (
        _grave(finding) if (item.needed and not serves) or "false" in (after["qual"], after["with_check"]) else finding
    )


def _grave(finding: Finding) -> Finding:
    return replace(finding, level="error", message=f"{finding.message}: users' requests fail")


def _added(item: Object, level: Level) -> Finding:
    definition: Any = item.aspects.get("definition")
    message = f"was added: {_difference(None, definition)}" if definition else "was added"
    finding = Finding("drift", level, item.subject, message, "", (f"drop {item.subject}",))
    if item.kind == "policy":
        return _policy_added(finding, definition)
    if item.kind == "rule":
        return finding
    advice = f"{_MEANT}: users' requests can fail for it, be seen by it, or reach it instead"
    return replace(finding, advice=advice, fix=())


def _policy_added(finding: Finding, definition: dict[str, Any]) -> Finding:
    clauses = [definition[clause] for clause in ("qual", "with_check") if definition[clause]]
    decided = replace(finding, advice=_MEANT, fix=())
    if definition["permissive"] != "PERMISSIVE":
        return _grave(finding) if "false" in clauses else replace(decided, message=f"is tighter: {finding.message}")
    if definition["roles"] == ["service_role"]:  # row level security does not hold for it anyway
        return decided
    # whether one asks enough, a person decides
    return replace(finding if any(map(is_open, clauses)) else decided, level="warning")


def _is_tighter(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether a policy only asks for more, as PostgreSQL prints that."""
    changed = {key: (str(value), str(after[key])) for key, value in before.items() if after[key] != value}
    return changed.keys() <= {"qual", "with_check"} and all(
        new.startswith(f"({old} AND ") or new.endswith(f" AND {old})") for old, new in changed.values()
    )


def _rights(item: Object, now: Object) -> Iterator[Finding]:
    for role in dict.fromkeys(role for role, _ in (*item.rights, *now.rights)):
        finding = item.findings["rights"]
        due = [right for each, right in item.rights if each == role]
        if more := [right for each, right in now.rights if each == role and right not in due]:
            who = {"public": "everybody (public)", "anon": "anon (unauthenticated)"}.get(role, role)
            # Of a right on a table those on its columns are part: all are revoked, and what is due granted again.
            fix = (f"revoke all on {item.subject} from {role} cascade", *finding.fix)
            yield replace(finding, message=f"{who} also has {', '.join(more)}", fix=fix)
        held = {right.partition(",")[0] for each, right in now.rights if each in {role, "public"}}
        if less := [right for right in due if not held & {right, right.partition(" (")[0]}]:
            message = f"{role} has no {', '.join(less)}"
            if role == "service_role" and {*less} <= {"delete", "update"}:  # nothing here needs them
                yield replace(finding, level="info", message=f"is tighter: {message}", advice=_MEANT, fix=())
            else:
                level: Level = "error" if role == "authenticated" else "warning"
                yield replace(finding, level=level, message=f"{message}: its requests fail")


def recorded(connection: psycopg.Connection) -> set[str] | None:
    """The migrations that `supabase db push` recorded, by name, or version without one; None if unreadable."""
    # as JSON, because a table that an older CLI created does not have all columns
    query = "select to_jsonb(m) ->> 'name', m.version from supabase_migrations.schema_migrations as m"
    try:
        with connection.transaction():
            return {name or version for name, version in connection.execute(query)}
    except (InsufficientPrivilege, UndefinedTable):
        return None


def unrecorded(known: set[str] | None, migrations: Sequence[Migration]) -> Iterator[Finding]:
    """The migrations that are not recorded; the version of one that is named may be the project's own."""
    advice = "decide by the other findings: without one, `supabase migration repair` records it; else copy and push it"
    for migration in migrations:
        if known is not None and known.isdisjoint({migration.name, migration.version}):
            yield Finding("drift", "warning", f"migration {migration.name}", "is not recorded as applied", advice, ())
