"""Runs the script that adopts a table user_accounts of a project's own."""

import re
import subprocess
from typing import Any, Final, LiteralString

import psycopg
import pytest

from edge_api.local.packages import PROJECT
from edge_api.local.postgres import SUPERUSER
from edge_api.local.stack import MIGRATOR
from edge_api.verify.drift import Expected
from edge_api.verify.findings import Finding
from edge_api.verify.questions import verify
from tests.database.adopted import SHAPES, Shape
from tests.database.project import Project

SCRIPT: Final = PROJECT / "sql" / "examples" / "adopt_user_accounts.sql"
DEPLOY: Final = PROJECT / "docs" / "deploy.md"
OLD_TABLE: Final = "accounts_before_adoption.user_accounts"
ADOPTED: Final = 0
REFUSED: Final = 3
SIMPLE: Final = SHAPES["uuid ids with references and an open policy"]

every_shape: Final = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


class Adoption:
    """A database without the migrations, on which the script runs."""

    def __init__(self, project: Project, database: str, connection: psycopg.Connection) -> None:
        self.project = project
        self.database = database
        self.connection = connection

    def run(self, leave_columns: str | None = None, *, role: str = MIGRATOR) -> subprocess.CompletedProcess[str]:
        variables = () if leave_columns is None else ("--set", f"leave_columns={leave_columns}")
        return self.project.cluster.run_client(
            "psql", "--no-psqlrc", *variables, "--file", SCRIPT, role=role, database=self.database, seconds=60
        )

    def dump(self) -> str:
        """Everything that is in the database, except pgTAP."""
        done = self.project.cluster.run_client(
            "pg_dump", "--exclude-schema=extensions", role=SUPERUSER, database=self.database, seconds=60
        )
        assert done.returncode == 0, done.stderr
        return re.sub(r"^\\(un)?restrict .*$", "", done.stdout, flags=re.MULTILINE)  # a random key in each dump

    def prepare(self, shape: Shape) -> None:
        """Create a shape and remove what is in the way, as the script proposes."""
        self.connection.execute(shape.setup)
        self.connection.execute(proposed_fixes(self.run(shape.leave_columns)).encode())

    def adopt(self, shape: Shape) -> None:
        self.prepare(shape)
        done = self.run(shape.leave_columns)
        assert (done.returncode, done.stderr) == (ADOPTED, "")

    def rows(self, query: LiteralString) -> list[Any]:
        return self.connection.execute(query).fetchall()

    def findings(self, expected: Expected) -> list[Finding]:
        """What `edge-api verify` reports."""
        with self.connection.transaction():
            return verify(self.connection, expected)


def obstacles(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr.partition("DETAIL:  ")[2].partition("\nHINT:")[0]


def proposed_fixes(done: subprocess.CompletedProcess[str]) -> str:
    """The SQL in the hint, after the line that introduces it."""
    assert done.returncode == REFUSED, done.stderr
    return done.stderr.partition("HINT:  ")[2].partition("\n")[2]


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stdout) == (REFUSED, "")
    return done.stderr.splitlines()[0].partition("ERROR:  ")[2]
