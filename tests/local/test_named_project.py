"""The suites against a project that the environment names, which is in use by others."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from xml.etree import ElementTree as ET

import httpx
import pytest

from edge_api.local import stack as local_stack
from edge_api.local.packages import PROJECT
from edge_api.local.postgres import PostgresVersion
from edge_api.local.stack import MIGRATOR, Stack

POLICIES = "tests/database/test_policies.py"
ACCOUNTS = "tests/edge/test_accounts.py"
SUPABASE_PY = "tests/supabase"
SIGNING_IN = "tests/supabase/test_supabase_py.py::test_the_gateway_and_the_api_give_the_same_account"
OF_OTHERS = """
create table public.of_others (id int);
create function public.of_others() returns int language sql as 'select 1';
insert into auth.users (id, email)
select gen_random_uuid(), 'user-' || n || '@example.org' from generate_series(1, 20) as n;
insert into public.user_accounts (user_id, account_name) select id, 'Theirs' from auth.users
"""
IN_THE_DATABASE = "DATABASE_URL is not set: this test looks into the database"
SIGNS_IN = "there is no Auth server at SUPABASE_URL: this test signs in there"
LOCKS = "06_altered_table locks the table: not for a project that may be in use"
PYTEST = [sys.executable, "-m", "pytest", "-n0", "-p", "no:cacheprovider", "-p", "xdist", "-p", "pytest_timeout"]
FEW_PLUGINS = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # those of the fuzzing take as long to import as all the rest
_SUITES_SECONDS = 240  # some 30 where nothing else runs

pytestmark = pytest.mark.timeout(_SUITES_SECONDS + 60)


@pytest.fixture(scope="module")
def project(used_folders: Callable[[PostgresVersion], Path]) -> Iterator[Stack]:
    """A project of somebody else's, with users, accounts and objects that are none of the tests' business."""
    with local_stack.run(used_folders(16), durable=False) as stack:
        with stack.cluster.connect(MIGRATOR) as connection:
            connection.execute(OF_OTHERS)
        yield stack


def seen(project: Stack) -> tuple[Any, ...]:
    """All users and accounts of the project, and when PostgreSQL last wrote each account."""
    with project.cluster.connect(MIGRATOR) as connection:
        users = connection.execute("select id, email from auth.users order by id").fetchall()
        return users, connection.execute("select *, xmin::text from public.user_accounts order by id").fetchall()


@contextmanager
def without_auth(supabase_url: str) -> Iterator[str]:
    """The project's REST alone, as a PostgREST of one's own behind a proxy; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def response(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path.startswith("/rest/v1/"):
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                response = client.request(self.command, self.path, headers=headers, content=body)
            else:
                response = httpx.Response(404)
            self.send_response(response.status_code)
            for name in ("content-type", "content-range"):
                if name in response.headers:
                    self.send_header(name, response.headers[name])
            self.send_header("Content-Length", str(len(response.content)))
            self.end_headers()
            self.wfile.write(response.content)

        do_GET = do_POST = do_PATCH = do_DELETE = response  # noqa: N815 - as http.server wants them

        def log_message(self, *_arguments: object) -> None:
            pass

    with (
        httpx.Client(base_url=supabase_url, timeout=30) as client,
        ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server,
    ):
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def run_suites(folder: Path, *suites: str, **environment: str) -> tuple[str, dict[str, set[str]]]:
    """Run them; returns what pytest says, and the tests that passed, failed, and were skipped, for which reasons."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SUPABASE_", "PYTEST_"))}
    inherited.pop("DATABASE_URL", None)
    report = folder / "report.xml"
    done = subprocess.run(
        [
            *PYTEST,
            *(f"--junitxml={report}", f"--basetemp={folder / 'tests'}"),
            *("-k", "of_the_project or not test_policies", *suites),
        ],
        cwd=PROJECT,
        env={**inherited, **environment, **FEW_PLUGINS},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SUITES_SECONDS,
        check=False,
    )
    results: dict[str, set[str]] = {"passed": set(), "failed": set(), "skipped": set(), "reasons": set()}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - pytest's own
        name = case.get("name") or ""
        skipped = case.find("skipped")
        if skipped is not None:
            results["skipped"].add(name)
            results["reasons"].add(skipped.get("message") or "")
        else:
            outcome = "passed" if case.find("failure") is None and case.find("error") is None else "failed"
            results[outcome].add(name)
    assert done.returncode == (1 if results["failed"] else 0), done.stdout + done.stderr
    return done.stdout, results


def test_everything_runs_against_a_project_that_is_in_use_and_leaves_no_trace(project: Stack, tmp_path: Path) -> None:
    before = seen(project)
    said, results = run_suites(
        tmp_path,
        SUPABASE_PY,
        POLICIES,
        SUPABASE_URL=project.supabase_url,
        SUPABASE_PUBLISHABLE_KEY=project.keys.publishable,
        SUPABASE_SECRET_KEY=project.keys.secret,
        SUPABASE_JWT_SECRET=project.keys.jwt_secret,
        DATABASE_URL=project.cluster.url(MIGRATOR, with_password=True),
    )
    assert results["failed"] == set(), said
    assert results["reasons"] == {LOCKS}
    assert {SIGNING_IN.partition("::")[2], "test_policies_of_the_project[04_rights]"} <= results["passed"]
    assert f"project: {project.supabase_url}\n" in said
    assert seen(project) == before


def test_what_needs_an_auth_server_says_so_where_there_is_none(project: Stack, tmp_path: Path) -> None:
    before = seen(project)
    with without_auth(project.supabase_url) as url:
        said, results = run_suites(
            tmp_path,
            ACCOUNTS,
            SIGNING_IN,
            SUPABASE_URL=url,
            SUPABASE_PUBLISHABLE_KEY=project.keys.publishable,
            SUPABASE_JWT_SECRET=project.keys.jwt_secret,
            DATABASE_URL=project.cluster.url(MIGRATOR, with_password=True),
        )
    assert results["failed"] == set(), said
    assert results["reasons"] == {SIGNS_IN}
    assert "test_a_new_users_list_is_empty" in results["passed"]
    assert seen(project) == before


def test_what_needs_more_than_the_name_says_so(project: Stack, tmp_path: Path) -> None:
    accounts_before = seen(project)[1]
    said, results = run_suites(
        tmp_path,
        ACCOUNTS,
        SUPABASE_URL=project.supabase_url,
        SUPABASE_PUBLISHABLE_KEY=project.keys.publishable,
    )
    assert results["failed"] == set(), said
    assert results["reasons"] == {IN_THE_DATABASE}
    assert "test_a_new_users_list_is_empty" in results["passed"]
    assert "THE TESTS' USERS ARE LEFT BEHIND" in said
    assert set(accounts_before) <= set(seen(project)[1])


def test_a_failure_is_one(project: Stack, tmp_path: Path) -> None:
    """A project with a gap: the suites are no use if they pass there."""
    with project.cluster.connect(MIGRATOR) as connection:
        connection.execute("alter table public.user_accounts disable row level security")
    try:
        _, results = run_suites(
            tmp_path,
            POLICIES,
            SUPABASE_URL=project.supabase_url,
            SUPABASE_PUBLISHABLE_KEY=project.keys.publishable,
            DATABASE_URL=project.cluster.url(MIGRATOR, with_password=True),
        )
    finally:
        with project.cluster.connect(MIGRATOR) as connection:
            connection.execute("alter table public.user_accounts enable row level security")
    assert "test_policies_of_the_project[02_row_level_security]" in results["failed"]


def test_half_a_name_is_refused() -> None:
    done = subprocess.run(
        [*PYTEST, "--collect-only", "tests/supabase"],
        cwd=PROJECT,
        env={"PATH": os.defpath, "SUPABASE_URL": "http://127.0.0.1:9", **FEW_PLUGINS},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 4
    assert "SUPABASE_PUBLISHABLE_KEY is not set" in done.stdout + done.stderr
