"""What the text of a function, a view or a rule does with which relations."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from edge_api.verify.blocks import SEPARATORS, pieces, times_given, walk
from edge_api.verify.conditions import OWNERS, Asked, Limit, Scope, scope
from edge_api.verify.expressions import is_caller
from edge_api.verify.queries import Query, Source, nested, read
from edge_api.verify.tokens import Group, Tokens, flat, groups, is_name, parse, split

_WRITTEN: Final = frozenset({"insert", "update", "delete", "truncate"})
# What such a statement does to a table, its owner's rights allow nobody else.
_DEFINITIONS: Final = frozenset({"alter", "drop", "grant", "create"})
_READ: Final = 2  # times that the name of a common table expression is said, if it is read
_RUNS_TEXT: Final = re.compile(
    r"(?:query|cursor|table|schema|database)_to_xml\w*|dblink\w*|ts_stat\d?|ts_rewrite|crosstab\w*|connectby"
)
# Leave a function that returns no row with one.
_CARRYING: Final = frozenset({"insert", "pg_notify", "set_config", "copy", "create", "notify"})


@dataclass(frozen=True)
class Mention:
    """A relation that is read or written by name."""

    schema: str
    name: str
    verbs: frozenset[str]
    own: bool
    """Whether only rows of the caller's, or with what is asked first, by a condition beside it."""
    asks: frozenset[Asked] = frozenset()


@cache
def mentions(text: str, parameters: tuple[str, ...] = ()) -> tuple[Mention, ...]:
    """The relations that a text names where SQL expects one; parameters are names that are no columns."""
    tokens = parse(text)
    parts = list(pieces(tokens))
    given = times_given(parts)
    known = {name: Limit() for name in parameters if name not in OWNERS}
    found: list[Mention] = []
    for each in (parts, *(list(pieces(group)) for group in groups(tokens) if ";" in group)):
        for piece, now, gate in walk(each, known, given):
            found += _statement(piece, {}, now, gate)
    for statement in fixed_statements(text):
        found += mentions(statement)
    if "#" in text and re.search(r"#\s*variable_conflict\s+use_variable", text):
        found = [Mention(each.schema, each.name, each.verbs, False) for each in found]
    return tuple(found)


def _statement(
    tokens: Tokens, names: Mapping[str, Group], variables: Mapping[str, Limit], gate: Limit, outer: Limit | None = None
) -> Iterator[Mention]:
    if tokens and isinstance(tokens[0], str) and tokens[0] in _DEFINITIONS:
        yield from _defined(tokens)
    queries, known = read(tokens, names)
    used: set[str] = set()
    for query in queries:
        made = scope(query, known, variables, gates=False) if query.sources else Scope(query)
        inside = {**variables, **made.seen_inside()}
        for source in query.sources:
            limit = made.of(source.alias) & gate
            if outer is not None and _passes_on(query, source):
                limit &= outer
            if source.query is not None:
                used.add(source.name)
                within = {name: group for name, group in known.items() if group is not source.query}
                yield from _statement(source.query, within, inside, gate, limit)
            elif not source.function:
                yield _of_source(query, source, limit, variables, gate)
        read_from = [source.query for source in query.sources]
        for clause in query.clauses.values():
            for group in nested(clause):
                if not any(group is each for each in read_from):
                    yield from _statement(group, known, inside, gate)
    words = Counter(flat(tokens))
    for name, group in known.items():  # what nothing reads does not run, but for what writes
        if name not in names and (words[name] < _READ or _WRITTEN & set(flat(group))) and name not in used:
            yield from _statement(group, {n: g for n, g in known.items() if n != name}, variables, gate)


def _passes_on(query: Query, source: Source) -> bool:
    """Whether the owner of a row is selected from a source under its own name."""
    for expression in query.selected:
        if expression[-2:] == ["as", "user_id"]:
            return False
    return not source.columns and any(
        expression in (["*"], ["user_id"], [source.alias, ".", "*"], [source.alias, ".", "user_id"])
        for expression in query.selected
    )


def _of_source(query: Query, source: Source, limit: Limit, variables: Mapping[str, Limit], gate: Limit) -> Mention:
    verbs = source.verbs
    if verbs == {"insert"}:
        columns = next((group for group in query.clauses.get("into", []) if isinstance(group, Group)), Group("("))
        given = [str(part[0]) for part in split(columns, {","}) if part]
        target = query.clauses.get("conflict", [])
        conflict = "update" in target
        if not conflict or ("id" not in given and ("constraint" in target or ["user_id"] in target)):
            limit = limit & _inserted(query, given, variables) & gate
        verbs = verbs | ({"update"} if conflict else frozenset())
    elif verbs >= {"insert", "update"}:  # conditions of a branch are not followed
        limit = gate
    if any(
        "user_id" in flat(each[:1]) and not is_caller(each[2:]) for each in split(query.clauses.get("set", []), {","})
    ):
        limit = gate  # given away
    return Mention(source.schema.strip('"'), source.name.strip('"'), verbs, limit.passes != "any", limit.asks)


def _inserted(query: Query, columns: Sequence[str], variables: Mapping[str, Limit]) -> Limit:
    """Whether a new row is the caller's: by the default of its owner, or by the value that it is given."""
    if "user_id" not in columns:
        return Limit("own" if columns or "default" in query.clauses.get("into", []) else "any")
    at = columns.index("user_id")
    rows = [split(row, {","}) for row in query.clauses.get("values", []) if isinstance(row, Group)] or [query.selected]
    limit = Limit("nothing")
    for value in (row[at] if at < len(row) else [] for row in rows):
        given = value[:-2] if value[-2:-1] == ["as"] else value
        name = "".join(word for word in given if isinstance(word, str))
        limit |= Limit("own") if is_caller(given) else variables.get(name, Limit())
    return limit


def _defined(tokens: Tokens) -> Iterator[Mention]:
    """The table that a statement defines anew, or gives away."""
    if tokens[0] == "create" and not {"policy", "rule", "trigger"} & set(tokens[1:4]):
        return
    for n, word in enumerate(tokens):
        if word == "on" or (word == "table" and tokens[0] != "create"):
            rest = [each for each in tokens[n + 1 :] if each not in {"table", "only", "if", "exists"}]
            path = [str(each) for each in rest[:3] if isinstance(each, str)]
            if path and is_name(path[0]):
                qualified = len(path) > 2 and path[1] == "."
                schema, name = (path[0], path[2]) if qualified else ("", path[0])
                yield Mention(schema.strip('"'), name.strip('"'), _WRITTEN, False)
                return


@cache
def calls(text: str) -> frozenset[tuple[str, str]]:
    """The functions that a text calls, and its operators: schema, or nothing where it names none, and name."""
    found = set()
    for tokens in (parse(text), *groups(parse(text))):
        for n, word in enumerate(tokens):
            if isinstance(word, Group) and n and word.kind == "(" and isinstance(tokens[n - 1], str):
                schema = str(tokens[n - 3]) if n > 2 and tokens[n - 2] == "." else ""
                found.add((schema.strip('"'), str(tokens[n - 1]).strip('"')))
            elif isinstance(word, str) and re.fullmatch(r"[-+*/<>=~!@#%^&|`?]+", word):
                found.add(("", word))
    return frozenset(found)


def _texts(text: str) -> Iterator[tuple[bool, str]]:
    """What is run as a statement: whether it is put together, and the text where it is not."""
    tokens = parse(text)
    for _, piece in pieces(tokens):
        for n, word in enumerate(piece):
            if word == "execute" and piece[n + 1 : n + 2] not in (["function"], ["procedure"], ["on"]):
                rest = piece[n + 1 :]
                fixed = bool(rest) and str(rest[0]).startswith("'") and (len(rest) == 1 or rest[1] in ("into", "using"))
                said = str(rest[0])[1:] if fixed else ""
                values = split(rest[rest.index("using") + 1 :], {","}) if "using" in rest else []
                for number, value in enumerate(values, start=1):
                    if is_caller(value):
                        said = re.sub(rf"\${number}\b", "auth.uid()", said)
                yield not fixed, said
    for called in calls(text):
        if _RUNS_TEXT.fullmatch(called[1]) or called in {("plpy", "execute"), ("plv8", "execute")}:
            yield True, ""


def is_dynamic(text: str) -> bool:
    """Whether it runs SQL that is put together at run time."""
    return any(dynamic for dynamic, _ in _texts(text))


def fixed_statements(text: str) -> tuple[str, ...]:
    """What it runs as a text that is always the same."""
    return tuple(said for dynamic, said in _texts(text) if not dynamic)


def carries_rows(text: str) -> bool:
    """Whether rows leave it by another way than its result."""
    words = list(flat(parse(text)))
    for n, word in enumerate(words):
        if word in _CARRYING or (word == "new" and words[n + 1 : n + 2] in (["."], [":="], ["="])):
            return True
        if word == "raise":
            said = words[n : words.index(";", n) if ";" in words[n:] else len(words)]
            if "using" in said or any(each.startswith("'") and "%" in each for each in said):
                return True
    return False


def counts_only(text: str) -> bool:
    """Whether a query tells no more than a number of rows."""
    words = "".join(f" {word}" for word in flat(parse(text)))
    return re.match(r" select count \*( as \S+)? from [^,]*$", words) is not None


@cache
def becomes(text: str) -> tuple[tuple[str, str], ...]:
    """What it sets of who is calling: the role, or the identity, with its value; nothing where it is put together."""
    return tuple(_set(text))


def _set(text: str) -> Iterator[tuple[str, str]]:
    for tokens in (parse(text), *groups(parse(text))):
        for n, word in enumerate(tokens):
            following = tokens[n + 1] if n + 1 < len(tokens) else ""
            if word == "set_config" and isinstance(following, Group):
                arguments = split(following, {","})
                name, value = (each[0] if len(each) == 1 else "" for each in [*arguments, [], []][:2])
                if not isinstance(name, str) or not name.startswith("'"):
                    yield "unknown", ""
                elif name.lower() == "'role":
                    yield "role", value[1:] if isinstance(value, str) and value.startswith("'") else ""
                elif name.lower().startswith("'request.jwt") and value != "'":
                    yield "identity", ""
            elif word == "set" and (n == 0 or tokens[n - 1] in SEPARATORS):
                rest = [each for each in tokens[n + 1 : n + 6] if each not in {"local", "session", "to", "="}]
                if rest[:1] == ["role"] and len(rest) > 1:
                    yield "role", str(rest[1]).strip("'\"")
                elif rest[:3] == ["request", ".", "jwt"]:
                    yield "identity", ""
