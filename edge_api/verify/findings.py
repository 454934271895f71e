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
    r"create schema|alter role|alter database|revoke \S+ from [^(]*cascade$|grant \S+ to authenticator",
    r"alter (schema|table auth|function auth)",
    r"create or replace function auth\.",
    r"drop (policy|rule|trigger|function)",
    r"alter table \S+ (no inherit|detach)",
    r"create table",
    r"alter table .* (add|alter) column",
    r"alter table .* drop constraint",
    r"drop index",
    r"create or replace (function|procedure)",
    r"alter table .* add constraint",
    r"create (constraint )?trigger",
    r"create policy",
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
    """One finding.

    Args:
        question: which of the three it answers.
        level: how much it matters.
        subject: which object: a kind and a name.
        message: what differs, and what it means for the data.
        advice: what a person has to decide; empty where nothing.
        fix: SQL statements that close it; empty where only a person can decide.
    """

    question: Question
    level: Level
    subject: str
    message: str
    advice: str
    fix: tuple[str, ...]


def fix_script(findings: Sequence[Finding]) -> str:
    """The fixes of all findings as one transaction, to be reviewed and run by the database's owner."""
    statements = dict.fromkeys(runnable(statement) for finding in findings for statement in finding.fix)
    if not statements:
        return ""
    return "\n".join(
        [
            "begin;",
            "set local search_path = '';",
            "set local lock_timeout = '5s';",
            *(_guarded(statement) for statement in sorted(statements, key=_rank)),
            "notify pgrst, 'reload schema';",
            "commit;",
            "",
        ]
    )


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
        escaped = "".join(map(_escape, quoted[0].replace("\\", "\\\\")))
        return f"U&{escaped}" if escaped.count("\\") > 2 * quoted[0].count("\\") else quoted[0]

    # the text of a function or a comment is the migrations' own
    own = re.match(r"create or replace|comment on", statement, re.IGNORECASE)
    return statement if own else re.sub(r'"(?:[^"]|"")*"', name, statement)


def _guarded(statement: str) -> str:
    """Goes on without what rows or names are in the way of."""
    if not _MAY_FAIL.match(statement):
        return f"{statement};"
    warn = "raise warning '%', sqlerrm using hint = 'The script goes on without it.'"
    return f"do $guard$\nbegin\n{statement};\nexception when others then {warn};\nend\n$guard$;"


def _rank(statement: str) -> int:
    matches = (re.match(pattern, statement, re.IGNORECASE | re.DOTALL) for pattern in _ORDER)
    return next((rank for rank, match in enumerate(matches) if match), len(_ORDER))
