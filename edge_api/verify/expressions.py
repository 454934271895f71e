"""Expressions: who is calling, what is true where another is true or is not, and what equals what."""

import re
from collections.abc import Iterator
from typing import Final

from edge_api.verify.syntax import Tree

_CLAIMS: Final = {"uid": "sub", "role": "role", "email": "email", "jwt": ""}
_SETTING: Final = re.compile(r"request\.jwt\.(?:claims|claim\.(.+))")
_EQUAL: Final = frozenset({"AEXPR_OP", "AEXPR_NOT_DISTINCT", "AEXPR_IN", "AEXPR_OP_ANY"})


def claim(node: Tree) -> str | None:
    """The path of the claim that an expression reads from the token: empty for the whole token."""
    match node:
        case {"FuncCall": {"funcname": ["auth", name]}}:
            return _CLAIMS.get(name)
        case {"FuncCall": {"funcname": ["current_setting"], "args": [{"A_Const": str(name)}, *_]}}:
            setting = _SETTING.fullmatch(name)
            return setting and (setting[1] or "")
        case {"A_Expr": {"name": ["->>" | "->"], "lexpr": document, "rexpr": {"A_Const": str(name)}}}:
            path = claim(document)
            return path if path is None else f"{path}.{name}".lstrip(".")
    return None


def defaulted(node: Tree) -> tuple[Tree, Tree]:
    """An expression, and the constant that it is instead of null."""
    match node:
        case {"CoalesceExpr": {"args": [value, {"A_Const": _} as default]}}:
            return value, default
    return node, None


def equality(left: Tree, right: Tree) -> Tree:
    """The expression that one equals the other."""
    return {"A_Expr": {"kind": "AEXPR_OP", "name": ["="], "lexpr": left, "rexpr": right}}


def facts(node: Tree, *, holds: bool = True, or_null: bool = False) -> list[Tree]:
    """What is true where an expression is true, or is false, or also where it is null.

    Returns: expressions, {"Or": …} of lists of which one is true, and {"Maybe": …} of what is true unless it is null.
    """
    found: list[Tree] = []
    match node:
        case {"A_Const": True} if holds:
            pass
        case {"BoolExpr": {"boolop": "NOT_EXPR", "args": [part]}}:
            found = facts(part, holds=not holds, or_null=or_null)
        case {"BoolExpr": {"boolop": operator, "args": parts}}:
            each = [facts(part, holds=holds, or_null=or_null) for part in parts]
            found = [fact for part in each for fact in part] if (operator == "AND_EXPR") == holds else [{"Or": each}]
        case {"BooleanTest": {"booltesttype": "IS_TRUE" | "IS_NOT_TRUE" as test, "arg": part}}:
            is_true = (test == "IS_TRUE") == holds
            found = facts(part, holds=is_true, or_null=not is_true)
        case {"A_Expr": {"kind": "AEXPR_OP", "name": ["="], "lexpr": part, "rexpr": {"A_Const": True}}}:
            found = facts(part, holds=holds, or_null=or_null)
        case {"CoalesceExpr": {"args": [part, {"A_Const": bool(default)}]}}:
            found = facts(part, holds=holds) if default != holds else []
        case _ if fact := node if holds else _opposite(node):
            found = [{"Maybe": fact}] if or_null and not _is_never_null(node) else [fact]
    return found


def _opposite(node: Tree) -> Tree:
    match node:
        case {"A_Expr": {"kind": "AEXPR_OP" | "AEXPR_IN", "name": ["<>"]} as compared}:
            return {"A_Expr": {**compared, "name": ["="]}}
        case {"A_Expr": {"kind": "AEXPR_DISTINCT"} as compared}:
            return {"A_Expr": {**compared, "kind": "AEXPR_NOT_DISTINCT"}}
        case {"NullTest": {"nulltesttype": "IS_NULL"} as tested}:
            return {"NullTest": {**tested, "nulltesttype": "IS_NOT_NULL"}}
    return None


def _is_never_null(node: Tree) -> bool:
    """Whether it is true or false; a function of the project's is taken for such a check."""
    match node:
        case {"FuncCall": _} | {"NullTest": _} | {"SubLink": {"subLinkType": "EXISTS_SUBLINK"}}:
            return True
        case {"A_Expr": {"kind": "AEXPR_DISTINCT" | "AEXPR_NOT_DISTINCT"}}:
            return True
    return False


def equalities(fact: Tree) -> Iterator[tuple[Tree, Tree]]:
    """What equals what, and what is in what, each way round."""
    pairs: list[tuple[Tree, Tree]] = []
    match fact:
        case {"A_Expr": {"kind": kind, "name": ["="], "lexpr": left, "rexpr": right}} if kind in _EQUAL:
            match left, right:
                case {"RowExpr": {"args": lefts}}, {"RowExpr": {"args": rights}}:
                    pairs = [*zip(lefts, rights, strict=False)]
                case _:
                    pairs = [(left, right)]
        case {"SubLink": {"subLinkType": "ANY_SUBLINK", "testexpr": left} as query}:
            pairs = [(left, fact)] if query.get("operName", ["="]) == ["="] else []
    for left, right in pairs:
        yield left, right
        yield right, left
