"""One throw-away stack for the whole run, and users who sign up on it."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Final

import httpx
import psycopg
import pytest

from edge_api.local import stack as local_stack
from edge_api.local.postgres import PostgresVersion, postgres_version
from edge_api.local.stack import MIGRATOR, Stack
from tests import chromium, memory, target
from tests.support import NO_CERTIFICATES, User, Users

# Folders and modules whose tests are slow.
SLOW: Final = {
    *("deploy", "local", "page", "soak", "supabase_js", "verify"),
    *(
        "test_advisors",
        "test_example_account_credentials",
        "test_example_adopt_refusals",
        "test_example_adopt_user_accounts",
        "test_generated_types",
        "test_migrations",
        "test_mutants",
    ),
    *("test_plans", "test_projects_own_migrations", "test_races", "test_schemas_agree", "test_verify"),
    *("test_embedding", "test_frontend"),
    *("test_failures_real", "test_fuzz", "test_hostile_input", "test_log_lines", "test_log_output", "test_logs"),
    *("test_mix_ups", "test_production", "test_proxy", "test_readiness", "test_request_boundaries", "test_restarts"),
    *("test_serve", "test_slow_clients", "test_surroundings", "test_telemetry"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    fuzzing = parser.getgroup("fuzzing")
    fuzzing.addoption("--fuzz-cases", type=int, default=40, metavar="N", help="cases for each operation of the API")
    fuzzing.addoption("--fuzz-seed", type=int, default=0, metavar="N", help="what the cases are made from")
    parser.addoption("--all-gaps", action="store_true", help="open every gap and every mutant for verify, not a sample")
    parser.addoption("--soak", type=float, metavar="SECONDS", help="also run tests/soak, each for so long")
    parser.addoption(
        "--image", type=Path, metavar="COMMAND", help="also run tests/image: what runs the image (.ci/image)"
    )


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # once, and not in each of xdist's workers
        chromium.require(config.args, config.getoption("ignore") or [])
    else:  # pytest's own folders, which outlive the run, have been chosen before
        tempfile.tempdir = memory.folder()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    is_unasked = collection_path.name in {"soak", "image"} and not config.getoption(f"--{collection_path.name}")
    return True if is_unasked else None


def pytest_xdist_auto_num_workers() -> int:
    """One more than processors: half of the time is spent waiting."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not SLOW.isdisjoint(item.path.relative_to(Path(__file__).parent).with_suffix("").parts):
            item.add_marker(pytest.mark.slow)
        if target.is_named():
            item.add_marker(pytest.mark.timeout(300))  # its Auth may have to be waited for


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
def used_folders(state_folders: Callable[[], Path]) -> Callable[[PostgresVersion], Path]:
    """Makes state folders as a first start leaves them: with a database, and the migrations in it."""

    @cache
    def first(version: PostgresVersion) -> Path:
        state = state_folders()
        with local_stack.run_database(state, postgres=version):
            return state

    def make(version: PostgresVersion) -> Path:
        state = state_folders()
        # PostgreSQL's files belong to a user of its own where root runs the tests
        subprocess.run(["cp", "-Rp", f"{first(version)}/.", state], timeout=30, check=True)
        return state

    return make


@pytest.fixture(scope="session")
def stack(state_folders: Callable[[], Path], used_folders: Callable[[PostgresVersion], Path]) -> Iterator[Stack]:
    if target.is_named():
        with target.named(state_folders()) as named:
            yield named
        return
    version = postgres_version(os.environ.get("EDGE_POSTGRES_VERSION"))
    with local_stack.run(used_folders(version), postgres=version, durable=False) as running:
        yield running


@pytest.fixture
def api(stack: Stack) -> Iterator[httpx.Client]:
    """A client of the API without a token."""
    with httpx.Client(base_url=stack.api_url, timeout=30, verify=NO_CERTIFICATES) as client:
        yield client


@pytest.fixture(scope="session")
def users(stack: Stack) -> Users:
    return Users(stack)


@pytest.fixture
def new_user(users: Users) -> Iterator[Callable[[], User]]:
    """Lends users without accounts until the end of the test."""
    with ExitStack() as lent:
        yield lambda: lent.enter_context(users.lend())


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
