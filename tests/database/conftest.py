"""PostgreSQL 16 and 18, each with the migrations in."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_api.local.postgres import VERSIONS
from tests.database.project import Project, run_project


@pytest.fixture(scope="session", params=VERSIONS, ids=lambda version: f"postgres-{version}")
def project(request: pytest.FixtureRequest, state_folders: Callable[[], Path]) -> Iterator[Project]:
    with run_project(state_folders(), request.param) as project:
        yield project


@pytest.fixture
def clone(project: Project) -> Iterator[str]:
    """The name of a database of this test's own."""
    with project.clone() as name:
        yield name
