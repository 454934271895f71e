"""Expressions: who is calling, what has to hold at once, and what equals what."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from edge_api.verify.queries import is_query
from edge_api.verify.tokens import Group, Token, Tokens, is_name, split


def _claim(function: str, name: str) -> str:
    """The ways to read a claim of the token, as a pattern of canonical texts."""
    setting = r"(?:nullif\()?current_setting\('request\.jwt\.%s(?:,true)?\)(?:,'\))?"
    document = rf"(?:auth\.jwt\(\)|{setting % 'claims'})"
    return rf"auth\.{function}\(\)|{document}->>'{name}|{setting % f'claim[.]{name}'}"


_CALLER: Final = re.compile(rf"(?:nullif\()?(?:{_claim('uid', 'sub')})(?:,'\))?")
ROLE: Final = re.compile(rf"(?:coalesce\()?(?:{_claim('role', 'role')}|current_user)(?:,'\))?")
# Users cannot choose them.
APP: Final = re.compile(
    r"(?:coalesce\()*(?:auth\.jwt\(\)->>?'app_metadata(?:->>?'\w+)*|auth\.jwt\(\)->>'email|auth\.email\(\))(?:,'?\w*\))*"
)
_COMPARISONS: Final = frozenset({"=", "<>", "!=", "<", ">", "<=", ">=", "is", "like", "in", "between", "~", "not"})


def stripped(tokens: Tokens) -> list[Token]:
    """Without outer brackets and a scalar select around it."""
    tokens = list(tokens)
    while len(tokens) == 1 and isinstance(tokens[0], Group) and tokens[0].kind == "(" and not _scans(tokens[0]):
        inner = list(tokens[0])
        if inner[:1] == ["select"]:
            inner = inner[1:]
            if len(inner) > 2 and inner[-2] == "as":
                inner = inner[:-2]
        tokens = inner
    return tokens


def _scans(group: Group) -> bool:
    words = {"from", "union", "where", "limit", "with", "values", "except", "intersect", ","}
    return any(word in words and group[n - 1] != "distinct" for n, word in enumerate(group) if isinstance(word, str))


def canonical(tokens: Tokens) -> str:
    """As a text without casts and brackets that only group."""
    said: list[str] = []
    rest = stripped(tokens)
    position = 0
    while position < len(rest):
        word = rest[position]
        if word == "::":
            position += 4 if rest[position + 2 : position + 3] == ["."] else 2
            while position < len(rest) and isinstance(rest[position], Group):
                position += 1
            continue
        if isinstance(word, str):
            said.append(word)
        elif (position and is_name(rest[position - 1])) or word.kind != "(" or _scans(word):
            said.append(f"({','.join(canonical(part) for part in split(word, {','}))})")
        else:
            said.append(canonical([word]))
        position += 1
    return "".join(said)


def is_caller(tokens: Tokens) -> bool:
    """Whether it is the id of who is calling."""
    return _CALLER.fullmatch(canonical(tokens)) is not None


def parts(condition: Tokens) -> Iterator[list[Token]]:
    """What has to hold at once."""
    condition = stripped(condition)
    found = split(condition, {"or"})
    if len(found) > 1:
        yield list(condition)
        return
    pieces = split(condition, {"and"})
    joined: list[list[Token]] = []
    for piece in pieces:
        if joined and "between" in joined[-1] and "and" not in joined[-1]:
            joined[-1] += ["and", *piece]
        else:
            joined.append(piece)
    if len(joined) == 1 and joined[0][-2:] in (["is", "true"], ["=", "true"]):
        yield from parts(joined[0][:-2])
    elif len(joined) == 1:
        yield joined[0]
    else:
        for piece in joined:
            yield from parts(piece)


def equalities(part: Tokens) -> Iterator[tuple[list[Token], list[Token]]]:
    """What equals what, and what is in what."""
    tokens = stripped(part)
    if tokens[:1] == ["not"] and len(tokens) > 1:
        inner = stripped(tokens[1:])
        at = _find(inner, ["is", "distinct", "from"])
        if at is not None and not {"and", "or"} & {word for word in inner if isinstance(word, str)}:
            yield inner[:at], inner[at + 3 :]
        return
    at = _find(tokens, ["is", "not", "distinct", "from"])
    if at is not None:
        yield tokens[:at], tokens[at + 4 :]
        return
    found = [word for word in tokens if isinstance(word, str) and word in _COMPARISONS]
    if found not in (["="], ["in"]):
        return
    at = tokens.index(found[0])
    left, right = tokens[:at], tokens[at + 1 :]
    if right[:1] in (["any"], ["some"]) and len(right) == 2 and isinstance(right[1], Group):
        right = right[1:] if is_query(right[1]) else stripped(right[1:])
        if right[:1] == ["array"] and len(right) == 2 and isinstance(right[1], Group):
            right = _list(right[1])
    elif found == ["in"] and len(right) == 1 and isinstance(right[0], Group):
        right = _list(right[0])
    sides = [side[0] if len(side) == 1 and not is_query(side[0]) else "" for side in (left, right)]
    rows = [split(side, {","}) if isinstance(side, Group) else [] for side in sides]
    if len(rows[0]) == len(rows[1]) > 1:
        for pair in zip(*rows, strict=True):
            yield from (pair, pair[::-1])
    yield left, list(right)
    yield list(right), left


def _list(group: Group) -> list[Token]:
    """A query, the only or the same element of a list, or nothing."""
    if is_query(group):
        return [group]
    elements = split(group, {","})
    return elements[0] if all(is_caller(each) for each in elements) or len(elements) == 1 else []


def _find(tokens: Tokens, words: Sequence[str]) -> int | None:
    return next((n for n in range(len(tokens)) if list(tokens[n : n + len(words)]) == list(words)), None)
