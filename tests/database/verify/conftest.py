"""A project as it is hosted, with two users' rows."""

from collections.abc import Iterator

import psycopg
import pytest

from edge_api.local.postgres import SUPERUSER
from tests.database.project import WITHOUT_PGTAP, Project
from tests.database.verify.oracle import HOSTED, LOGIN_ROLE, USERS


@pytest.fixture(scope="session")
def hosted(project: Project) -> Iterator[str]:
    """The name of a database; what a test does to it is rolled back."""
    with project.clone() as name, project.connect(name, SUPERUSER) as connection:
        connection.execute(LOGIN_ROLE.encode())
        connection.execute(HOSTED.encode())
        connection.execute(USERS.encode())
        yield name


@pytest.fixture(scope="session")
def database(project: Project, hosted: str) -> Iterator[psycopg.Connection]:
    with project.connect(hosted, SUPERUSER) as connection:
        yield connection


@pytest.fixture(scope="session")
def without_pgtap(project: Project, hosted: str) -> Iterator[psycopg.Connection]:
    """Such a project as well, without the functions that the policy tests need: each entry takes half the time."""
    with project.clone() as name, project.connect(name, SUPERUSER) as connection:
        for script in (HOSTED, USERS, WITHOUT_PGTAP):
            connection.execute(script.encode())
        yield connection
