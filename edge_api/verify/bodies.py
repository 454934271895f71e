"""What the text of a function, a view or a rule does with which relations."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from edge_api.verify.blocks import given, steps
from edge_api.verify.conditions import VERBS, Known, Passes, Scope, Source, loosest, scopes, strictest
from edge_api.verify.syntax import Tree, nodes, parts, read

_WRITTEN: Final = frozenset({"insert", "update", "delete", "truncate"})
# What a statement that is no query does to the tables that it names; most of it, only their owner may.
_TOUCHES: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys(("AlterTableStmt", "GrantStmt", "RuleStmt", "CreatePolicyStmt", "AlterPolicyStmt"), _WRITTEN),
    **dict.fromkeys(("CreateTrigStmt", "RenameStmt", "AlterObjectSchemaStmt", "DropStmt"), _WRITTEN),
    "TruncateStmt": frozenset({"truncate"}),
    "CopyStmt": frozenset({"select", "insert"}),
}
_PARTS_OF_TABLES: Final = frozenset({"OBJECT_POLICY", "OBJECT_RULE", "OBJECT_TRIGGER"})
_RUNS_TEXT: Final = re.compile(
    r"(?:query|cursor|table|schema|database)_to_xml\w*|dblink\w*|ts_stat\d?|ts_rewrite|crosstab\w*|connectby"
)
# Leave a function that returns no row with one.
_CARRIES: Final = frozenset({"InsertStmt", "CopyStmt", "NotifyStmt", "CreateStmt", "CreateTableAsStmt", "ViewStmt"})
_CALLS: Final = {"FuncCall": "funcname", "A_Expr": "name", "SubLink": "operName"}


@dataclass(frozen=True)
class Mention:
    """A relation that is read or written by name."""

    schema: str
    name: str
    verbs: frozenset[str]
    limit: Passes
    """Which rows, by conditions beside it."""


@cache
def mentions(text: str) -> tuple[Mention, ...]:
    """The relations that a text names where SQL expects one."""
    return tuple(
        mention
        for statements, known, gate in steps(read(text))
        for statement in statements
        for mention in _statement(statement, known, gate)
    )


def _statement(statement: Tree, known: Known, gate: Passes, outside: Sequence[Passes] = ()) -> Iterator[Mention]:
    """What a statement mentions, by what was checked before, and is known around it, also of its result's columns."""
    ((kind, fields),) = statement.items()
    if kind not in VERBS:
        yield from _touched(kind, fields, gate)
        for each in parts(fields):
            yield from _statement(each, known, gate)
        return
    for scope in scopes(statement, known):
        # what a query around it tells of its result; a window has seen all rows before
        is_window = "over" in {key for _, each in nodes(scope.fields.get("targetList")) for key in each}
        for (_, target), limit in zip(scope.targets, outside, strict=False):
            if kind == "SelectStmt" and not is_window and (column := scope.column(target)):
                scope.learn(column, limit)
        inside = scope.inside()
        for source in scope.sources:
            if source.query is not None:
                columns = [] if source.renamed else scopes(source.query, inside)[0].targets
                limits = [strictest([scope.gate, scope.says((source.alias, name))]) for name, _ in columns]
                yield from _statement(source.query, inside, gate, limits)
            else:
                yield _of_source(source, scope, gate)
        for each in parts(scope.others):
            yield from _statement(each, inside, gate)


def _touched(kind: str, fields: Tree, gate: Passes) -> Iterator[Mention]:
    """The tables that a statement that is no query names."""
    for value in fields.values() if kind in _TOUCHES else ():
        for each in value if isinstance(value, list) else [value]:
            match each:
                case {"RangeVar": named}:
                    yield Mention(named.get("schemaname", ""), named["relname"], _TOUCHES[kind], gate)
                case {"List": {"items": path}} if kind == "DropStmt":
                    schema, name = ["", "", *path[: -1 if fields["removeType"] in _PARTS_OF_TABLES else None]][-2:]
                    yield Mention(schema, name, _WRITTEN, gate)


def _of_source(source: Source, scope: Scope, gate: Passes) -> Mention:
    verbs, fields = VERBS[scope.kind if source is scope.target else "SelectStmt"], scope.fields
    limit = strictest([scope.of(source), gate])
    changed = fields.get("targetList", []) if "update" in verbs else []
    if verbs == {"insert"}:
        columns = [each["ResTarget"]["name"] for each in fields.get("cols", [])]
        inserted = strictest([_inserted(scope, columns), gate])
        conflict = fields.get("onConflictClause", {})
        if changed := conflict.get("targetList", []):
            verbs |= {"update"}
            target = conflict["infer"]
            is_owners = "conname" in target or [e["IndexElem"].get("name") for e in target["indexElems"]] == ["user_id"]
            limit = inserted if is_owners and "id" not in columns else loosest([inserted, limit])
        else:
            limit = inserted
    elif len(verbs) > 1:  # conditions of a branch of merge are not followed
        limit = gate
    for each in (target["ResTarget"] for target in changed):
        if each["name"] == "user_id" and scope.value(each["val"]) != "own":  # given away
            limit = gate
    return Mention(source.schema, source.name, verbs, limit)


def _inserted(scope: Scope, columns: list[str]) -> Passes:
    """Whether a new row is the caller's: by the default of its owner, or by the value that it is given."""
    rows = scopes(scope.fields["selectStmt"], scope.inside()) if "selectStmt" in scope.fields else []
    if "user_id" not in columns:
        return "own" if columns or not rows else "any"
    at = columns.index("user_id")
    return loosest(
        strictest([row.gate, row.value(row.targets[at][1])]) if at < len(row.targets) else "any" for row in rows
    )


@cache
def calls(text: str) -> frozenset[tuple[str, str]]:
    """The functions that a text calls, and its operators: schema, or nothing where it names none, and name."""
    found = set()
    for kind, each in nodes(read(text).statements):
        if path := each.get(_CALLS.get(kind, "")):
            found.add(("".join(path[-2:-1]) if kind == "FuncCall" else "", path[-1]))
    return frozenset(found)


@cache
def is_dynamic(text: str) -> bool:
    """Whether it runs SQL that is put together at run time, or cannot be read."""
    runs = any(kind == "DoStmt" or "dynquery" in each for kind, each in nodes(read(text).statements))
    return runs or not read(text).readable or any(_RUNS_TEXT.fullmatch(name) for _, name in calls(text))


def is_readable(text: str) -> bool:
    """Whether its language and its syntax are known."""
    return read(text).readable


@cache
def carries_rows(text: str) -> bool:
    """Whether rows leave it by another way than its result."""
    for kind, each in nodes(read(text).statements):
        match kind, each:
            case "PLpgSQL_stmt_raise", {"params": _} | {"options": _}:
                return True
            case "FuncCall", {"funcname": [*_, "pg_notify" | "set_config"]}:
                return True
            case _ if kind in _CARRIES or "intoClause" in each or each.get("commandType") == "CMD_INSERT":
                return True
    return given(read(text))["new"] > 0 or not read(text).readable


def counts_only(text: str) -> bool:
    """Whether a query tells no more than a number of rows."""
    match read(text).statements:
        case [{"SelectStmt": {"targetList": [{"ResTarget": {"val": {"FuncCall": {"agg_star": True}}}}], **rest}}]:
            return "groupClause" not in rest
    return False


@cache
def becomes(text: str) -> tuple[tuple[str, str], ...]:
    """What it sets of who is calling: the role, or the identity, with its value; nothing where it is put together."""
    settings: list[tuple[str, Tree]] = []
    if not read(text).readable and re.search(r"\brole\b|set_config|request\.jwt", text, re.IGNORECASE):
        settings.append(("unknown", None))
    for kind, each in nodes(read(text).statements):
        match kind, each:
            case "FuncCall", {"funcname": [*_, "set_config"], "args": [name, value, *_]}:
                settings.append((str(name.get("A_Const", "unknown")).lower(), value))
            case "VariableSetStmt", {"name": name, "args": [value, *_]}:
                settings.append((name.lower(), value))
    found = []
    for name, value in settings:
        if name in {"role", "unknown"}:
            found.append((name, str(value.get("A_Const", "")) if name == "role" else ""))
        elif name.startswith("request.jwt") and value != {"A_Const": ""}:
            found.append(("identity", ""))
    return tuple(found)
