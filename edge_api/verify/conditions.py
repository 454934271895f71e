"""Which rows a condition lets through, as far as its text tells."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from edge_api.verify.expressions import APP, ROLE, canonical, defaulted, equalities, is_caller, parts, stripped
from edge_api.verify.queries import OWNERS, Query, Source, is_query, read
from edge_api.verify.tokens import Group, Token, Tokens, is_name, parse, split

Passes = Literal["nothing", "own", "asked", "any"]
"""No row; those of the caller; those that another table or a function lets them have; perhaps others', too."""

ORDER: Final[tuple[Passes, ...]] = ("nothing", "own", "asked", "any")
# Their rows are what is protected: to have one lets nobody have another's.
_PROTECTED: Final = frozenset({"user_accounts", "users"})
# A text that is neither empty nor a boolean that is false.
_CONSTANT: Final = re.compile(r"'(?!(?:f|false|n|no|off|0)$)[\w @.+-]+")
_AGGREGATES: Final = frozenset({"count", "sum", "min", "max", "avg", "array_agg", "string_agg", "bool_or", "bool_and"})
_HELPER_CALL: Final = "accounts_private.active_account_ids()"

Asked = tuple[str, str, str]
"""What is asked: a table or a function, its schema and its name."""
Column = tuple[str, str]
"""The name of a source or of a record, and of a column; nothing, and the name of a variable."""


@dataclass(frozen=True)
class Limit:
    """Which rows are let through, and what is asked about others than the caller's."""

    passes: Passes = "any"
    asks: frozenset[Asked] = frozenset()


ANY: Final = Limit()
NOTHING: Final = Limit("nothing")


def strictest(limits: Iterable[Limit]) -> Limit:
    """What is let through where all of them hold."""
    return min(limits, key=lambda each: ORDER.index(each.passes), default=ANY)


def loosest(limits: Iterable[Limit]) -> Limit:
    """What is let through where one of them holds."""
    found = [NOTHING, *limits]
    passes = max((limit.passes for limit in found), key=ORDER.index)
    return ANY if passes == "any" else Limit(passes, frozenset[Asked]().union(*(limit.asks for limit in found)))


Known = Mapping[Column, Limit]
"""Whose id or row a column or a variable names. What is in it is no column of another source."""


@dataclass
class Scope:
    """A query, and what its conditions tell."""

    query: Query
    names: Mapping[str, Group]
    known: dict[Column, Limit]
    gate: Limit = ANY
    """Who gets rows at all, whatever the row."""

    def of(self, alias: str) -> Limit:
        """What limits a source."""
        source = self.source(alias)
        owners = () if source is None or source.renamed else OWNERS
        return strictest([self.gate, *(self.known.get((alias, name), ANY) for name in owners)])

    def says(self, column: Column) -> Limit:
        """Whose id or row a column names."""
        alias, name = column
        source = self.source(alias)
        if source is None or not source.is_table:
            return strictest(self.known.get(each, ANY) for each in (column, (alias, "")))
        if source.name in _PROTECTED:
            return strictest(self.known.get((alias, each), ANY) for each in OWNERS if name in OWNERS)
        linked = strictest(limit for (of, _), limit in self.known.items() if of == alias)
        return loosest([linked, Limit("asked", frozenset({("table", source.schema, source.name)}))])

    def inside(self) -> dict[Column, Limit]:
        """What the queries inside may know."""
        columns = [(source.alias, name) for source in self.query.sources for name in (*OWNERS, "")]
        return {column: self.says(column) for column in (*self.known, *columns)}

    def learn(self, column: Column, limit: Limit) -> None:
        """Note what a condition tells of a column."""
        if limit != ANY:
            self.known[column] = strictest([self.known.get(column, ANY), limit])

    def source(self, alias: str) -> Source | None:
        """A source, by its name in the query."""
        return next((each for each in self.query.sources if each.alias == alias), None)

    def column(self, tokens: Tokens) -> Column | None:
        """The column or the variable that an expression is."""
        name = canonical(tokens)
        path = re.findall(r'"[^"]*"|[^.]+', name)
        if not all(is_name(each) for each in path) or not re.fullmatch(r'[\w$."]+', name):
            return None
        if len(path) > 1:
            return (path[-2], path[-1])
        if ("", name) in self.known:
            return ("", name)
        sources = [source for source in self.query.sources if not source.renamed]
        if name == "user_id":
            sources = [source for source in sources if source.name == "user_accounts"] or sources
        return (sources[0].alias if len(sources) == 1 else "", name)


def scope(query: Query, names: Mapping[str, Group], known: Known) -> Scope:
    """What a query's own conditions, beside what is known, let through of each of its sources."""
    aliases = {source.alias for source in query.sources}
    made = Scope(query, names, {column: limit for column, limit in known.items() if column[0] not in aliases})
    simple: list[list[Token]] = []
    either: list[list[list[Token]]] = []
    for condition in query.conditions:
        for part in parts(condition):
            disjuncts = split(part, {"or"})
            (either.append(disjuncts) if len(disjuncts) > 1 else simple.append(part))
    _follow(made, simple)
    made.gate = strictest(_gate(made, part) for part in simple)
    for disjuncts in either:
        branches = [scope(Query(query.sources, [*simple, disjunct]), names, known) for disjunct in disjuncts]
        made.gate = strictest([made.gate, loosest(branch.gate for branch in branches)])
        _join(made, query.sources, branches)
    for source, condition in query.partial:
        _join(made, [source], [scope(Query([source], [condition]), names, known)])
    return made


def _join(made: Scope, sources: Sequence[Source], branches: Sequence[Scope]) -> None:
    """What holds of sources in each of some branches."""
    for source in sources:
        for column in ((source.alias, name) for name in OWNERS):
            limits = [branch.of(source.alias) if source.is_table else branch.says(column) for branch in branches]
            made.learn(column, loosest(limits))


def _follow(made: Scope, simple: Sequence[list[Token]]) -> None:
    """Follows equalities, from who is calling to what equals that."""
    for source in made.query.sources:
        _of_source(made, source)
    equal = [(column, right) for part in simple for left, right in equalities(part) if (column := made.column(left))]
    before = None
    while before != made.known:
        before = dict(made.known)
        for column, right in equal:
            limit = value(made, right)
            made.learn(column, limit)
            alias, name = column
            if made.source(alias) and name not in OWNERS and made.of(alias) != ANY:
                made.learn(("", name), limit)  # what looks like a column may be a parameter


def _of_source(made: Scope, source: Source) -> None:
    """What the columns of a source that is a query or a function say of the caller."""
    if source.function:
        path: list[Token] = [source.schema, "."] if source.schema else []
        made.learn((source.alias, ""), value(made, [*path, source.name, Group("(")]))
    elif source.query is not None and not source.renamed:
        names = {name: group for name, group in made.names.items() if group is not source.query}
        for name, limit in selected(source.query, names, made.known):
            made.learn((source.alias, name), limit)


def selected(statement: Tokens, names: Mapping[str, Group], known: Known) -> list[tuple[str, Limit]]:
    """The names of what a statement selects, and whose ids or rows that are."""
    queries, inner = read(statement, names)
    made = [scope(query, inner, known) for query in queries]
    rows = [[value(each, expression) for _, expression in each.query.selected] for each in made]
    return [(name, loosest(column)) for (name, _), *column in zip(queries[0].selected, *rows, strict=False)]


def value(made: Scope, tokens: Tokens) -> Limit:
    """Whose id or row a value is: the caller's, or that of whom a table or a function of the project's says."""
    inner = stripped(tokens)
    if len(inner) == 1 and isinstance(inner[0], Group) and is_query(inner[0]):
        return next((limit for _, limit in selected(inner[0], made.names, made.inside())), ANY)
    if is_caller(inner) or canonical(inner) == _HELPER_CALL:
        return Limit("own")
    column = made.column(inner)
    return made.says(column) if column else _called(inner)


def _called(tokens: Tokens) -> Limit:
    """What the call of a function of the project's asks."""
    path = [str(word) for word in tokens[:-1] if is_name(word)]
    if not path or not isinstance(tokens[-1], Group) or list(tokens[1:-1:2]) != ["."] * (len(path) - 1):
        return ANY
    if len(tokens) != 2 * len(path) or path[0] in {"auth", "pg_catalog", "coalesce", "nullif"}:
        return ANY
    return Limit("asked", frozenset({("function", path[0] if len(path) > 1 else "", path[-1])}))


def _gate(made: Scope, part: Tokens) -> Limit:
    """Whether a condition holds for nobody, or for some callers whatever the row."""
    tokens = stripped(part)
    if canonical(tokens) in {"false", "null"}:
        return NOTHING
    for side, right in equalities(tokens):
        left, default = defaulted(stripped(side))
        constant = canonical(right)
        if default[:1] in {"", "'"} and default != constant and _CONSTANT.fullmatch(constant):
            if ROLE.fullmatch(canonical(left)) and constant == "'service_role":
                return NOTHING
            if is_caller(left) or APP.fullmatch(canonical(left)):
                return Limit("asked")
            return _asked(made, left)
        if is_caller(side) and len(right) == 1 and is_query(right[0]):
            return _asked(made, right, side)
    return _asked(made, tokens)


def _asked(made: Scope, tokens: Tokens, member: Tokens = ()) -> Limit:
    """What a query, or a function of the project's, is asked about who is calling.

    Args:
        made: where it is asked.
        tokens: a query, with exists before it or not, or a call.
        member: what has to be among the query's values.
    """
    group = tokens[-1] if tokens else ""
    if not isinstance(group, Group) or (tokens[:-1] != ["exists"] and not (len(tokens) == 1 and is_query(group))):
        return _called(tokens)
    gates = []
    queries, names = read(group, made.names)
    for query in queries:
        if tokens[:-1] == ["exists"] and _always_has_a_row(query):
            return ANY
        if member:
            query.conditions += [[*expression, "=", *member] for _, expression in query.selected]
        inner = scope(query, names, made.inside())
        tables = [each for each in query.sources if each.is_table and each.name not in _PROTECTED]
        gates.append(strictest([inner.gate, *(inner.says((each.alias, "")) for each in tables)]))
        for column, limit in inner.known.items():
            if len(queries) == 1 and inner.source(column[0]) is None:  # of a row, or a variable, outside
                made.learn(column, limit)
    return loosest(gates)


def _always_has_a_row(query: Query) -> bool:
    """Whether it aggregates all rows into one, which is there without them, too."""
    firsts = {expression[0] for _, expression in query.selected if len(expression) > 1}
    return "group" not in query.clauses and not _AGGREGATES.isdisjoint(firsts)


def conjuncts(expression: str | None) -> frozenset[str]:
    """What has to hold at once; nothing for no expression."""
    return frozenset() if expression is None else frozenset(canonical(part) for part in parts(parse(expression)))


def limit_of(expression: str | None) -> Limit:
    """What a policy's expression lets through."""
    if expression is None:
        return ANY
    table = Source("public", "user_accounts", alias="user_accounts")
    # in a policy, the current user is who is calling
    condition = parse(re.sub(r"\bcurrent_user\b", "auth.role()", expression, flags=re.IGNORECASE))
    return scope(Query([table], [list(condition)]), {}, {}).of("user_accounts")


def answer(text: str) -> Limit | None:
    """What a function that is one expression lets pass whom it is asked about; nothing for another."""
    tokens = [word for word in parse(text) if word not in {";", "begin", "end"}]
    if tokens[:1] not in (["select"], ["return"]) or any(word in {"from", "return"} for word in tokens[1:]):
        return None
    made = scope(Query(conditions=[tokens[1:]]), {}, {})
    caller = [Limit("own")] if is_caller(tokens[1:]) else []
    return strictest([*caller, *made.known.values(), made.gate])
