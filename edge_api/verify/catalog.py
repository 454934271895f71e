"""Reads from a database's catalogs what the migrations decide."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final, LiteralString

import psycopg
from psycopg import IsolationLevel

from edge_api.migrations import Migration

_QUERY: Final = files(__package__).joinpath("catalog.sql").read_bytes()
# Reading takes some 20 ms; what takes longer waits for somebody.
_STATEMENT_SECONDS: Final = 30
_LOCK_SECONDS: Final = 5


@dataclass(frozen=True)
class Scope:
    """The objects that the migrations make: names of schemas, and qualified ones of relations and functions."""

    schemas: tuple[str, ...]
    relations: tuple[str, ...]
    functions: tuple[str, ...]

    def as_json(self) -> str:
        """As catalog.sql takes it."""
        return json.dumps({"schemas": self.schemas, "relations": self.relations, "functions": self.functions})


@dataclass(frozen=True)
class Fact:
    """One thing that a database says, such as a column with its type and its default."""

    kind: str
    name: str
    parent: str
    """The qualified name of what it hangs off, or nothing."""
    properties: dict[str, Any]


Facts = dict[tuple[str, str], Fact]


def objects(connection: psycopg.Connection) -> Scope:
    """All that there is and that is neither PostgreSQL's own nor an extension's."""

    def names(query: LiteralString) -> tuple[str, ...]:
        return tuple(row[0] for row in connection.execute(query))

    return Scope(
        names(
            """
            select nspname from pg_catalog.pg_namespace
            where nspname not like 'pg\\_%' and nspname != 'information_schema'"""
        ),
        names(
            """
            select pg_catalog.format('%I.%I', nspname, relname)
            from pg_catalog.pg_class inner join pg_catalog.pg_namespace on relnamespace = pg_namespace.oid
            where relkind in ('r', 'p', 'v', 'm', 'f', 'S') and nspname not like 'pg\\_%'"""
        ),
        names(
            """
            select distinct pg_catalog.format('%I.%I', nspname, proname)
            from pg_catalog.pg_proc inner join pg_catalog.pg_namespace on pronamespace = pg_namespace.oid
            where nspname not like 'pg\\_%'"""
        ),
    )


def difference(after: Scope, before: Scope) -> Scope:
    """What came between two moments."""
    return Scope(
        *(
            tuple(sorted(set(now) - set(then)))
            for now, then in (
                (after.schemas, before.schemas),
                (after.relations, before.relations),
                (after.functions, before.functions),
            )
        )
    )


@contextmanager
def only_reading(connection: psycopg.Connection) -> Iterator[None]:
    """A transaction that sees one state of the database, cannot change it, and waits for nobody for long."""
    connection.read_only = True
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    with connection.transaction():
        connection.execute(f"set local statement_timeout = '{_STATEMENT_SECONDS}s'")
        connection.execute(f"set local lock_timeout = '{_LOCK_SECONDS}s'")
        yield


def read(connection: psycopg.Connection, scope: Scope) -> Facts:
    """All facts of the objects in scope, by kind and name. Inside a transaction, whose search_path it empties."""
    connection.execute(
        "select set_config('search_path', '', true), set_config('edge_api.scope', %s, true)", [scope.as_json()]
    )
    return {(row[0], row[1]): Fact(*row) for row in connection.execute(_QUERY)}


@dataclass(frozen=True)
class Applied:
    """A migration as it was recorded when it was applied."""

    version: str
    name: str | None
    sql: str | None
    """Its statements, as in a file. Older CLIs recorded neither them nor the name."""


def applied_migrations(connection: psycopg.Connection, expected: Sequence[Migration]) -> list[Applied] | None:
    """What `supabase db push` has recorded of some migrations: by name, or by version where it recorded no name.

    None if this role may not know. Inside a transaction.
    """
    known = connection.execute(
        """
        select pg_catalog.has_schema_privilege(n.oid, 'usage') and pg_catalog.has_table_privilege(c.oid, 'select')
        from pg_catalog.pg_class as c
        inner join pg_catalog.pg_namespace as n on c.relnamespace = n.oid
        where n.nspname = 'supabase_migrations' and c.relname = 'schema_migrations'"""
    ).fetchone()
    if known is None:
        return []
    if not known[0]:
        return None
    rows = connection.execute(
        # as JSON, because a table that an older CLI created does not have all columns
        """
        select recorded ->> 'version', nullif(recorded ->> 'name', '') as name, nullif(recorded -> 'statements', '[]')
        from (select pg_catalog.to_jsonb(m) as recorded from supabase_migrations.schema_migrations as m) as history
        where recorded ->> 'name' = any(%(names)s)
            or (nullif(recorded ->> 'name', '') is null and recorded ->> 'version' = any(%(versions)s))
        order by 1""",
        {
            "names": [migration.name for migration in expected],
            "versions": [migration.version for migration in expected],
        },
    )
    return [Applied(version, name, statements and ";\n".join(statements)) for version, name, statements in rows]
