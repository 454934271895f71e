"""Databases with the migrations in, of the PostgreSQL that EDGE_POSTGRES_VERSION names; `.ci/run` tests on each."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_api.local.postgres import PostgresVersion, postgres_version
from edge_api.verify.drift import Expected
from tests.database.adopted import USERS
from tests.database.adoption import Adoption
from tests.database.project import REMOVE, Project, run_project


@pytest.fixture(scope="session")
def project(used_folders: Callable[[PostgresVersion], Path]) -> Iterator[Project]:
    version = postgres_version(os.environ.get("EDGE_POSTGRES_VERSION"))
    with run_project(used_folders(version), version) as project:
        yield project


@pytest.fixture
def clone(project: Project) -> Iterator[str]:
    """The name of a database of this test's own."""
    with project.clone() as name:
        yield name


@pytest.fixture
def adoption(project: Project, clone: str) -> Iterator[Adoption]:
    with project.connect(clone) as connection:
        connection.execute(REMOVE)
        connection.execute(USERS)
        yield Adoption(project, clone, connection)


@pytest.fixture(scope="session")
def expected() -> Expected:
    """What `edge-api verify` compares with."""
    return Expected.load()
