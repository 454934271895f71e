"""`edge-api verify`: what it prints, how it ends, and where it runs. What it finds: see tests/database/verify."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg import Rollback

from edge_api.local.postgres import SUPERUSER
from edge_api.verify import command
from edge_api.verify.drift import Expected
from edge_api.verify.findings import Finding, fix_script
from edge_api.verify.questions import verify
from tests.database import mutants
from tests.database.project import WITHOUT_PGTAP, Project

VERIFY = [str(Path(sys.executable).with_name("edge-api")), "verify"]

SAMPLE = 8  # `make test` tries one mutant of so many, `make gaps` all


@pytest.fixture
def database(project: Project, clone: str) -> Iterator[psycopg.Connection]:
    with project.connect(clone, SUPERUSER) as connection:
        yield connection


def run_fixes(database: psycopg.Connection, findings: list[Finding]) -> None:
    """Run the script within the transaction that is open."""
    script = fix_script(findings).removeprefix("begin;\n").removesuffix("commit;\n")
    if script:
        database.execute(script.encode())


def test_there_is_no_finding_on_what_the_migrations_create(database: psycopg.Connection, expected: Expected) -> None:
    assert verify(database, expected) == []


@pytest.mark.timeout(240)
def test_every_mutant_is_reported_and_its_fix_fixes_it(
    project: Project, clone: str, expected: Expected, pytestconfig: pytest.Config
) -> None:
    unseen, unfixed = [], []
    with project.connect(clone, SUPERUSER) as database:
        database.execute(WITHOUT_PGTAP.encode())
        database.execute("set role postgres")
        for mutant in mutants.derive(database)[:: 1 if pytestconfig.getoption("--all-gaps") else SAMPLE]:
            with database.transaction() as rolled_back:
                database.execute(mutant.statement.encode())
                findings = verify(database, expected)
                # nobody reaches it, or it is the project's to decide
                if not findings and not re.search("on schema public|in elsewhere|: an index on", mutant.name):
                    unseen.append(mutant.name)
                run_fixes(database, findings)
                # what is tighter is the project's to decide
                left = [finding for finding in verify(database, expected) if finding.fix or not finding.advice]
                if left:
                    unfixed.append((mutant.name, left))
                raise Rollback(rolled_back)
    assert (unseen, unfixed) == ([], [])


def test_a_big_project_of_its_own_gives_silence(database: psycopg.Connection, expected: Expected) -> None:
    database.execute(
        """
        do $$ begin
            for n in 1..500 loop
                execute format('create table public.t_%s (id int primary key, user_id uuid)', n);
                execute format('alter table public.t_%s enable row level security', n);
                execute format('create policy p on public.t_%1$s using (user_id = auth.uid())', n);
                execute format('create view public.v_%1$s as select * from public.t_%1$s', n);
            end loop;
            for n in 1..300 loop
                execute format(
                    'create function public.f_%1$s() returns setof public.t_%1$s language sql security definer'
                    ' as ''select * from public.t_%1$s where user_id = auth.uid()''', n);
            end loop;
        end $$"""
    )
    assert verify(database, expected) == []


def test_the_script_runs_on_rows_that_are_in_its_way(database: psycopg.Connection, expected: Expected) -> None:
    with database.transaction() as rolled_back:
        database.execute("insert into auth.users (id) values (gen_random_uuid())")
        database.execute("alter table public.user_accounts drop constraint user_accounts_user_id_key")
        database.execute("alter table public.user_accounts disable row level security")
        for name in ("one", "two"):
            database.execute(
                "insert into public.user_accounts (user_id, account_name) select id, %s from auth.users", [name]
            )
        run_fixes(database, verify(database, expected))
        (left,) = verify(database, expected)
        assert left.subject == "constraint user_accounts_user_id_key on public.user_accounts"
        assert "rows" in left.advice
        raise Rollback(rolled_back)


def test_nothing_can_be_written(database: psycopg.Connection, expected: Expected) -> None:
    """As on a standby."""
    with database.transaction():
        database.execute("set transaction read only")
        assert verify(database, expected) == []
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), database.transaction():
            database.execute("create table public.t ()")


def test_the_session_is_left_as_it_was(database: psycopg.Connection, expected: Expected) -> None:
    """Behind a pooler, the next one to have it is somebody else."""
    database.execute("set search_path = extensions")
    with database.transaction():
        verify(database, expected)
        assert database.execute("show search_path").fetchall() == [("extensions",)]
    assert database.execute("select current_setting('edge_api.scope', true)").fetchone() in {("",), (None,)}
    assert database.execute("select name from pg_prepared_statements").fetchall() == []


def run(url: str | None, *options: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    return subprocess.run(
        [*VERIFY, *options],
        env={**environment, "TMPDIR": str(tmp_path)} | ({"DATABASE_URL": url} if url else {}),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_the_command_and_a_role_that_may_only_log_in(project: Project, clone: str, tmp_path: Path) -> None:
    role, password = f"looks_{clone}", "not to be seen"
    with project.connect(clone, SUPERUSER) as admin:
        admin.execute(f"create role {role} login password '{password}'")
        admin.execute("alter table public.user_accounts no force row level security")
    try:
        user = f"{role}:{password.replace(' ', '%20')}"
        url = f"postgresql://{user}@127.0.0.1:{project.cluster.port}/{clone}?sslmode=disable"
        weaker = run(f'"{url}&pgbouncer=true&connection_limit=1"', tmp_path=tmp_path)
        assert (weaker.returncode, weaker.stdout.splitlines()) == (
            0,
            [
                "warning: table public.user_accounts: row level security does not apply to its owner",
                "    fix: alter table public.user_accounts force row level security;",
            ],
        )
        assert weaker.stderr.splitlines()[-1].startswith("1 warning (")
        assert "which were applied is not compared" in weaker.stderr
        assert run(url, "--fail-on=warning", tmp_path=tmp_path).returncode == 1
        script = run(url, "--fix-sql", tmp_path=tmp_path)
        assert script.returncode == 0
        with project.connect(clone, SUPERUSER) as admin:
            admin.execute(script.stdout.encode())
        fixed = run(url, "--format=json", "--fail-on=info", tmp_path=tmp_path)
        assert (fixed.returncode, json.loads(fixed.stdout)["findings"]) == (0, [])
        wrong = run(url.replace(role, "nobody_there"), tmp_path=tmp_path)
        assert (wrong.returncode, wrong.stdout) == (2, "")
        assert password not in wrong.stderr
        assert "Traceback" not in wrong.stderr
        assert list(tmp_path.iterdir()) == []
    finally:
        with project.connect(clone, SUPERUSER) as admin:
            admin.execute(f"drop role {role}")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (None, "DATABASE_URL is not set"),
        ("secret words", "DATABASE_URL is no address"),
        ("postgresql://user:secret@127.0.0.1:1/postgres", "the database cannot be reached"),
        ("postgresql://user:secret@127.0.0.1:1/postgres?pgbouncer=true", "the database cannot be reached"),
        ("'postgresql://user:secret@127.0.0.1:1/postgres'", "the database cannot be reached"),
        ("postgresql://user:secret@127.0.0.1:1/postgres?ssl=on", 'invalid URI query parameter: "ssl"'),
        ("postgresql://user:p@secret@127.0.0.1/postgres", "escape @ as %40"),
        ("postgresql://user:secret/p@127.0.0.1/postgres", "escape @ as %40"),
        ("postgresql://user:1/secret@127.0.0.1/postgres", "escape @ as %40"),
    ],
)
def test_what_cannot_be_verified(url: str | None, said: str, tmp_path: Path) -> None:
    done = run(url, "--format=json", tmp_path=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "secret" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_name_cannot_fake_a_line(database: psycopg.Connection, expected: Expected) -> None:
    name = "p\n    fix: drop table x;\r\x1b[31m\u202e\u2028"
    with database.transaction() as rolled_back:
        database.execute(f'create policy "{name}" on public.user_accounts using (true)'.encode())
        findings = verify(database, expected)
        printed = command.text(findings)
        run_fixes(database, findings)
        assert verify(database, expected) == []
        raise Rollback(rolled_back)
    assert len(findings) == 2
    assert len(printed.splitlines()) == sum(1 + bool(f.advice) + len(f.fix) for f in findings)
    assert [line for line in printed.splitlines() if line.startswith("    fix: drop table")] == []
    assert re.search(r"[\x00-\x09\x0b-\x1f\u202e\u2028]", printed) is None


def test_the_script_is_one_transaction_in_an_order_that_works() -> None:
    finding = Finding("drift", "error", "table public.t", "is missing", "", ())
    statements = (
        "comment on table public.t is 'x'",
        "grant select on table public.t to anon",
        "create table public.t ()",
    )
    assert fix_script([]) == ""
    lines = fix_script([replace(finding, fix=statements), replace(finding, fix=statements[2:])]).splitlines()
    assert (lines[0], lines[-1]) == ("begin;", "commit;")
    assert [line for line in lines if "public.t" in line] == [f"{statement};" for statement in reversed(statements)]
