"""Which rows a condition lets through, as far as its text tells."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from edge_api.verify.expressions import APP, ROLE, canonical, equalities, is_caller, parts, stripped
from edge_api.verify.queries import Query, Source, is_query, read
from edge_api.verify.tokens import Group, Token, Tokens, is_name, parse, split

Passes = Literal["nothing", "own", "asked", "any"]
"""No row; those of the caller; those that another table or a function lets them have; perhaps others', too."""

ORDER: Final[tuple[Passes, ...]] = ("nothing", "own", "asked", "any")
ALL: Final = "*"
OWNERS: Final = frozenset({"user_id", "id"})
# Their rows are what is protected: to have one lets nobody have another's.
_PROTECTED: Final = frozenset({"user_accounts", "users"})
_HELPER_CALL: Final = "accounts_private.active_account_ids()"

Asked = tuple[str, str, str]
"""What is asked: a table or a function, its schema and its name."""


@dataclass(frozen=True)
class Limit:
    """Which rows are let through, and what is asked about others than the caller's."""

    passes: Passes = "any"
    asks: frozenset[Asked] = frozenset()

    def __and__(self, other: "Limit") -> "Limit":
        return min(self, other, key=lambda each: ORDER.index(each.passes))

    def __or__(self, other: "Limit") -> "Limit":
        passes = max(self.passes, other.passes, key=ORDER.index)
        return Limit(passes, self.asks | other.asks)


_ANY: Final = Limit()
_NOTHING: Final = Limit("nothing")
_OWN: Final = Limit("own")


@dataclass
class Scope:
    """What is known of a query's sources and of variables."""

    query: Query
    names: Mapping[str, Group] = field(default_factory=dict)
    variables: Mapping[str, Limit] = field(default_factory=dict)
    gates: bool = True
    """Whether who is calling can be told from the current user."""
    limits: dict[str, Limit] = field(default_factory=dict)
    """Of each source; of all, under an asterisk."""
    linked: dict[str, Limit] = field(default_factory=dict)
    """Sources of which a column says that a row is the caller's."""
    found: dict[str, Limit] = field(default_factory=dict)
    """Names of no source that are the caller's id or that of an account of theirs."""

    def of(self, alias: str) -> Limit:
        """What limits a source."""
        return self.limits.get(alias, _ANY) & self.limits.get(ALL, _ANY)

    def linked_by(self, column: tuple[str, str]) -> Limit:
        """Whether a column of a source that is linked to who is calling says whose a row is."""
        alias, name = column
        source = self.source(alias)
        if source is None or alias not in self.linked:
            return _ANY
        if source.name in _PROTECTED:
            return self.linked[alias] if name in OWNERS else _ANY
        return self.linked[alias] if source.function or source.query else Limit("asked", _asked([source]))

    def seen_inside(self) -> dict[str, Limit]:
        """What the queries inside may know of the columns of this one."""
        columns = [(alias, name) for alias in self.linked for name in (*OWNERS, "")]
        return {f"{alias}.{name}": limit for alias, name in columns if (limit := self.linked_by((alias, name))) != _ANY}

    def source(self, alias: str) -> Source | None:
        """A source, by its name in the query."""
        return next((each for each in self.query.sources if each.alias == alias), None)

    def variable(self, column: tuple[str, str]) -> Limit:
        """What is known of a name that is no source's."""
        known = {**self.variables, **self.found}
        dotted = ".".join(filter(None, column))
        return known.get(dotted, known.get(f"{column[0]}.", _ANY) if column[0] else _ANY)

    def column(self, tokens: Tokens) -> tuple[str, str] | None:
        """The source and the name of a column, or no source and a variable."""
        name = canonical(tokens)
        path = re.findall(r'"[^"]*"|[^.]+', name)
        if not path or not all(is_name(each) for each in path) or not re.fullmatch(r'[\w$."]+', name):
            return None
        if len(path) > 1:
            return (path[-2], path[-1])
        if path[0] in self.variables:
            return ("", path[0])
        tables = [source for source in self.query.sources if not source.columns]
        if path[0] == "user_id" and len(tables) > 1:
            tables = [s for s in tables if s.name in _PROTECTED] or [s for s in tables if not (s.function or s.query)]
        return (tables[0].alias if len(tables) == 1 else "", path[0])


def scope(
    query: Query,
    names: Mapping[str, Group],
    variables: Mapping[str, Limit] | None = None,
    *,
    gates: bool = True,
    known: Sequence[list[Token]] = (),
) -> Scope:
    """What a query's own conditions, beside what is known to hold, let through of each of its sources."""
    made = Scope(query, names, variables or {}, gates)
    simple: list[list[Token]] = []
    either: list[list[list[Token]]] = []
    for condition in query.conditions:
        for part in parts(condition):
            disjuncts = split(stripped(part), {"or"})
            (either.append(disjuncts) if len(disjuncts) > 1 else simple.append(part))
    _follow(made, [*known, *simple])
    for part in simple:
        made.limits[ALL] = made.limits.get(ALL, _ANY) & _gate(made, part)
    for disjuncts in either:
        branches = []
        for disjunct in disjuncts:
            one = Query(query.sources, [disjunct], [], query.clauses)
            branches.append(scope(one, names, made.variables, gates=gates, known=[*known, *simple]))
        for alias in {ALL}.union(*(branch.limits for branch in branches)):
            limit = _NOTHING
            for branch in branches:
                limit |= branch.of(alias)
            made.limits[alias] = made.limits.get(alias, _ANY) & limit
    for alias, condition in query.partial:
        if source := made.source(alias):
            joined = scope(Query([source], [condition]), names, variables, gates=gates)
            made.limits[alias] = made.of(alias) & joined.of(alias)
    return made


def _follow(made: Scope, simple: Sequence[list[Token]]) -> None:
    """Follows equalities, from who is calling to what equals that."""
    for source in made.query.sources:
        _of_source(made, source)
    equal = [(right, column) for part in simple for left, right in equalities(part) if (column := made.column(left))]
    learnt = -1
    while learnt != (learnt := len(made.linked) + len(made.limits) + len(made.found)):
        for right, column in equal:
            value = _value(made, right, column)
            if value.passes != "any":
                _learn(made, column, value)


def _of_source(made: Scope, source: Source) -> None:
    """What a source that is a query or a function says of the caller."""
    if source.function:
        path: list[Token] = [source.schema, "."] if source.schema else []
        limit = _constant([*path, source.name, Group("(")])
        if limit.passes != "any":
            made.linked[source.alias] = limit
    if source.query is None:
        return
    names = {name: group for name, group in made.names.items() if group is not source.query}
    inner, inner_names = read(source.query, names)
    given = [_selected(query, inner_names, made.variables) for query in inner]
    if given and all(limit.passes != "any" for limit in given):
        limit = _NOTHING
        for each in given:
            limit |= each
        made.linked[source.alias] = limit


def _selected(query: Query, names: Mapping[str, Group], variables: Mapping[str, Limit]) -> Limit:
    """Whether what a query selects is the caller, or comes from what is the caller's."""
    first = query.selected[0] if query.selected else []
    expression = first[:-2] if len(first) > 2 and first[-2] == "as" else first
    if not query.sources:
        return _constant(expression)
    made = scope(query, names, variables)
    if made.limits.get(ALL, _ANY).passes == "nothing":
        return _NOTHING
    only = query.sources[0].alias if len(query.sources) == 1 else ""
    column = (only, "id") if expression == ["*"] else made.column(expression)
    return made.linked_by(column) if column else _ANY


def _asked(sources: Iterable[Source]) -> frozenset[Asked]:
    return frozenset(("table", each.schema, each.name) for each in sources if not each.function and each.query is None)


def _constant(tokens: Tokens) -> Limit:
    """Whether a value is the caller, or a function of the project's says so."""
    if is_caller(tokens) or canonical(tokens) == _HELPER_CALL:
        return _OWN
    return _called(stripped(tokens))


def _called(tokens: Sequence[Token]) -> Limit:
    """What the call of a function of the project's asks."""
    path = [str(word) for word in tokens[:-1]]
    if not path or not isinstance(tokens[-1], Group) or not all(is_name(word) or word == "." for word in path):
        return _ANY
    if path[0] in {"auth", "pg_catalog", "coalesce", "nullif"}:
        return _ANY
    return Limit("asked", frozenset({("function", path[0] if len(path) > 1 else "", path[-1])}))


def _value(made: Scope, tokens: Tokens, column: tuple[str, str]) -> Limit:
    """Whether a value that a column equals is the caller, or is of what is the caller's."""
    constant = _constant(tokens)
    if constant.passes != "any":
        return constant
    inner = stripped(tokens)
    group = inner[0] if len(inner) == 1 else None
    if isinstance(group, Group) and is_query(group):
        queries, names = read(group, made.names)
        limit = _NOTHING
        for query in queries:
            limit |= _selected(query, names, made.variables)
        return limit
    other = made.column(tokens)
    if other is None:
        return _ANY
    alias, name = other
    if made.source(alias) is None:
        return made.variable(other)
    if alias != column[0]:
        return made.linked_by(other)
    # the id of a row that is the caller's
    return Limit("asked") if alias in made.limits and name in OWNERS else _ANY


def _learn(made: Scope, column: tuple[str, str], limit: Limit) -> None:
    alias, name = column
    source = made.source(alias)
    if source is None:
        dotted = ".".join(filter(None, column))
        made.found[dotted] = made.found.get(dotted, _ANY) & limit
    else:
        made.linked[alias] = made.linked.get(alias, _ANY) & limit
    if alias and name in OWNERS and not (source and source.columns):
        made.limits[alias] = made.limits.get(alias, _ANY) & limit
    elif source and alias in made.limits:  # what looks like a column may be a parameter
        made.found[name] = made.found.get(name, _ANY) & Limit("asked")


def _gate(made: Scope, part: Tokens) -> Limit:
    """Whether a condition holds for nobody, or for some callers whatever the row."""
    tokens = stripped(part)
    if canonical(tokens) in {"false", "null"}:
        return _NOTHING
    for left, right in equalities(tokens):
        value = canonical(right)
        if re.fullmatch(r"'(?!(?:f|false|n|no|off|0)$)[\w @.+-]+|true", value):
            return _of_constant(made, left, value)
        if is_caller(left) and len(right) == 1 and isinstance(right[0], Group) and is_query(right[0]):
            sources = [source for query in read(right[0], made.names)[0] for source in query.sources]
            asked = _asked(source for source in sources if source.name not in _PROTECTED)
            return Limit("asked", asked) if len(asked) == len(sources) > 0 else _ANY
    return _asked_of(made, tokens)


def _of_constant(made: Scope, tokens: Tokens, value: str) -> Limit:
    """Whether somebody who calls has such a role, or such a claim that users do not choose."""
    role = ROLE.fullmatch(canonical(tokens))
    if role and value == "'service_role" and (made.gates or "current_user" not in role[0]):
        return _NOTHING
    if is_caller(tokens) or APP.fullmatch(canonical(tokens)):
        return Limit("asked")
    return _asked_of(made, stripped(tokens))


def _asked_of(made: Scope, tokens: list[Token]) -> Limit:
    """What a query, or a function of the project's, is asked about who is calling."""
    group = tokens[-1] if tokens else ""
    if not isinstance(group, Group):
        return _ANY
    if tokens[:-1] == ["exists"] or (len(tokens) == 1 and is_query(group)):
        return _exists(made, group)
    return _called(tokens)


def _exists(made: Scope, group: Group) -> Limit:
    queries, names = read(group, made.names)
    gate = _NOTHING
    for query in queries:
        inner = scope(query, names, {**made.variables, **made.found}, gates=made.gates)
        for alias, limit in inner.limits.items():  # of a row outside
            if alias != ALL and inner.source(alias) is None and len(queries) == 1:
                made.limits[alias] = made.limits.get(alias, _ANY) & limit
        if len(queries) == 1:
            for name, limit in inner.found.items():
                made.found[name] = made.found.get(name, _ANY) & limit
        asked = [each for each in query.sources if each.alias in inner.linked and each.name not in _PROTECTED]
        gate |= (
            Limit("asked", _asked(asked)) if asked and all(not e.query for e in asked) else inner.limits.get(ALL, _ANY)
        )
    return gate


def conjuncts(expression: str | None) -> frozenset[str]:
    """What has to hold at once; nothing for no expression."""
    return frozenset() if expression is None else frozenset(canonical(part) for part in parts(parse(expression)))


def limit_of(expression: str | None) -> Limit:
    """What a policy's expression lets through."""
    if expression is None:
        return _ANY
    table = Source("public", "user_accounts", alias="user_accounts")
    return scope(Query([table], [list(parse(expression))]), {}).of("user_accounts")


def answer(text: str) -> Limit | None:
    """What a function that is one expression lets pass whom it is asked about; nothing for another."""
    tokens = [word for word in parse(text) if word != ";"]
    if tokens[:2] == ["begin", "return"] and tokens[-1:] == ["end"]:
        tokens = ["select", *tokens[2:-1]]
    if tokens[:1] not in (["select"], ["return"]) or any(word in {"from", "return"} for word in tokens[1:]):
        return None
    made = scope(Query(conditions=[tokens[1:]]), {})
    return Limit("own") if made.found or is_caller(tokens[1:]) else made.of(ALL)
