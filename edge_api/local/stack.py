"""The whole stack: PostgreSQL, the gateway, the migrations, the API."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

import httpx

from edge_api.local import DATABASE_ADDRESS
from edge_api.local import gateway as supabase_gateway
from edge_api.local.node import TOOLS_HOME, supabase
from edge_api.local.postgres import SUPERUSER, Cluster, PostgresVersion, cluster_home
from edge_api.local.processes import Child, StackError, free_port, on_free_port
from edge_api.local.state import load, locked, save
from edge_api.verify.migrations import packaged

MIGRATOR: Final = "postgres"
STEPS: Final = 4  # of a start
_ROLES: Final = (SUPERUSER, MIGRATOR, supabase_gateway.ROLE)
# where `supabase db push` records what it applied
_HISTORY: Final = "supabase_migrations.schema_migrations"
# All that a run puts into its state folder.
_OURS: Final = ("state.json*", "dev.env*", "lock", "api.log", "gateway.log", "postgres-*", TOOLS_HOME)


@dataclass(frozen=True)
class Stack:
    """A running stack."""

    cluster: Cluster
    supabase_url: str
    keys: supabase_gateway.Keys
    api_url: str
    children: tuple[Child, ...]

    def settings(self) -> dict[str, str]:
        """What a client of the stack needs to know, as environment variables."""
        return {
            "EDGE_API_URL": self.api_url,
            "SUPABASE_URL": self.supabase_url,
            "SUPABASE_PUBLISHABLE_KEY": self.keys.publishable,
            "DATABASE_URL": self.cluster.url(MIGRATOR, with_password=True),
        }

    def check(self) -> None:
        """Raise StackError if one of the processes has ended."""
        for child in self.children:
            if child.exit_code() is not None:
                raise StackError(f"{child.name} ended with exit code {child.exit_code()}", child.log)


@contextmanager
def run(
    state: Path,
    *,
    postgres: PostgresVersion = 16,
    api_port: int | None = None,
    durable: bool = True,
    api_settings: Mapping[str, str] = MappingProxyType({}),
    step: Callable[[str], AbstractContextManager[None]] = lambda _name: nullcontext(),
) -> Iterator[Stack]:
    """Start everything, and stop it at the end, within 5 s.

    Args:
        state: the folder for data, logs and secrets; created if missing, and used by one run at a time.
        postgres: PostgreSQL's major version.
        api_port: the API's port on 127.0.0.1; None for a free one.
        durable: whether the data must survive a crash of the machine.
        api_settings: environment variables for the API, besides those that this sets.
        step: called with the name of each of its STEPS, and entered while it lasts.

    Raises:
        StackError: a part does not start.
    """
    if api_port is not None and free_port(api_port) != api_port:
        raise StackError(f"port {api_port} of 127.0.0.1 is in use: set EDGE_API_PORT to a free one")
    with ExitStack() as stack:
        stack.enter_context(locked(state))
        saved = load(state, _ROLES)
        keys = supabase_gateway.Keys(saved["jwt_secret"], saved["publishable_key"], saved["secret_key"])
        children: list[Child] = []

        def keep(child: Child, grace_seconds: float) -> None:
            stack.callback(child.stop, grace_seconds=grace_seconds)
            children.append(child)

        with step(f"PostgreSQL {postgres}"):
            cluster = Cluster(postgres, state, saved["passwords"], durable=durable)
            server, saved["postgres_port"] = on_free_port(saved["postgres_port"], cluster.start)
            keep(server, 2)
        with step("REST and Auth"):
            gateway, gateway_port = _start_gateway(state, cluster, keys, saved["gateway_port"])
            saved["gateway_port"] = gateway_port
            keep(gateway, 1)
            save(state, saved)
        with step("the migrations"):
            _push_migrations(cluster, state)
            supabase_url = f"http://127.0.0.1:{gateway_port}"
            supabase_gateway.warm_up(gateway, url=supabase_url, keys=keys)
        with step("the API"):
            start = partial(
                start_api,
                state,
                supabase_url,
                keys.publishable,
                module="edge_api.local.api",
                settings={**api_settings, DATABASE_ADDRESS: cluster.url(MIGRATOR, with_password=False)},
            )
            api, port = on_free_port(None, start) if api_port is None else (start(api_port), api_port)
            keep(api, 1.5)
        yield Stack(cluster, supabase_url, keys, f"http://127.0.0.1:{port}", tuple(children))


@contextmanager
def run_database(state: Path, *, postgres: PostgresVersion = 16) -> Iterator[Cluster]:
    """Start PostgreSQL alone, with all that a Supabase project has and the migrations in it; stop it at the end.

    The data need not survive a crash of the machine. Arguments and errors are those of `run`.
    """
    with locked(state):
        saved = load(state, _ROLES)
        keys = supabase_gateway.Keys(saved["jwt_secret"], saved["publishable_key"], saved["secret_key"])
        cluster = Cluster(postgres, state, saved["passwords"], durable=False)
        server, _ = on_free_port(None, cluster.start)
        try:
            # it creates the schema auth, to which the migrations refer
            gateway, _ = _start_gateway(state, cluster, keys, None)
            gateway.stop(grace_seconds=1)
            _push_migrations(cluster, state)
            yield cluster
        finally:
            server.stop(grace_seconds=2)


def reset(state: Path) -> None:
    """Wipe all data, logs and secrets of a state folder, and the folder if nothing else is in it.

    Raises:
        StackError: a run is using it, or it is another user's.
    """
    if not state.exists():
        return
    with locked(state):
        home = cluster_home(state)
        # by name: EDGE_STATE_DIR may point to a folder that holds other things too
        for ours in (path for pattern in _OURS for path in state.glob(pattern)):
            if ours.is_dir() and not ours.is_symlink():
                shutil.rmtree(ours)
            else:
                ours.unlink()
        with suppress(OSError):  # not empty
            state.rmdir()
        if home != state.resolve() and home.exists():
            shutil.rmtree(home)
            with suppress(OSError):  # other stacks are in there
                home.parent.rmdir()


def _start_gateway(
    state: Path, cluster: Cluster, keys: supabase_gateway.Keys, preferred_port: int | None
) -> tuple[Child, int]:
    database_url = cluster.url(supabase_gateway.ROLE, with_password=True)
    return on_free_port(
        preferred_port,
        lambda port: supabase_gateway.start(state=state, port=port, database_url=database_url, keys=keys),
    )


def _push_migrations(cluster: Cluster, state: Path) -> None:
    with cluster.connect(MIGRATOR) as connection:
        (is_new,) = connection.execute("select to_regclass(%s) is null", [_HISTORY]).fetchone() or (False,)
        applied = set() if is_new else {row[0] for row in connection.execute(f"select version from {_HISTORY}")}  # noqa: S608 - a constant
    packaged_versions = {migration.version for migration in packaged()}
    if applied - packaged_versions:
        raise StackError(f"the data in {state} come from migrations that are no longer here: run make reset")
    if applied == packaged_versions:
        return
    supabase(
        ["db", "push", "--yes", f"--remote={cluster.url(MIGRATOR, with_password=False)}"],
        env=cluster.password_environment(MIGRATOR),
        state=state,
    )


def start_api(
    state: Path,
    supabase_url: str,
    publishable_key: str,
    port: int,
    *,
    module: str = "edge_api.cli",
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Child:
    """Start the API in front of a project, with these settings whatever the environment says; returns when it is ready.

    Raises:
        StackError: it ends, or is not ready within 30 s.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SUPABASE_", "EDGE_"))}
    api = Child(
        "the API",
        [sys.executable, "-m", module, "serve"],
        log=state / "api.log",
        cwd=state,
        env={
            **inherited,
            **settings,
            "NO_PROXY": "127.0.0.1",
            "SUPABASE_URL": supabase_url,
            "SUPABASE_PUBLISHABLE_KEY": publishable_key,
            "EDGE_API_HOST": "127.0.0.1",
            "EDGE_API_PORT": str(port),
        },
    )

    def is_ready() -> bool:
        try:
            return client.get(f"http://127.0.0.1:{port}/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    try:
        with httpx.Client(trust_env=False, timeout=5) as client:
            api.wait_until(is_ready, seconds=30)
    except BaseException:
        api.stop(grace_seconds=1)
        raise
    return api
