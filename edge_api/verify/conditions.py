"""Which conditions ask who is calling, as far as their words tell; whether they ask enough, a person decides."""

import re
from collections.abc import Set
from functools import cache
from typing import Final

from edge_api.verify.syntax import Tree, nodes, read

Known = frozenset[str]

NOTHING: Final = Known()
NULL: Final = ""
"""Of what is known: that a condition may also be null."""
# A condition on the token asks for what users cannot choose and do not all have; of the role, for one only.
_APPOINTED: Final = re.compile(r"(?!(user_metadata|role|aud|aal|amr|iss|exp|iat|phone|is_anonymous|session_id)\b).+")
_EQUALS: Final = (["="], ["<>"])
_TRUTHS: Final = frozenset({"IS_TRUE", "IS_NOT_TRUE"})
_TRUE: Final[Tree] = {"A_Const": True}
_FALSE: Final[Tree] = {"A_Const": False}
_SERVICE: Final[Tree] = {"A_Const": "service_role"}
# Where functions are that are not the project's own.
_SERVERS: Final = (["auth"], ["pg_catalog"])
_CLAIMS: Final = {"uid": "sub", "jwt": ""}
_SETTING: Final = re.compile(r"request\.jwt\.claims?\.?")


def claim(node: Tree) -> str | None:
    """The path of the claim that an expression reads from the token: empty for the whole token."""
    path: str | None = None
    match node:
        case {"A_Expr": {"kind": "AEXPR_NULLIF", "lexpr": part}} | {"CoalesceExpr": {"args": [part, {"A_Const": _}]}}:
            path = claim(part)
        case {"FuncCall": {"funcname": ["auth", str(name)]}}:
            path = _CLAIMS.get(name, name)
        case {"FuncCall": {"funcname": ["current_setting"], "args": [{"A_Const": str(name)}, *_]}}:
            path = _SETTING.sub("", name) if _SETTING.match(name) else None
        case {"A_Expr": {"name": ["->>" | "->" | "#>>" | "#>"], "lexpr": part, "rexpr": {"A_Const": str(name)}}}:
            document = claim(part)
            path = document if document is None else f"{document}.{name.strip('{}').replace(',', '.')}".lstrip(".")
    return path


def asks(tree: Tree, known: Known = NOTHING, *, holds: bool = True) -> bool:
    """Whether a condition, or any in a tree, asks who is calling where it holds, or where it does not.

    Args:
        tree: a condition, or what contains some.
        known: the variables that say who is calling, or were given by a query that asks; and with brackets, the
            functions of the project's own, which may ask.
        holds: whether the condition is true.
    """
    found = False
    match tree:
        case {"BoolExpr": {"boolop": "NOT_EXPR", "args": [part]}}:
            found = asks(part, known, holds=not holds)
        case {"BoolExpr": {"boolop": operator, "args": parts}}:
            found = (any if (operator == "AND_EXPR") == holds else all)(
                asks(each, known, holds=holds) for each in parts
            )
        case {"NullTest": {"arg": part}}:
            found = claim(part) is None and asks(part, known)
        case {"BooleanTest": {"booltesttype": test, "arg": part}}:
            found = test in _TRUTHS and asks(part, known - {NULL}, holds=(test == "IS_TRUE") == holds)
        case {"CaseExpr": {"args": cases, **rest}}:
            values = [(each["CaseWhen"]["expr"], each["CaseWhen"]["result"]) for each in cases]
            values.append((None, rest.get("defresult", _FALSE)))
            found = all(value == _FALSE or asks(when if value == _TRUE else value, known) for when, value in values)
        case {"A_ArrayExpr": {"elements": parts}}:
            found = all(asks(each, known) for each in parts)
        case {"CoalesceExpr": {"args": parts}}:
            # of a constant, only whether it is the other truth matters
            found = all(asks(e, known - {NULL}, holds=holds) or e.get("A_Const", holds) is not holds for e in parts)
        case {"A_Expr": {"lexpr": _, "rexpr": _} as compared} if _is_number(compared) or compared["name"] in _EQUALS:
            found = _compares(compared, known, holds=holds)
        case {"FuncCall": {"funcname": [*path, name]}} if path not in _SERVERS and (path or f"{name}()" in known):
            found = holds
        case {"ColumnRef": {"fields": path}} | {"RangeVar": {"relname": str(path)}}:
            found = not known.isdisjoint(part for part in _listed(path) if isinstance(part, str))
        case list():
            found = any(asks(part, known) for part in tree)
        case dict():
            found = (
                holds
                and not _is_of_own(tree)
                and not (NULL in known and _is_null(tree))
                and (bool(_APPOINTED.fullmatch(claim(tree) or "")) or asks([*tree.values()], known - {NULL}))
            )
    return found


def _compares(fields: Tree, known: Known, *, holds: bool) -> bool:
    """Whether two values are equal of which one says who is calling, or rows that do are counted."""
    left, right, kind = fields["lexpr"], fields["rexpr"], fields["kind"]
    if _is_number(fields):
        return asks(left, known - {NULL})
    if kind == "AEXPR_IN":
        right = {"A_ArrayExpr": {"elements": right["List"]["items"]}}
    is_role = "role" in (claim(left), claim(right))
    if not (_SERVICE in (left, right) if is_role else asks([left, right], known - {NULL})):
        return False
    is_never_null = is_role or "DISTINCT" in kind or "CoalesceExpr" in {*left, *right}
    return (fields["name"] == ["="] and kind != "AEXPR_DISTINCT") == holds and (NULL not in known or is_never_null)


def _is_number(fields: Tree) -> bool:
    """Whether something is compared with a number."""
    return "A_Const" in fields["rexpr"] and type(fields["rexpr"]["A_Const"]) is int


def _is_null(node: Tree) -> bool:
    """Whether a condition can be null for some callers: what a query gives without a row, or a claim."""
    return node.get("SubLink", {}).get("subLinkType", "EXISTS_SUBLINK") != "EXISTS_SUBLINK" or claim(node) is not None


def _is_of_own(node: Tree) -> bool:
    """Whether a condition says no more than that the caller has an account."""
    match node:
        case {"SubLink": {"subLinkType": "EXISTS_SUBLINK", "subselect": {"SelectStmt": query}}}:
            tables = [each.get("RangeVar", {}).get("relname") for each in query.get("fromClause", ())]
            return tables in (["user_accounts"], ["users"]) and "A_Expr" in query.get("whereClause", {})
    return False


def sources(query: Tree, known: Known) -> tuple[Known, Known]:
    """The names of the sources of a query that say who is calling, and of those that no condition asks about.

    A condition asks about what it names, and about what has to equal something of that.
    """
    items = [query.get(key) for key in ("relation", "sourceRelation", "fromClause", "usingClause")]
    joined = [_joined(item) for each in items for item in _listed(each)]
    named = {name: node for names, _ in joined for name, node in names.items()}
    conditions = [*_conjuncts(query.get("whereClause")), *_conjuncts(query.get("joinCondition"))]
    facts: list[tuple[Tree, Set[str]]] = [(fact, named.keys()) for fact in conditions]
    facts += [fact for _, found in joined for fact in found]
    callers = Known(name for name, node in named.items() if asks(node, known))
    asked = {*callers}
    for fact, about in facts * len(named):
        paths = [each["fields"] for kind, each in nodes(fact) if kind == "ColumnRef"]
        of = {path[-2] for path in paths if len(path) > 1} & named.keys()
        if asks(fact, known | callers) or (len(paths) > 1 and of & asked):
            asked |= of & about if of and all(len(path) > 1 for path in paths) else about
    return callers, Known(named.keys() - asked)


def _listed(items: Tree) -> list[Tree]:
    return items if isinstance(items, list) else [items] if items else []


def _conjuncts(condition: Tree) -> list[Tree]:
    match condition:
        case {"BoolExpr": {"boolop": "AND_EXPR", "args": parts}}:
            return [each for part in parts for each in _conjuncts(part)]
    return _listed(condition)


def _joined(item: Tree) -> tuple[dict[str, Tree], list[tuple[Tree, Set[str]]]]:
    """The sources in an item of from by name, and the conditions of its joins with those that they limit."""
    match item:
        case {"JoinExpr": {"larg": left, "rarg": right, "jointype": kind} as join}:
            (lefts, of_lefts), (rights, of_rights) = _joined(left), _joined(right)
            both = {**lefts, **rights}
            about = {"JOIN_LEFT": rights, "JOIN_RIGHT": lefts, "JOIN_FULL": {}}.get(kind, both).keys()
            facts = _conjuncts(join.get("quals"))
            if "usingClause" in join:
                facts.append([{"ColumnRef": {"fields": [name, "*"]}} for name in both])
            return both, [*of_lefts, *of_rights, *((fact, about) for fact in facts)]
    ((_, fields),) = item.items()
    return {fields.get("alias", {}).get("aliasname", fields.get("relname", "?")): item}, []


@cache
def is_open(expression: str | None) -> bool:
    """Whether a policy's expression lets rows through without asking who is calling."""
    # in a policy, the current user is who is calling
    text = re.sub(r"\bcurrent_user\b", "auth.role()", expression or "true", flags=re.IGNORECASE)
    return text != "false" and not asks(read(f"select where {text}").statements)
