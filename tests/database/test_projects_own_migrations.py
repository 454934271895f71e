"""A project takes the migrations in beside its own, with the official CLI; `edge-api verify` recognises them."""

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import Rollback

from edge_api.local.node import supabase
from edge_api.local.packages import PROJECT
from edge_api.local.postgres import SUPERUSER, Cluster, postgres_version
from edge_api.local.processes import StackError, on_free_port
from edge_api.local.stack import MIGRATOR
from edge_api.verify.drift import Expected
from edge_api.verify.findings import Finding
from edge_api.verify.migrations import packaged
from edge_api.verify.questions import verify
from tests.database.project import Project

pytestmark = pytest.mark.timeout(120)

NAMES = [migration.name for migration in packaged()]
HISTORY = "supabase_migrations.schema_migrations"


@dataclass(frozen=True)
class Folder:
    """A checkout of a project, and its database."""

    path: Path
    state: Path
    project: Project
    database: str

    @property
    def migrations(self) -> Path:
        return self.path / "supabase" / "migrations"

    def files(self) -> list[str]:
        return sorted(path.name for path in self.migrations.iterdir())

    def supabase(self, *arguments: str) -> str:
        remote = self.project.cluster.url(MIGRATOR, with_password=False, database=self.database)
        return supabase(
            [*arguments, "--yes", f"--workdir={self.path}", f"--remote={remote}"],
            env=self.project.cluster.password_environment(MIGRATOR),
            state=self.state,
        )

    def copy(self) -> subprocess.CompletedProcess[str]:
        edge_api = Path(sys.executable).with_name("edge-api")
        return subprocess.run(
            [edge_api, "migrations", "copy", "supabase/migrations"],
            cwd=self.path,
            env={},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        with self.project.connect(self.database) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def recorded(self) -> list[str]:
        return [str(version) for (version,) in self.execute(f"select version from {HISTORY} order by version")]

    def findings(self, expected: Expected) -> list[Finding]:
        with self.project.connect(self.database) as connection, connection.transaction():
            return verify(connection, expected)


@pytest.fixture(scope="module")
def bare(state_folders: Callable[[], Path]) -> Iterator[tuple[Project, Path]]:
    """What a hosted project has before its first migration, and a state folder."""
    state = state_folders()
    version = postgres_version(os.environ.get("EDGE_POSTGRES_VERSION"))
    passwords = {role: secrets.token_urlsafe() for role in (SUPERUSER, MIGRATOR)}
    cluster = Cluster(version, state, passwords, durable=False)
    server, _ = on_free_port(None, cluster.start)
    try:
        with cluster.connect(SUPERUSER) as connection:
            connection.execute((PROJECT / "sql" / "local" / "auth.sql").read_bytes())
        yield Project(cluster), state
    finally:
        server.stop(grace_seconds=2)


@pytest.fixture
def folder(bare: tuple[Project, Path], tmp_path: Path) -> Iterator[Folder]:
    project, state = bare
    (tmp_path / "supabase" / "migrations").mkdir(parents=True)
    with project.clone() as database:
        yield Folder(tmp_path, state, project, database)


def write_own(folder: Folder, versions: list[str]) -> None:
    for version in versions:
        sql = f"-- {version}\ncreate table public.own_{version} (id int);\n\ninsert into own_{version} values (1);\n"
        (folder.migrations / f"{version}_own_{version}.sql").write_text(sql)


OWN = {
    "dated": [f"2025{month:02}{day:02}1200{day:02}" for month in range(1, 4) for day in range(1, 11)],
    "numbered, then dated": [f"{number:03}" for number in range(1, 21)]
    + [f"20991231{hour:02}5959" for hour in range(10, 20)],
}
OLDER = {
    "all recorded by the present CLI": "select 1",
    "the older ones without name and statements": f"update {HISTORY} set name = null, statements = null "
    f"where version in (select version from {HISTORY} order by version limit 15)",
    "a table without names and statements": f"alter table {HISTORY} drop column name, drop column statements",
}


@pytest.mark.parametrize(
    ("own", "older"),
    [
        ("dated", "all recorded by the present CLI"),
        ("dated", "the older ones without name and statements"),
        ("numbered, then dated", "a table without names and statements"),
    ],
)
def test_a_project_with_30_migrations_takes_ours_in_and_goes_on_with_its_own(
    folder: Folder, expected: Expected, own: str, older: str
) -> None:
    write_own(folder, OWN[own])
    folder.supabase("db", "push")
    folder.execute(OLDER[older])
    assert "migration user_accounts" in {finding.subject for finding in folder.findings(expected)}

    copied = folder.copy()
    assert (copied.returncode, copied.stderr) == (0, "")
    assert folder.files()[-len(NAMES) :] == [line.removeprefix("written: ") for line in copied.stdout.splitlines()]
    folder.supabase("db", "push")
    assert folder.recorded() == [name.partition("_")[0] for name in folder.files()]
    assert folder.findings(expected) == []

    every = folder.files()
    again = folder.copy()
    assert (again.returncode, again.stdout) == (0, "".join(f"unchanged: {name}\n" for name in every[-len(NAMES) :]))
    assert folder.files() == every

    write_own(folder, [str(int(folder.recorded()[-1]) + 1_00_00_00)])
    folder.supabase("db", "push")
    assert folder.execute("select to_regclass('public.own_" + folder.recorded()[-1] + "') is not null") == [(True,)]
    assert folder.findings(expected) == []


def test_a_project_that_pushed_ours_first_fetches_them_and_goes_on_with_its_own(
    folder: Folder, expected: Expected
) -> None:
    for migration in packaged():
        (folder.migrations / migration.path.name).write_text(migration.sql)
    folder.supabase("db", "push")
    for path in folder.migrations.iterdir():
        path.unlink()
    write_own(folder, ["20991231000000"])
    with pytest.raises(StackError, match="Remote migration versions not found in local migrations directory"):
        folder.supabase("db", "push")

    folder.supabase("migration", "fetch")
    folder.supabase("db", "push")
    assert folder.recorded()[-1] == "20991231000000"
    copied = folder.copy()
    assert (copied.returncode, copied.stderr) == (0, "")
    assert copied.stdout.splitlines() == [f"unchanged: {migration.path.name}" for migration in packaged()]
    assert folder.findings(expected) == []


def test_a_migration_recorded_from_files_with_other_line_endings_is_recognised(
    folder: Folder, expected: Expected
) -> None:
    folder.copy()
    for path in folder.migrations.iterdir():
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    folder.supabase("db", "push")
    assert folder.execute(f"select bool_and(array_to_string(statements, '') like E'%\\r\\n%') from {HISTORY}") == [
        (True,)
    ]
    assert not [finding for finding in folder.findings(expected) if finding.subject.startswith("migration ")]


def test_a_migration_recorded_without_being_applied_is_recognised(folder: Folder, expected: Expected) -> None:
    """As after sql has been run by hand."""
    folder.copy()
    for path in sorted(folder.migrations.iterdir()):
        folder.execute(path.read_text())
        folder.supabase("migration", "repair", "--status", "applied", path.name.partition("_")[0])
    assert folder.findings(expected) == []


RECORDED = [
    ("nothing", "delete from {history}", True),
    ("no table", "drop table {history}", False),
    ("other versions", "update {history} set version = '1' || version", False),
    ("no statements", "update {history} set version = '1' || version, statements = null", False),
    ("empty statements", "update {history} set version = '1' || version, statements = '{{}}'", False),
    ("no names", "update {history} set name = null", False),
    ("empty names", "update {history} set name = '', statements = null", False),
    ("neither", "update {history} set name = null, statements = null", False),
    ("no columns", "alter table {history} drop column name, drop column statements", False),
    (
        "the whole text",
        "update {history} set statements = array[array_to_string(statements, E';\\n\\n  ') || ';']",
        False,
    ),
    ("neither, other versions", "update {history} set version = '1' || version, name = null", True),
    ("another's version", "update {history} set name = 'theirs', statements = null", True),
    ("one added", "update {history} set statements = statements || 'select 1'::text", False),
    (
        "cut short",
        "update {history} set statements[cardinality(statements)] = left(statements[cardinality(statements)], -1)",
        False,
    ),
    ("no names, other", "update {history} set name = null, statements = '{{select 1}}'", False),
    (
        "beside one of the project's own",
        "insert into {history} (version, name, statements) select '1' || version, name, '{{select 1}}' from {history}",
        False,
    ),
    (
        "none but the project's own",
        "insert into {history} (version, name, statements) values ('1', 'own', '{{select 1}}')",
        False,
    ),
]


@pytest.fixture
def history(project: Project, clone: str) -> Iterator[psycopg.Connection]:
    with project.connect(clone, SUPERUSER) as connection:
        yield connection


def test_what_was_recorded_says_which_are_missing(history: psycopg.Connection, expected: Expected) -> None:
    right, actual = {}, {}
    for case, statement, missing in RECORDED:
        with suppress(Rollback), history.transaction():
            history.execute(statement.format(history=HISTORY).encode())
            right[case] = [f"migration {name}" for name in NAMES if missing]
            actual[case] = [finding.subject for finding in verify(history, expected)]
            raise Rollback
    assert actual == right


def test_each_row_without_a_name_stands_for_its_own_version(history: psycopg.Connection, expected: Expected) -> None:
    with history.transaction() as rolled_back:
        history.execute(f"delete from {HISTORY} where name = '{NAMES[0]}'".encode())
        history.execute(f"update {HISTORY} set name = null, statements = null".encode())
        (finding,) = verify(history, expected)
        assert finding.subject == f"migration {NAMES[0]}"
        raise Rollback(rolled_back)
