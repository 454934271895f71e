"""Is each object what the migrations create?"""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Final

import psycopg

from edge_api.verify.findings import Finding, Level
from edge_api.verify.policies import conjuncts, passes

_QUERY: Final = files(__package__).joinpath("drift.sql").read_bytes()
API_ROLES: Final = ("public", "anon", "authenticated", "service_role")


@dataclass(frozen=True)
class Object:
    """An object with what decides what it does."""

    kind: str
    subject: str
    """Kind and qualified name, as `drop` and `comment on` take them."""
    parent: str
    """The subject of the object that it is part of, or empty."""
    aspects: dict[str, list[Any]]
    """The value of each, and the statements that set it."""
    rights: list[tuple[str, str, bool, bool]]
    """Role, privilege, whether it may pass it on, whether the owner gave it."""
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its qualified name, without the kind."""
        return self.subject.partition(" ")[2]


Objects = dict[str, Object]
Scope = dict[str, list[str]]
SCOPE: Final = ("schemas", "relations", "functions")


@contextmanager
def scoped(connection: psycopg.Connection, scope: Scope) -> Iterator[None]:
    """What the queries of this package expect. Inside a transaction."""
    query = "select set_config('search_path', %s, true), set_config('edge_api.scope', %s, true)"
    (before,) = connection.execute("select current_setting('search_path')").fetchone() or [""]
    connection.execute(query, ["", json.dumps(scope)])
    yield
    connection.execute(query, [before, ""])


def read(connection: psycopg.Connection) -> Objects:
    """The objects in scope by subject. Inside `scoped`."""
    objects: Objects = {}
    for kind, subject, parent, aspects, rights in connection.execute(_QUERY):
        detail = aspects.pop("detail", {})
        objects[subject] = Object(kind, subject, parent, aspects, [tuple(right) for right in rights], detail)
    return objects


# What a creation consists of, in order; the other aspects have these values from the start.
_CREATION: Final = (
    "existence",
    "definition",
    "row level security",
    "row level security for its owner",
    "owner",
    "comment",
)

# An object that is missing: what that means for whom.
_MISSING: Final[dict[str, tuple[Level, str]]] = {
    "schema": ("error", "requests fail"),
    "table": ("error", "requests fail"),
    "column": ("error", "requests fail"),
    "constraint": ("warning", "data that it forbids can be written"),
    "trigger": ("warning", "what it keeps true can become wrong"),
    "policy": ("warning", "what it forbids is allowed"),
    "function": ("warning", "what needs it fails"),
}

# An aspect with another value. {0} is the actual, {1} the expected value.
_CHANGED: Final[dict[str, tuple[Level, str]]] = {
    "comment": ("info", "has another comment"),
    "owner": ("warning", "is owned by {0}, not {1}: an owner may do everything with it"),
    "row level security": ("warning", "row level security is disabled: its rights alone decide who reaches which rows"),
    "row level security for its owner": ("warning", "row level security does not apply to its owner"),
    "persistence": ("warning", "is {0}: a crash empties it"),
    "replica identity": ("info", "has another replica identity: replicas learn more or less of a changed row"),
    "usage for authenticated": ("error", "authenticated has no usage: users' requests fail"),
    "usage for service_role": ("warning", "service_role has no usage: a backend's requests fail"),
    "type": ("warning", "is of type {0}, not {1}"),
    "not null": ("warning", "may be null, or was not checked for rows that exist"),
    "default": ("warning", "has the default {0}, not {1}"),
    "generation": ("warning", "is generated in another way"),
    "collation": ("warning", "has the collation {0}, not {1}"),
    "definition": ("warning", "{0} instead of {1}"),
    "signature": ("error", "is declared as {0} instead of {1}: callers fail"),
    "triggers": ("warning", "is not enforced: triggers behind it are disabled"),
    "index": ("warning", "is not enforced: its index is invalid"),
    "state": ("warning", "is {0}"),
}


def compare(expected: Objects, actual: Objects) -> Iterator[Finding]:
    """All drift of what the migrations create, and what hangs on it besides."""
    for subject, item in expected.items():
        now = actual.get(subject)
        if now is not None:
            yield from _changed(item, now)
            yield from _rights(item, now)
        elif not item.parent or item.parent in actual:  # else the parent's own finding creates it
            yield _missing(item, expected.values(), actual)
    for subject, item in actual.items():
        if subject not in expected:
            yield from _added(item, expected)


def _missing(item: Object, expected: Iterable[Object], actual: Objects) -> Finding:
    level, means = _MISSING[item.kind]
    breaks_requests = (
        item.detail.get("permissive")
        or str(item.aspects.get("definition", "")).startswith("['UNIQUE")
        or any(role == "authenticated" for role, *_ in item.rights)
    )
    if breaks_requests:
        level, means = "error", "users' requests fail"
    fix = list(_creation(item))
    for part in expected:
        if part.parent == item.subject:
            fix += _creation(part)
    taken = next((other for other in actual if other.partition(" ")[2] == item.subject.partition(" ")[2]), None)
    if taken and item.kind == "table":
        return Finding(
            "drift", level, item.subject, f"is missing: {means}", f"rename the {taken} that has its name", ()
        )
    return Finding("drift", level, item.subject, f"is missing: {means}", "", tuple(fix))


def _creation(item: Object) -> Iterator[str]:
    for aspect in _CREATION:
        value, *statements = item.aspects.get(aspect, [None])
        if value not in (None, False) and not (aspect == "comment" and value is None):
            yield from statements
    if item.rights or item.kind == "function":
        on = _on(item)
        yield f"revoke all on {on} from {', '.join(API_ROLES)}"
        yield from _grants(item)


def _on(item: Object) -> str:
    return item.subject if item.kind in {"schema", "function"} else f"table {item.subject.partition(' ')[2]}"


def _grants(item: Object) -> Iterator[str]:
    for role in dict.fromkeys(right[0] for right in item.rights):
        privileges = ", ".join(right[1] for right in item.rights if right[0] == role)
        yield f"grant {privileges} on {_on(item)} to {role}"


def _changed(item: Object, now: Object) -> Iterator[Finding]:
    differing = [name for name, value in item.aspects.items() if now.aspects.get(name, [None])[0] != value[0]]
    if "signature" in differing:  # its fix creates it anew
        differing = ["signature"]
    for aspect in differing:
        before, *statements = item.aspects[aspect]
        after = now.aspects.get(aspect, [None])[0]
        if aspect == "options":
            names = ", ".join(option.partition("=")[0] for option in after)
            fix = (f"alter {item.subject} reset ({names})",) if names else ()
            yield Finding("drift", "info", item.subject, f"has the options {names or 'none'}", "", fix)
            continue
        level, template = _CHANGED[aspect]
        shown = (before, after)
        if aspect == "definition" and item.kind == "function":
            shown = _first_difference(before, after)
        message = template.format(shown[1] if shown[1] is not None else "nothing", shown[0] or "nothing")
        # creating it anew loses what hangs on it
        again = ("definition", "signature") if item.kind == "function" else ("definition", "triggers")
        fix = list(statements)
        if aspect in again and item.kind != "function" or aspect == "signature":
            fix += [s for s in _creation(item) if s not in fix]
        if item.kind == "policy" and aspect == "definition":
            yield _policy(item, now, message, fix)
            continue
        if _breaks_requests(item, aspect, before, after):
            level = "error"
            message += ": users' requests fail"
        yield Finding("drift", level, item.subject, message, "", tuple(fix))


def _breaks_requests(item: Object, aspect: str, before: Any, after: Any) -> bool:
    if item.kind == "constraint":  # get-or-create relies on it
        return str(item.aspects["definition"][0]).startswith("UNIQUE") and aspect in {"definition", "index"}
    if aspect == "default":
        return before is not None and (after is None or item.subject.endswith((".user_id", ".is_active")))
    return aspect == "type" and re.sub(r"\(.*?\)", "", f"{before}") != re.sub(r"\(.*?\)", "", f"{after}")


def _first_difference(before: str, after: str) -> tuple[str, str]:
    lines = [(one.strip(), other.strip()) for one, other in zip(before.splitlines(), after.splitlines(), strict=False)]
    return next(((one, other) for one, other in lines if one != other), ("its end", "more or less text"))


def _policy(item: Object, now: Object, message: str, fix: list[str]) -> Finding:
    """A policy that is another one: what is tighter is the project's to decide."""
    was, new = item.detail, now.detail
    clauses = ("using", "check")
    same_use = all(was[name] == new[name] for name in ("permissive", "command", "for users"))
    tighter = same_use and all(
        conjuncts(was[name]) <= conjuncts(new[name]) or conjuncts(was[name]) == {"true"} for name in clauses
    )
    shut = any(passes(new[name]) == "nothing" for name in clauses)
    if was["permissive"]:
        useless = not (new["permissive"] and new["for users"] and new["command"] in {was["command"], "*"}) or shut
    else:
        useless = not new["permissive"] and shut
    if useless:
        return Finding("drift", "error", item.subject, f"{message}: users' requests fail", "", tuple(fix))
    if tighter and conjuncts(was["using"]) | conjuncts(was["check"]) < conjuncts(new["using"]) | conjuncts(
        new["check"]
    ):
        return Finding("drift", "info", item.subject, f"is tighter: {message}", "", ())
    return Finding("drift", "warning", item.subject, message, "", tuple(fix))


def _rights(item: Object, now: Object) -> Iterator[Finding]:
    expected, actual = {right[:3] for right in item.rights}, {right[:3] for right in now.rights}
    lost = {right[:2] for right in expected} - {right[:2] for right in actual}
    gained = sorted(actual - expected) + [right[:3] for right in now.rights if not right[3] and right[:3] in expected]
    for role in dict.fromkeys(right[0] for right in gained):
        privileges = ", ".join(
            privilege + (", with the right to pass it on" if passing_on else "")
            for grantee, privilege, passing_on in gained
            if grantee == role
        )
        everybody = {"public": " (everybody)", "anon": " (unauthenticated)"}.get(role, "")
        # all of the role's: without "cascade" a chain of grants holds, and of a table's right the columns' rights are part
        revokes = [f"revoke all on {_on(item)} from {each} cascade" for each in dict.fromkeys(r[0] for r in gained)]
        fix = (*revokes, *_grants(item))
        yield Finding("drift", "warning", item.subject, f"{role}{everybody} also has {privileges}", "", fix)
    for role in sorted({right[0] for right in lost}):
        privileges = ", ".join(sorted(privilege for grantee, privilege in lost if grantee == role))
        level: Level = "error" if role == "authenticated" else "warning"
        message = f"{role} has no {privileges}: {'users' if role == 'authenticated' else 'a backend'}' requests fail"
        fix = tuple(_grants(item))
        if role == "service_role" and privileges in {
            "delete",
            "update",
            "delete, update",
        }:  # of which nothing is needed here
            level, message, fix = "info", f"is tighter: {role} has no {privileges}", ()
        yield Finding("drift", level, item.subject, message, "", fix)


def _added(item: Object, expected: Objects) -> Iterator[Finding]:
    """What was added to the migrations' objects. A project's own is never dropped."""

    def finding(level: Level, message: str, advice: str = "", *fix: str) -> Finding:
        return Finding("drift", level, item.subject, message, advice, fix)

    if item.kind in {"function", "procedure", "aggregate"}:
        for namesake in expected.values():
            if namesake.kind == "function" and namesake.detail["name"] == item.detail["name"]:
                names = set(namesake.detail["arguments"])
                ambiguous = names <= set(item.detail["arguments"]) and item.detail["required"] <= len(names)
                advice = "decide which of the two keeps the name: rename this one, or move it to another schema"
                means = (
                    "requests can fail as ambiguous or reach it instead"
                    if ambiguous
                    else "is no function of the migrations"
                )
                yield finding(
                    "error" if ambiguous else "warning", f"has the name of {namesake.subject}: {means}", advice
                )
                return
    if not item.parent:
        if item.kind not in {"schema"}:
            yield finding(
                "info", "was added to a schema that belongs to the migrations", "move it to a schema of your own"
            )
        return
    if item.parent not in expected:
        return
    match item.kind:
        case "column":
            required = item.aspects["not null"][0] and item.aspects["default"][0] is None
            column = f"{item.parent.replace('table', 'alter table', 1)} alter column {item.subject.rpartition('.')[2]}"
            if required:
                yield finding(
                    "error", "was added without a default: creating an account fails", "", f"{column} drop not null"
                )
            else:
                yield finding("info", "was added: an owner sees it in its row", "keep such data in a table of your own")
        case "constraint" if str(item.aspects["definition"][0]).startswith("CHECK"):
            yield finding("info", f"was added: {item.aspects['definition'][0]}", "")
        case "constraint":
            advice = "decide whether users' requests may fail for it; if not, drop it"
            yield finding("warning", f"was added: {item.aspects['definition'][0]}", advice)
        case "index":
            if item.detail["unique"]:
                advice = "decide whether one user's row may keep another's from being written; if not, drop it"
                yield finding("warning", "was added: it can make users' requests fail", advice)
        case "trigger":
            advice = "decide whether it is meant to see and to change what users write; if not, drop it"
            yield finding("warning", f"was added: {item.aspects['definition'][0]}", advice)
        case "rule":
            level: Level = "error" if item.detail["instead"] else "warning"
            yield finding(level, "was added: it turns requests into others", "", f"drop {item.subject}")
        case "policy":
            yield from _policy_added(item, finding)


def _policy_added(item: Object, finding: Any) -> Iterator[Finding]:
    using, check = item.detail["using"], item.detail["check"]
    among = {passes(clause) for clause in (using, check) if clause is not None}
    drop = f"drop {item.subject}"
    if item.detail["permissive"]:
        if among <= {"own", "nothing"}:
            yield finding(
                "info", "was added: it lets users do what they may already, or more with rows of their own", ""
            )
        else:
            yield finding(
                "warning", f"was added and may let more rows through: {item.aspects['definition'][0]}", "", drop
            )
    elif "nothing" in among and item.detail["for users"]:
        yield finding("error", "was added and forbids what users' requests need", "", drop)
    else:
        yield finding("info", f"is tighter: {item.aspects['definition'][0]}", "")
