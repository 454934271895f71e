"""What the text of a function, a view or a rule does with which relations."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from edge_api.verify.conditions import NOTHING, NULL, Known, asks, claim, sources
from edge_api.verify.syntax import Text, Tree, nodes, read

_WRITTEN: Final = frozenset({"insert", "update", "delete", "truncate"})
# What a statement does to the tables that it is for; most of what is no query, only their owner may.
_VERBS: Final = {
    **dict.fromkeys(("AlterTableStmt", "GrantStmt", "RuleStmt", "CreatePolicyStmt", "AlterPolicyStmt"), _WRITTEN),
    **dict.fromkeys(("CreateTrigStmt", "RenameStmt", "AlterObjectSchemaStmt", "DropStmt"), _WRITTEN),
    "TruncateStmt": frozenset({"truncate"}),
    "CopyStmt": frozenset({"select", "insert"}),
    "RefreshMatViewStmt": frozenset[str](),
    "SelectStmt": frozenset({"select"}),
    "InsertStmt": frozenset({"insert", "update"}),
    "UpdateStmt": frozenset({"update"}),
    "DeleteStmt": frozenset({"delete"}),
    "MergeStmt": frozenset({"insert", "update", "delete"}),
}
_TARGETS: Final = frozenset({"relation", "relations", "table", "objects"})
# Of a query, what limits no row of it; the sides of a union have conditions of their own.
_RESULTS: Final = frozenset({"targetList", "returningList", "sortClause", "limitCount", "groupClause", "windowClause"})
_NO_CONDITIONS: Final = _TARGETS | _RESULTS | {"larg", "rarg"}
_SOURCES: Final = frozenset({"fromClause", "usingClause", "sourceRelation"})
_PARTS_OF_TABLES: Final = frozenset({"OBJECT_POLICY", "OBJECT_RULE", "OBJECT_TRIGGER"})
# Run a text, or show what others' rows have in a column.
_HIDES: Final = re.compile(
    r"(?:query|cursor|table|schema|database)_to_xml\w*|dblink\w*|ts_stat\d?|ts_rewrite|crosstab\w*|connectby|pg_stat.*"
)
_DYNAMIC: Final = frozenset({"DoStmt", "PLpgSQL_stmt_dynexecute", "PLpgSQL_stmt_dynfors"})
# Say who is calling.
_CALLER: Final = re.compile(r"role|session_authorization|request\.", re.IGNORECASE)
# Leave a function that returns no row with one.
_CARRIES: Final = frozenset({"InsertStmt", "CopyStmt", "NotifyStmt", "CreateStmt", "CreateTableAsStmt", "ViewStmt"})
_CALLS: Final = {"FuncCall": "funcname", "A_Expr": "name", "SubLink": "operName"}
_ENDS: Final = frozenset({"PLpgSQL_stmt_raise", "PLpgSQL_stmt_return"})
_ERROR: Final = 21


@dataclass(frozen=True)
class Mention:
    """A relation that is read or written by name."""

    schema: str
    name: str
    verbs: frozenset[str]
    asks: bool
    """Whether a condition of its query, or a check in the function, asks who is calling."""


@cache
def mentions(text: str, own: Known = NOTHING) -> tuple[Mention, ...]:
    """The relations that a text names where SQL expects one, if the project has functions of these names."""
    tree = read(text)
    known = _known(tree, own)
    checks = [*_checks(tree.statements)]
    tested = [fields["arg"] for kind, fields in nodes([condition for condition, _ in checks]) if kind == "NullTest"]
    # "<>" lets those through who are not signed in, unless that is checked as well
    denied = known if any(claim(each) or asks(each, known) for each in tested) else known | {NULL}
    is_checked = False
    for condition, body in checks:
        ends = any(kind in _ENDS and each.get("elog_level", _ERROR) >= _ERROR for kind, each in nodes(body))
        is_checked |= ends and asks(condition, denied, holds=False)
        is_checked |= not (ends and len(body) == 1) and asks(condition, known)
    names = {fields["ctename"] for kind, fields in nodes(tree.statements) if kind == "CommonTableExpr"}
    found = _mentions(tree.statements, known, _VERBS["SelectStmt"], is_checked)
    return tuple(each for each in found if each.schema or each.name not in names)


def _checks(statements: Tree) -> Iterator[tuple[Tree, list[Tree]]]:
    """What is asked in a block, with what runs if it is so; what is called for its effect may end the function."""
    for kind, fields in nodes(statements):
        match fields:
            case {"cond": condition} if kind in {"PLpgSQL_stmt_if", "PLpgSQL_if_elsif"}:
                yield condition, fields.get("then_body", fields.get("stmts", []))
            case {"cond": condition} if kind == "PLpgSQL_stmt_exit":
                yield condition, [{"PLpgSQL_stmt_return": {}}]
            case {"expr": condition} if kind == "PLpgSQL_case_when":
                yield condition, fields.get("stmts", [])
            case {"expr": {"SelectStmt": {"targetList": called, **rest}}} if kind == "PLpgSQL_stmt_perform":
                if "fromClause" not in rest:
                    yield called, []


def _known(text: Text, own: Known) -> Known:
    """The variables that get who is calling, or all claims, or what a query gives that asks."""
    known = own
    for _ in range(3):  # one of another
        known |= {name for name, value in _given(text) if asks(value, known) or _has_claims(value)}
        known -= text.parameters  # which may also keep what they were given
    return known


def _has_claims(tree: Tree) -> bool:
    return any(claim({kind: fields}) == "" for kind, fields in nodes(tree))


def _given(text: Text) -> Iterator[tuple[str, Tree]]:
    """The variables, and what gives them a value."""
    yield from text.given
    for kind, fields in nodes(text.statements):
        value = {key: part for key, part in fields.items() if key != "body"}
        match fields.get("target", fields.get("var")):
            case {"PLpgSQL_row": {"fields": targets}}:
                yield from ((each["name"].partition(".")[0], value) for each in targets)
            case {"PLpgSQL_rec": {"refname": name}} | {"PLpgSQL_var": {"refname": name}}:
                yield name, value
            case _ if kind in {"PLpgSQL_stmt_assign", "PLpgSQL_stmt_foreach_a"}:
                yield text.variables[fields.get("varno", 0)], value
            case _ if kind in {"PLpgSQL_stmt_perform", "PLpgSQL_stmt_execsql"}:
                yield "found", value


def _mentions(tree: Tree, known: Known, verbs: frozenset[str], asked: bool, free: Known = NOTHING) -> Iterator[Mention]:
    match tree:
        case list():
            for part in tree:
                yield from _mentions(part, known, verbs, asked, free)
        case {"RangeVar": {"relname": name} as named}:
            alias = named.get("alias", {}).get("aliasname", name)
            yield Mention(named.get("schemaname", ""), name, verbs, asked and alias not in free)
        case {"RangeSubselect": {"alias": {"aliasname": alias}, "subquery": query}}:
            yield from _mentions(query, known, verbs, asked and alias not in free)
        case dict():
            for kind, fields in tree.items():
                if kind in _VERBS:
                    yield from _statement(kind, fields, known, asked)
                else:
                    yield from _mentions(fields, known, verbs, asked, free)


def _statement(kind: str, fields: Tree, known: Known, asked: bool) -> Iterator[Mention]:
    tables = [each["CommonTableExpr"] for each in fields.get("withClause", {}).get("ctes", [])]
    known |= {each["ctename"] for each in tables if asks(each["ctequery"], known)}
    callers, free = sources(fields, known)
    asks_here = asked or asks([value for key, value in fields.items() if key not in _NO_CONDITIONS], known)
    free = NOTHING if asked or kind == "InsertStmt" else free
    known |= callers
    # the owner of a new row is the caller by default
    is_own = kind == "InsertStmt" and "user_id" not in str(fields.get("cols"))
    for path in (each["List"]["items"] for each in fields["objects"] if "List" in each) if kind == "DropStmt" else ():
        schema, name = ["", "", *path[: -1 if fields["removeType"] in _PARTS_OF_TABLES else None]][-2:]
        yield Mention(schema, name, _WRITTEN, asked)
    for key, value in fields.items():
        if key in _TARGETS:
            yield from _mentions(value, known, _VERBS[kind], asks_here or is_own, free)
        else:
            yield from _mentions(value, known, _VERBS["SelectStmt"], asks_here, free if key in _SOURCES else NOTHING)


@cache
def calls(text: str) -> frozenset[tuple[str, str, bool]]:
    """The functions that a text calls, and its operators.

    Returns: the schema, or nothing where it names none; the name; whether an argument says who is calling.
    """
    tree = read(text)
    known = _known(tree, NOTHING)
    found = ((kind, each, each.get(_CALLS.get(kind, ""))) for kind, each in nodes(tree.statements))
    return frozenset(
        ("".join(path[-2:-1]) if kind == "FuncCall" else "", path[-1], asks(each.get("args"), known))
        for kind, each, path in found
        if path
    )


@cache
def is_dynamic(text: str) -> bool:
    """Whether it runs SQL that is put together at run time, or reads what it does not name."""
    names = {name for _, name, _ in calls(text)} | {each.name for each in mentions(text)}
    runs = any(kind in _DYNAMIC or "dynquery" in each for kind, each in nodes(read(text).statements))
    return runs or any(map(_HIDES.fullmatch, names))


@cache
def becomes(text: str) -> bool:
    """Whether it sets who is calling, the role or the claims, or may do so."""
    if not read(text).readable:
        return re.search(r"\brole\b|set_config|request\.jwt", text, re.IGNORECASE) is not None
    settings = []
    for kind, each in nodes(read(text).statements):
        match kind, each:
            case "VariableSetStmt", {"name": name, "args": [value, *_]}:
                settings.append((name, value))
            case "FuncCall", {"funcname": [*_, "set_config"], "args": [name, value, *_]}:
                settings.append((str(name.get("A_Const", "role")), value))
    nobody = [{"A_Const": "anon"}, {"A_Const": ""}]
    return any(_CALLER.match(name) and value not in nobody for name, value in settings)


@cache
def carries_rows(text: str) -> bool:
    """Whether rows leave it by another way than its result."""
    tree = read(text)
    names = {name for name, _ in _given(tree)} | {name for _, name, _ in calls(text)}
    return (
        not names.isdisjoint({"new", "pg_notify", "set_config"})
        or not tree.readable
        or any(
            kind in _CARRIES
            or (kind == "PLpgSQL_stmt_raise" and not each.keys().isdisjoint({"params", "options"}))
            or each.get("commandType") == "CMD_INSERT"
            for kind, each in nodes(tree.statements)
        )
    )


def counts_only(text: str) -> bool:
    """Whether a query tells no more than a number of rows."""
    match read(text).statements:
        case [{"SelectStmt": {"targetList": [{"ResTarget": {"val": {"FuncCall": {"agg_star": True}}}}], **rest}}]:
            return "groupClause" not in rest
    return False
