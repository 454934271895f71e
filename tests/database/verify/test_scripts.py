"""The script in use: piped into psql, and the policy tests on what it leaves."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
import pytest

from edge_api.local.postgres import SUPERUSER, Cluster
from edge_api.local.stack import MIGRATOR
from edge_api.verify.drift import Expected
from edge_api.verify.findings import fix_script
from edge_api.verify.questions import verify
from tests.database.project import Project
from tests.database.verify.gap import Gap, contested, locked_out, own, weaker
from tests.database.verify.gaps import KINDS
from tests.database.verify.judge import Verifier, apply, complaints
from tests.database.verify.oracle import HOSTED, USERS, observe, rolled_back
from tests.database.verify.policy_tests import PolicyTests, applies

# Some of each kind: the policy tests take long. `python -m tests.database.verify.policy_tests` shows them all entries.
SAMPLE = (
    ("views", "a view"),
    ("functions", "takes an id"),
    ("tables", "inherits from a table"),
    ("rights", "a script that grants everything"),
    ("rights", "usage on public from authenticated"),
    ("policies", "all policies open"),
    ("policies", "for a role that authenticated inherits"),
    ("structure", "account_name dropped and added again"),
    ("structure", "no schema public"),
    ("structure", "all of it"),
    ("structure", "everything at once"),
    ("roles", "authenticated bypasses"),
    ("surroundings", "auth.uid() is the victim"),
)


@pytest.fixture
def policy_tests(
    project: Project, hosted: str, database: psycopg.Connection, expected: Expected, tmp_path: Path
) -> PolicyTests:
    return PolicyTests(project, hosted, database, expected, tmp_path)


@pytest.mark.parametrize(("kind", "name"), SAMPLE, ids=[": ".join(entry) for entry in SAMPLE])
def test_the_policy_tests_pass_on_a_repaired_database(
    policy_tests: PolicyTests, database: psycopg.Connection, kind: str, name: str
) -> None:
    gap = KINDS[kind][name]
    assert applies(gap, database.info.server_version)
    assert policy_tests.objections(gap) == []


def test_the_policy_tests_object_to_a_database_that_was_not_repaired(
    policy_tests: PolicyTests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.database.verify.policy_tests.fix_script", lambda _findings: "")
    assert policy_tests.objections(KINDS["policies"]["all policies open"]) != []


@pytest.mark.parametrize(
    ("kind", "name", "objects"),
    [
        ("roles", "pg_monitor to authenticated", True),
        ("roles", "service_role to authenticated through another", True),
        ("roles", "a role of its own, bypassrls, to authenticated", True),
        ("roles", "a role of its own, createrole, to anon", True),
        ("roles", "a role of its own, superuser, to service_role", True),
        ("roles", "a role of its own that creates objects, to authenticated", True),
        ("policies", "for a role that authenticated inherits", True),
        ("disguises", "a role of service_role's, inherited", True),
        ("roles", "a role of its own that leads nowhere", False),
    ],
)
def test_the_policy_tests_object_to_a_membership_that_gives_something(
    policy_tests: PolicyTests, monkeypatch: pytest.MonkeyPatch, kind: str, name: str, *, objects: bool
) -> None:
    monkeypatch.setattr("tests.database.verify.policy_tests.fix_script", lambda _findings: "")
    membership = "04_rights: none of them is a member of a role that is privileged or has a right"
    assert (membership in policy_tests.objections(KINDS[kind][name])) is objects


@dataclass(frozen=True)
class InUse:
    """A database in which changes stay."""

    name: str
    connection: psycopg.Connection
    cluster: Cluster


@pytest.fixture
def in_use(project: Project, hosted: str, clone: str) -> Iterator[InUse]:
    # `hosted` is what created the role of PostgREST's login
    with project.connect(clone, SUPERUSER) as connection:
        connection.execute(HOSTED.encode())
        connection.execute(USERS.encode())
        yield InUse(clone, connection, project.cluster)


@pytest.mark.parametrize("name", ["everything at once", "all of it", "no schema public"])
def test_the_script_can_be_piped_into_psql(in_use: InUse, expected: Expected, tmp_path: Path, name: str) -> None:
    gap, database = KINDS["structure"][name], in_use.connection
    with database.transaction():
        apply(database, gap)
    file = tmp_path / "fix.sql"
    file.write_text(fix_script(verify(database, expected)))
    done = in_use.cluster.run_psql(file, role=SUPERUSER, database=in_use.name, seconds=60)
    assert (done.returncode, "ERROR" in done.stderr) == (0, False), done.stderr
    outcome = observe(database)
    assert outcome.paths == []
    assert [call for call in outcome.failed_calls if call.startswith("newcomer") or not gap.loses_rows] == []
    assert list(verify(database, expected)) == []


CREATED_AGAIN: Final = {
    **KINDS["structure"],
    "who is calling": locked_out("drop function auth.uid() cascade; drop function auth.jwt() cascade", superuser=True),
}
# Who owns what, what it says of itself, and who may do what with it.
AS_CREATED = """
    select object, owner::regrole::text, comment, array(
        select format('%s: %s, %s', grantee::regrole, privilege_type, is_grantable) from aclexplode(acl) order by 1
    )
    from (
        select 'schema ' || nspname, nspowner, obj_description(oid, 'pg_namespace'),
            coalesce(nspacl, acldefault('n', nspowner))
        from pg_namespace where nspname in ('public', 'accounts_private', 'auth')
        union all
        select 'function ' || oid::regprocedure, proowner, obj_description(oid, 'pg_proc'),
            coalesce(proacl, acldefault('f', proowner))
        from pg_proc where pronamespace in (
            select oid from pg_namespace where nspname in ('public', 'accounts_private', 'auth')
        )
        union all
        select 'table ' || oid::regclass, relowner, obj_description(oid, 'pg_class'), relacl
        from pg_class where oid = 'public.user_accounts'::regclass
        union all
        select format('column %s of %s', attname, attrelid::regclass), 0, col_description(attrelid, attnum), attacl
        from pg_attribute where attrelid = 'public.user_accounts'::regclass and attnum > 0 and not attisdropped
    ) as objects (object, owner, comment, acl)
    order by object"""


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("the schema public", SUPERUSER),
        ("the schema public, by its owner", SUPERUSER),
        ("the schema public, by its owner", MIGRATOR),
        ("no schema public", SUPERUSER),
        ("no schema public", MIGRATOR),
        ("the schema accounts_private", SUPERUSER),
        ("the schema accounts_private", MIGRATOR),
        ("all of it", SUPERUSER),
        ("who is calling", SUPERUSER),
    ],
)
def test_what_is_created_again_is_as_it_was(
    in_use: InUse, expected: Expected, tmp_path: Path, name: str, role: str
) -> None:
    """Whoever creates it: a superuser other than its owner, or the role that a project's owner has."""
    database = in_use.connection
    before = database.execute(AS_CREATED).fetchall()
    with database.transaction():
        apply(database, CREATED_AGAIN[name])
    file = tmp_path / "fix.sql"
    file.write_text(fix_script(verify(database, expected)))
    done = in_use.cluster.run_psql(file, role=role, database=in_use.name, seconds=60)
    assert (done.returncode, "ERROR" in done.stderr) == (0, False), done.stderr
    assert database.execute(AS_CREATED).fetchall() == before


@pytest.mark.parametrize(
    "gap",
    [
        contested("revoke create on schema public from pg_database_owner"),
        contested("alter schema public owner to supabase_admin", superuser=True),
        contested("create role team; grant select on public.user_accounts to team; grant team to anon", superuser=True),
        weaker(
            'drop policy "Users see their own account" on public.user_accounts; create policy "Users see their own '
            'account" on public.user_accounts to authenticated using (user_id = (select auth.uid()))'
        ),
        weaker("alter table public.user_accounts add column number int generated always as identity", only_person=True),
        weaker('alter table public.user_accounts alter column account_name type text collate "C"', levels="warning"),
        locked_out("alter table public.user_accounts alter column account_name type varchar(255)", levels="error"),
        locked_out("alter table public.user_accounts alter column id drop default", levels="error"),
        locked_out("create rule r as on update to public.user_accounts do instead nothing"),
        locked_out("drop schema auth cascade", superuser=True, only_person=True),
        own("create role team; grant team to authenticated; grant usage on schema public to team", superuser=True),
    ],
    ids=lambda gap: gap.sql,
)
def test_what_a_change_means_for_the_data(database: psycopg.Connection, expected: Expected, gap: Gap) -> None:
    verifier = Verifier(lambda connection: verify(connection, expected), fix_script)
    assert complaints(database, gap, verifier) == []


def test_no_table_is_taken_for_a_copy_of_one_that_is_missing(database: psycopg.Connection, expected: Expected) -> None:
    with rolled_back(database):
        database.execute("drop table public.user_accounts cascade; create table public.todos as select 1 as id")
        database.execute("grant select on public.todos to anon")
        findings = verify(database, expected)
    assert [finding for finding in findings if "todos" in finding.subject] == []
    assert findings != []
