"""The command `edge-api verify`."""

import os
import sys
import time
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from edge_api.embedded.processes import StackError
from edge_api.migrations import MigrationsError
from edge_api.verify import catalog
from edge_api.verify import expected as wanted
from edge_api.verify.compare import Finding, Level, compare, compare_migrations
from edge_api.verify.report import FORMATS, count

_CONNECT_SECONDS: Final = 10
_OLDEST: Final = 150_000  # PostgreSQL 15: views with security_invoker


class _CannotVerifyError(Exception):
    """There is nothing to compare with: a line for a person."""


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def differences(connection: psycopg.Connection, state: wanted.Expected) -> list[Finding]:
    """How a database differs from what the migrations make. Inside a transaction, in which it only reads."""
    applied = catalog.applied_migrations(connection, state.migrations)
    return [
        *compare(state.facts, catalog.read(connection, state.scope)),
        *compare_migrations(state.migrations, applied),
    ]


def _is_understood(url: str) -> bool:
    """Whether an address means what it looks like.

    Of a password with an unescaped @ or / libpq takes a part for the host, the port or the database, and names it in
    its error.
    """
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return False
    port = str(parts.get("port") or "")
    return "@" not in f"{parts.get('host')}{parts.get('dbname')}" and (not port or port.replace(",", "").isdecimal())


def _verify(url: str) -> tuple[list[Finding], wanted.Expected]:
    if not _is_understood(url):
        raise _CannotVerifyError(
            "DATABASE_URL is no address such as postgresql://user@host:5432/postgres; in a password, escape @ as %40 "
            "and / as %2F, or leave it to PGPASSWORD"
        )
    try:
        # no statement is prepared: behind a pooler, the next one could reach another session
        connection = psycopg.connect(
            url,
            connect_timeout=_CONNECT_SECONDS,
            application_name="edge-api verify",
            prepare_threshold=None,
            autocommit=True,
        )
    except psycopg.Error as error:
        raise _CannotVerifyError(f"the database cannot be reached: {_first_line(error)}") from None
    with connection:
        version = connection.info.server_version
        if version < _OLDEST:
            raise _CannotVerifyError(
                f"the server is PostgreSQL {version // 10000}; 15 is the oldest that is understood"
            )
        if not connection.execute("select 1 from pg_catalog.pg_roles where rolname = 'authenticated'").fetchone():
            raise _CannotVerifyError("there is no role authenticated: this is not a Supabase project's database")
        _say(f"connected to PostgreSQL {version // 10000}; making what the migrations make")
        state = wanted.expected(wanted.nearest_version(version))
        _say("reading the catalogs")
        with catalog.only_reading(connection):
            findings = differences(connection, state)
    return sorted(findings, key=lambda finding: list(Level).index(finding.level)), state


def _first_line(error: Exception) -> str:
    """What libpq says, which never holds a password."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def run(output_format: str) -> int:
    """Compare the database that DATABASE_URL names, and print what differs.

    Args:
        output_format: one of report.FORMATS.

    Returns:
        The exit code: 0 without errors among the differences, 1 with, 2 if the two could not be compared.
    """
    url = os.environ.get("DATABASE_URL")
    if not url:
        _say("edge-api: DATABASE_URL is not set: the address of the project's database, such as postgresql://...")
        return 2
    since = time.monotonic()
    try:
        findings, state = _verify(url)
    except (_CannotVerifyError, MigrationsError, StackError) as error:
        _say(f"edge-api: {error}")
        if isinstance(error, StackError) and error.log_tail:
            _say(error.log_tail)
        return 2
    except psycopg.Error as error:
        _say(f"edge-api: the database did not answer: {_first_line(error)}")
        return 2
    report = FORMATS[output_format](findings, state.migrations)
    if report:
        print(report)
    _say(f"{count(findings)} ({time.monotonic() - since:.1f} s)")
    return 1 if any(finding.level is Level.ERROR for finding in findings) else 0
