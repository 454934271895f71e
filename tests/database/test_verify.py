"""`edge-api verify`: every hole is reported, with a mend that closes it; what is the project's own is left alone."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Rollback

from edge_api.embedded.packages import PROJECT
from edge_api.embedded.postgres import SUPERUSER, VERSIONS
from edge_api.verify import catalog, command, report
from edge_api.verify import expected as wanted
from edge_api.verify.compare import RULES, Finding, Level, compare
from tests.database import mutants
from tests.database.project import Project

VERIFY = [str(Path(sys.executable).with_name("edge-api")), "verify"]

# What a project may well have besides the migrations.
OF_THE_PROJECT = """
    create role reporting;
    create schema shop;
    create table shop.orders (id int primary key, account_id uuid not null);
    create table public.todos (id int, user_id uuid);
    grant all on public.todos to public, anon, authenticated;
    create policy everything on public.todos using (true);
    create view public.todo_view as select * from public.todos;
    create view public.mine with (security_invoker = on) as select * from public.user_accounts;
    create function public.todo_count() returns int language sql security definer as 'select id from public.todos';
    create function shop.create_account() returns int language sql as 'select 1';
    alter default privileges in schema shop grant all on tables to public;
    grant usage on schema public to reporting;
    create index on public.todos (user_id);
    comment on table public.todos is 'theirs';
"""

# A statement that opens a hole, and what has to be said of it.
HOLES = [
    (
        'drop view public.mine; drop policy "Inactive accounts do not change" on public.user_accounts; '
        "alter table public.user_accounts drop column is_active",
        Level.ERROR,
        "column-missing",
    ),
    ('drop policy "Users see their own account" on public.user_accounts', Level.ERROR, "policy-missing"),
    (
        'alter policy "Users see their own account" on public.user_accounts to anon, authenticated using (true)',
        Level.ERROR,
        "policy-changed",
    ),
    (
        "create or replace trigger user_accounts_set_updated_at before update of account_name on public.user_accounts "
        "for each row execute function accounts_private.set_updated_at()",
        Level.ERROR,
        "trigger-changed",
    ),
    (
        "create role plain; create view public.v as select * from public.user_accounts; "
        "alter table public.user_accounts no force row level security; "
        "alter table public.user_accounts owner to plain; "
        "alter view public.v owner to plain; grant select on public.v to anon",
        Level.ERROR,
        "view-reads",
    ),
    ("alter table public.user_accounts disable row level security", Level.ERROR, "row-security-off"),
    ("alter table public.user_accounts no force row level security", Level.WARNING, "row-security-not-forced"),
    ("create policy p on public.user_accounts using (true)", Level.ERROR, "policy-added"),
    ("create policy p on public.user_accounts as restrictive using (false)", Level.WARNING, "policy-added"),
    ('create policy "a;\nb" on public.user_accounts using (true)', Level.ERROR, "policy-added"),
    ("grant select on public.user_accounts to anon", Level.ERROR, "right-added"),
    ("grant update (is_active) on public.user_accounts to authenticated", Level.ERROR, "right-added"),
    ("grant select on public.user_accounts to public", Level.ERROR, "right-added"),
    ("grant select on public.user_accounts to pg_monitor", Level.WARNING, "right-added"),
    ("grant create on schema public to authenticated", Level.ERROR, "right-added"),
    ("grant execute on function public.list_accounts() to anon", Level.ERROR, "right-added"),
    ("revoke execute on function public.list_accounts() from authenticated", Level.ERROR, "right-missing"),
    ("revoke usage on schema auth from authenticated, public", Level.ERROR, "right-missing"),
    (
        "create view public.v as select * from public.user_accounts; grant select on public.v to anon",
        Level.ERROR,
        "view-reads",
    ),
    (
        "create view public.v as select * from public.user_accounts",
        Level.INFO,
        "view-reads",
    ),
    (
        "create view public.v as select * from public.user_accounts; create view public.w as select * from public.v; "
        "grant update (account_name) on public.w to authenticated",
        Level.ERROR,
        "view-reads",
    ),
    (
        "create materialized view public.v as select * from public.user_accounts; grant select on public.v to anon",
        Level.ERROR,
        "view-reads",
    ),
    (
        "create function public.f() returns bigint language sql security definer as "
        "'select count(*) from public.user_accounts'",
        Level.WARNING,
        "definer-function",
    ),
    (
        "create function public.f() returns bigint language sql security definer begin atomic "
        "select count(*) from public.user_accounts; end",
        Level.WARNING,
        "definer-function",
    ),
    (
        "create function public.get_account(account_id text) returns int language sql as 'select 1'",
        Level.ERROR,
        "function-added",
    ),
    ("create function accounts_private.f() returns int language sql as 'select 1'", Level.WARNING, "object-added"),
    ("create table accounts_private.t ()", Level.WARNING, "object-added"),
    ("alter function public.list_accounts() security definer", Level.ERROR, "function-changed"),
    ("alter function public.list_accounts() leakproof", Level.WARNING, "function-changed"),
    ("alter function public.get_account(uuid) strict", Level.WARNING, "function-changed"),
    ("alter function public.get_account(uuid) parallel safe", Level.WARNING, "function-changed"),
    ("alter function public.get_account(uuid) cost 1000", Level.INFO, "function-changed"),
    ("drop function public.get_account(uuid)", Level.ERROR, "object-missing"),
    ("alter function public.list_accounts() owner to authenticated", Level.ERROR, "owner-changed"),
    ("alter table public.user_accounts owner to supabase_admin", Level.WARNING, "owner-changed"),
    ("alter schema accounts_private owner to supabase_admin", Level.WARNING, "owner-changed"),
    ("alter role authenticated bypassrls", Level.ERROR, "role-stronger"),
    ("alter role anon superuser", Level.ERROR, "role-stronger"),
    ("alter role anon login", Level.WARNING, "role-changed"),
    ("alter role service_role nobypassrls", Level.WARNING, "role-changed"),
    ("grant service_role to authenticated", Level.ERROR, "role-stronger"),
    ("grant pg_read_all_data to anon", Level.ERROR, "role-stronger"),
    ("create role middle in role service_role; grant middle to anon", Level.ERROR, "role-stronger"),
    ("alter table public.user_accounts disable trigger user_accounts_set_updated_at", Level.ERROR, "trigger-missing"),
    (
        "alter table public.user_accounts enable replica trigger user_accounts_set_updated_at",
        Level.ERROR,
        "trigger-missing",
    ),
    ("alter table public.user_accounts disable trigger all", Level.ERROR, "constraint-changed"),
    (
        "create trigger t after insert on public.user_accounts for each row execute function "
        "accounts_private.set_updated_at()",
        Level.WARNING,
        "trigger-added",
    ),
    ("create rule r as on delete to public.user_accounts do instead nothing", Level.ERROR, "rule-added"),
    ("create table public.child () inherits (public.user_accounts)", Level.WARNING, "child-table"),
    (
        "create table shop.parent (like public.user_accounts); alter table public.user_accounts inherit shop.parent",
        Level.ERROR,
        "parent-table",
    ),
    (
        "create table shop.parent (like public.user_accounts) partition by list (is_active); "
        "alter table shop.parent attach partition public.user_accounts default",
        Level.ERROR,
        "parent-table",
    ),
    ("alter table public.user_accounts replica identity full", Level.WARNING, "object-changed"),
    ("create publication p for table public.user_accounts", Level.WARNING, "publication"),
    ("alter table public.user_accounts add column note text", Level.WARNING, "column-added"),
    ("alter table public.user_accounts alter column user_id drop not null", Level.ERROR, "column-changed"),
    (
        "alter table public.user_accounts alter column user_id set default gen_random_uuid()",
        Level.ERROR,
        "column-changed",
    ),
    (
        "drop view public.mine; alter table public.user_accounts alter column created_at type timestamptz(0)",
        Level.ERROR,
        "column-changed",
    ),
    ("alter table public.user_accounts drop constraint user_accounts_user_id_key", Level.ERROR, "constraint-missing"),
    (
        "alter table public.user_accounts drop constraint user_accounts_account_name_length, add constraint "
        "user_accounts_account_name_length check (char_length(account_name) between 1 and 255) not valid",
        Level.ERROR,
        "constraint-changed",
    ),
    (
        "alter table public.user_accounts drop constraint user_accounts_user_id_fkey, add constraint "
        "user_accounts_user_id_fkey foreign key (user_id) references auth.users (id)",
        Level.ERROR,
        "constraint-changed",
    ),
    ("alter table public.user_accounts add check (account_name != 'x')", Level.WARNING, "constraint-added"),
    ("create unique index on public.user_accounts (account_name)", Level.WARNING, "index-added"),
    ("create index on public.user_accounts (created_at)", Level.INFO, "index-added"),
    (
        "update pg_index set indisvalid = false where indexrelid = 'public.user_accounts_user_id_key'::regclass",
        Level.ERROR,
        "index-changed",
    ),
    ("alter table public.user_accounts set unlogged", Level.ERROR, "object-changed"),
    ("alter table public.user_accounts set (fillfactor = 50)", Level.WARNING, "object-changed"),
    (
        "alter default privileges for role postgres in schema accounts_private grant execute on functions to anon",
        Level.WARNING,
        "default-privilege-changed",
    ),
    (
        "alter default privileges for role postgres grant select on tables to anon",
        Level.WARNING,
        "default-privilege-changed",
    ),
    ("comment on table public.user_accounts is 'x'", Level.INFO, "comment-changed"),
    ("comment on column public.user_accounts.user_id is null", Level.INFO, "comment-changed"),
    ("drop schema accounts_private cascade", Level.ERROR, "object-missing"),
    ("drop table public.user_accounts cascade", Level.ERROR, "object-missing"),
    (
        "delete from supabase_migrations.schema_migrations",
        Level.ERROR,
        "migration-missing",
    ),
    (
        "update supabase_migrations.schema_migrations set statements[1] = statements[1] || ' -- by hand'",
        Level.WARNING,
        "migration-changed",
    ),
]
# No migration makes an index that is not a constraint's: see the test below.
UNREACHABLE = {"index-missing"}
IS_SQL = re.compile(r"(alter|comment|create|drop|grant|revoke) .*;", re.IGNORECASE | re.DOTALL)


@pytest.fixture(scope="session")
def state(project: Project) -> wanted.Expected:
    with project.connect("template1", SUPERUSER) as connection:
        return wanted.expected(wanted.nearest_version(connection.info.server_version))


@pytest.fixture
def database(project: Project, clone: str) -> Iterator[psycopg.Connection]:
    with project.connect(clone, SUPERUSER) as connection:
        yield connection


def mended(database: psycopg.Connection, state: wanted.Expected, findings: list[Finding]) -> list[Finding]:
    """What is left when all has been done that can be done by SQL; mending a policy or a right can need two rounds."""
    for _ in range(3):
        statements = [finding.mend for finding in findings if IS_SQL.fullmatch(finding.mend)]
        if not statements:
            break
        for statement in statements:
            with database.transaction():
                database.execute(statement.encode())
        findings = command.differences(database, state)
    return findings


def test_a_clean_database_gives_silence_whatever_else_the_project_has(
    database: psycopg.Connection, state: wanted.Expected
) -> None:
    with database.transaction() as rolled_back:
        assert command.differences(database, state) == []
        database.execute(OF_THE_PROJECT)
        assert command.differences(database, state) == []
        raise Rollback(rolled_back)


def test_versions_agree(database: psycopg.Connection, state: wanted.Expected) -> None:
    """A hosted project may have a version in between."""
    (other,) = (version for version in VERSIONS if version != database.info.server_version // 10000)
    with database.transaction():
        assert command.differences(database, wanted.expected(other)) == []
    assert [wanted.nearest_version(version) for version in (150_000, 160_004, 170_004, 180_000)] == [16, 16, 18, 18]


@pytest.mark.timeout(120)
def test_every_mutant_is_reported_and_its_mend_mends(project: Project, clone: str, state: wanted.Expected) -> None:
    unseen, unmended, harmless = [], [], []
    with project.connect(clone) as database:
        for mutant in mutants.derive(database):
            with database.transaction() as rolled_back:
                database.execute(mutant.statement.encode())
                findings = command.differences(database, state)
                if not findings:
                    unseen.append(mutant.name)
                if re.match(r"drop policy|disable|grant .* to (public|anon|auth)|function .*definer", mutant.name) and (
                    Level.ERROR not in {finding.level for finding in findings}
                ):
                    harmless.append(mutant.name)
                # where a person has to decide or a migration to run again, the mend is no SQL
                left = [f for f in mended(database, state, findings) if IS_SQL.fullmatch(f.mend)]
                if left:
                    unmended.append((mutant.name, left))
                raise Rollback(rolled_back)
    assert (unseen, unmended, harmless) == ([], [], [])


@pytest.mark.parametrize(("statement", "level", "rule"), HOLES, ids=[hole[0][:70] for hole in HOLES])
def test_a_hole_is_reported_and_its_mend_closes_it(
    database: psycopg.Connection, state: wanted.Expected, statement: str, level: Level, rule: str
) -> None:
    with database.transaction() as rolled_back:
        database.execute(OF_THE_PROJECT)
        database.execute(statement.encode())
        findings = command.differences(database, state)
        assert (level, rule) in {(finding.level, finding.rule) for finding in findings}
        assert all(finding.rule in RULES and finding.mend and finding.message for finding in findings)
        assert len(report.text(findings, ()).splitlines()) == len(findings)
        if all(IS_SQL.fullmatch(finding.mend) for finding in findings):
            assert mended(database, state, findings) == []
        raise Rollback(rolled_back)


def test_each_rule_has_its_hole() -> None:
    assert {rule for _, _, rule in HOLES} | UNREACHABLE | {"migrations-unreadable"} == set(RULES)


def test_an_index_that_is_gone_is_reported_with_what_makes_it(
    database: psycopg.Connection, state: wanted.Expected
) -> None:
    with database.transaction() as rolled_back:
        database.execute("create index by_time on public.user_accounts (created_at)")
        with_index = catalog.read(database, state.scope)
        raise Rollback(rolled_back)
    with database.transaction():
        (finding,) = compare(with_index, catalog.read(database, state.scope))
    assert (finding.level, finding.rule) == (Level.WARNING, "index-missing")
    assert finding.mend == "CREATE INDEX by_time ON public.user_accounts USING btree (created_at);"


def test_what_is_gone_is_said_once(database: psycopg.Connection, state: wanted.Expected) -> None:
    """Not again for each thing that hung on it."""
    with database.transaction() as rolled_back:
        database.execute("drop schema accounts_private cascade")
        findings = command.differences(database, state)
        assert {finding.object for finding in findings} == {
            "schema accounts_private",
            "function accounts_private.active_account_ids()",
            "function accounts_private.set_updated_at()",
            "trigger user_accounts_set_updated_at on public.user_accounts",
        }
        raise Rollback(rolled_back)


def test_nothing_can_be_written(database: psycopg.Connection, state: wanted.Expected) -> None:
    with catalog.only_reading(database):
        assert command.differences(database, state) == []
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            database.execute("create table public.t ()")


def run(url: str | None, output_format: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    return subprocess.run(
        [*VERIFY, f"--format={output_format}"],
        env={**environment, "TMPDIR": str(tmp_path)} | ({"DATABASE_URL": url} if url else {}),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_the_command_and_a_role_that_may_only_read_catalogs(project: Project, clone: str, tmp_path: Path) -> None:
    role, password = f"looks_{clone}", "not to be seen"
    with project.connect(clone, SUPERUSER) as admin:
        admin.execute(f"create role {role} login password '{password}'")
        admin.execute("alter table public.user_accounts disable row level security")
    try:
        user = f"{role}:{password.replace(' ', '%20')}"
        url = f"postgresql://{user}@127.0.0.1:{project.cluster.port}/{clone}?sslmode=disable"
        holed = run(url, "text", tmp_path)
        assert holed.returncode == 1
        first, second = holed.stdout.splitlines()
        assert first.startswith("error: table public.user_accounts: row level security is off")
        assert first.endswith("Mend: alter table public.user_accounts enable row level security;")
        assert second.startswith("warning: migrations: ")
        assert "reading the catalogs" in holed.stderr
        assert holed.stderr.splitlines()[-1].startswith("1 error, 1 warning (")
        with project.connect(clone, SUPERUSER) as admin:
            admin.execute("alter table public.user_accounts enable row level security")
        clean = run(url, "json", tmp_path)
        assert clean.returncode == 0
        assert [finding["rule"] for finding in json.loads(clean.stdout)["findings"]] == ["migrations-unreadable"]
        wrong = run(url.replace(role, "nobody_there"), "text", tmp_path)
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
        ("postgresql://user:p@secret@127.0.0.1/postgres", "escape @ as %40"),
        ("postgresql://user:secret/p@127.0.0.1/postgres", "escape @ as %40"),
        ("postgresql://user:1/secret@127.0.0.1/postgres", "escape @ as %40"),
    ],
)
def test_what_cannot_be_compared(url: str | None, said: str, tmp_path: Path) -> None:
    done = run(url, "sarif", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "secret" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_sarif(database: psycopg.Connection, state: wanted.Expected) -> None:
    """As the standard and GitHub want it: https://docs.github.com/en/code-security/reference/code-scanning/sarif-support."""
    first = state.migrations[0]
    with database.transaction() as rolled_back:
        database.execute("alter function public.list_accounts() security definer")
        database.execute("alter table public.user_accounts disable row level security")
        database.execute("grant select on public.user_accounts to anon")
        database.execute("comment on table public.user_accounts is 'x'")
        database.execute("alter table public.user_accounts disable trigger user_accounts_set_updated_at")
        database.execute("alter table public.user_accounts alter column user_id drop not null")
        database.execute('drop policy "Users see their own account" on public.user_accounts')
        database.execute("delete from supabase_migrations.schema_migrations where name = %s", [first.name])
        findings = command.differences(database, state)
        raise Rollback(rolled_back)
    log: dict[str, Any] = json.loads(report.sarif(findings, state.migrations))
    assert log["version"] == "2.1.0"
    (sarif_run,) = log["runs"]
    rules = [rule["id"] for rule in sarif_run["tool"]["driver"]["rules"]]
    assert len(set(rules)) == len(rules)
    assert {result["level"] for result in sarif_run["results"]} == {"error", "note"}
    places = set()
    for result in sarif_run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        (location,) = result["locations"]
        uri = location["physicalLocation"]["artifactLocation"]["uri"]
        line = location["physicalLocation"]["region"]["startLine"]
        places.add((result["ruleId"], (PROJECT / uri).read_text().splitlines()[line - 1]))
    assert places == {
        ("function-changed", "create function public.list_accounts()"),
        ("row-security-off", "create table public.user_accounts ("),
        ("right-added", "create table public.user_accounts ("),
        ("comment-changed", "create table public.user_accounts ("),
        ("column-changed", "create table public.user_accounts ("),
        ("trigger-missing", "create trigger user_accounts_set_updated_at"),
        ("policy-missing", 'create policy "Users see their own account" on public.user_accounts'),
        ("migration-missing", first.sql.splitlines()[0]),
    }
