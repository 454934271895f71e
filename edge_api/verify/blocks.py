"""Blocks of PL/pgSQL: their statements, with what was checked before each."""

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from edge_api.verify.conditions import ALL, Limit, scope
from edge_api.verify.expressions import canonical, is_caller
from edge_api.verify.queries import Query, read
from edge_api.verify.tokens import Group, Token, Tokens, flat, is_name, split

SEPARATORS: Final = frozenset({";", "then", "else", "loop", "begin", "also", "instead"})
_LOWER: Final = frozenset({"notice", "warning", "info", "log", "debug"})

Piece = tuple[str, list[Token]]
"""A statement or a part of one, and the word before it."""


@dataclass
class _Frame:
    """A block, a loop or a branch that is open."""

    kind: str
    facts: list[list[Token]] = field(default_factory=list)
    condition: list[Token] | None = None
    branches: int = 0


def pieces(tokens: Tokens) -> Iterator[Piece]:
    """Statements and their parts, each with the word before it."""
    before: str = ""
    piece: list[Token] = []
    for word in tokens:
        if isinstance(word, str) and (word in SEPARATORS or (word == "do" and piece[:2] == ["create", "rule"])):
            yield before, piece
            before, piece = word, []
        else:
            piece.append(word)
    yield before, piece


def times_given(parts: Sequence[Piece]) -> Counter[str]:
    """How many values each variable can have; what is declared nowhere, such as a parameter, has one to begin with."""
    declared: Counter[str] = Counter()
    values: Counter[str] = Counter()
    in_declarations = False
    for before, piece in parts:
        in_declarations = "declare" in piece or (in_declarations and before not in {"begin", "loop", "then", "else"})
        first = _undeclared(piece)[:1]
        if in_declarations and first and is_name(first[0]):
            declared[str(first[0])] += 1
        values.update({name for name, _ in _given(piece)})
    return Counter({name: times + (declared[name] != 1) for name, times in values.items()})


def _undeclared(piece: Sequence[Token]) -> Sequence[Token]:
    """Without the word that begins declarations, and a label before it."""
    return piece[piece.index("declare") + 1 :] if "declare" in piece else piece


def _given(piece: Sequence[Token]) -> Iterator[tuple[str, list[Token]]]:
    """The variables that get a value, and an expression for it where it is one."""
    piece = _undeclared(piece)
    at = next((n for n, word in enumerate(piece) if word in {":=", "=", "default"}), len(piece))
    if at < len(piece) and is_name(piece[0]):
        names = {piece[0], piece[2]} if at == 3 and piece[1] == "." else {piece[0]}
        yield from ((str(name), list(piece[at + 1 :])) for name in names)
    if piece[:1] == ["call"]:
        yield from ((word, []) for word in flat(piece[1:]) if is_name(word))
    if piece and piece[0] in {"for", "foreach"}:
        yield from ((target, []) for target in _targets(piece[1:]))
    for n, word in enumerate(piece):
        if word == "into" and piece[n - 1] not in {"insert", "merge"}:
            value = list(piece[1:n]) if piece[0] == "select" and n + 2 >= len(piece) else []
            rest = piece[n + 2 :] if piece[n + 1 : n + 2] == ["strict"] else piece[n + 1 :]
            yield from ((target, value) for target in _targets(rest))


def _targets(tokens: Sequence[Token]) -> Iterator[str]:
    for n, word in enumerate(tokens):
        if is_name(word):
            yield str(word)
        if not (is_name(word) or word in {",", "."}) or (n and is_name(word) and is_name(tokens[n - 1])):
            return


@dataclass
class _Block:
    """Where a walk through the statements is."""

    frames: list[_Frame] = field(default_factory=lambda: [_Frame("")])
    last: list[Token] = field(default_factory=list)
    callers: set[str] = field(default_factory=set)
    """The variables that are who is calling."""

    @property
    def facts(self) -> list[list[Token]]:
        """What was checked."""
        return [fact for frame in self.frames for fact in frame.facts]

    def enter(self, before: str) -> None:
        """What the word before a statement begins."""
        top = self.frames[-1]
        if before in {"begin", "loop"}:
            self.frames.append(_Frame(before))
        elif before == "then" and top.condition is not None:
            top.facts = [top.condition]
        elif before == "else" and top.condition is not None:
            top.facts, top.branches = _denied(top.condition, self.facts, self.callers), top.branches + 1

    def begin(self, piece: list[Token], previous: Tokens, following: str) -> None:
        """What the first word of a statement begins or ends."""
        first, top = piece[0] if piece else "", self.frames[-1]
        if first == "if" and following == "then":
            self.frames.append(_Frame("if", condition=_with_found(piece[1:], self.last)))
        elif first in {"elsif", "elseif"} and top.kind == "if":
            top.facts, top.branches, top.condition = [], top.branches + 1, piece[1:]
        elif first == "exception":  # what was checked may be what failed
            top.facts = []
        elif first == "case" and following == "then":
            self.frames.append(_Frame("case"))
        elif first == "end" and len(self.frames) > 1:
            self.frames.pop()
            if top.kind == "if" and top.condition and not top.branches and _leaves(previous):
                self.frames[-1].facts += _denied(top.condition, self.facts, self.callers)
        if piece and first not in {"if", "elsif", "raise", "return", "end"}:
            self.last = piece


def walk(
    parts: Sequence[Piece], variables: Mapping[str, Limit], given: Mapping[str, int]
) -> Iterator[tuple[list[Token], Mapping[str, Limit], Limit]]:
    """Each statement, with what is known of variables and what was checked.

    Args:
        parts: the statements.
        variables: what is known of parameters.
        given: how many values each variable can have.
    """
    own = dict(variables)
    block = _Block()
    facts: list[list[Token]] = []
    checked = scope(Query(), {}, own)
    for number, (before, piece) in enumerate(parts):
        block.enter(before)
        block.begin(piece, parts[number - 1][1], parts[number + 1][0] if number + 1 < len(parts) else "")
        now = block.facts
        if now != facts:
            facts, checked = now, scope(Query(conditions=now), {}, own, gates=False)
        found = {name: limit for name, limit in checked.found.items() if given.keys().isdisjoint(name.split("."))}
        known = own | found
        yield piece[1:] if piece[:1] == ["end"] else piece, known, checked.of(ALL)
        for name, value in _given(piece):
            if given[name] > 1 or name in variables:
                continue
            if is_caller(value):
                block.callers.add(name)
                own[name] = Limit("own")
            elif (limit := _kept(piece, known)).passes != "any":
                own |= {name: limit, f"{name}.": limit}


def _kept(piece: Tokens, variables: Mapping[str, Limit]) -> Limit:
    """Whether what a statement keeps in a variable is of the caller's rows."""
    queries, names = read(piece, {})
    limit = Limit("nothing")
    for query in queries:
        made = scope(query, names, variables, gates=False)
        columns = [made.column(expression) for expression in query.selected if expression != ["*"]]
        if not query.sources or any(column is None or made.source(column[0]) is None for column in columns):
            return Limit()
        for source in query.sources:
            limit |= made.of(source.alias)
    return Limit("asked", limit.asks) if limit.passes == "own" else limit


def _with_found(condition: list[Token], last: Sequence[Token]) -> list[Token]:
    """A condition with the statement before it instead of "found"."""
    if "found" not in condition:
        return condition
    query = Group("(", ["select", *last[1:]] if last[:1] == ["perform"] else last)
    found: list[Token] = ["exists", query]
    return [part for word in condition for part in (found if word == "found" else [word])]


def _leaves(piece: Sequence[Token]) -> bool:
    """Whether it is the end for the caller."""
    if piece[:1] == ["raise"]:
        return not (len(piece) > 1 and piece[1] in _LOWER)
    return piece[:1] == ["return"] and (len(piece) == 1 or piece[1] in {"null", "false"})


def _denied(condition: Sequence[Token], before: Sequence[list[Token]], callers: Container[str]) -> list[list[Token]]:
    """What holds where a condition is false or null: of a comparison, only if it cannot be null for who is calling."""
    parts = [_unwrapped(part) for part in split(_unwrapped(condition), {"or"})]
    facts = [[*part[:-1], "not", "null"] for part in parts if part[-2:] == ["is", "null"]]
    present = {canonical(fact[:-3]) for fact in (*before, *facts) if fact[-3:] == ["is", "not", "null"]}
    for whole in parts:
        part, default = _defaulted(whole)
        words = [word for word in part if isinstance(word, str)]
        inner, otherwise = _defaulted(_unwrapped(part[1:])) if words[:1] == ["not"] else ([], "")
        if "and" in words or words[-2:] == ["is", "null"]:
            continue
        if words[-3:] == ["is", "not", "true"]:
            facts.append(part[:-3])
        elif inner and (otherwise == "false" or _is_never_null(inner, present)):
            facts.append(inner)
        elif "distinct" in words and "from" in words and "not" not in words:
            at = part.index("is")
            facts.append([*part[:at], "=", *part[at + 3 :]])
        elif {"<>", "!="} & set(words):
            at = next(n for n, word in enumerate(part) if word in {"<>", "!="})
            sides = [part[:at], part[at + 1 :]]
            constant = any(len(side) == 1 and str(side[0]).startswith("'") for side in sides)
            caller = any(
                (is_caller(side) or canonical(side) in callers) and canonical(side) in present for side in sides
            )
            if constant or default == "true" or caller:
                facts.append([*sides[0], "=", *sides[1]])
    return facts


def _is_never_null(condition: Sequence[Token], present: Container[str]) -> bool:
    """Whether it says no for who is not signed in."""
    words = {*flat(condition)}
    if condition[0] == "exists" or words.isdisjoint({"=", "<>", "!=", "in"}):
        return True
    return "in" in condition and canonical(condition[: list(condition).index("in")]) in present


def _defaulted(tokens: list[Token]) -> tuple[list[Token], str]:
    """A condition, and what it is instead of null."""
    group = tokens[1] if len(tokens) > 1 else ""
    if tokens[:1] == ["coalesce"] and isinstance(group, Group) and len(tokens) == len(split(group, {","})):
        first, second = split(group, {","})
        return _unwrapped(first), canonical(second)
    return tokens, ""


def _unwrapped(tokens: Sequence[Token]) -> list[Token]:
    while len(tokens) == 1 and isinstance(tokens[0], Group) and tokens[0].kind == "(":
        tokens = tokens[0]
    return list(tokens)
