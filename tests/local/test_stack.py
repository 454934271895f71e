"""What a start does with the data of an earlier one."""

from collections.abc import Callable
from pathlib import Path

from edge_api.local import stack as local_stack
from edge_api.local.postgres import PostgresVersion
from edge_api.local.stack import MIGRATOR
from edge_api.verify.migrations import packaged
from tests.database.project import REMOVE

APPLIED = "select version from supabase_migrations.schema_migrations order by version"


def test_a_migration_that_is_new_is_applied(used_folders: Callable[[PostgresVersion], Path]) -> None:
    """As after a pull."""
    state, (first, *_) = used_folders(16), packaged()
    with local_stack.run_database(state) as cluster, cluster.connect(MIGRATOR) as connection:
        connection.execute(REMOVE)
        connection.execute(first.sql.encode())
        connection.execute("insert into supabase_migrations.schema_migrations (version) values (%s)", [first.version])
    with local_stack.run_database(state) as cluster, cluster.connect(MIGRATOR) as connection:
        assert connection.execute(APPLIED).fetchall() == [(migration.version,) for migration in packaged()]
        assert connection.execute("select to_regprocedure('public.list_accounts()') is null").fetchone() == (False,)
