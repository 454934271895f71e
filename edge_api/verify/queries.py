"""What a statement reads from, under which conditions, and what it selects."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from edge_api.verify.tokens import Group, Token, Tokens, is_name, split

_SET_OPERATORS: Final = ("union", "intersect", "except")
_QUERIES: Final = frozenset({"select", "with", "values", "table", "insert", "update", "delete", "merge"})
_CLAUSES: Final = frozenset(
    {
        *("select", "perform", "query", "from", "where", "group", "having", "window", "order", "limit", "offset"),
        *("fetch", "returning", "set", "values", "into", "using", "conflict"),
    }
)
_SAME: Final = {"perform": "select", "query": "select"}
_AFTER: Final = {"query": "return", "conflict": "on"}
_JOINS: Final = frozenset({"left", "right", "full", "inner", "cross", "natural"})
# An update of rows that are there is one whether by "update" or after a conflict.
_TARGETS: Final[Mapping[str, frozenset[str]]] = {
    "delete": frozenset({"delete"}),
    "update": frozenset({"update"}),
    "insert": frozenset({"insert"}),
    "merge": frozenset({"insert", "update", "delete"}),
    "truncate": frozenset({"truncate"}),
    "table": frozenset({"select"}),
    "copy": frozenset({"select", "insert"}),
}
_READ: Final = frozenset({"select"})


@dataclass
class Source:
    """A relation, a function or a query in brackets that rows come from or go to."""

    schema: str
    name: str
    verbs: frozenset[str] = _READ
    alias: str = ""
    columns: list[str] = field(default_factory=list)
    """The names that are given to its columns."""
    query: Group | None = None
    function: bool = False


@dataclass
class Query:
    """One of the queries between set operators."""

    sources: list[Source] = field(default_factory=list)
    conditions: list[list[Token]] = field(default_factory=list)
    partial: list[tuple[str, list[Token]]] = field(default_factory=list)
    """Conditions that hold for one source only."""
    clauses: dict[str, list[Token]] = field(default_factory=dict)

    @property
    def selected(self) -> list[list[Token]]:
        """The expressions of its result."""
        return split(self.clauses.get("select", self.clauses.get("returning", [])), {","})


def is_query(group: Token) -> bool:
    """Whether it is one in brackets."""
    return isinstance(group, Group) and bool(group) and isinstance(group[0], str) and group[0] in _QUERIES


def read(tokens: Tokens, known: Mapping[str, Group]) -> tuple[list[Query], dict[str, Group]]:
    """The queries of a statement, and what its names of common table expressions stand for."""
    names = dict(known)
    start = next((n for n, word in enumerate(tokens) if word == "with" and "as" in tokens[n + 2 : n + 5]), 0)
    before, rest = list(tokens[:start]), list(tokens[start:])
    while rest[:1] == ["with"] or rest[:1] == [","]:
        at = next((n for n, word in enumerate(rest) if isinstance(word, Group) and is_query(word)), None)
        if at is None:
            break
        first = next((word for word in rest[1:at] if is_name(word) and word != "recursive"), "")
        query = rest[at]
        if isinstance(query, Group) and isinstance(first, str):
            # with other names of its columns, it is read for itself only
            renamed = any(isinstance(each, Group) for each in rest[:at])
            names[f"({first})" if renamed else first] = query
        rest = rest[at + 1 :]
    return [_query(part, names) for part in split([*before, *rest], _SET_OPERATORS)], names


def _query(tokens: Tokens, names: Mapping[str, Group]) -> Query:
    query, clause = Query(), ""
    start = next((n for n, word in enumerate(tokens) if isinstance(word, str) and word in _TARGETS), len(tokens))
    verb = str(tokens[start]) if start < len(tokens) and tokens[start - 1] not in {"for", "key", "do"} else ""
    for position, word in enumerate(tokens):
        before = tokens[position - 1] if position else ""
        begins = (
            isinstance(word, str)
            and word in _CLAUSES
            and (before == _AFTER[word] if word in _AFTER else before != "distinct")
        )
        if word == "using" and clause == "from" and verb not in {"delete", "merge"}:
            begins = False  # of a join
        if begins or (word == "for" and clause):
            clause = _SAME.get(str(word), str(word))
            query.clauses.setdefault(clause, [])
        else:
            query.clauses.setdefault(clause, []).append(word)
    if verb:
        _target(query, tokens[start + 1 :], verb, names)
    _from(query, query.clauses.get("from", []), names)
    if verb in {"delete", "merge"}:
        _from(query, query.clauses.get("using", []), names)
    if where := query.clauses.get("where"):
        query.conditions.append(where)
    return query


def _target(query: Query, tokens: Tokens, verb: str, names: Mapping[str, Group]) -> None:
    rest = list(tokens)
    while rest and isinstance(rest[0], str) and rest[0] in {"from", "into", "only", "table"}:
        rest = rest[1:]
    if verb == "delete":
        query.clauses.pop("from", None)
    while rest and is_name(rest[0]):
        source, rest = _relation(rest, names)
        source.verbs = _TARGETS[verb]
        query.sources.append(source)
        rest = rest[1:] if verb == "truncate" and rest[:1] == [","] else []


def _relation(tokens: list[Token], names: Mapping[str, Group]) -> tuple[Source, list[Token]]:
    """The name at the beginning, with its alias, and what comes after it."""
    parts = [str(tokens[0])]
    rest = tokens[1:]
    while rest[:1] == ["."] and len(rest) > 1:
        parts, rest = [*parts, str(rest[1])], rest[2:]
    if rest[:1] == ["*"]:
        rest = rest[1:]
    source = Source(parts[-2] if len(parts) > 1 else "", parts[-1])
    if len(parts) == 1 and parts[0] in names:
        source.query = names[parts[0]]
    return _aliased(source, rest)


def _aliased(source: Source, rest: list[Token]) -> tuple[Source, list[Token]]:
    if rest[:1] == ["as"]:
        rest = rest[1:]
    if rest and is_name(rest[0]) and rest[0] not in {"with", "tablesample", "rows"}:
        source.alias, rest = str(rest[0]), rest[1:]
        if rest and isinstance(rest[0], Group) and rest[0].kind == "(":
            source.columns = [str(part[0]) for part in split(rest[0], {","}) if part]
            rest = rest[1:]
    source.alias = source.alias or source.name
    return source, rest


def _from(query: Query, tokens: Tokens, names: Mapping[str, Group]) -> None:
    rest, kind, joined = list(tokens), "inner", len(query.sources)
    while rest:
        word = rest[0]
        if word in {",", "join", *_JOINS}:
            kind = word if word in _JOINS else "inner" if word == "," else kind
            joined, rest = len(query.sources), rest[1:]
        elif word == "on":
            end = next((n for n, t in enumerate(rest) if isinstance(t, str) and t in {",", "join", *_JOINS}), len(rest))
            _join(query, kind, joined, rest[1:end])
            rest, kind = rest[end:], "inner"
        elif word == "using" and len(rest) > 1 and isinstance(rest[1], Group):
            if joined == 1 and len(query.sources) > joined:
                left, right = query.sources[0].alias, query.sources[joined].alias
                for column in split(rest[1], {","}):
                    _join(query, kind, joined, [left, ".", *column, "=", right, ".", *column])
            rest, kind = rest[2:], "inner"
        elif isinstance(word, Group) and word.kind == "(":
            if is_query(word):
                source, rest = _aliased(Source("", "", query=word), rest[1:])
                query.sources.append(source)
            else:  # joins in brackets
                _from(query, word, names)
                rest = rest[1:]
        elif is_name(word) and not (word == "rows" and len(rest) > 1 and rest[1] == "from"):
            source, after = _relation(rest, names)
            if after and isinstance(after[0], Group) and after[0].kind == "(" and source.alias == source.name:
                source.function, source.alias = True, ""
                source, after = _aliased(source, after[1:])
            query.sources.append(source)
            rest = after
        else:
            rest = rest[1:]


def _join(query: Query, kind: str, joined: int, condition: list[Token]) -> None:
    """What the condition of a join holds for: not for the side whose rows it keeps all of."""
    if kind in {"inner", "cross"}:
        query.conditions.append(condition)
    held = {"left": query.sources[joined:], "right": query.sources[:joined]}.get(kind, [])
    query.partial += [(source.alias, condition) for source in held]


def nested(tokens: Tokens) -> Iterator[Group]:
    """The queries in brackets that are not sources, at any depth but within each other."""
    for word in tokens:
        if isinstance(word, Group):
            if is_query(word):
                yield word
            else:
                yield from nested(word)
