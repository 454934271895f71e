"""What `edge-api verify` reports, and the script that fixes it."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

Level = Literal["error", "warning", "info"]
Question = Literal["drift", "reach", "surroundings"]
LEVELS: Final[tuple[Level, ...]] = get_args(Level)

# In this order: each needs only what comes before it. Rights come last, because what is created before gets some.
_ORDER: Final = (
    r"create schema|alter (role|database|schema)|revoke \S+ from|grant \S+ to",
    r"(create or replace|alter) function auth\.|alter table auth",
    r"drop (policy|rule|trigger|function)|alter table \S+ (no inherit|detach)",
    r"create table",
    r"alter table \S+ (add|alter) column",
    r"create or replace",
    r"alter table \S+ (add|drop) constraint|drop index",
    r"create",
    r"alter",
    r"revoke",
    r"grant",
    r"comment",
)
_MAY_FAIL: Final = re.compile(
    r"alter table .* ((add|drop) constraint|drop (default|expression)|set not null|type )|drop index", re.IGNORECASE
)


@dataclass(frozen=True)
class Finding:
    """One finding."""

    question: Question
    level: Level
    subject: str
    """Which object: a kind and a name."""
    message: str
    """What differs, and what it means for the data."""
    advice: str
    """What a person has to decide; empty where nothing."""
    fix: tuple[str, ...]
    """SQL statements that close it; empty where only a person can decide."""


def fix_script(findings: Sequence[Finding]) -> str:
    """The fixes of all findings as one transaction, to be reviewed and run by the database's owner."""
    statements = dict.fromkeys(runnable(statement) for finding in findings for statement in finding.fix)
    if not statements:
        return ""
    fixes = "\n".join(_guarded(statement) for statement in sorted(statements, key=_rank))
    settings = "set local search_path = '';\nset local lock_timeout = '5s';"
    return f"begin;\n{settings}\n{fixes}\nnotify pgrst, 'reload schema';\ncommit;\n"


def _rank(statement: str) -> int:
    ranks = (rank for rank, start in enumerate(_ORDER) if re.match(start, statement, re.IGNORECASE))
    return next(ranks, len(_ORDER))


def _guarded(statement: str) -> str:
    """Goes on without what rows or names are in the way of."""
    if not _MAY_FAIL.match(statement):
        return f"{statement};"
    warn = "raise warning '%', sqlerrm using hint = 'The script goes on without it.'"
    return f"do $guard$\nbegin\n{statement};\nexception when others then {warn};\nend\n$guard$;"


def _escape(character: str) -> str:
    """Controls, formats such as bidirectional ones, separators of lines, surrogates and unassigned characters."""
    if unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}:
        return character
    return f"\\{ord(character):04x}" if ord(character) < 0x10000 else f"\\+{ord(character):06x}"


def printable(text: str) -> str:
    """One line, in which whoever named an object can neither fake a line nor reorder or paint one."""
    return "".join(" " if character in "\n\t" else _escape(character) for character in text)


def runnable(statement: str) -> str:
    """The same statement with names that are printable, in the form U&"..." where they need it."""

    def name(quoted: re.Match[str]) -> str:
        if "".join(map(_escape, quoted[0])) == quoted[0]:
            return quoted[0]
        return "U&" + "".join(map(_escape, quoted[0].replace("\\", "\\\\")))

    # the text of a function or a comment is the migrations' own
    own = re.match(r"create or replace|comment on", statement, re.IGNORECASE)
    return statement if own else re.sub(r'"(?:[^"]|"")*"', name, statement)
