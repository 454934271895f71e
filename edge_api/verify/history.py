"""Which of the migrations `supabase db push` has recorded as applied."""

from collections.abc import Sequence

import psycopg

from edge_api.verify.findings import Finding
from edge_api.verify.migrations import Migration


def is_readable(connection: psycopg.Connection) -> bool:
    """Whether there is a history and this role may read it."""
    row = connection.execute(
        """
        select pg_catalog.has_schema_privilege(n.oid, 'usage') and pg_catalog.has_table_privilege(c.oid, 'select')
        from pg_catalog.pg_class as c
        inner join pg_catalog.pg_namespace as n on c.relnamespace = n.oid
        where n.nspname = 'supabase_migrations' and c.relname = 'schema_migrations'"""
    ).fetchone()
    return row is not None and bool(row[0])


def compare(connection: psycopg.Connection, expected: Sequence[Migration]) -> list[Finding]:
    """The migrations that are not recorded.

    One is recognised by its name, whatever the version, because a project gives it one of its own. What the CLI
    recorded before it knew names is recognised by its version.
    """
    if not is_readable(connection):
        return []
    recorded = connection.execute(
        # as JSON, because a table that an older CLI created does not have all columns
        """
        select m.recorded ->> 'version', coalesce(m.recorded ->> 'name', '')
        from (select pg_catalog.to_jsonb(s) as recorded from supabase_migrations.schema_migrations as s) as m"""
    ).fetchall()
    return [
        Finding(
            "drift",
            "warning",
            f"migration {migration.name}",
            "is not recorded as applied",
            "decide by the other findings: if there are none, record it with its version in your project: `supabase "
            "migration repair --status applied`; else copy it with `edge-api migrations copy`, and push it",
            (),
        )
        for migration in expected
        if not any(name == migration.name or (not name and version == migration.version) for version, name in recorded)
    ]
