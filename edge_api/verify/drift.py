"""Is each object what the migrations create, and what they need of `public` and `auth` as Supabase creates it?"""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

import psycopg

from edge_api.verify.conditions import conjuncts, limit_of
from edge_api.verify.findings import Finding, Level

_QUERY: Final = files(__package__).joinpath("drift.sql").read_bytes()


@dataclass(frozen=True)
class Object:
    """An object with what decides what it does."""

    kind: str
    subject: str
    """Kind and qualified name, as `drop` and `comment on` take them."""
    parent: str
    """The subject of the object that it is part of, or empty."""
    aspects: dict[str, Any]
    """What is compared."""
    rights: list[tuple[str, str, bool, bool]]
    """Role, privilege, whether it may pass it on, whether the owner gave it."""
    detail: dict[str, Any]

    @property
    def name(self) -> str:
        """The subject without the kind."""
        return self.subject.removeprefix(f"{self.kind} ")

    @property
    def bare(self) -> str:
        """Of a part, its name without that of the whole."""
        whole = self.parent.partition(" ")[2]
        return self.name.removeprefix(f"{whole}.").removesuffix(f" on {whole}")

    @property
    def schema(self) -> str:
        """Of a part, that of the whole."""
        return self.parent.partition(" ")[2].partition(".")[0]

    @property
    def address(self) -> str:
        """As `grant` takes it."""
        return self.subject if self.kind in {"schema", "function"} else f"table {self.name}"


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
    return {
        subject: Object(kind, subject, parent, aspects, [tuple(right) for right in rights], detail)
        for kind, detail, subject, parent, aspects, rights in connection.execute(_QUERY)
    }


_FAILS: Final = "users' requests fail"
_IN_THE_WAY: Final = "if rows or names are in the way, the script says so and goes on: decide about them"

# An object that is missing, unless users' requests need it.
_MISSING: Final = {
    "constraint": "data that it forbids can be written",
    "index": "queries that use it become slow",
    "trigger": "what it keeps true can become wrong",
    "policy": "what it forbids is allowed",
    "function": "what needs it fails",
}

# An aspect with another value: {0} is the actual, {1} the expected one.
_CHANGED: Final[dict[str, tuple[Level, str]]] = {
    "comment": ("info", "has another comment"),
    "owner": ("warning", "is owned by {0}, not {1}: an owner may do everything with it"),
    "row level security": ("warning", "row level security is disabled: rights alone decide who reaches which rows"),
    "row level security for its owner": ("warning", "row level security does not apply to its owner"),
    "persistence": ("warning", "is {0}: a crash empties it"),
    "replica identity": ("info", "has another replica identity: replicas learn more or less of a changed row"),
    "options": ("info", "has other options"),
    "usage for everybody": ("info", "was created again, and not everybody has usage"),
    "usage for authenticated": ("error", f"authenticated has no usage: {_FAILS}"),
    "usage for service_role": ("warning", "service_role has no usage: a backend's requests fail"),
    "create for postgres": ("warning", "postgres may not create objects in it: migrations fail"),
    "identity": ("error", "is not Supabase's own: it decides who is calling"),
    "security options": ("warning", "it decides who is calling, and has options of its own"),
    "execute for authenticated": ("error", f"authenticated may not execute it: {_FAILS}"),
    "type": ("warning", "is of type {0}, not {1}"),
    "not null": ("warning", "may be null, or was not checked for rows that exist"),
    "default": ("warning", "has the default {0}, not {1}"),
    "definition": ("warning", "is {0}, not {1}"),
    "signature": ("error", f"is declared as {{0}}, not {{1}}: {_FAILS}"),
}

_ROW_SECURITY: Final = ("row level security", "row level security for its owner")
# The statements that give an aspect, or the definition of an object of this kind, its value.
_FIXES: Final[dict[str, tuple[str, ...]]] = {
    "comment": ("comment on {item.subject} is {value}",),
    "owner": ("alter {item.subject} owner to {value}",),
    **dict.fromkeys(_ROW_SECURITY, ("alter {item.subject} {value} row level security",)),
    "persistence": ("alter {item.subject} set {value}",),
    "replica identity": ("alter {item.subject} replica identity {value}",),
    "type": ("alter {item.parent} alter column {item.bare} type {value}",),
    "not null": ("alter {item.parent} alter column {item.bare} {value} not null",),
    "default": ("alter {item.parent} alter column {item.bare} {value}",),
    "signature": ("drop function if exists {item.name}",),
    "definition of a constraint": (
        "alter {item.parent} drop constraint if exists {item.bare}",
        # an index of this name that is no constraint's would be in the way
        "drop index if exists {item.schema}.{item.bare}",
        "alter {item.parent} add constraint {item.bare} {value}",
    ),
    **{
        f"definition of a {kind}": (f"drop {kind} if exists {{item.name}}", "{value}")
        for kind in ("index", "trigger", "policy", "rule")
    },
    "definition of a function": ("{value}",),
}

# What a creation consists of, in order, and the values that a new object has anyway.
_CREATION: Final = ("definition", "not null", *_ROW_SECURITY, "owner", "comment")
_NEW: Final = {None, "null", "drop", "disable", "no force"}

# What was added to a table of the migrations. A project's own is not dropped, what lets more through is.
_ADDED: Final[dict[str, tuple[Level, str, str]]] = {
    "column": ("info", "was added: an owner sees it in its row", "keep such data in a table of your own"),
    "constraint": ("warning", "was added: {0}", "decide whether users' requests may fail for it; if not, drop it"),
    "index": ("warning", "was added: it is unique, and users' requests can fail for it", "decide whether they may"),
    "trigger": ("warning", "was added: {0}", "decide whether it may see and change what users write; if not, drop it"),
    "rule": ("warning", "was added: it turns requests into others", ""),
    "policy": ("info", "was added: {0}", ""),
}


def compare(expected: Objects, actual: Objects) -> Iterator[Finding]:
    """All drift of what the migrations create, and what was added to it."""
    renamed = set()
    for subject, item in expected.items():
        now = actual.get(subject)
        if now is not None:
            yield from _changed(item, now)
            if "restore" not in item.detail:
                yield from _rights(item, now)
        elif twin := next((o for o in actual.values() if o.subject not in expected and _is_same(item, o)), None):
            renamed.add(twin.subject)
            rename = f"alter {twin.subject} rename to {item.bare}"
            if item.kind == "constraint":
                rename = f"alter {item.parent} rename constraint {twin.bare} to {item.bare}"
            level: Level = "error" if _is_needed(item) and item.kind == "constraint" else "warning"
            yield Finding("drift", level, item.subject, f"has another name: {twin.bare}", "", (rename,))
        elif not item.parent or item.parent in actual:  # else the parent's own finding creates it
            yield _missing(item, expected.values(), actual)
    for subject, item in actual.items():
        if subject not in expected and subject not in renamed:
            yield from _added(item, expected)


def _is_same(item: Object, other: Object) -> bool:
    """Whether one is the other with another name."""
    return (
        (item.kind, item.parent, item.detail) == (other.kind, other.parent, other.detail)
        and item.kind in {"constraint", "policy"}
        and (item.kind == "policy" or item.aspects["definition"] == other.aspects["definition"])
    )


def _is_needed(item: Object) -> bool:
    """Whether users' requests fail without it: "on conflict" names the unique constraint."""
    return (
        item.kind in {"schema", "table", "column"}
        or bool(item.detail.get("permissive"))
        or item.aspects.get("definition", "").startswith("UNIQUE")
        or any(role == "authenticated" for role, *_ in item.rights)
    )


def _missing(item: Object, expected: Iterable[Object], actual: Objects) -> Finding:
    level: Level = "error" if _is_needed(item) else "warning"
    message = f"is missing: {_FAILS if level == 'error' else _MISSING[item.kind]}"
    taken = [other for other in actual if other.partition(" ")[2] == item.name] if item.kind == "table" else []
    if taken:
        return Finding("drift", level, item.subject, message, f"decide about the {taken[0]}, which has its name", ())
    parts = [item, *(part for part in expected if part.parent == item.subject)]
    fix = tuple(statement for part in parts for statement in _creation(part))
    advice = _IN_THE_WAY if item.kind in {"column", "constraint"} else ""
    return Finding("drift", level, item.subject, message, advice, fix)


def _fix(item: Object, aspect: str) -> list[str]:
    """The statements that give an aspect its value."""
    value = item.aspects[aspect]
    if aspect == "definition":
        aspect = f"definition of a {item.kind}"
    elif aspect == "default":
        value = f"set default {value}" if value else "drop default"
    return [statement.format(item=item, value=value) for statement in _FIXES.get(aspect, ())]


def _creation(item: Object) -> Iterator[str]:
    if "creation" in item.detail:
        yield item.detail["creation"]
    for aspect in _CREATION:
        if item.aspects.get(aspect) not in _NEW:
            yield from _fix(item, aspect)
    if "restore" not in item.detail and (item.rights or item.kind == "function"):
        yield f"revoke all on {item.address} from public, anon, authenticated, service_role"
    yield from _grants(item)


def _grants(item: Object) -> Iterator[str]:
    yield from item.detail.get("restore", ())
    for role in dict.fromkeys(right[0] for right in item.rights):
        privileges = ", ".join(right[1] for right in item.rights if right[0] == role)
        yield f"grant {privileges} on {item.address} to {role}"


def _changed(item: Object, now: Object) -> Iterator[Finding]:
    differing = [name for name, value in item.aspects.items() if now.aspects.get(name) != value]
    for aspect in ["signature"] if "signature" in differing else differing:  # its fix creates the function anew
        before, after = item.aspects[aspect], now.aspects.get(aspect)
        level, template = _CHANGED[aspect]
        fix, shown, advice = _fix(item, aspect), (after, before), ""
        if "restore" in item.detail:
            fix = [*_grants(item)]
        elif aspect == "default" and str(after).startswith("generated"):
            alter = f"alter {item.parent} alter column {item.bare}"
            fix, advice = [f"{alter} drop identity if exists", f"{alter} drop expression if exists", *fix], _IN_THE_WAY
        elif aspect == "options":
            lists = {"reset": [option.partition("=")[0] for option in after or []], "set": before}
            fix = [f"alter {item.subject} {verb} ({', '.join(each)})" for verb, each in lists.items() if each]
        elif aspect == "definition" and item.kind == "function":
            lines = zip(str(after).splitlines(), before.splitlines(), strict=False)
            shown = next((pair for pair in lines if pair[0] != pair[1]), ("longer or shorter", "as long"))
            if re.sub(r" (COST|ROWS) \d+", "", str(after)) == re.sub(r" (COST|ROWS) \d+", "", before):
                level = "info"
        elif aspect in {"definition", "signature"}:  # created anew, it lacks what hung on it
            fix += [statement for statement in _creation(item) if statement not in fix]
        if item.kind == "constraint" or aspect in {"not null", "type"}:
            advice = _IN_THE_WAY
        message = template.format(*(str(text or "nothing").strip() for text in shown))
        if item.kind == "policy" and aspect == "definition":
            level, fix = _policy_level(item, now), fix if not _is_tighter(item, now) else []
            message = f"is tighter: {message}" if not fix else message
            advice = "" if fix else "decide whether that is meant"
        elif _breaks_requests(item, aspect, before, after):
            level = "error"
        message += f": {_FAILS}" if level == "error" and _FAILS not in message else ""
        yield Finding("drift", level, item.subject, message, advice, tuple(fix))


def _breaks_requests(item: Object, aspect: str, before: object, after: object) -> bool:
    if item.kind == "constraint":
        return _is_needed(item) and aspect == "definition"
    if aspect == "default":
        return before is not None and (after is None or item.subject.endswith((".user_id", ".is_active")))
    return aspect == "type" and _base_type(before) != _base_type(after)


def _base_type(text: object) -> str:
    return re.sub(r"\(.*?\)| collate .*", "", str(text))


def _policy_level(item: Object, now: Object) -> Level:
    was, new = item.detail, now.detail
    shut = any(limit_of(new[clause]).passes == "nothing" for clause in ("using", "check"))
    lost = not (new["permissive"] and new["for users"] and new["command"] in {was["command"], "ALL"})
    if (shut and (was["permissive"] or not new["permissive"])) or (was["permissive"] and lost):
        return "error"
    return "info" if _is_tighter(item, now) else "warning"


def _is_tighter(item: Object, now: Object) -> bool:
    """Whether it asks for all that it should, and for more."""
    was, new = item.detail, now.detail
    if any(was[name] != new[name] for name in ("permissive", "command", "for users")):
        return False
    pairs = [(conjuncts(was[clause]) - {"true"}, conjuncts(new[clause])) for clause in ("using", "check")]
    return all(old <= more for old, more in pairs) and any(old < more - {"true"} for old, more in pairs)


def _rights(item: Object, now: Object) -> Iterator[Finding]:
    expected, actual = {right[:3] for right in item.rights}, {right[:3] for right in now.rights}
    held = {right[:2] for right in actual}
    lost = [right[:2] for right in item.rights if not held & {right[:2], (right[0], right[1].partition(" (")[0])}]
    gained = [right for right in now.rights if right[:3] not in expected or not right[3]]
    for role in dict.fromkeys(right[0] for right in gained):
        more = [f"{right[1]}{', to pass on' if right[2] else ''}" for right in gained if right[0] == role]
        everybody = {"public": " (everybody)", "anon": " (unauthenticated)"}.get(role, "")
        # Of a right on a table those on its columns are part, and of one that was passed on those of others: all of
        # them are revoked and granted again.
        revokes = [f"revoke all on {item.address} from {each} cascade" for each in dict.fromkeys(r[0] for r in gained)]
        fix = (*revokes, *_grants(item))
        yield Finding("drift", "warning", item.subject, f"{role}{everybody} also has {', '.join(more)}", "", fix)
    for role in dict.fromkeys(right[0] for right in lost):
        less = [right[1] for right in lost if right[0] == role]
        message = f"{role} has no {', '.join(less)}"
        if role == "service_role" and {*less} <= {"delete", "update"}:  # nothing here needs them
            yield Finding("drift", "info", item.subject, f"is tighter: {message}", "decide whether that is meant", ())
        else:
            level: Level = "error" if role == "authenticated" else "warning"
            message += f": {_FAILS if role == 'authenticated' else 'requests of a backend fail'}"
            yield Finding("drift", level, item.subject, message, "", tuple(_grants(item)))


def _added(item: Object, expected: Objects) -> Iterator[Finding]:
    name = item.detail.get("name")
    if namesake := next((other for other in expected.values() if name and other.detail.get("name") == name), None):
        names = set(namesake.detail["arguments"])
        ambiguous = names <= set(item.detail["arguments"]) and item.detail["required"] <= len(names)
        level: Level = "warning"
        message = f"has the name of {namesake.subject}"
        if ambiguous or not names:
            level, message = "error", f"{message}: requests fail as ambiguous, or reach it instead"
        advice = "decide which of the two keeps the name: rename this one, or move it to another schema"
        yield Finding("drift", level, item.subject, message, advice, ())
    elif not item.parent:
        advice = "decide whether it belongs there: a schema of your own is a better place"
        yield Finding("drift", "info", item.subject, "was added to a schema of the migrations", advice, ())
    elif item.parent in expected and item.detail.get("unique", True):
        level, message, advice = _ADDED[item.kind]
        fix: tuple[str, ...] = ()
        if item.kind == "column" and item.detail["required"]:
            level, message, advice = "error", f"was added without a default: {_FAILS}", ""
            fix = (f"alter {item.parent} alter column {item.bare} drop not null",)
        elif item.kind == "rule":
            level, fix = "error" if item.detail["instead"] else level, (f"drop {item.subject}",)
        elif item.kind == "policy":
            lets = {
                limit_of(clause).passes for clause in (item.detail["using"], item.detail["check"]) if clause is not None
            }
            shuts = not item.detail["permissive"] and "nothing" in lets and item.detail["for users"]
            if item.detail["permissive"] or shuts:
                level, fix = (
                    "error" if shuts else "warning" if lets & {"any", "asked"} else "info",
                    (f"drop {item.subject}",),
                )
            else:
                message, advice = f"is tighter: {message}", "decide whether that is meant"
        yield Finding("drift", level, item.subject, message.format(item.aspects.get("definition")), advice, fix)
