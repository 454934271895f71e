"""Users, and Caddy in front of an edge of its own, for the tests of what hostile clients send."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from edge_api.local.processes import Child
from edge_api.local.stack import MIGRATOR, Stack
from tests.edge.caddy import Front, caddy
from tests.edge.faults import TIMEOUT, Edge, healthy, running
from tests.edge.serving import serving
from tests.support import ACCOUNTS, User, Users


@pytest.fixture(scope="module")
def served(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Child]]:
    with serving(tmp_path_factory.mktemp("edge"), stack.supabase_url, stack.keys.publishable) as running:
        yield running


@pytest.fixture(scope="module")
def front(served: tuple[str, Child]) -> Iterator[Front]:
    with caddy(served[0].removeprefix("http://")) as running:
        yield running


@pytest.fixture(scope="session")
def session_edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    folder = tmp_path_factory.mktemp("scripted")
    with running(folder, EDGE_UPSTREAM_TIMEOUT=str(TIMEOUT), EDGE_UPSTREAM_CONNECTIONS="4") as edge:
        yield edge


@pytest.fixture
def edge(session_edge: Edge) -> Iterator[Edge]:
    """An edge in front of a scripted upstream, the same for all tests: none may leave it unable to serve."""
    yield session_edge
    session_edge.upstream.script = healthy


@pytest.fixture(scope="module")
def module_user(users: Users) -> Iterator[Callable[[], User]]:
    """Lends users until the end of the module."""
    with ExitStack() as lent:
        yield lambda: lent.enter_context(users.lend())


@pytest.fixture(scope="module")
def nameless(module_user: Callable[[], User]) -> User:
    return module_user()


@pytest.fixture
def newcomer(stack: Stack, nameless: User) -> User:
    """A user without an account. Not one for each test: most of them leave no trace."""
    with stack.cluster.connect(MIGRATOR) as connection:
        connection.execute("delete from public.user_accounts where user_id = %s", [nameless.id])
    return nameless


@pytest.fixture(scope="module")
def owner(module_user: Callable[[], User]) -> User:
    """A user with an account."""
    user = module_user()
    assert user.api.post(ACCOUNTS, json={"account_name": "Before"}).status_code == 201
    return user


@pytest.fixture(scope="module")
def second_owner(module_user: Callable[[], User]) -> User:
    """Another user with an account."""
    user = module_user()
    assert user.api.post(ACCOUNTS, json={"account_name": "Hidden"}).status_code == 201
    return user
