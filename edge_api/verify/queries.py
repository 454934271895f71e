"""What a statement reads from, under which conditions, and what it selects."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from edge_api.verify.tokens import Group, Token, Tokens, flat, is_name, split

_SET_OPERATORS: Final = ("union", "intersect", "except")
_QUERIES: Final = frozenset({"select", "with", "values", "table", "insert", "update", "delete", "merge"})
_CLAUSES: Final = frozenset(
    {
        *("select", "perform", "from", "where", "group", "having", "window", "order", "limit", "offset"),
        *("fetch", "returning", "set", "values", "into", "using", "conflict", "for"),
    }
)
_JOINS: Final = frozenset({"left", "right", "full", "inner", "cross", "natural", "outer"})
# The columns that say whose a row is.
OWNERS: Final = ("id", "user_id")
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
    renamed: bool = False
    """Whether its columns are given other names."""
    query: Group | None = None
    function: bool = False

    @property
    def is_table(self) -> bool:
        """Whether its columns have the names of a table's, or a view's."""
        return self.query is None and not self.function and not self.renamed


@dataclass
class Query:
    """One of the queries between set operators."""

    sources: list[Source] = field(default_factory=list)
    conditions: list[list[Token]] = field(default_factory=list)
    partial: list[tuple[Source, list[Token]]] = field(default_factory=list)
    """Conditions that hold for one source only."""
    clauses: dict[str, list[Token]] = field(default_factory=dict)

    @property
    def selected(self) -> list[tuple[str, list[Token]]]:
        """The names and expressions of its result; for an asterisk, those that say whose a row is."""
        found: list[tuple[str, list[Token]]] = []
        for each in split(self.clauses.get("select", self.clauses.get("returning", [])), {","}):
            expression = each[1:] if each[:1] == ["distinct"] else each
            if expression[-1:] == ["*"]:
                found += [(name, [*expression[:-1], name]) for name in OWNERS]
            else:
                found.append((str(expression[-1]) if expression else "", split(expression, {"as"})[0]))
        return found


def is_query(group: Token) -> bool:
    """Whether it is one in brackets."""
    return isinstance(group, Group) and bool(group) and group[0] in _QUERIES


def read(tokens: Tokens, known: Mapping[str, Group]) -> tuple[list[Query], dict[str, Group]]:
    """The queries of a statement, and what its names of common table expressions stand for."""
    names, rest = dict(known), list[Token]()
    for n, word in enumerate(tokens):
        at = n - 1
        while at > 0 and tokens[at] in {"as", "not", "materialized"}:
            at -= 1
        if isinstance(word, Group) and is_query(word) and 0 < at < n - 1 and "with" in tokens[:at]:
            # with other names of its columns, it is read for itself only
            names[f"({tokens[at - 1]})" if isinstance(tokens[at], Group) else str(tokens[at])] = word
        else:
            rest.append(word)
    return [_query(part, names) for part in split(rest, _SET_OPERATORS)], names


def _query(tokens: Tokens, names: Mapping[str, Group]) -> Query:
    query = Query()
    start = next((n for n, word in enumerate(tokens) if word in _TARGETS), len(tokens))
    verb = str(tokens[start]) if start < len(tokens) and tokens[start - 1] not in {"for", "key", "do"} else ""
    clause = query.clauses.setdefault("", [])
    for before, word in zip(("", *tokens), tokens, strict=False):
        of_join = word == "using" and clause is query.clauses.get("from") and verb not in {"delete", "merge"}
        begins = before == "on" if word == "conflict" else before not in {"distinct", "."} and not of_join
        if begins and word in _CLAUSES:
            clause = query.clauses.setdefault("select" if word == "perform" else str(word), [])
        else:
            clause.append(word)
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
    while rest and rest[0] in {"from", "into", "only", "table", "if", "exists"}:
        rest = rest[1:]
    if rest and isinstance(rest[0], Group) and not is_query(rest[0]):  # of only
        rest = [*rest[0], *rest[1:]]
    if verb == "delete":
        query.clauses.pop("from", None)
    while rest and is_name(rest[0]):
        source, rest = _source(rest, names)
        source.verbs, source.function = _TARGETS[verb], False
        query.sources.append(source)
        rest = rest[1:] if verb == "truncate" and rest[:1] == [","] else []


def _source(tokens: list[Token], names: Mapping[str, Group]) -> tuple[Source, list[Token]]:
    """The source at the beginning, and what comes after it."""
    first, rest = tokens[0], tokens[1:]
    source = Source("", "", query=first) if isinstance(first, Group) else Source("", first)
    while rest[:1] == ["."] and len(rest) > 1:
        source.schema, source.name, rest = source.name, str(rest[1]), rest[2:]
    if source.name and rest and isinstance(rest[0], Group):
        source.function, rest = True, rest[1:]
    elif source.name in names and not source.schema:
        source.query = names[source.name]
    if rest[:1] == ["as"]:
        rest = rest[1:]
    source.alias = source.name or "*"
    if rest and is_name(rest[0]):
        source.alias, rest = str(rest[0]), rest[1:]
        if rest and isinstance(rest[0], Group):
            source.renamed, rest = True, rest[1:]
    return source, rest


def _from(query: Query, tokens: Tokens, names: Mapping[str, Group]) -> None:
    """The sources, and what the condition of a join holds for: not for the side whose rows it keeps all of."""
    kind = {"inner"}
    for item in split(tokens, {",", "join"}):
        end = len(item)
        while end and item[end - 1] in _JOINS:
            end -= 1
        relation, *conditions = split(item[:end], {"on", "using"})
        before, count = len(relation), len(query.sources)
        while relation:
            first = relation[0]
            if isinstance(first, Group) and not is_query(first):  # joins in brackets
                _from(query, first, names)
            elif isinstance(first, Group) or is_name(first):
                source, relation = _source(relation, names)
                query.sources.append(source)
                continue
            relation = relation[1:]
        condition = conditions[0] if conditions else []
        if condition and item[before] == "using":  # one column, and no third table that may have it
            sides = [[source.alias, ".", *flat(condition)] for source in query.sources]
            condition = [*sides[0], "=", *sides[1]] if len(sides) == 2 else []
        if kind.isdisjoint({"left", "right", "full"}):
            query.conditions.append(condition)
        elif "full" not in kind:
            held = query.sources[count:] if "left" in kind else query.sources[:count]
            query.partial += [(source, condition) for source in held]
        kind = {str(word) for word in item[end:]}


def nested(tokens: Tokens) -> Iterator[Group]:
    """The queries in brackets that are not sources, at any depth but within each other."""
    for word in tokens:
        if isinstance(word, Group):
            if is_query(word):
                yield word
            else:
                yield from nested(word)
