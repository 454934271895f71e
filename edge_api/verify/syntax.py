"""SQL and PL/pgSQL as trees, by PostgreSQL's own parser.

A node is a dictionary of one item, its kind and its fields, as PostgreSQL prints it. What changes no value is left out:
locations, casts that cut nothing off, a select around one expression, and `nullif(…, '')`.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Final

import pgparse

Tree = Any
"""A node, its fields, a list of nodes, or a value."""

_PLACES: Final = frozenset({"location", "stmt_location", "stmt_len", "lineno"})
# Some nodes are printed without their kind: each by a field that only nodes of this kind have.
_BARE: Final = {"relname": "RangeVar", "limitOption": "SelectStmt", "funcname": "FuncCall"}
# Fields of which something is to be made.
_SPECIAL: Final = frozenset({"dynquery", "withClause"})
_EMPTY: Final[dict[str, Tree]] = {"sval": "", "ival": 0, "fval": "", "boolval": False}
_CUTTING: Final = frozenset({"char", "bpchar", "bit"})
_OUTPUT: Final = frozenset({"FUNC_PARAM_OUT", "FUNC_PARAM_TABLE"})
# How PL/pgSQL has a text parsed; what is more is an assignment.
_STATEMENT, _EXPRESSION = 0, 2


@dataclass(frozen=True)
class Text:
    """What a function, a view, a rule or a policy consists of."""

    statements: list[Tree]
    parameters: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    """Of PL/pgSQL, in the order in which its statements number them."""
    readable: bool = True
    """Whether the parser knows its language and its syntax."""


@cache
def read(text: str) -> Text:
    """The statements of a function's definition, or of a text."""
    try:
        match statements := _statements(text):
            case [{"CreateFunctionStmt": function}]:
                return _function(text, function)
        return Text(statements)
    except (pgparse.PGQueryError, RecursionError):
        return Text([], readable=False)


def _statements(text: str) -> list[Tree]:
    return [replaced(each["stmt"], _simple) for each in pgparse.parse(text)]


def _function(text: str, function: Tree) -> Text:
    options = {option["DefElem"]["defname"]: option["DefElem"].get("arg") for option in function["options"]}
    declared = [each["FunctionParameter"] for each in function.get("parameters", [])]
    parameters = tuple(each["name"] for each in declared if "name" in each and each["mode"] not in _OUTPUT)
    if "sql_body" in function:
        return Text([function["sql_body"]], parameters)
    source = options["as"]["List"]["items"][0]
    match options["language"]:
        case "sql":
            return Text(_statements(source), parameters)
        case "plpgsql" if "use_variable" not in source:  # else names mean other things than in SQL
            return _block(_plpgsql(text), parameters)
    return Text([], readable=False)


def _block(function: Tree, parameters: tuple[str, ...]) -> Text:
    variables: list[str] = []
    declared = []
    for fields in (fields for datum in function["datums"] for fields in datum.values()):
        if "default_val" in fields:
            declared.append({"PLpgSQL_stmt_assign": {"varno": len(variables), "expr": fields["default_val"]}})
        if "cursor_explicit_expr" in fields:
            declared.append({"PLpgSQL_stmt_open": {"query": fields["cursor_explicit_expr"]}})
        whole = variables[fields.get("recparentno", 0)] if "fieldname" in fields else ""
        variables.append(fields.get("refname", whole))
    return Text(replaced([*declared, function["action"]], _simple), parameters, tuple(variables))


def _plpgsql(text: str) -> Tree:
    try:
        return pgparse.parse_pgsql(text)[0]["PLpgSQL_function"]
    except pgparse.PGQueryError as error:
        # without a catalog, it takes a variable of a table's type for one without fields
        name = re.match(r'"(\w+)\.\w+" is not a known variable', str(error))
        declared = rf'(?i)(?<=\b{name[1]}\s)[\w."]+(?:%rowtype)?(?=\s*(?:;|:=|=|default\b))' if name else "(?!)"
        changed = re.sub(declared, "record", text, count=1)
        if changed == text:
            raise
        return _plpgsql(changed)


def _with_kind(key: str, value: Tree) -> Tree:
    if isinstance(value, dict) and key[0].islower():
        return next(({kind: value} for field, kind in _BARE.items() if field in value), value)
    return value


def _of_plpgsql(text: str, mode: int) -> Tree:
    if mode == _STATEMENT:
        return _statements(text)
    expression = text if mode == _EXPRESSION else re.split(":?=", text, maxsplit=1)[1]
    (query,) = _statements(f"select {expression}")
    return _simple({"SubLink": {"subLinkType": "EXPR_SUBLINK", "subselect": query}})


def _simple(tree: Tree) -> Tree:
    """What a part of a tree comes to, whose own parts are simple."""
    simple = {key: _with_kind(key, value) for key, value in tree.items() if key not in _PLACES}
    if len(simple) > 1 and _SPECIAL.isdisjoint(simple):
        return simple
    match simple:
        case {"String": value}:
            simple = value.get("sval", "")
        case {"A_Const": value}:
            kind = next((kind for kind in _EMPTY if kind in value), None)
            simple = {"A_Const": value[kind].get(kind, _EMPTY[kind]) if kind else None}
        case {"TypeCast": {"arg": value, "typeName": of}} if of["names"][-1] not in _CUTTING and "typmods" not in of:
            simple = value
        case {
            "SubLink": {"subLinkType": "EXPR_SUBLINK", "subselect": {"SelectStmt": {"targetList": [target]} as select}}
        }:
            if select.keys() == {"targetList", "limitOption", "op"}:
                simple = target["ResTarget"]["val"]
        case {"A_Expr": {"kind": "AEXPR_NULLIF", "lexpr": value, "rexpr": {"A_Const": ""}}}:
            simple = value
        case {"PLpgSQL_expr": expression}:
            simple = _of_plpgsql(expression["query"], expression.get("parseMode", _STATEMENT))
        case {"PLpgSQL_stmt_dynexecute": fields} | {"PLpgSQL_stmt_dynfors": fields} if "query" in fields:
            dynamic = {**fields, "dynquery": fields["query"]}
            simple = {next(iter(tree)): _simple({key: dynamic[key] for key in dynamic if key != "query"})}
        case {"dynquery": {"A_Const": str(text)}}:  # as good as the statement itself
            query = replaced(_statements(text), partial(_with_value, simple.get("params", [])))
            simple = {key: simple[key] for key in simple if key != "dynquery"} | {"query": query}
        case {"withClause": {"ctes": tables}}:
            simple = _without_names(tables, {key: simple[key] for key in simple if key != "withClause"})
    return simple


def _with_value(values: list[Tree], node: Tree) -> Tree:
    match node:
        case {"ParamRef": {"number": number}} if number <= len(values):
            return values[number - 1]
    return node


def _without_names(tables: list[Tree], query: Tree) -> Tree:
    """A query with common table expressions instead of their names; what writes stays, and runs once."""
    written: list[Tree] = []
    while tables:
        table = tables[0]["CommonTableExpr"]
        written += [] if "SelectStmt" in table["ctequery"] else [table["ctequery"]]
        query, tables = replaced([query, tables[1:]], partial(_with_table, table))
    return {**query, "written": written}


def _with_table(table: Tree, node: Tree) -> Tree:
    match node:
        case {"RangeVar": named} if named["relname"] == table["ctename"] and "schemaname" not in named:
            alias = {"aliasname": table["ctename"], **named.get("alias", {})}
            renamed = {"colnames": table["aliascolnames"]} if "aliascolnames" in table else {}
            return {"RangeSubselect": {"subquery": table["ctequery"], "alias": {**renamed, **alias}}}
    return node


def nodes(tree: Tree) -> Iterator[tuple[str, Tree]]:
    """Kind and fields of all nodes in a tree."""
    pending = [tree]
    while pending:
        each = pending.pop()
        if isinstance(each, dict):
            yield from ((key, value) for key, value in each.items() if key[0].isupper() and isinstance(value, dict))
        if isinstance(each, dict | list):
            pending += reversed(each.values() if isinstance(each, dict) else each)


def parts(tree: Tree) -> Iterator[Tree]:
    """The statements of SQL in a tree that are in no other one, and lists of statements of PL/pgSQL."""
    match tree:
        case [dict(first), *_] if any(kind.startswith("PLpgSQL_stmt_") for kind in first):
            yield tree
        case list():
            for each in tree:
                yield from parts(each)
        case dict():
            for key, value in tree.items():
                yield from [tree] if key[0].isupper() and key.endswith("Stmt") else parts(value)


def replaced(tree: Tree, change: Callable[[Tree], Tree]) -> Tree:
    """A tree with what a function makes of each node in it, and of its fields."""
    if isinstance(tree, list):
        return [replaced(each, change) for each in tree]
    return change({key: replaced(value, change) for key, value in tree.items()}) if isinstance(tree, dict) else tree
