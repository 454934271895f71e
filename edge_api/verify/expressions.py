"""Expressions: who is calling, what has to hold at once, and what equals what."""

import re
from collections.abc import Iterator
from typing import Final

from edge_api.verify.queries import is_query
from edge_api.verify.tokens import Group, Token, Tokens, is_name, split


def _claim(function: str, name: str) -> str:
    """The ways to read a claim of the token, as a pattern of canonical texts."""
    setting = r"(?:nullif\()?current_setting\('request\.jwt\.%s(?:,true)?\)(?:,'\))?"
    document = rf"(?:auth\.jwt\(\)|{setting % 'claims'})"
    return rf"auth\.{function}\(\)|{document}->>'{name}|{setting % f'claim[.]{name}'}"


_CALLER: Final = re.compile(rf"(?:nullif\()?(?:{_claim('uid', 'sub')})(?:,'\))?")
ROLE: Final = re.compile(_claim("role", "role"))
# Users cannot choose them.
APP: Final = re.compile(r"auth\.jwt\(\)->>?'app_metadata(?:->>?'\w+)*|auth\.jwt\(\)->>'email|auth\.email\(\)")
_EQUAL: Final = {"=": "=", "in": "in", "is not distinct from": "is"}
_OTHER: Final = {"<>": "=", "!=": "=", "not in": "in", "is distinct from": "is"}
_SIGNS: Final = frozenset(
    {"=", "<>", "!=", "<", ">", "<=", ">=", "~", "like", "is", "in", "not", "between", "distinct", "from", "and", "or"}
)


def stripped(tokens: Tokens) -> list[Token]:
    """Without outer brackets and a scalar select around it."""
    tokens = list(tokens)
    while len(tokens) == 1 and isinstance(tokens[0], Group) and tokens[0].kind == "(" and not _scans(tokens[0]):
        tokens = list(tokens[0])
        if tokens[:1] == ["select"]:
            tokens = split(tokens[1:], {"as"})[0]
    return tokens


def _scans(group: Group) -> bool:
    words = {"from", "union", "where", "limit", "with", "values", "except", "intersect", ","}
    return any(word in words and group[n - 1] != "distinct" for n, word in enumerate(group))


def canonical(tokens: Tokens) -> str:
    """As a text without brackets that only group."""
    said: list[str] = []
    rest = stripped(tokens)
    for n, word in enumerate(rest):
        if isinstance(word, str):
            said.append(word)
        elif (n and is_name(rest[n - 1])) or word.kind != "(" or _scans(word):
            said.append(f"({','.join(canonical(part) for part in split(word, {','}))})")
        else:
            said.append(canonical([word]))
    return "".join(said)


def is_caller(tokens: Tokens) -> bool:
    """Whether it is the id of who is calling."""
    return _CALLER.fullmatch(canonical(tokens)) is not None


def parts(condition: Tokens) -> Iterator[list[Token]]:
    """What has to hold at once."""
    tokens = stripped(condition)
    for n, word in enumerate(tokens):
        if word == "between" and "and" in tokens[n:]:
            tokens[tokens.index("and", n)] = "to"
    first, default = defaulted(tokens)
    if "or" in tokens:
        yield tokens
    elif "and" in tokens:
        for piece in split(tokens, {"and"}):
            yield from parts(piece)
    elif tokens[-2:] in (["is", "true"], ["=", "true"]) and tokens[0] != "not":
        yield from parts(tokens[:-2])
    elif default == "false":
        yield from parts(first)
    else:
        yield tokens


def defaulted(tokens: list[Token]) -> tuple[list[Token], str]:
    """An expression, and what it is instead of null."""
    if tokens[:1] == ["coalesce"] and len(tokens) == 2 and isinstance(tokens[1], Group):
        first, *others = split(tokens[1], {","})
        if len(others) == 1:
            return stripped(first), canonical(others[0])
    return tokens, ""


def compared(condition: Tokens) -> tuple[list[Token], str, list[Token], bool] | None:
    """What a condition compares, if it does nothing else.

    Returns: the left side, the sign (=, in, or is where a null is a value like any other), the right side, and whether
        that has to hold, or its opposite.
    """
    tokens = stripped(condition)
    negated = False
    while tokens[:1] == ["not"]:
        negated, tokens = not negated, stripped(tokens[1:])
    signs = [word for word in tokens if isinstance(word, str) and word in _SIGNS]
    sign = " ".join(signs)
    if sign not in _EQUAL | _OTHER:
        return None
    at = tokens.index(signs[0])
    return tokens[:at], (_EQUAL | _OTHER)[sign], tokens[at + len(signs) :], (sign in _EQUAL) != negated


def equalities(part: Tokens) -> Iterator[tuple[list[Token], list[Token]]]:
    """What equals what, and what is in what."""
    left, sign, right, holds = compared(part) or ([], "", [], False)
    if not holds:
        return
    if right[:1] in (["any"], ["some"]):
        sign, right = "in", stripped(right[1:])
        right = right[1:] if right[:1] == ["array"] else right
    if sign == "in" and len(right) == 1 and isinstance(right[0], Group):
        right = _list(right[0])
    sides = [side[0] for side in (left, right) if len(side) == 1 and isinstance(side[0], Group)]
    if len(sides) > 1 and not any(is_query(side) for side in sides):  # rows
        for pair in zip(*(split(side, {","}) for side in sides), strict=False):
            yield from (pair, pair[::-1])
    yield left, right
    yield right, left


def _list(group: Group) -> list[Token]:
    """A query, the only or the same element of a list, or nothing."""
    if is_query(group):
        return [group]
    elements = split(group, {","})
    return elements[0] if all(is_caller(each) for each in elements) or len(elements) == 1 else []
