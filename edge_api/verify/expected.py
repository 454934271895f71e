"""The state that the migrations create, on a PostgreSQL of its own that is thrown away."""

import secrets
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

import psycopg

from edge_api.embedded.postgres import SUPERUSER, Cluster, PostgresVersion, cluster_home
from edge_api.embedded.processes import on_free_port
from edge_api.migrations import Migration, packaged
from edge_api.verify import drift

_MIGRATOR: Final = "postgres"
_NAMES: Final = """
    select 'schemas', nspname::text from pg_catalog.pg_namespace
    union all
    select 'relations', pg_catalog.format('%I.%I', nspname, relname)
    from pg_catalog.pg_class inner join pg_catalog.pg_namespace on relnamespace = pg_namespace.oid
    where relkind in ('r', 'p', 'v', 'm', 'f', 'S') and nspname not like 'pg\\_%'
    union all
    select 'functions', pg_catalog.format('%I.%I', nspname, proname)
    from pg_catalog.pg_proc inner join pg_catalog.pg_namespace on pronamespace = pg_namespace.oid
    where nspname not like 'pg\\_%'"""


@dataclass(frozen=True)
class Expected:
    """What the migrations create."""

    scope: drift.Scope
    objects: drift.Objects
    migrations: tuple[Migration, ...]


def nearest_version(server_version: int) -> PostgresVersion:
    """The embedded PostgreSQL whose catalogs are most like those of a server (in the form 170004)."""
    return 16 if server_version < 170_000 else 18


def expected(major: PostgresVersion) -> Expected:
    """Create the expected state and read it.

    Raises:
        StackError: PostgreSQL does not start.
        MigrationsError: the package has no migrations.
    """
    with (
        tempfile.TemporaryDirectory(prefix="edge-api-verify-", ignore_cleanup_errors=True) as folder,
        ExitStack() as cleanup,
    ):
        state = Path(folder)
        if cluster_home(state) != state.resolve():
            cleanup.callback(shutil.rmtree, cluster_home(state), ignore_errors=True)
        passwords = {role: secrets.token_urlsafe(24) for role in (SUPERUSER, _MIGRATOR)}
        cluster = Cluster(major, state, passwords, durable=False)
        server, _ = on_free_port(None, cluster.start)
        cleanup.callback(server.stop, grace_seconds=2)
        return _migrate(cluster)


def _names(connection: psycopg.Connection) -> set[tuple[str, str]]:
    return {(kind, name) for kind, name in connection.execute(_NAMES)}


def _migrate(cluster: Cluster) -> Expected:
    with cluster.connect(SUPERUSER) as connection:
        connection.execute(files(__package__).joinpath("supabase.sql").read_bytes())
    with cluster.connect(_MIGRATOR) as connection:
        before = _names(connection)
        migrations = packaged()
        for migration in migrations:
            with connection.transaction():
                connection.execute(migration.sql.encode())
        created = _names(connection) - before
        scope = {kind: sorted(name for each, name in created if each == kind) for kind in drift.SCOPE}
        with connection.transaction(), drift.scoped(connection, scope):
            return Expected(scope, drift.read(connection), migrations)
