"""Whether verify is right about a change, and its script repairs it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import psycopg

from edge_api.verify.findings import Finding
from tests.database.verify.gap import Effect, Gap
from tests.database.verify.oracle import Outcome, observe, rolled_back

_LEVELS: Final = ("error", "warning", "info")
_TRANSACTION: Final = re.compile(r"^(begin|commit);\s*$", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class Verifier:
    """What is judged."""

    verify: Callable[[psycopg.Connection], Sequence[Finding]]
    fix_script: Callable[[Sequence[Finding]], str]


def complaints(database: psycopg.Connection, gap: Gap, verifier: Verifier) -> list[str]:
    """What is wrong with the findings, the script, or the entry itself; the database is left as it was.

    Takes a superuser's connection in autocommit mode. All is done in one transaction, which is rolled back: the
    script's own begin and commit are left out.
    """
    with rolled_back(database):
        apply(database, gap)
        outcome = observe(database, gap.attack)
        wrong = [f"the entry is wrong: {line}" for line in _of_entry(gap, outcome)]
        findings = verifier.verify(database)
        if (highest := _highest(findings)) not in gap.right_levels:
            right = " or ".join(sorted(gap.right_levels))
            wrong.append(f"the highest level is {highest} instead of {right}: {_listed(findings)}; {_shown(outcome)}")
        if any(finding.level not in _LEVELS or not finding.subject or not finding.message for finding in findings):
            wrong.append(f"a finding without a level, a subject or a message: {_listed(findings)}")
        if gap.effect in (Effect.TIGHTER, Effect.OWN):
            return wrong + [f"{f.subject}: undone by {f.fix}" for f in findings if f.fix]
        script = verifier.fix_script(findings)
        try:
            with database.transaction():
                run_script(database, script)
        except psycopg.Error as error:
            if gap.data_in_the_way:
                return wrong
            return [*wrong, f"the script fails: {error}\n{script}"]
        return wrong + _after(gap, observe(database, gap.attack), verifier.verify(database), script)


def apply(database: psycopg.Connection, gap: Gap) -> None:
    """Make the change, as the role that a project's owner has unless it takes more."""
    if not gap.superuser:
        database.execute("set local role postgres")
    database.execute(gap.sql.encode())
    database.execute("reset role")
    database.execute("set local search_path to default")


def body(script: str) -> str:
    """A script without its own begin and commit."""
    return _TRANSACTION.sub("", script)


def run_script(database: psycopg.Connection, script: str) -> None:
    """Run a script in the transaction that is open."""
    if statements := body(script).strip():
        database.execute(statements.encode())
    if database.info.transaction_status != psycopg.pq.TransactionStatus.INTRANS:
        raise AssertionError(f"the script ends the transaction by other words than begin; and commit;:\n{script}")


def _of_entry(gap: Gap, outcome: Outcome) -> list[str]:
    wrong = []
    if (gap.effect is Effect.REACHED) != bool(outcome.paths):
        wrong.append(f"reached by {outcome.paths or 'nothing'}")
    if gap.effect is not Effect.REACHED and (gap.effect is Effect.LOCKED_OUT) != bool(outcome.failed_calls):
        wrong.append(f"calls that fail: {outcome.failed_calls or 'none'}")
    return wrong


def _after(gap: Gap, outcome: Outcome, findings: Sequence[Finding], script: str) -> list[str]:
    wrong = []
    failed = [call for call in outcome.failed_calls if not gap.loses_rows or call.startswith("newcomer")]
    if gap.only_person or gap.data_in_the_way:
        if outcome.paths and _highest(findings) not in gap.right_levels:
            wrong.append(f"after the script a row is still reached, without a word: {_shown(outcome)}")
        wrong += [
            f"after the script, no advice: {finding}"
            for finding in findings
            if not finding.advice and finding.level != "info"
        ]
    else:
        if outcome.paths:
            wrong.append(f"after the script a row is reached: {_shown(outcome)}")
        if failed:
            wrong.append(f"after the script calls fail: {failed}")
        if findings:
            wrong.append(f"after the script verify is not silent: {_listed(findings)}")
    return [*wrong, f"the script:\n{script}"] if wrong else []


def _highest(findings: Sequence[Finding]) -> str:
    levels = {finding.level for finding in findings}
    return next((level for level in _LEVELS if level in levels), "none")


def _listed(findings: Sequence[Finding]) -> str:
    return "; ".join(f"{f.level} {f.subject}: {f.message}" for f in findings) or "no finding"


def _shown(outcome: Outcome) -> str:
    return f"reached by {outcome.paths or 'nothing'}, calls that fail: {outcome.failed_calls or 'none'}"
