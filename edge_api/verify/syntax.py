"""SQL and PL/pgSQL as trees, by PostgreSQL's own parser.

A node is a dictionary of one item, its kind and its fields, as PostgreSQL prints it, without its place in the text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

import pgparse

Tree = Any
"""A node, its fields, a list of nodes, or a value."""

_PLACES: Final = frozenset({"location", "stmt_location", "stmt_len", "lineno"})
# Some nodes are printed without their kind: each by a field that only nodes of this kind have.
_BARE: Final = {"relname": "RangeVar", "limitOption": "SelectStmt", "funcname": "FuncCall"}
_EMPTY: Final[dict[str, Tree]] = {"sval": "", "ival": 0, "fval": "", "boolval": False}
_OUTPUT: Final = frozenset({"FUNC_PARAM_OUT", "FUNC_PARAM_TABLE"})
# How PL/pgSQL has a text parsed; what is more is an assignment.
_STATEMENT, _EXPRESSION = 0, 2


@dataclass(frozen=True)
class Text:
    """What a function, a view, a rule or a policy consists of, with its cursors' queries."""

    statements: list[Tree]
    parameters: frozenset[str] = frozenset()
    variables: tuple[str, ...] = ()
    """Of PL/pgSQL, in the order in which its statements number them."""
    given: tuple[tuple[str, Tree], ...] = ()
    """Variables with what they begin with, and cursors with their queries."""
    readable: bool = True
    """Whether the parser knows its language and its syntax."""


@cache
def read(text: str) -> Text:
    """The statements of a function's definition, or of a text."""
    try:
        match statements := _parsed(text):
            case [{"CreateFunctionStmt": function}]:
                return _function(text, function)
        return Text(statements)
    except (pgparse.PGQueryError, RecursionError):
        return Text([], readable=False)


def _parsed(text: str) -> list[Tree]:
    return [_plain(each["stmt"]) for each in pgparse.parse(text)]


def _function(text: str, function: Tree) -> Text:
    options = {option["DefElem"]["defname"]: option["DefElem"].get("arg") for option in function["options"]}
    declared = [each["FunctionParameter"] for each in function.get("parameters", [])]
    parameters = frozenset(each["name"] for each in declared if "name" in each and each["mode"] not in _OUTPUT)
    settings = [option["DefElem"]["arg"] for option in function["options"] if option["DefElem"]["defname"] == "set"]
    if "sql_body" in function:
        return Text([*settings, function["sql_body"]])
    source = options["as"]["List"]["items"][0]
    match options["language"]:
        case "sql":
            return Text([*settings, *_parsed(source)])
        case "plpgsql" if "use_variable" not in source:  # else names mean other things than in SQL
            return replace(_block(_plpgsql(text), settings), parameters=parameters)
    return Text([], readable=False)


def _block(function: Tree, settings: list[Tree]) -> Text:
    variables: list[str] = []
    given = []
    for fields in (fields for datum in function["datums"] for fields in datum.values()):
        variables.append(fields.get("refname", variables[fields.get("recparentno", 0)] if variables else ""))
        if value := fields.get("default_val", fields.get("cursor_explicit_expr")):
            given.append((variables[-1], _plain(value)))
    return Text(
        [*settings, _plain(function["action"]), *(value for _, value in given)],
        variables=tuple(variables),
        given=tuple(given),
    )


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


def _plain(tree: Tree) -> Tree:
    if isinstance(tree, list):
        return [_plain(each) for each in tree]
    match tree:
        case {"String": value}:
            return value.get("sval", "")
        case {"TypeCast": {"arg": value}}:
            return _plain(value)
        case {"PLpgSQL_expr": {"query": text, **options}}:
            return _of_plpgsql(text, options)
        case {"A_Const": value}:
            kind = next((kind for kind in _EMPTY if kind in value), None)
            tree = {"A_Const": value[kind].get(kind, _EMPTY[kind]) if kind else None}
        case dict():
            plain = {key: _with_kind(key, _plain(value)) for key, value in tree.items() if key not in _PLACES}
            tree = _without_select(plain)
    return tree


def _without_select(tree: Tree) -> Tree:
    match tree:
        case {
            "SubLink": {"subLinkType": "EXPR_SUBLINK", "subselect": {"SelectStmt": {"targetList": [target], **rest}}}
        }:
            return target["ResTarget"]["val"] if rest.keys() <= {"limitOption", "op"} else tree
    return tree


def _with_kind(key: str, value: Tree) -> Tree:
    if isinstance(value, dict) and key[0].islower():
        return next(({kind: value} for field, kind in _BARE.items() if field in value), value)
    return value


def _of_plpgsql(text: str, options: Tree) -> Tree:
    mode = options.get("parseMode", _STATEMENT)
    if mode == _STATEMENT:
        return _parsed(text)[0]
    expression = text if mode == _EXPRESSION else re.split(":?=", text, maxsplit=1)[1]
    return _without_select(
        {"SubLink": {"subLinkType": "EXPR_SUBLINK", "subselect": _parsed(f"select {expression}")[0]}}
    )


def nodes(tree: Tree) -> Iterator[tuple[str, Tree]]:
    """Kind and fields of all nodes in a tree."""
    pending = [tree]
    while pending:
        each = pending.pop()
        if isinstance(each, dict):
            yield from ((key, value) for key, value in each.items() if key[0].isupper() and isinstance(value, dict))
        if isinstance(each, dict | list):
            pending += reversed(each.values() if isinstance(each, dict) else each)
