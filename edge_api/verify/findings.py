"""What `edge-api verify` reports, and the script that fixes it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

Level = Literal["error", "warning", "info"]
Question = Literal["drift", "reach", "surroundings"]
LEVELS: Final[tuple[Level, ...]] = get_args(Level)

# In this order: each needs only what comes before it. Rights come last, because what is created before gets some.
_ORDER: Final = re.compile(
    "|".join(
        f"(?P<s{number:02}>{pattern})"
        for number, pattern in enumerate(
            (
                r"create schema|alter role|alter database|revoke \S+ from [^(]*cascade$|grant \S+ to authenticator",
                r"alter schema",
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
                r"reindex",
                r"revoke",
                r"grant",
                r"comment",
            )
        )
    ),
    re.IGNORECASE | re.DOTALL,
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
    statements = dict.fromkeys(statement for finding in findings for statement in finding.fix)
    if not statements:
        return ""
    return "\n".join(
        [
            "begin;",
            "set local search_path = '';",
            "set local lock_timeout = '5s';",
            *(f"{statement};" for statement in sorted(statements, key=_rank)),
            "notify pgrst, 'reload schema';",
            "commit;",
            "",
        ]
    )


def _rank(statement: str) -> str:
    match = _ORDER.match(statement)
    return match.lastgroup or "" if match else "z"
