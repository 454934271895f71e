"""Blocks of PL/pgSQL: their statements, with what was checked before each."""

from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final

from edge_api.verify.conditions import ANY, Column, Known, Limit, loosest, scope, selected, value
from edge_api.verify.expressions import ROLE, canonical, compared, defaulted, is_caller, stripped
from edge_api.verify.queries import OWNERS, Query, is_query
from edge_api.verify.tokens import WORDS, Group, Token, Tokens, flat, is_name, split

SEPARATORS: Final = frozenset({";", "declare", "then", "else", "loop", "begin"})
# What ends a list of variables.
_NO_LIST: Final = WORDS - {"strict"} | {":=", "=", "default"}
_LOWER: Final = frozenset({"notice", "warning", "info", "log", "debug"})

Piece = tuple[str, list[Token]]
"""A statement or a part of one, and the word before it."""


@dataclass
class _Frame:
    """A block, a loop or a branch that is open."""

    condition: list[Token] = field(default_factory=list)
    """Of an if."""
    facts: list[list[Token]] = field(default_factory=list)
    """What was checked and holds until its end."""
    first: bool = True
    """Whether it is the first branch of an if."""


def pieces(tokens: Tokens) -> Iterator[Piece]:
    """Statements and their parts, each with the word before it."""
    before: str = ""
    piece: list[Token] = []
    for word in tokens:
        begins = word in SEPARATORS or (word == "do" and piece[:2] == ["create", "rule"])
        if begins and [*piece, word] != ["end", "loop"]:
            yield before, piece
            before, piece = str(word), []
        else:
            piece.append(word)
    yield before, piece


def given(piece: list[Token]) -> list[str]:
    """The variables that get a value, and perhaps other names."""
    if piece[:1] == ["call"]:
        return [word for word in flat(piece) if is_name(word)]
    starts = [0] if _assigned(piece) else []
    for n, word in enumerate(piece):
        if (n == 0 and word in {"for", "foreach"}) or (word == "into" and piece[n - 1] not in {"insert", "merge"}):
            starts.append(n + 1)
    lists = [takewhile(lambda word: word not in _NO_LIST, piece[start:]) for start in starts]
    return [str(word) for each in lists for word in each if is_name(word)]


def _assigned(piece: list[Token]) -> list[Token]:
    """The expression that a variable is set to, with the sign before it."""
    at = next((n for n, word in enumerate(piece) if word in {":=", "=", "default"}), len(piece))
    return piece[at:] if is_name(piece[0] if piece else "") else []


def walk(
    parts: Sequence[Piece], parameters: Collection[str], times: Mapping[str, int]
) -> Iterator[tuple[list[Token], Known, Limit]]:
    """Each statement, with what is known of variables and what was checked.

    Args:
        parts: the statements.
        parameters: the names that have a value to begin with.
        times: how often each variable is given a value.
    """
    own: dict[Column, Limit] = {("", name): ANY for name in parameters if name not in OWNERS}
    frames = [_Frame()]
    for number, (_, piece) in enumerate(parts):
        _enter(frames, parts, number, own)
        checked = scope(Query(conditions=[fact for frame in frames for fact in frame.facts]), {}, own)
        known = own | {c: limit for c, limit in checked.known.items() if times.keys().isdisjoint(c)}
        yield piece, known, checked.gate
        names = [name for name in given(piece)[:1] if times[name] == 1 and name not in parameters]
        own |= {column: limit for name in names for column, limit in _kept(piece, name, known) if limit != ANY}


def _enter(frames: list[_Frame], parts: Sequence[Piece], number: int, own: Known) -> None:
    """What the word before a statement, or the first one in it, begins and ends."""
    before, piece = parts[number]
    previous = parts[number - 1][1] if number else []
    following = parts[number + 1][0] if number + 1 < len(parts) else ""
    top, first = frames[-1], piece[0] if piece else ""
    if before in {"begin", "loop"}:
        frames.append(_Frame())
    elif before == "then" and top.condition:
        top.facts = [top.condition]
    elif before == "else":
        top.facts, top.condition = _denied(top.condition, frames[:-1], own), []
    if following == "then" and first in {"if", "case"}:
        frames.append(_Frame(_with_found(piece[1:], previous) if first == "if" else []))
    elif first in {"elsif", "elseif"}:
        top.facts, top.condition, top.first = [], piece[1:], False
    elif first in {"when", "exception"}:  # what was checked before a handler may be what failed
        frames[-1].facts = []
    elif first == "end" and len(frames) > 1:
        closed = frames.pop()
        if closed.condition and closed.first and _leaves(previous):
            frames[-1].facts += _denied(closed.condition, frames, own)


def _kept(piece: list[Token], name: str, known: Known) -> Iterator[tuple[Column, Limit]]:
    """Whose id a statement keeps in a variable, or whose row in its fields."""
    if assigned := _assigned(piece):
        yield ("", name), value(scope(Query(), {}, known), assigned[1:])
        return
    found = selected(piece, {}, known)
    if len(found) == 1:
        yield ("", name), found[0][1]
    for column, _ in found:
        yield (name, column), loosest(limit for each, limit in found if each == column)


def _with_found(condition: list[Token], previous: list[Token]) -> list[Token]:
    """A condition with the statement before it instead of "found"."""
    query: Token = Group("(", ["select", *previous[1:]] if previous[:1] == ["perform"] else previous)
    return [part for word in condition for part in (["exists", query] if word == "found" else [word])]


def _leaves(piece: list[Token]) -> bool:
    """Whether it is the end for the caller."""
    if piece[:1] == ["raise"]:
        return not (len(piece) > 1 and piece[1] in _LOWER)
    return piece[:1] == ["return"] and (len(piece) == 1 or piece[1] in {"null", "false"})


def _denied(condition: list[Token], frames: Sequence[_Frame], own: Known) -> list[list[Token]]:
    """What holds where a condition is false or null: of a comparison, only if it cannot be null for who is calling."""
    disjuncts = [defaulted(stripped(part)) for part in split(stripped(condition), {"or"}) if "and" not in part]
    simple = [part for part, _ in disjuncts if part[:1] != ["not"]]
    nulls = [[*part[:-1], "not", "null"] for part in simple if part[-2:] == ["is", "null"]]
    facts = [*nulls, *(part[:-3] for part in simple if part[-3:] == ["is", "not", "true"])]
    checked = [fact for frame in frames for fact in frame.facts]
    present = {canonical(fact[:-3]) for fact in (*checked, *nulls) if fact[-3:] == ["is", "not", "null"]}
    for part, default in disjuncts:
        left, sign, right, holds = compared(part) or ([], "", [], True)
        if not holds:
            # a query without a row is null
            empty = sign == "=" and any(is_query(word) for word in (*stripped(left), *stripped(right)))
            if default == "true" or sign == "is" or (not empty and _says_no(left, right, present, own)):
                facts.append([*left, "in" if sign == "in" else "=", *right])
        elif part[:1] == ["not"]:
            inner = stripped(part[1:])
            compares = not {"=", "<>", "!=", "in", "and"}.isdisjoint(flat(inner))
            if inner[:1] == ["exists"] or not compares or defaulted(inner)[1] == "false":
                facts.append(inner)
    return facts


def _says_no(left: list[Token], right: list[Token], present: Container[str], own: Known) -> bool:
    """Whether an equality is not null for who is calling."""
    for side, other in ((left, right), (right, left)):
        said = canonical(side)
        if (is_caller(side) or own.get(("", said), ANY).passes == "own") and said in present:
            return True
        if canonical(other).startswith("'") and (ROLE.fullmatch(said) or defaulted(side)[1].startswith("'")):
            return True
    return False
