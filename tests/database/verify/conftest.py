"""A project as it is hosted, with two users' rows, and what the migrations create."""

from collections.abc import Iterator

import psycopg
import pytest

from edge_api.embedded.postgres import SUPERUSER
from edge_api.verify import expected as expected_state
from edge_api.verify.expected import Expected
from tests.database.project import Project
from tests.database.verify.oracle import HOSTED, LOGIN_ROLE, USERS


@pytest.fixture(scope="session")
def expected(project: Project) -> Expected:
    with project.connect("template1", SUPERUSER) as connection:
        return expected_state.expected(expected_state.nearest_version(connection.info.server_version))


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
