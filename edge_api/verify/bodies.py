"""What the text of a function, a view or a rule does with which relations."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

_NAME: Final = r'(?:"[^"]+"|[a-z_][\w$]*)'
_QUALIFIED: Final = rf"(?:({_NAME})\s*\.\s*)?({_NAME})"
_RELATION: Final = re.compile(
    rf"(?:\b(delete\s+from|from|join|update|merge\s+into|into|table|truncate|using|copy)\b(?:\s+(?:only|table)\b)*|(,))[\s(]*"
    rf"{_QUALIFIED}"
    rf"(?:\s+(?:as\s+)?(?!where\b|set\b|on\b|join\b|order\b|limit\b)({_NAME}))?"
)
_CALL: Final = re.compile(rf"{_QUALIFIED}\s*\(")
_VERBS: Final = {
    "delete from": {"delete"},
    "update": {"update"},
    "into": {"insert"},
    "merge into": {"insert", "update", "delete"},
    "truncate": {"truncate"},
}
_UID: Final = (
    r"(?:\(?\s*(?:select\s+)?auth\.uid\(\)(?:\s+as\s+\w+)?\s*\)?"
    r"|\(*\s*(?:select\s+)?\(*auth\.jwt\(\)\s*->>\s*'sub'(?:::text)?\)*(?:::uuid)?(?:\s+as\s+\w+)?\)*(?:::uuid)?)"
)
_CALLER: Final = re.compile(rf"({_NAME})\s+(?:constant\s+)?uuid\s*(?:not\s+null\s*)?(?::=|default|=)\s*{_UID}\s*;")
_ENDS: Final = (
    r"(?=\s*\)*\s*(?:;|$|'|\$|(?:and|order|limit|offset|for|returning|group|into|loop|union|end|then|on\s+conflict)\b))"
)
# SQL that is put together when it runs
_DYNAMIC: Final = re.compile(
    r"\bexecute\b(?!\s+(?:'(?:[^']|'')*'|\$(\w*)\$.*?\$\1\$)\s*(?:;|into\b|using\b|loop\b)|\s+(?:function|procedure|on)\b)"
    r"|\b(?:query_to_xml\w*|cursor_to_xml\w*|(?:table|schema|database)_to_xml\w*|dblink\w*|ts_stat|ts_rewrite|crosstab\w*|connectby|plpy\.execute|plv8\.execute)\b",
    re.DOTALL,
)
# What carries a row out of a function that returns none
_CARRIES: Final = re.compile(
    r"\binto\s+(?:strict\s+)?new\.|\bnew\.\w+\s*:?=|\braise\b[^;]*%|\binsert\s+into\b|\bpg_notify\b|\bset_config\b"
    r"|\bcopy\b|\bnew\s*:?=|\bcreate\b"
)


@dataclass(frozen=True)
class Mention:
    """A relation that is read or written by name."""

    schema: str
    name: str
    verbs: frozenset[str]
    own: bool
    """Whether only rows of the caller's, by a condition beside it."""


@cache
def _plain(text: str) -> str:
    """In lower case but for quoted names, without comments."""
    text = re.sub(r"--[^\n]*|/\*.*?\*/", " ", text, flags=re.DOTALL)
    return re.sub(r"\"[^\"]*\"|[^\"]+", lambda part: part[0] if part[0][0] == '"' else part[0].lower(), text)


def _unquote(name: str | None) -> str:
    return (name or "").strip('"')


@cache
def mentions(text: str) -> tuple[Mention, ...]:
    """The relations that a text names where SQL expects one."""
    plain = _plain(text)
    again = r"(?:;|\b(?:begin|then|else|loop))\s*{0}\s*:?=|\b{0}\s*:=|\binto\s+(?:strict\s+)?{0}\b"
    callers = [name for name in _CALLER.findall(plain) if not re.search(again.format(re.escape(name)), plain)]
    return tuple(_mentions(plain, callers))


def _mentions(plain: str, callers: list[str]) -> Iterator[Mention]:
    for statement in re.split(r";", plain):
        start = 0
        while found := _RELATION.search(statement, start):
            start = found.start(4)
            keyword = re.sub(r"\s+", " ", found[1] or "")
            verbs = frozenset(_VERBS.get(keyword, {"select"}))
            own = _is_own(statement, found, callers, plain)
            yield Mention(_unquote(found[3]), _unquote(found[4]), verbs, own)


def _is_own(statement: str, found: re.Match[str], callers: list[str], plain: str) -> bool:
    """Whether a condition of the same query, and not in an "or", limits it to the caller's rows."""
    if found[1] == "into":
        columns = re.match(r"\s*(?:as\s+\w+\s*)?\(([^)]*)\)", statement[found.end(4) :])
        given = columns is None or "user_id" in columns[1]
        return not given or "auth.uid()" in plain
    if re.search(r"\bor\b", statement):
        return False
    names = {"", _unquote(found[4]), _unquote(found[5])}
    who = "|".join([_UID, *(rf"(?:\w+\.)?{re.escape(name)}\b" for name in callers)])
    column = rf"(?:({_NAME})\s*\.\s*)?(?:user_id|id)"
    condition = rf"\b(?:where|and)\b\s*\(*\s*(?:{column}\s*=\s*(?:{who})|(?:{who})\s*=\s*{column}){_ENDS}"
    for match in re.finditer(condition, statement):
        between = statement[found.end(4) : match.start()]
        depths = [0]
        for character in between:
            depths.append(depths[-1] + {"(": 1, ")": -1}.get(character, 0))
        level = -statement[found.start() : found.start(4)].count("(")  # "from (a join b ...) where": outside of these
        same_query = depths[-1] <= 0 and depths[-1] >= level and min(depths) >= level
        if match.start() > found.start() and same_query and _unquote(match[1] or match[2]) in names:
            return True
    return False


@cache
def calls(text: str) -> frozenset[tuple[str, str]]:
    """The functions that a text calls: schema, or nothing where it names none, and name."""
    return frozenset((_unquote(schema), _unquote(name)) for schema, name in _CALL.findall(_plain(text)))


def is_dynamic(text: str) -> bool:
    """Whether it runs SQL that is put together at run time."""
    return _DYNAMIC.search(_plain(text)) is not None


def carries_rows(text: str) -> bool:
    """Whether rows leave it by another way than its result."""
    return _CARRIES.search(_plain(text)) is not None


def counts_only(text: str) -> bool:
    """Whether a query tells no more than a number of rows."""
    return re.match(r"\s*select\s+count\(\*\)(?:\s+as\s+\S+)?\s+from\b[^,]*$", _plain(text)) is not None
