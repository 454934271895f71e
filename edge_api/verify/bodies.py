"""What the text of a function, a view or a rule does with which relations."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from edge_api.verify.blocks import SEPARATORS, given, pieces, walk
from edge_api.verify.conditions import ANY, Asked, Known, Limit, Scope, loosest, scope, strictest, value
from edge_api.verify.expressions import is_caller
from edge_api.verify.queries import Query, Source, nested, read
from edge_api.verify.tokens import Group, Tokens, flat, groups, parse, split

_WRITTEN: Final = frozenset({"insert", "update", "delete", "truncate"})
# What such a statement does to a table, its owner's rights allow nobody else.
_DEFINITIONS: Final = frozenset({"alter", "drop", "grant", "create"})
_RUNS_TEXT: Final = re.compile(
    r".*\.(?:(?:query|cursor|table|schema|database)_to_xml\w*|dblink\w*|ts_stat\d?|ts_rewrite|crosstab\w*|connectby)"
    r"|(?:plpy|plv8)\.execute"
)
# Leave a function that returns no row with one.
_CARRIES: Final = re.compile(
    r"\0(?:insert|pg_notify|set_config|copy|create|notify|new\0(?:\.|:?=)"
    r"|raise\0(?:(?!;\0)[^\0]*\0)*?(?:using|'[^\0]*%[^\0]*))\0"
)
_COUNTS: Final = re.compile(r"\0select\0count\0\*\0(?:as\0[^\0]*\0)?from\0(?:[^,\0][^\0]*\0)*")
_SETS_CONFIG: Final = re.compile(r"\0set_config(?:\0('[^\0]*)\0,(?:\0('[^\0]*)\0,)?)?(?=\0)")
_SETS: Final = re.compile(
    rf"(?:^|\0(?:{'|'.join(SEPARATORS)}))\0set(?:\0(?:local|session))?\0"
    r"(?:role(?:\0(?:to|=))?\0['\"]?([^\0'\"]+)|request\0\.\0jwt\0)"
)


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
    times = Counter(name for _, piece in parts for name in set(given(piece)))
    found: list[Mention] = []
    for each in (parts, *(list(pieces(group)) for group in groups(tokens) if ";" in group)):
        for piece, now, gate in walk(each, parameters, times):
            found += _statement(piece, {}, now, gate)
    for statement in filter(None, _texts(text)):
        found += mentions(statement)
    if "#" in text and re.search(r"#\s*variable_conflict\s+use_variable", text):
        found = [Mention(each.schema, each.name, each.verbs, False) for each in found]
    return tuple(found)


def _statement(
    tokens: Tokens, names: Mapping[str, Group], variables: Known, gate: Limit, outside: Sequence[Limit] = ()
) -> Iterator[Mention]:
    """What a statement mentions.

    Args:
        tokens: the statement.
        names: its common table expressions.
        variables: what is known of them.
        gate: what was checked before.
        outside: for each column of its result, what the query around it tells.
    """
    if tokens and tokens[0] in _DEFINITIONS:
        yield from _defined(tokens)
    queries, known = read(tokens, names)
    read_from = {source.query for query in queries for source in query.sources if source.query is not None}
    for query in queries:
        made = scope(query, known, variables)
        for (_, expression), limit in zip(query.selected, outside, strict=False):
            column = made.column(expression)
            if column and "over" not in flat(tokens):  # a window has seen all rows before
                made.learn(column, limit)
        inside = made.inside()
        for source in query.sources:
            if source.query is not None:
                within = {name: group for name, group in known.items() if group is not source.query}
                columns = [] if source.renamed else read(source.query, within)[0][0].selected
                limits = [strictest([made.gate, made.says((source.alias, name))]) for name, _ in columns]
                yield from _statement(source.query, within, inside, gate, limits)
            elif not source.function:
                yield _of_source(query, source, made, gate)
        for clause in query.clauses.values():
            for group in nested(clause):
                if group not in read_from:
                    yield from _statement(group, known, inside, gate)
    for name, group in known.items():  # what nothing reads does not run, but for what writes
        is_read = group in read_from or (list(flat(tokens)).count(name) > 1 and not _WRITTEN & set(flat(group)))
        if name not in names and not is_read:
            yield from _statement(group, {n: g for n, g in known.items() if n != name}, variables, gate)


def _of_source(query: Query, source: Source, made: Scope, gate: Limit) -> Mention:
    verbs, limit = source.verbs, strictest([made.of(source.alias), gate])
    if verbs == {"insert"}:
        target = query.clauses.get("conflict", [])
        inserted = strictest([_inserted(made), gate])
        if "update" not in target:
            limit = strictest([inserted, made.gate])
        else:
            verbs |= {"update"}
            is_owners = "constraint" in target or ["user_id"] in target
            limit = inserted if is_owners and "id" not in _columns(query) else loosest([inserted, limit])
    elif verbs >= {"insert", "update"}:  # conditions of a branch are not followed
        limit = gate
    for each in split(query.clauses.get("set", []), {","}):
        if "user_id" in flat(each[:1]) and not is_caller(each[2:]):  # given away
            limit = gate
    return _mention(source, verbs, limit)


def _mention(source: Source, verbs: frozenset[str], limit: Limit) -> Mention:
    return Mention(source.schema.strip('"'), source.name.strip('"'), verbs, limit != ANY, limit.asks)


def _columns(query: Query) -> list[str]:
    """Those that a new row is given."""
    columns = next((group for group in query.clauses.get("into", []) if isinstance(group, Group)), Group("("))
    return [str(part[0]) for part in split(columns, {","}) if part]


def _inserted(made: Scope) -> Limit:
    """Whether a new row is the caller's: by the default of its owner, or by the value that it is given."""
    clauses, columns = made.query.clauses, _columns(made.query)
    if "user_id" not in columns:
        return Limit("own") if columns or "default" in clauses.get("into", []) else ANY
    at = columns.index("user_id")
    rows = [split(row, {","}) for row in clauses.get("values", []) if isinstance(row, Group)]
    rows = rows or [[expression for _, expression in made.query.selected]]
    return loosest(value(made, row[at]) if at < len(row) else ANY for row in rows)


def _defined(tokens: Tokens) -> Iterator[Mention]:
    """The tables that a statement defines anew, or gives away."""
    if tokens[0] == "create" and not {"policy", "rule", "trigger"} & set(tokens[1:4]):
        return
    at = next((n for n, word in enumerate(tokens) if word == "on" or (word == "table" and tokens[0] != "create")), None)
    queries, _ = read(["truncate", *tokens[at + 1 :]] if at else [], {})
    for source in queries[0].sources:
        yield _mention(source, _WRITTEN, ANY)


@cache
def calls(text: str) -> frozenset[tuple[str, str]]:
    """The functions that a text calls, and its operators: schema, or nothing where it names none, and name."""
    found = set()
    for tokens in (parse(text), *groups(parse(text))):
        for n, word in enumerate(tokens):
            if isinstance(word, Group) and n and word.kind == "(" and isinstance(tokens[n - 1], str):
                schema = str(tokens[n - 3]) if n > 2 and tokens[n - 2] == "." else ""
                found.add((schema.strip('"'), str(tokens[n - 1]).strip('"')))
            elif isinstance(word, str) and word[0] in "-+*/<>=~!@#%^&|`?":
                found.add(("", word))
    return frozenset(found)


@cache
def _texts(text: str) -> tuple[str | None, ...]:
    """What is run as a statement; nothing for what is put together at run time."""
    found: list[str | None] = []
    for _, piece in pieces(parse(text)):
        for n, word in enumerate(piece):
            said, *rest = [*piece[n + 1 : n + 2], *piece[n + 2 :]] or [""]
            if word != "execute" or said in ("function", "procedure", "on"):
                continue
            fixed = str(said).startswith("'") and rest[:1] in ([], ["into"], ["using"])
            values = split(rest[rest.index("using") + 1 :], {","}) if "using" in rest else []
            for number, each in enumerate(values, start=1):
                if is_caller(each):
                    said = re.sub(rf"\${number}\b", "auth.uid()", str(said))
            found.append(str(said)[1:] if fixed else None)
    return (*found, *(None for called in calls(text) if _RUNS_TEXT.fullmatch(".".join(called))))


def is_dynamic(text: str) -> bool:
    """Whether it runs SQL that is put together at run time."""
    return None in _texts(text)


def carries_rows(text: str) -> bool:
    """Whether rows leave it by another way than its result."""
    return _CARRIES.search(_said(text)) is not None


def counts_only(text: str) -> bool:
    """Whether a query tells no more than a number of rows."""
    return _COUNTS.fullmatch(_said(text)) is not None


@cache
def becomes(text: str) -> tuple[tuple[str, str], ...]:
    """What it sets of who is calling: the role, or the identity, with its value; nothing where it is put together."""
    found = []
    for name, said in _SETS_CONFIG.findall(_said(text)):
        if not name:
            found.append(("unknown", ""))
        elif name.lower() == "'role":
            found.append(("role", said[1:]))
        elif name.lower().startswith("'request.jwt") and said != "'":
            found.append(("identity", ""))
    return (*found, *(("role", role) if role else ("identity", "") for role in _SETS.findall(_said(text))))


@cache
def _said(text: str) -> str:
    """All words, between null characters, which no text can have in it."""
    return "\0".join(["", *flat(parse(text)), ""])
