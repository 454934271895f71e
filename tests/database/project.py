"""Databases with everything a project has and the migrations in it, cloned from a template in no time."""

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from edge_api.local import stack as local_stack
from edge_api.local.packages import PROJECT
from edge_api.local.postgres import SUPERUSER, Cluster, PostgresVersion
from edge_api.local.stack import MIGRATOR

# What brings a clone back to the state before the migrations.
REMOVE: Final = """
    drop schema accounts_private cascade;
    drop table public.user_accounts cascade;
    drop function public.get_or_create_account, public.get_or_create_account_for;
    delete from supabase_migrations.schema_migrations"""
# A project has no pgTAP, and verify would read its thousand functions each time.
WITHOUT_PGTAP: Final = """
do $$
declare
    tap regprocedure;
begin
    for tap in select oid from pg_proc where pronamespace = 'extensions'::regnamespace loop
        execute format('drop routine if exists %s cascade', tap);
    end loop;
end$$"""
_PGTAP: Final = PROJECT / "node_modules" / "@electric-sql" / "pglite" / "dist" / "pgtap.tar.gz"
_PGTAP_SCRIPT: Final = "share/postgresql/extension/pgtap--1.3.5.sql"


class Project:
    """A cluster whose database `postgres` is the template. Nothing stays connected to it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._numbers = count(1)

    @contextmanager
    def clone(self) -> Iterator[str]:
        """A database of its own, dropped at the end; yields its name. Safe to call from several threads."""
        name = sql.Identifier(f"clone_{next(self._numbers)}")
        with self.cluster.connect(SUPERUSER, database="template1") as admin:
            admin.execute(sql.SQL("create database {} template postgres owner postgres").format(name))
        try:
            yield name.as_string().strip('"')
        finally:
            with self.cluster.connect(SUPERUSER, database="template1") as admin:
                admin.execute(sql.SQL("drop database {} with (force)").format(name))

    def connect(self, database: str, role: str = MIGRATOR) -> psycopg.Connection:
        return self.cluster.connect(role, database=database)


def pgtap() -> str:
    """pgTAP, as a script that makes it in the first schema of the search path."""
    with tarfile.open(_PGTAP) as archive:
        script = archive.extractfile(_PGTAP_SCRIPT)
        assert script is not None
        return "\n".join(line for line in script.read().decode().splitlines() if not line.startswith("\\"))


@contextmanager
def run_project(state: Path, version: PostgresVersion) -> Iterator[Project]:
    with local_stack.run_database(state, postgres=version) as cluster:
        with cluster.connect(MIGRATOR) as connection:
            connection.execute("set search_path = extensions")
            connection.execute(pgtap().encode())
        yield Project(cluster)
