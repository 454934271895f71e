"""Runs the pgTAP files of sql/tests, as `supabase test db sql/tests` does, and reads what they say."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from edge_api.local.packages import PROJECT
from edge_api.local.postgres import Cluster
from edge_api.local.stack import MIGRATOR

# It locks the table for the time of the test.
NOT_WHERE_IN_USE: Final = "06_altered_table"
FILES: Final = sorted((PROJECT / "sql" / "tests").glob("*.sql"))
_PLAN: Final = re.compile(r"^1\.\.(\d+)$", re.MULTILINE)
_RESULT: Final = re.compile(r"^(not )?ok (\d+)(?: - (.*))?$", re.MULTILINE)


@dataclass(frozen=True)
class Assertion:
    """One line of a pgTAP file's output."""

    description: str
    passed: bool


@dataclass(frozen=True)
class Outcome:
    """What one file said."""

    assertions: tuple[Assertion, ...]
    complaint: str | None
    """Why the file as a whole failed: it broke off, or it did not do what it planned."""

    @property
    def failure(self) -> str | None:
        """The first thing that went wrong, None if nothing did."""
        failed = (assertion.description for assertion in self.assertions if not assertion.passed)
        return next(failed, self.complaint)


def run(
    cluster: Cluster, database: str, file: Path, *, changes: Sequence[str | Path] = (), role: str = MIGRATOR
) -> Outcome:
    """Run a file; with changes to the database before it, which are rolled back with all that the file does."""
    before = ("begin", *changes) if changes else ()
    done = cluster.run_psql(file, role=role, database=database, seconds=60, before=before)
    assertions = tuple(
        Assertion(description or f"number {number}", passed=not failed)
        for failed, number, description in _RESULT.findall(done.stdout)
    )
    complaint = None
    if done.returncode != 0:
        error = next((line for line in done.stderr.splitlines() if "ERROR" in line), done.stderr.strip())
        if not error.startswith("psql:"):  # psql names the file that an error is in
            raise ValueError(f"the change itself fails: {error}")
        complaint = re.sub(r"^psql:\S*/", "", error)
    elif (plan := _PLAN.search(done.stdout)) is None or int(plan[1]) != len(assertions):
        complaint = f"{len(assertions)} assertions ran, {plan[1] if plan else 'none'} were planned"
    return Outcome(assertions, complaint)


def assert_passes(outcome: Outcome, subtests: pytest.Subtests) -> None:
    """Each assertion is a subtest of its own."""
    assert outcome.complaint is None
    for assertion in outcome.assertions:
        with subtests.test(assertion.description):
            assert assertion.passed
