"""The pgTAP policy tests: each file on a database of its own, each assertion a result of its own."""

from pathlib import Path

import pytest

from tests.database import tap
from tests.database.project import Project


@pytest.mark.parametrize("file", tap.FILES, ids=lambda file: file.stem)
def test_policies(project: Project, clone: str, file: Path, subtests: pytest.Subtests) -> None:
    outcome = tap.run(project, clone, file)
    assert outcome.complaint is None
    for assertion in outcome.assertions:
        with subtests.test(assertion.description):
            assert assertion.passed


def test_there_are_policy_tests() -> None:
    assert len(tap.FILES) >= 4
