"""The command `edge-api verify`."""

import os
import sys
import time
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from edge_api.verify import expected, history
from edge_api.verify.findings import LEVELS, Finding, Level, fix_script, printable
from edge_api.verify.migrations import Migration, MigrationsError
from edge_api.verify.questions import verify
from edge_api.verify.report import FORMATS, count

_CONNECT_SECONDS: Final = 10
# Reading takes less than a second; what takes longer waits for somebody.
_STATEMENT_SECONDS: Final = 30
_LOCK_SECONDS: Final = 5
_OLDEST: Final = 150_000  # PostgreSQL 15: views with security_invoker
# What other clients take in an address and libpq does not know.
_OTHERS: Final = {"pgbouncer", "connection_limit", "pool_timeout", "pool_mode", "schema", "supa", "prepareThreshold"}


class _CannotVerifyError(Exception):
    """The database cannot be verified: a line for a person."""


def _say(line: str) -> None:
    print(printable(line), file=sys.stderr, flush=True)


def _address(url: str) -> str:
    """An address as libpq takes it.

    Of a password with an unescaped @ or / libpq takes a part for the host, the port or the database, and names it in
    its error.
    """
    url = url.strip()
    if url[:1] in {"'", '"'} and url[-1:] == url[:1]:  # as a quoted line of an .env file that was not read by a shell
        url = url[1:-1].strip()
    url, _, parameters = url.partition("?")
    known = [each for each in parameters.split("&") if each and each.partition("=")[0] not in _OTHERS]
    url = "?".join([url, "&".join(known)] if known else [url])
    no_address = _CannotVerifyError(
        "DATABASE_URL is no address such as postgresql://user@host:5432/postgres; in a password, escape @ as %40 and / "
        "as %2F, or leave it to PGPASSWORD"
    )
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        if "URI query parameter" in str(error) and "@" in url:
            raise _CannotVerifyError(f"DATABASE_URL: {_first_line(error)}") from None
        raise no_address from None
    port = str(parts.get("port") or "")
    if "@" in f"{parts.get('host')}{parts.get('dbname')}" or (port and not port.replace(",", "").isdecimal()):
        raise no_address
    return make_conninfo(url, connect_timeout=parts.get("connect_timeout") or _CONNECT_SECONDS)


def _verify(url: str) -> tuple[list[Finding], tuple[Migration, ...]]:
    try:
        # no statement is prepared: behind a pooler, the next one could reach another session
        connection = psycopg.connect(
            _address(url), application_name="edge-api verify", prepare_threshold=None, autocommit=True
        )
    except psycopg.Error as error:
        raise _CannotVerifyError(f"the database cannot be reached: {_first_line(error)}") from None
    with connection:
        version = connection.info.server_version
        if version < _OLDEST:
            raise _CannotVerifyError(f"the server is PostgreSQL {version // 10000}; 15 is the oldest that is supported")
        if not connection.execute("select 1 from pg_catalog.pg_roles where rolname = 'authenticated'").fetchone():
            raise _CannotVerifyError("there is no role authenticated: this is not a Supabase project's database")
        state = expected.expected()
        with connection.transaction():
            connection.execute("set transaction isolation level repeatable read, read only")
            connection.execute(f"set local statement_timeout = '{_STATEMENT_SECONDS}s'")
            connection.execute(f"set local lock_timeout = '{_LOCK_SECONDS}s'")
            if not history.is_readable(connection):
                _say("this role may not read supabase_migrations.schema_migrations: which were applied is not compared")
            return verify(connection, state), state.migrations


def _first_line(error: Exception) -> str:
    """What libpq says, which never has a password."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def run(output_format: str, fail_on: Level, *, fix_sql: bool) -> int:
    """Verify the database that DATABASE_URL names, and print the findings.

    Args:
        output_format: one of report.FORMATS.
        fail_on: the least level that makes the exit code 1.
        fix_sql: print the script that fixes them, instead of the findings.

    Returns:
        The exit code: 0 without a finding of this level or a graver one, 1 with, 2 if it could not be verified.
    """
    url = os.environ.get("DATABASE_URL")
    if not url:
        _say("edge-api: DATABASE_URL is not set: the address of the project's database, such as postgresql://...")
        return 2
    since = time.monotonic()
    try:
        findings, migrations = _verify(url)
    except (_CannotVerifyError, MigrationsError) as error:
        _say(f"edge-api: {error}")
        return 2
    except psycopg.Error as error:
        _say(f"edge-api: the database did not respond: {_first_line(error)}")
        return 2
    report = fix_script(findings) if fix_sql else FORMATS[output_format](findings, migrations)
    if report:
        print(report)
    for finding in findings if fix_sql else ():
        if finding.advice:
            _say(f"not in the script: {finding.subject}: {finding.message}. {finding.advice}")
    _say(f"{count(findings)} ({time.monotonic() - since:.1f} s)")
    return 1 if any(LEVELS.index(finding.level) <= LEVELS.index(fail_on) for finding in findings) else 0
