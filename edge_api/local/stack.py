"""The whole stack: PostgreSQL, the gateway, the migrations, the API."""

import fcntl
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypedDict

import httpx

from edge_api.embedded.postgres import SUPERUSER, Cluster, PostgresVersion, cluster_home
from edge_api.embedded.processes import Child, StackError, free_port, on_free_port
from edge_api.local import gateway as supabase_gateway
from edge_api.local.node import TOOLS_HOME, supabase
from edge_api.migrations import packaged

MIGRATOR: Final = "postgres"
# where `supabase db push` records what it applied
_HISTORY: Final = "supabase_migrations.schema_migrations"
# All that a run puts into its state folder.
_OURS: Final = ("state.json*", "dev.env*", "lock", "api.log", "gateway.log", "postgres-*", TOOLS_HOME)


class _Saved(TypedDict):
    """What outlives a run, in the state folder."""

    passwords: dict[str, str]
    jwt_secret: str
    publishable_key: str
    secret_key: str
    postgres_port: int | None
    gateway_port: int | None


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
    report: Callable[[str], None] = lambda _line: None,
) -> Iterator[Stack]:
    """Start everything, and stop it at the end, within 5 s.

    Args:
        state: the folder for data, logs and secrets; made if need be, and used by one run at a time.
        postgres: PostgreSQL's major version.
        api_port: the API's port on 127.0.0.1; None for a free one.
        durable: whether the data must survive a crash of the machine.
        report: told, in a line each, what has been started.

    Raises:
        StackError: a part does not start.
    """
    if api_port is not None and free_port(api_port) != api_port:
        raise StackError(f"port {api_port} of 127.0.0.1 is in use: set EDGE_API_PORT to a free one")
    with ExitStack() as stack:
        stack.enter_context(_locked(state))
        saved = _load(state)
        keys = supabase_gateway.Keys(saved["jwt_secret"], saved["publishable_key"], saved["secret_key"])
        children: list[Child] = []

        def started(child: Child, grace_seconds: float, since: float) -> None:
            stack.callback(child.stop, grace_seconds=grace_seconds)
            children.append(child)
            report(f"{child.name} is up ({time.monotonic() - since:.1f} s)")

        now = time.monotonic()
        cluster = Cluster(postgres, state, saved["passwords"], durable=durable)
        server, saved["postgres_port"] = on_free_port(saved["postgres_port"], cluster.start)
        started(server, 2, now)

        now = time.monotonic()
        gateway, gateway_port = _start_gateway(state, cluster, keys, saved["gateway_port"])
        saved["gateway_port"] = gateway_port
        started(gateway, 1, now)
        _save(state, saved)

        now = time.monotonic()
        _push_migrations(cluster, state)
        supabase_url = f"http://127.0.0.1:{gateway_port}"
        supabase_gateway.warm_up(gateway, url=supabase_url, keys=keys)
        report(f"the migrations are in ({time.monotonic() - now:.1f} s)")

        now = time.monotonic()
        start = partial(start_api, state, supabase_url, keys.publishable, module="edge_api.local.api")
        api, port = on_free_port(None, start) if api_port is None else (start(api_port), api_port)
        started(api, 1.5, now)
        yield Stack(cluster, supabase_url, keys, f"http://127.0.0.1:{port}", tuple(children))


@contextmanager
def run_database(state: Path, *, postgres: PostgresVersion = 16) -> Iterator[Cluster]:
    """Start PostgreSQL alone, with all that a Supabase project has and the migrations in it; stop it at the end.

    The data need not survive a crash of the machine. Arguments and errors are those of `run`.
    """
    with _locked(state):
        saved = _load(state)
        keys = supabase_gateway.Keys(saved["jwt_secret"], saved["publishable_key"], saved["secret_key"])
        cluster = Cluster(postgres, state, saved["passwords"], durable=False)
        server, _ = on_free_port(None, cluster.start)
        try:
            # it makes the schema auth, to which the migrations refer
            gateway, _ = _start_gateway(state, cluster, keys, None)
            gateway.stop(grace_seconds=1)
            _push_migrations(cluster, state)
            yield cluster
        finally:
            server.stop(grace_seconds=2)


def reset(state: Path) -> None:
    """Wipe all data, logs and secrets of a state folder, and the folder if nothing else is in it.

    Raises:
        StackError: a run is using it.
    """
    if not state.exists():
        return
    with _locked(state):
        home = cluster_home(state)
        # by name: EDGE_STATE_DIR may point to a folder that holds other things too
        for ours in (path for pattern in _OURS for path in state.glob(pattern)):
            if ours.is_dir():
                shutil.rmtree(ours)
            else:
                ours.unlink()
        with suppress(OSError):  # not empty
            state.rmdir()
        if home != state.resolve() and home.exists():
            shutil.rmtree(home)
            with suppress(OSError):  # other stacks are in there
                home.parent.rmdir()


@contextmanager
def _locked(state: Path) -> Iterator[None]:
    """Hold the state folder for one run. The lock goes with the process, however that ends."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StackError(f"{state} is in use by another run: stop that, or set EDGE_STATE_DIR") from None
        yield


def _load(state: Path) -> _Saved:
    file = state / "state.json"
    if file.exists():
        saved: _Saved = json.loads(file.read_text())
        return saved
    saved = {
        "passwords": {role: secrets.token_urlsafe(24) for role in (SUPERUSER, MIGRATOR, supabase_gateway.ROLE)},
        "jwt_secret": secrets.token_urlsafe(48),
        "publishable_key": f"sb_publishable_{secrets.token_urlsafe(24)}",
        "secret_key": f"sb_secret_{secrets.token_urlsafe(24)}",
        "postgres_port": None,
        "gateway_port": None,
    }
    _save(state, saved)
    return saved


def _save(state: Path, saved: _Saved) -> None:
    write_private(state / "state.json", json.dumps(saved, indent=2))


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read: whole or not at all."""
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)
    unfinished.write_text(text)
    unfinished.rename(file)


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
    if applied - {migration.version for migration in packaged()}:
        raise StackError(f"the data in {state} come from migrations that are no longer here: run make reset")
    supabase(
        ["db", "push", "--yes", f"--remote={cluster.url(MIGRATOR, with_password=False)}"],
        env=cluster.password_environment(MIGRATOR),
        state=state,
    )


def start_api(
    state: Path, supabase_url: str, publishable_key: str, port: int, *, module: str = "edge_api.cli"
) -> Child:
    """Start the API in front of a project, whatever the environment says; returns when it is ready.

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
            "NO_PROXY": "127.0.0.1",
            "SUPABASE_URL": supabase_url,
            "SUPABASE_PUBLISHABLE_KEY": publishable_key,
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
