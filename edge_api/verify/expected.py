"""The state that the migrations make, on a PostgreSQL of its own that is thrown away."""

import secrets
import shutil
import tempfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from edge_api.embedded.postgres import SUPERUSER, Cluster, PostgresVersion, cluster_home
from edge_api.embedded.processes import on_free_port
from edge_api.migrations import Migration, packaged
from edge_api.verify.catalog import Facts, Scope, difference, objects, read

_MIGRATOR: Final = "postgres"


@dataclass(frozen=True)
class Expected:
    """What should be there."""

    scope: Scope
    facts: Facts
    migrations: tuple[Migration, ...]


def nearest_version(server_version: int) -> PostgresVersion:
    """The embedded PostgreSQL whose catalogs are most like those of a server (in the form 170004)."""
    return 16 if server_version < 170_000 else 18


def expected(major: PostgresVersion) -> Expected:
    """Make the wanted state and read it.

    Raises:
        StackError: PostgreSQL does not start.
        MigrationsError: the package has no migrations.
    """
    with tempfile.TemporaryDirectory(prefix="edge-api-verify-", ignore_cleanup_errors=True) as folder:
        state = Path(folder)
        cluster = Cluster(
            major, state, {role: secrets.token_urlsafe(24) for role in (SUPERUSER, _MIGRATOR)}, durable=False
        )
        try:
            server, _ = on_free_port(None, cluster.start)
            try:
                return _migrate(cluster)
            finally:
                server.stop(grace_seconds=2)
        finally:
            if cluster_home(state) != state.resolve():
                shutil.rmtree(cluster_home(state), ignore_errors=True)


def _migrate(cluster: Cluster) -> Expected:
    with cluster.connect(SUPERUSER) as connection:
        connection.execute(files(__package__).joinpath("supabase.sql").read_bytes())
    with cluster.connect(_MIGRATOR) as connection:
        before = objects(connection)
        migrations = packaged()
        for migration in migrations:
            with connection.transaction():
                connection.execute(migration.sql.encode())
        scope = difference(objects(connection), before)
        with connection.transaction():
            return Expected(scope, read(connection, scope), migrations)
