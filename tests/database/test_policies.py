"""The pgTAP policy tests: each file on a database of its own, each assertion a result of its own."""

from pathlib import Path

import psycopg
import pytest

from tests import target
from tests.database import tap
from tests.database.project import Project, pgtap
from tests.target import Target


@pytest.mark.parametrize("file", tap.FILES, ids=lambda file: file.stem)
def test_policies(project: Project, clone: str, file: Path, subtests: pytest.Subtests) -> None:
    tap.assert_passes(tap.run(project.cluster, clone, file), subtests)


if target.is_named():

    @pytest.mark.parametrize("file", tap.FILES, ids=lambda file: file.stem)
    def test_policies_of_the_project(
        stack: Target, database: psycopg.Connection, file: Path, subtests: pytest.Subtests, tmp_path: Path
    ) -> None:
        if file.stem == tap.NOT_WHERE_IN_USE:
            pytest.skip(f"{file.stem} locks the table: not for a project that may be in use")
        changes: list[str | Path] = ["set local tests.shared_project = 'on'"]
        if database.execute("select from pg_available_extensions where name = 'pgtap'").fetchone():
            changes.append("create extension if not exists pgtap with schema extensions")
        else:
            (tmp_path / "pgtap.sql").write_text(pgtap())
            changes += ["set local search_path = extensions", tmp_path / "pgtap.sql"]
        tap.assert_passes(tap.run(stack.cluster, "postgres", file, changes=changes), subtests)


def test_there_are_policy_tests() -> None:
    assert len(tap.FILES) >= 4
