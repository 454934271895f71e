"""The command `edge-api verify`."""

import json
import os
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from edge_api import __version__
from edge_api.verify import drift
from edge_api.verify.drift import Expected
from edge_api.verify.findings import LEVELS, Finding, Level, fix_script, printable, runnable
from edge_api.verify.migrations import MigrationsError
from edge_api.verify.questions import verify

# What other clients take in an address and libpq does not know.
_OTHERS: Final = {"pgbouncer", "connection_limit", "pool_timeout", "pool_mode", "schema", "supa", "prepareThreshold"}


class _CannotVerifyError(Exception):
    """The database cannot be verified: a line for a person."""


def _say(line: str) -> None:
    print(printable(line), file=sys.stderr, flush=True)


def _address() -> str:
    """DATABASE_URL as libpq takes it; one of which libpq's error could name a part of the password is refused."""
    url = os.environ.get("DATABASE_URL", "").strip().strip("'\"")  # quoted as in an .env file that no shell has read
    if not url:
        raise _CannotVerifyError("DATABASE_URL is not set: the project's database, such as postgresql://...")
    address, _, query = url.partition("?")
    try:
        parts = conninfo_to_dict(address)
    except psycopg.ProgrammingError:
        parts = {"host": "@"}
    if "@" in f"{parts.get('host')}{parts.get('dbname')}" or not re.fullmatch(r"[\d,]*", str(parts.get("port", ""))):
        raise _CannotVerifyError(
            "DATABASE_URL is no address such as postgresql://user@host:5432/postgres; in a password, escape @ as %40 "
            "and / as %2F, or leave it to PGPASSWORD"
        )
    known = "&".join(each for each in query.split("&") if each.partition("=")[0] not in _OTHERS)
    return f"{address}?{known}" if known else address


def _verify() -> list[Finding]:
    os.environ.setdefault("PGCONNECT_TIMEOUT", "10")
    try:
        # no statement is prepared: behind a pooler, the next one could reach another session
        connection = psycopg.connect(_address(), application_name="edge-api verify", prepare_threshold=None)
    except psycopg.Error as error:
        raise _CannotVerifyError(f"the database cannot be reached: {error}") from None
    with connection:
        version = connection.info.server_version // 10000
        if version < 15:  # views with security_invoker
            raise _CannotVerifyError(f"the server is PostgreSQL {version}; 15 is the oldest that is supported")
        connection.execute("set transaction isolation level repeatable read, read only")
        # reading takes less than a second; what takes longer waits for somebody
        connection.execute("set local statement_timeout = '30s'; set local lock_timeout = '5s'")
        if drift.recorded(connection) is None:
            _say("this role may not read supabase_migrations.schema_migrations: which were applied is not compared")
        return verify(connection, Expected.load())


def _count(findings: Sequence[Finding]) -> str:
    """How many there are of each level, in words."""
    numbers = {level: sum(finding.level == level for finding in findings) for level in LEVELS}
    parts = (f"{number} {level}{'s' * (number > 1 and level != 'info')}" for level, number in numbers.items() if number)
    return ", ".join(parts) or "no finding"


def text(findings: Sequence[Finding]) -> str:
    """A line for each finding; below it, indented, what a person has to decide, and each statement of the fix."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.level}: {finding.subject}: {finding.message}")
        lines += [f"    decide: {finding.advice}"] if finding.advice else []
        lines += [f"    fix: {runnable(statement)};" for statement in finding.fix]
    return "\n".join(map(printable, lines))


def as_json(findings: Sequence[Finding]) -> str:
    """One object: `version` of the package, and `findings`."""
    return json.dumps({"version": __version__, "findings": [asdict(finding) for finding in findings]}, indent=2)


_FORMATS: Final = {"text": text, "json": as_json}


def run(output_format: str, fail_on: Level, *, fix_sql: bool) -> int:
    """Verify the database that DATABASE_URL names, and print the findings, or the script that fixes them.

    Returns:
        The exit code: 0 without a finding of the level of `fail_on` or a graver one, 1 with, 2 if it could not verify.
    """
    since = time.monotonic()
    try:
        findings = _verify()
    except (_CannotVerifyError, MigrationsError, psycopg.Error) as error:
        # libpq's first line never has a password
        _say(f"edge-api: {(str(error) or type(error).__name__).splitlines()[0]}")
        return 2
    report = fix_script(findings) if fix_sql else _FORMATS[output_format](findings)
    if report:
        print(report)
    for finding in findings if fix_sql else ():
        if finding.advice:
            _say(f"not in the script: {finding.subject}: {finding.message}. {finding.advice}")
    _say(f"{_count(findings)} ({time.monotonic() - since:.1f} s)")
    return 1 if any(LEVELS.index(finding.level) <= LEVELS.index(fail_on) for finding in findings) else 0
