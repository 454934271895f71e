"""One throw-away stack for the whole run, and users who sign up on it."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psycopg
import pytest

from edge_api.embedded.postgres import postgres_version
from edge_api.local import stack as local_stack
from edge_api.local.stack import MIGRATOR, Stack
from tests import chromium, target
from tests.support import NO_CERTIFICATES, User, sign_up


def pytest_addoption(parser: pytest.Parser) -> None:
    fuzzing = parser.getgroup("fuzzing")
    fuzzing.addoption("--fuzz-cases", type=int, default=120, metavar="N", help="cases for each operation of the API")
    fuzzing.addoption("--fuzz-seed", type=int, default=0, metavar="N", help="what the cases are made from")
    parser.addoption("--soak", type=float, metavar="SECONDS", help="also run tests/soak, each for so long")
    parser.addoption(
        "--image", type=Path, metavar="COMMAND", help="also run tests/image: what runs the image (.ci/image)"
    )


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # once, and not in each of xdist's workers
        chromium.require(config.args, config.getoption("ignore") or [])


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    is_unasked = collection_path.name in {"soak", "image"} and not config.getoption(f"--{collection_path.name}")
    return True if is_unasked else None


def pytest_report_header() -> str:
    return target.description()


@pytest.fixture(scope="session")
def state_folders() -> Iterator[Callable[[], Path]]:
    """Makes state folders for stacks, and removes them with all their data."""
    with ExitStack() as cleanup:

        def make() -> Path:
            # not pytest's tmp_path: where root runs the tests, PostgreSQL's user has to get there
            folder = Path(tempfile.mkdtemp(prefix="edge-api-test-"))
            cleanup.callback(local_stack.reset, folder)
            return folder

        yield make


@pytest.fixture(scope="session")
def stack(state_folders: Callable[[], Path]) -> Iterator[Stack]:
    if target.is_named():
        with target.named(state_folders()) as named:
            yield named
        return
    wanted = postgres_version(os.environ.get("EDGE_POSTGRES_VERSION"))
    with local_stack.run(state_folders(), postgres=wanted, durable=False) as running:
        yield running


@pytest.fixture
def api(stack: Stack) -> Iterator[httpx.Client]:
    """A client of the API without a token."""
    with httpx.Client(base_url=stack.api_url, timeout=30, verify=NO_CERTIFICATES) as client:
        yield client


@pytest.fixture
def new_user(stack: Stack) -> Iterator[Callable[[], User]]:
    with ExitStack() as clients:

        def make() -> User:
            return sign_up(
                stack, clients.enter_context(httpx.Client(base_url=stack.api_url, timeout=30, verify=NO_CERTIFICATES))
            )

        yield make


@pytest.fixture
def user(new_user: Callable[[], User]) -> User:
    return new_user()


@pytest.fixture
def other_user(new_user: Callable[[], User]) -> User:
    return new_user()


@pytest.fixture
def database(stack: Stack) -> Iterator[psycopg.Connection]:
    """A connection as the role that ran the migrations."""
    with stack.cluster.connect(MIGRATOR) as connection:
        yield connection
