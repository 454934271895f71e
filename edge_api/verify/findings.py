"""What `edge-api verify` reports, and the script that fixes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning", "info"]
Question = Literal["drift", "reach", "surroundings"]


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
    """All fixes as one transaction."""
    statements = dict.fromkeys(statement.rstrip(";") for finding in findings for statement in finding.fix)
    return "\n".join(["begin;", *(f"{statement};" for statement in statements), "commit;", ""])
