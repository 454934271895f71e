"""What differs between two databases, what that means for the safety of the data, and how to mend it."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from edge_api.migrations import Migration
from edge_api.verify.catalog import Applied, Fact, Facts

API_ROLES: Final = frozenset({"anon", "authenticated", "service_role"})
_OPEN_ROLES: Final = frozenset({"public", "anon", "authenticated"})


class Level(StrEnum):
    """How much a difference matters."""

    ERROR = "error"
    """Data is open to the wrong people, or can become wrong, or the API fails."""
    WARNING = "warning"
    """A second line of defence is gone, something is slower, or a person has to look."""
    INFO = "info"
    """Nothing depends on it."""


# Every rule, and what it looks for.
RULES: Final[dict[str, str]] = {
    "object-missing": "A schema, table or function that the migrations make is not there.",
    "object-changed": "A table, view or function is of another kind or has other options.",
    "object-added": "Something was added to a schema that belongs to the migrations.",
    "owner-changed": "An object has another owner, who may do everything with it.",
    "row-security-off": "Row level security is switched off: grants alone decide who sees which rows.",
    "row-security-not-forced": "Row level security does not hold for the table's owner.",
    "column-missing": "A column is not there.",
    "column-changed": "A column has another type, default or nullability.",
    "column-added": "A column was added: whoever may select the table sees it.",
    "constraint-missing": "A constraint is gone: data that it forbids can be written.",
    "constraint-changed": "A constraint says something else, or is not enforced.",
    "constraint-added": "A constraint was added: calls that should work can fail.",
    "index-missing": "An index is gone: calls are slower.",
    "index-changed": "An index is another one, or cannot be used.",
    "index-added": "An index was added: writes do more.",
    "trigger-missing": "A trigger is gone or switched off.",
    "trigger-changed": "A trigger does something else.",
    "trigger-added": "A trigger was added: it runs with every write and sees every row written.",
    "rule-added": "A rule rewrites what callers ask for.",
    "policy-missing": "A policy is gone.",
    "policy-changed": "A policy lets other rows through, or lets them through to others.",
    "policy-added": "A policy was added: permissive ones open more rows.",
    "right-added": "A role may do more than the migrations allow.",
    "right-missing": "A role may do less than the migrations allow.",
    "default-privilege-changed": "What is made later is born with other rights.",
    "function-changed": "A function does something else, or runs with other rights.",
    "function-added": "A function of the same name with other arguments: a call may reach it instead.",
    "role-stronger": "A role of the API got past row level security.",
    "role-changed": "A role of the API has other attributes.",
    "view-reads": "A view hands out rows of a protected table.",
    "definer-function": "A function that runs with its owner's rights speaks of a protected table.",
    "child-table": "A table inherits from a protected one: its rows are among the parent's.",
    "parent-table": "A protected table inherits from another one: whoever reads that one reads its rows.",
    "publication": "A publication sends the rows of a protected table out of the database.",
    "comment-changed": "A comment is gone or says something else.",
    "migration-missing": "A migration is not recorded as applied.",
    "migration-changed": "A migration was applied with other content.",
    "migrations-unreadable": "The role may not read which migrations were applied.",
}


@dataclass(frozen=True)
class Finding:
    """One difference.

    Args:
        level: how much it matters.
        rule: of RULES.
        object: what differs: a kind and a name.
        message: what it means.
        mend: what to do about it, on one line; SQL where that can be said.
    """

    level: Level
    rule: str
    object: str
    message: str
    mend: str


def compare(wanted: Facts, found: Facts) -> list[Finding]:
    """All differences, the gravest first."""
    findings = [*_missing_or_changed(wanted, found), *_added(wanted, found)]
    order = list(Level)
    return sorted(findings, key=lambda finding: (order.index(finding.level), finding.object, finding.rule))


def compare_migrations(expected: Sequence[Migration], applied: Sequence[Applied] | None) -> list[Finding]:
    """Which migrations were not applied, or with other content; None stands for not knowing.

    A migration is recognised by its name and content, whatever the version, because a project gives it one of its own.
    What the CLI recorded before it knew names is recognised by its version.
    """
    if applied is None:
        return [
            Finding(
                Level.WARNING,
                "migrations-unreadable",
                "migrations",
                "this role may not read which ones were applied",
                "grant usage on schema supabase_migrations to <role>; "
                "grant select on table supabase_migrations.schema_migrations to <role>;",
            )
        ]
    findings = []
    for migration in expected:
        recorded = [
            row
            for row in applied
            if row.name == migration.name or (row.name is None and row.version == migration.version)
        ]
        what = f"migration {migration.name}"
        if not recorded:
            mend = (
                "edge-api migrations copy supabase/migrations in the project that owns the history, then supabase db "
                "push there; where all else is silent, supabase migration repair --status applied with its version"
            )
            findings.append(Finding(Level.ERROR, "migration-missing", what, "is not recorded as applied", mend))
        elif not any(row.sql is None or migration.is_same_as(row.sql) for row in recorded):
            means = f"was applied with other content than this package's, as version {recorded[0].version}"
            mend = "nothing, where all else is silent; else compare the two"
            findings.append(Finding(Level.WARNING, "migration-changed", what, means, mend))
    return findings


# Missing, or different ------------------------------------------------------------------------------------------


def _missing_or_changed(wanted: Facts, found: Facts) -> Iterator[Finding]:
    names = {fact.name for fact in found.values() if fact.kind in {"schema", "relation"}}
    functions = {fact.name for fact in found.values() if fact.kind == "function"}
    for key, fact in wanted.items():
        other = found.get(key)
        if other is not None:
            yield from _differences(fact, other)
        elif _is_there(fact, wanted, names, functions):
            yield from _missing(fact)


def _is_there(fact: Fact, wanted: Facts, names: set[str], functions: set[str]) -> bool:
    """Whether that is there what a fact hangs off; where it is not, that alone is worth a line."""
    if fact.kind == "function":
        return True
    if fact.kind == "right" and ("function", fact.parent) in wanted:
        return fact.parent in functions
    return fact.parent in names | {"", "public", "auth"}


def _missing(fact: Fact) -> Iterator[Finding]:
    p, what = fact.properties, f"{fact.kind} {fact.name}"
    error = Level.ERROR
    if fact.kind in {"schema", "relation"}:
        kind = p.get("kind", fact.kind)
        yield Finding(error, "object-missing", f"{kind} {fact.name}", "is not there: the API fails", _AGAIN)
    elif fact.kind == "function":
        yield Finding(
            error, "object-missing", what, "is not there: the calls that need it fail", f"{_AGAIN}: {_head(p)}"
        )
    elif fact.kind == "column":
        default = f" default {p['default']}" if p["default"] else ""
        not_null = " not null" if p["not null"] else ""
        mend = f"alter table {p['table']} add column {p['column']} {p['type']}{default}{not_null};"
        yield Finding(error, "column-missing", what, "is not there: the API fails", mend)
    elif fact.kind == "constraint":
        mend = f"alter table {p['table']} add constraint {p['constraint']} {p['definition']};"
        yield Finding(error, "constraint-missing", what, f"is gone: nothing enforces {_CONSTRAINTS[p['type']]}", mend)
    elif fact.kind == "index":
        if not p["constraint"]:  # else the constraint's own line says it
            yield Finding(Level.WARNING, "index-missing", what, "is gone: calls are slower", f"{p['definition']};")
    elif fact.kind == "trigger":
        yield Finding(
            error, "trigger-missing", what, "is gone: what it keeps true can become wrong", f"{p['definition']};"
        )
    elif fact.kind == "policy":
        means = (
            "is gone: its users' calls see or change nothing"
            if p["mode"] == "permissive"
            else "is gone: what it forbade is allowed"
        )
        yield Finding(error, "policy-missing", what, means, _policy(p))
    elif fact.kind == "right":
        yield from _rights(fact, p["privileges"], {})
    elif fact.kind == "role":
        yield Finding(error, "object-missing", what, "is not there: this is not a Supabase project's database", _AGAIN)
    elif fact.kind == "rule":
        yield Finding(error, "object-missing", what, "is gone", f"{p['definition']}")


_AGAIN: Final = "run its migration again"
_CONSTRAINTS: Final = {
    "p": "that ids are unique",
    "u": "that there is only one",
    "f": "that what it refers to exists, and it is not removed with that",
    "c": "what may be in it",
    "x": "that rows exclude each other",
}


def _differences(fact: Fact, other: Fact) -> Iterator[Finding]:
    now = other.properties
    differing = {
        name
        for name, value in fact.properties.items()
        if now.get(name) != value and not (name == "definition" and fact.kind == "function")
    }
    if not differing:
        return
    kind = fact.properties["kind"] if fact.kind in {"relation", "function"} else fact.kind
    what = f"{kind} {fact.name}"
    if "comment" in differing:
        yield _comment(fact, what)
        differing.discard("comment")
    if "owner" in differing:
        yield _owner(fact, now["owner"], what)
        differing.discard("owner")
    if not differing:
        return
    if fact.kind in _CHANGES:
        yield from _CHANGES[fact.kind](fact, differing, now, what)
    else:
        yield Finding(Level.ERROR, "object-changed", what, f"differs: {', '.join(sorted(differing))}", _AGAIN)


def _comment(fact: Fact, what: str) -> Finding:
    target = {
        "relation": f"{fact.properties.get('kind')} {fact.name}",
        "column": f"column {fact.name}",
        "policy": f"policy {fact.name}",
    }.get(fact.kind, f"{fact.kind} {fact.name}")
    text = fact.properties["comment"]
    value = "null" if text is None else "'" + text.replace("'", "''") + "'"
    return Finding(Level.INFO, "comment-changed", what, "its comment differs", f"comment on {target} is {value};")


def _owner(fact: Fact, owner: str, what: str) -> Finding:
    wanted = fact.properties["owner"]
    means = f"belongs to {owner}, not to {wanted}: the owner may do all with it"
    level = Level.ERROR if owner in API_ROLES else Level.WARNING
    return Finding(level, "owner-changed", what, means, f"alter {what} owner to {wanted};")


def _relation(fact: Fact, differing: set[str], now: Mapping[str, Any], what: str) -> Iterator[Finding]:
    if "row security" in differing:
        if fact.properties["row security"]:
            means = "row level security is off: whoever holds a right on it has that right on the rows of all users"
            yield Finding(
                Level.ERROR, "row-security-off", what, means, f"alter table {fact.name} enable row level security;"
            )
        else:
            mend = f"alter table {fact.name} disable row level security;"
            yield Finding(Level.WARNING, "object-changed", what, "row level security was switched on", mend)
    if "forced row security" in differing:
        verb = "force" if fact.properties["forced row security"] else "no force"
        means = "row level security does not hold for its owner, nor for what runs with the owner's rights"
        if verb == "no force":
            means = "row level security was forced"
        mend = f"alter table {fact.name} {verb} row level security;"
        yield Finding(Level.WARNING, "row-security-not-forced", what, means, mend)
    if "persistence" in differing:
        mend = f"alter table {fact.name} set {fact.properties['persistence']};"
        yield Finding(Level.ERROR, "object-changed", what, f"is {now['persistence']}: a crash empties it", mend)
    if "replica identity" in differing:
        means = f"its replica identity is {now['replica identity']}: replicas are told more or less of a changed row"
        mend = f"alter table {fact.name} replica identity {fact.properties['replica identity']};"
        yield Finding(Level.WARNING, "object-changed", what, means, mend)
    if "options" in differing:
        means = f"has the options {json.dumps(now['options'])} instead of {json.dumps(fact.properties['options'])}"
        names = ", ".join(option.split("=")[0] for option in now["options"])
        mend = f"alter {what} reset ({names});" if names else _AGAIN
        yield Finding(Level.WARNING, "object-changed", what, means, mend)
    for name in sorted(differing & {"kind", "definition"}):
        yield Finding(Level.ERROR, "object-changed", what, f"has another {name}", _AGAIN)


def _column(fact: Fact, differing: set[str], now: Mapping[str, Any], what: str) -> Iterator[Finding]:
    p = fact.properties
    alter = f"alter table {p['table']} alter column {p['column']}"
    if "not null" in differing:
        if p["not null"]:
            yield Finding(Level.ERROR, "column-changed", what, "may be null", f"{alter} set not null;")
        else:
            yield Finding(
                Level.WARNING, "column-changed", what, "may not be null: calls can fail", f"{alter} drop not null;"
            )
    if "default" in differing:
        means = f"its default is {now['default'] or 'gone'}, not {p['default'] or 'none'}"
        mend = f"{alter} set default {p['default']};" if p["default"] else f"{alter} drop default;"
        yield Finding(Level.ERROR, "column-changed", what, means, mend)
    if "type" in differing:
        means = f"is of type {now['type']}, not {p['type']}: answers have another form"
        yield Finding(Level.ERROR, "column-changed", what, means, f"{alter} type {p['type']};")
    for name in sorted(differing & {"generated", "collation"}):
        means = f"{name} differs: {now[name] or 'none'} instead of {p[name] or 'none'}"
        yield Finding(Level.WARNING, "column-changed", what, means, _AGAIN)


def _constraint(fact: Fact, now: Mapping[str, Any], what: str) -> Finding:
    p = fact.properties
    name = f"alter table {p['table']}"
    if now["definition"] == p["definition"]:
        means = "is not enforced: the triggers behind it are switched off"
        return Finding(Level.ERROR, "constraint-changed", what, means, f"{name} enable trigger all; (as a superuser)")
    unchecked = f"{p['definition']} NOT VALID"
    if now["definition"] == unchecked:
        means = "was not checked on the rows that are there"
        return Finding(Level.ERROR, "constraint-changed", what, means, f"{name} validate constraint {p['constraint']};")
    mend = f"{name} drop constraint {p['constraint']}, add constraint {p['constraint']} {p['definition']};"
    return Finding(Level.ERROR, "constraint-changed", what, f"says {now['definition']}, not {p['definition']}", mend)


def _index(fact: Fact, now: Mapping[str, Any], what: str) -> Finding:
    p = fact.properties
    if now["definition"] == p["definition"] and not now["usable"]:
        level = Level.ERROR if p["unique"] else Level.WARNING
        means = "cannot be used: building it broke off"
        return Finding(level, "index-changed", what, means, f"reindex index concurrently {p['index']};")
    means = f"is another one: {now['definition']}"
    mend = _AGAIN if p["constraint"] else f"drop index {p['index']}; {p['definition']};"
    return Finding(Level.WARNING, "index-changed", what, means, mend)


def _trigger(fact: Fact, differing: set[str], now: Mapping[str, Any], what: str) -> Finding:
    p = fact.properties
    if differing == {"enabled"}:
        means = f"is switched {'off' if now['enabled'] == 'no' else 'to ' + now['enabled']}"
        mend = f"alter table {p['table']} enable trigger {p['trigger']};"
        return Finding(Level.ERROR, "trigger-missing", what, means, mend)
    mend = f"drop trigger {fact.name}; {p['definition']};"
    return Finding(Level.ERROR, "trigger-changed", what, f"says {now['definition']}", mend)


def _policy(properties: Mapping[str, Any]) -> str:
    p = properties
    clauses = "".join(f" {clause} ({p[clause]})" for clause in ("using", "with check") if p[clause])
    statement = (
        f"create policy {p['policy']} on {p['table']} as {p['mode']} for {p['command']} "
        f"to {', '.join(p['roles'])}{clauses};"
    )
    return re.sub(r"\s+", " ", statement)


def _policy_changed(fact: Fact, differing: set[str], now: Mapping[str, Any], what: str) -> Finding:
    parts, clauses = [], ""
    for name in ("mode", "command", "roles", "using", "with check"):
        if name in differing:
            value, wanted = (
                ", ".join(each) if isinstance(each, list) else each for each in (now[name], fact.properties[name])
            )
            parts.append(f"{name}: {value or 'gone'} instead of {wanted or 'none'}")
            clauses += f" to {wanted}" if name == "roles" else f" {name} ({wanted})"
    means = re.sub(r"\s+", " ", "is another one: " + "; ".join(parts))
    can_be_altered = differing <= {"roles", "using", "with check"} and all(fact.properties[name] for name in differing)
    mend = (
        f"alter policy {fact.name}{clauses};"
        if can_be_altered
        else f"drop policy {fact.name}; {_policy(fact.properties)}"
    )
    return Finding(Level.ERROR, "policy-changed", what, means, re.sub(r"\s+", " ", mend))


def _function(fact: Fact, differing: set[str], now: Mapping[str, Any], what: str) -> Iterator[Finding]:
    p = fact.properties
    alter = f"alter {what}"
    again = f"{_AGAIN}: {_head(p)}"
    if "security" in differing:
        means = f"runs with the rights of its {'owner' if now['security'] == 'definer' else 'caller'}"
        if now["security"] == "definer":
            means += f" ({now['owner']}), past row level security"
        yield Finding(Level.ERROR, "function-changed", what, means, f"{alter} security {p['security']};")
    if "settings" in differing:
        means = f"runs with {', '.join(now['settings']) or 'no settings'}: names in it can be led elsewhere"
        settings = [setting.partition("=") for setting in p["settings"]]
        mend = "; ".join(
            [f"{alter} reset all", *(f"{alter} set {name} = {_setting(value)}" for name, _, value in settings)]
        )
        yield Finding(Level.ERROR, "function-changed", what, means, f"{mend};")
    for name in ("language", "body"):
        if name in differing:
            yield Finding(Level.ERROR, "function-changed", what, f"has another {name}", again)
            break
    for name in ("kind", "arguments", "result"):
        if name in differing:
            means = f"its {name} differ: {now[name]} instead of {p[name]}"
            yield Finding(Level.ERROR, "function-changed", what, means, again)
    if "volatility" in differing:
        means = f"is {now['volatility']}, not {p['volatility']}"
        level = Level.ERROR if p["volatility"] == "volatile" else Level.WARNING
        yield Finding(level, "function-changed", what, means, f"{alter} {p['volatility']};")
    for name, clause in (
        ("parallel", f"parallel {p['parallel']}"),
        ("null input", p["null input"]),
        ("leakproof", p["leakproof"]),
    ):
        if name in differing:
            means = f"{name}: {now[name]} instead of {p[name]}"
            yield Finding(Level.WARNING, "function-changed", what, means, f"{alter} {clause};")
    if "planner" in differing:
        means = f"is planned with {now['planner']} instead of {p['planner']}"
        yield Finding(Level.INFO, "function-changed", what, means, f"{alter} {p['planner'].removesuffix(' rows 0')};")


def _setting(value: str) -> str:
    return value if value.startswith('"') and value != '""' else "''" if value == '""' else f"'{value}'"


def _head(properties: Mapping[str, Any]) -> str:
    """The first line of a definition, by which it is found in the migrations."""
    return str(properties["definition"]).partition("\n")[0].strip().lower()


_ATTRIBUTES: Final = {
    "superuser": "is a superuser, whom nothing holds back",
    "bypassrls": "is past row level security: it sees the rows of all users",
    "createrole": "may make roles, and give itself theirs",
    "createdb": "may make databases",
    "replication": "may copy the whole database",
    "login": "may log into the database itself, past the API",
}


def _role(fact: Fact, differing: set[str], now: Mapping[str, Any], what: str) -> Iterator[Finding]:
    for name in sorted(differing & set(_ATTRIBUTES)):
        wanted = fact.properties[name]
        rule = "role-changed" if wanted or name in {"createdb", "login"} else "role-stronger"
        level = Level.WARNING if rule == "role-changed" else Level.ERROR
        means = f"is not {name}, as it should be" if wanted else _ATTRIBUTES[name]
        yield Finding(level, rule, what, means, f"alter role {fact.name} {'' if wanted else 'no'}{name};")
    more = [role for role in now["stronger roles"] if role not in fact.properties["stronger roles"]]
    for role in more:
        means = f"is a member of {role}: who calls the API can have that role's rights"
        yield Finding(Level.ERROR, "role-stronger", what, means, f"revoke {role} from {fact.name};")


_Change = Callable[[Fact, set[str], Mapping[str, Any], str], Iterable[Finding]]


def _list(privileges: Mapping[str, bool] | list[str]) -> str:
    return ", ".join(sorted(privileges))


def _rights(fact: Fact, wanted: Mapping[str, bool], now: Mapping[str, bool]) -> Iterator[Finding]:
    role, on = fact.properties["role"], fact.properties["on"]
    what = f"{on}, rights of {role}"
    added = [privilege for privilege in now if privilege not in wanted]
    missing = [privilege for privilege in wanted if privilege not in now]
    passing_on = [privilege for privilege in now if now[privilege] and privilege in wanted and not wanted[privilege]]
    if added:
        level = Level.ERROR if role in _OPEN_ROLES else Level.WARNING
        everybody = " (everybody)" if role == "public" else " (nobody has signed in)" if role == "anon" else ""
        means = f"{role}{everybody} also has {_list(added)}"
        yield Finding(level, "right-added", what, means, f"revoke {_list(added)} on {on} from {role};")
    if missing:
        level = Level.ERROR if role == "authenticated" else Level.WARNING
        means = f"{role} has no {_list(missing)}: calls that need it are refused"
        yield Finding(level, "right-missing", what, means, f"grant {_list(missing)} on {on} to {role};")
    if passing_on:
        means = f"{role} may pass {_list(passing_on)} on to others"
        mend = f"revoke grant option for {_list(passing_on)} on {on} from {role};"
        yield Finding(Level.ERROR if role in API_ROLES else Level.WARNING, "right-added", what, means, mend)


def _default_privilege(fact: Fact) -> Finding:
    p = fact.properties
    where = f" in schema {p['schema']}" if p["schema"] else ""
    what = f"default privileges on {p['objects']}{where}"
    means = f"what {p['owner']} makes later is born with {_list(p['privileges'])} for {p['role']}"
    revoke = f"revoke {_list(p['privileges'])} on {p['objects']} from {p['role']};"
    mend = f"alter default privileges for role {p['owner']}{where} {revoke}"
    return Finding(Level.WARNING, "default-privilege-changed", what, means, mend)


_CHANGES: Final[dict[str, _Change]] = {
    "relation": _relation,
    "column": _column,
    "constraint": lambda fact, _, now, what: [_constraint(fact, now, what)],
    "index": lambda fact, _, now, what: [_index(fact, now, what)],
    "trigger": lambda fact, differing, now, what: [_trigger(fact, differing, now, what)],
    "policy": lambda fact, differing, now, what: [_policy_changed(fact, differing, now, what)],
    "right": lambda fact, _, now, __: _rights(fact, fact.properties["privileges"], now["privileges"]),
    "function": _function,
    "role": _role,
}


# Added ------------------------------------------------------------------------------------------------------------


def _added(wanted: Facts, found: Facts) -> Iterator[Finding]:
    known = {fact.name for fact in wanted.values() if fact.kind in {"schema", "relation", "function"}}
    bare = {fact.parent for fact in wanted.values() if fact.kind == "function"}
    for key, fact in found.items():
        if key in wanted:
            continue
        if fact.kind == "relation" or (fact.kind == "function" and fact.parent not in bare):
            kind = fact.properties["kind"]
            means = "was made in a schema that belongs to the migrations"
            yield Finding(
                Level.WARNING, "object-added", f"{kind} {fact.name}", means, f"drop {kind} {fact.name}; or move it"
            )
        elif fact.kind == "function":
            means = "has the name of another one: a call may reach this one, or fail as ambiguous"
            kind = fact.properties["kind"]
            yield Finding(Level.ERROR, "function-added", f"{kind} {fact.name}", means, f"drop {kind} {fact.name};")
        elif fact.parent in known | {"", "public", "auth"}:
            yield from _hung_on(fact)


def _hung_on(fact: Fact) -> Iterator[Finding]:  # noqa: PLR0912 - a branch for each kind
    p, what = fact.properties, f"{fact.kind} {fact.name}"
    match fact.kind:
        case "column":
            means = "is not of the migrations: whoever may select the table sees it"
            mend = f"alter table {p['table']} drop column {p['column']}; or keep such data in a table of your own"
            yield Finding(Level.WARNING, "column-added", what, means, mend)
        case "constraint":
            mend = f"alter table {p['table']} drop constraint {p['constraint']};"
            yield Finding(Level.WARNING, "constraint-added", what, "can make calls fail that should work", mend)
        case "index" if not p["constraint"]:
            level, means = Level.INFO, "makes writes do more"
            if p["unique"]:
                level, means = Level.WARNING, "can make calls fail that should work"
            yield Finding(level, "index-added", what, means, f"drop index {p['index']};")
        case "trigger":
            mend = f"drop trigger {fact.name};"
            means = "runs with every write that it is for, and sees what users write"
            yield Finding(Level.WARNING, "trigger-added", what, means, mend)
        case "rule":
            means = "turns what callers ask for into something else"
            yield Finding(Level.ERROR, "rule-added", what, means, f"drop rule {fact.name};")
        case "policy":
            if p["mode"] == "permissive":
                condition = p["using"] or p["with check"] or "true"
                means = f"also lets {', '.join(p['roles'])} {p['command']} rows where {condition}"
                level = Level.ERROR
            else:
                level, means = Level.WARNING, "forbids what should be allowed"
            yield Finding(level, "policy-added", what, re.sub(r"\s+", " ", means), f"drop policy {fact.name};")
        case "right":
            yield from _rights(fact, {}, p["privileges"])
        case "default privilege":
            yield _default_privilege(fact)
        case "child table" | "parent table":
            yield _relative(fact, what)
        case "view":
            yield from _view(fact)
        case "definer function":
            means = (
                f"runs with its owner's rights, can be called through the API, and speaks of {', '.join(p['tables'])}"
            )
            mend = f"read it; if it can do without: alter function {fact.name} security invoker;"
            yield Finding(Level.WARNING, "definer-function", f"function {fact.name}", means, mend)
        case "publication":
            means = "sends changed rows out of the database; Realtime tells every subscriber of each deleted row's id"
            mend = f"alter publication {p['publication']} drop table {p['table']};"
            yield Finding(Level.WARNING, "publication", what, means, mend)


def _relative(fact: Fact, what: str) -> Finding:
    p = fact.properties
    if fact.kind == "child table":
        means = f"its rows are among those of {p['table']}"
        if not p["row security"]:
            means += ", and it has no row level security"
        return Finding(Level.WARNING, "child-table", what, means, f"alter table {fact.name} no inherit {p['table']};")
    means = f"whoever may read or write it reads or writes the rows of {p['table']}, past row level security"
    fix = f"alter table {p['table']} no inherit {fact.name};"
    if p["partition"]:
        fix = f"alter table {fact.name} detach partition {p['table']};"
    return Finding(Level.ERROR, "parent-table", what, means, fix)


def _view(fact: Fact) -> Iterator[Finding]:
    p = fact.properties
    what = f"{p['kind']} {fact.name}"
    readers = ", ".join(p["readers"])
    if p["rules"] and readers:  # security_invoker is for what a view selects
        means = f"its rules change rows in {p['reads']} for {readers} with its owner's rights"
        fix = " ".join(f"drop rule {rule} on {fact.name};" for rule in p["rules"])
        yield Finding(Level.ERROR, "view-reads", what, means, fix)
    if (p["kind"] == "view" and p["invoker"]) or (p["kind"] == "materialized view" and not readers):
        return  # row level security holds in it, or nobody reads it through the API
    mend = f"alter view {fact.name} set (security_invoker = true);"
    if p["kind"] == "materialized view":
        mend = f"revoke all on table {fact.name} from public, anon, authenticated;"
    if readers and p["bypasses"]:
        means = f"hands the rows of all users in {p['reads']} to {readers}: row level security does not hold in it"
        yield Finding(Level.ERROR, "view-reads", what, means, mend)
    else:
        means = f"reads {p['reads']} with its owner's rights"
        yield Finding(Level.WARNING if readers else Level.INFO, "view-reads", what, means, mend)
