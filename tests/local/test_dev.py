"""`make dev`, from outside."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import psycopg
import pytest

from edge_api.local import stack as local_stack
from edge_api.local.packages import PROJECT
from edge_api.local.postgres import PostgresVersion, cluster_home
from edge_api.local.processes import free_port
from tests.support import ACCOUNTS, GET_OR_CREATE, NO_CERTIFICATES

DEV = [sys.executable, "-m", "edge_api.local", "dev"]
PASSWORD = "correct horse battery"
NAMED_ORIGIN = "https://app.example.com"


class Dev:
    """A running `make dev`."""

    def __init__(self, process: subprocess.Popen[str], environment: Mapping[str, str]) -> None:
        self.process = process
        self.environment = environment
        assert process.stdout is not None
        self.output = ""
        for line in process.stdout:
            self.output += line
            if "Ctrl-C" in line:
                break
        self.descendants = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        lines = (self.state / "dev.env").read_text().splitlines() if self.descendants else []
        self.settings = {name: value.strip("'") for name, _, value in (line.partition("=") for line in lines)}

    @property
    def state(self) -> Path:
        return Path(self.environment["EDGE_STATE_DIR"])

    def finish(self) -> str:
        """Wait for the end; returns the rest of the output."""
        rest, _ = self.process.communicate(timeout=20)
        return rest

    def child(self, mark: str) -> psutil.Process:
        """The child whose command line has `mark` in it; its own children may have the same."""
        found = [child for child in self.descendants if any(mark in word for word in child.cmdline())]
        (first,) = (child for child in found if child.ppid() not in {other.pid for other in found})
        return first

    def auth(self, path: str, email: str) -> dict[str, Any]:
        response = httpx.post(
            f"{self.settings['SUPABASE_URL']}/auth/v1/{path}",
            headers={"apikey": self.settings["SUPABASE_PUBLISHABLE_KEY"]},
            json={"email": email, "password": PASSWORD},
            verify=NO_CERTIFICATES,
        )
        response.raise_for_status()
        session: dict[str, Any] = response.json()
        return session

    def call(self, method: str, path: str, session: Mapping[str, Any]) -> Any:
        headers = {"Authorization": f"Bearer {session['access_token']}"}
        response = httpx.request(
            method, f"{self.settings['EDGE_API_URL']}{path}", headers=headers, verify=NO_CERTIFICATES
        )
        response.raise_for_status()
        return response.json()


def new_environment(state: Path) -> dict[str, str]:
    ours = ("EDGE_", "SUPABASE_", "DATABASE_", "MAKE", "MFLAGS")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**inherited, "EDGE_STATE_DIR": str(state), "EDGE_API_PORT": str(free_port())}


@pytest.fixture
def environment(state_folders: Callable[[], Path]) -> Iterator[dict[str, str]]:
    """Of a first start."""
    state = state_folders()
    yield new_environment(state)
    local_stack.reset(state)  # now, and not with the last test: many would take much memory


@pytest.fixture
def used_environment(used_folders: Callable[[PostgresVersion], Path]) -> Iterator[dict[str, str]]:
    """Of a further start, which takes half of the time."""
    state = used_folders(16)
    yield new_environment(state)
    local_stack.reset(state)


@contextmanager
def running(command: list[str], environment: Mapping[str, str]) -> Iterator[Dev]:
    with subprocess.Popen(
        command,
        cwd=PROJECT,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield Dev(process, environment)
        finally:
            if process.poll() is None:
                process.terminate()


@pytest.fixture(scope="module")
def dev(state_folders: Callable[[], Path]) -> Iterator[Dev]:
    """One for those that leave it running."""
    environment = {
        **new_environment(state_folders()),
        "EDGE_CORS_ORIGINS": NAMED_ORIGIN,
        "EDGE_CORS_HEADERS": "X-Tenant",
    }
    with running(DEV, environment) as dev:
        yield dev


def assert_all_end(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=10)
    for left_behind in alive:  # a test that fails leaves nothing behind either
        left_behind.kill()
    assert alive == []


def test_make_dev_serves_keeps_data_over_a_restart_and_stops_cleanly(environment: dict[str, str]) -> None:
    with running(["make", "dev"], environment) as dev:
        session = dev.auth("signup", "ada@example.com")
        assert dev.call("GET", ACCOUNTS, session)["accounts"] == []
        account = dev.call("POST", GET_OR_CREATE, session)["account"]
        assert dev.call("GET", ACCOUNTS, session)["accounts"] == [account]
        dev.process.send_signal(signal.SIGTERM)
        assert "stopped" in dev.finish()
        assert_all_end(dev.descendants)

    with running(DEV, environment) as dev:
        session = dev.auth("token?grant_type=password", "ada@example.com")
        assert dev.call("GET", ACCOUNTS, session)["accounts"] == [account]
        dev.process.send_signal(signal.SIGINT)
        assert "stopped" in dev.finish()
        assert dev.process.returncode == 0
        assert_all_end(dev.descendants)


def test_the_settings_file_is_private_and_names_what_runs(dev: Dev) -> None:
    assert set(dev.settings) == {"EDGE_API_URL", "SUPABASE_URL", "SUPABASE_PUBLISHABLE_KEY", "DATABASE_URL"}
    assert dev.settings["EDGE_API_URL"] == f"http://127.0.0.1:{dev.environment['EDGE_API_PORT']}"
    assert (dev.state / "dev.env").stat().st_mode & 0o777 == 0o600
    with psycopg.connect(dev.settings["DATABASE_URL"]) as connection:
        row = connection.execute("select rolname, rolsuper from pg_roles where rolname = current_user").fetchone()
        assert row == ("postgres", False)
    shown = dev.output
    for name in ("EDGE_API_URL", "SUPABASE_URL", "SUPABASE_PUBLISHABLE_KEY"):
        assert dev.settings[name] in shown
    password = psycopg.conninfo.conninfo_to_dict(dev.settings["DATABASE_URL"])["password"]
    assert str(password) not in shown


STEP_NAMES = ("PostgreSQL 16", "REST and Auth", "the migrations", "the API")


def test_each_step_has_a_line(dev: Dev) -> None:
    steps = [line for line in dev.output.splitlines() if line.startswith("[")]
    bars = ("[=   ]", "[==  ]", "[=== ]", "[====]")
    assert [re.sub(r" \(\d+\.\d s\)$", "", line) for line in steps] == [
        f"{bar} {name}" for bar, name in zip(bars, STEP_NAMES, strict=True)
    ]


def test_a_terminal_shows_a_step_from_its_beginning_and_a_failure_on_a_line_of_its_own(
    used_environment: dict[str, str],
) -> None:
    reading, terminal = os.openpty()
    with subprocess.Popen(
        DEV, env={**used_environment, "EDGE_CORS_ORIGINS": "nonsense"}, stdout=terminal, stderr=terminal
    ) as process:
        os.close(terminal)
        shown = b""
        with suppress(OSError):  # the end of a terminal
            while piece := os.read(reading, 65536):
                shown += piece
        os.close(reading)
    assert process.returncode == 1
    lines = shown.decode().splitlines(keepends=True)
    assert lines[0] == "[    ] PostgreSQL 16 ...\r"
    assert lines[1].startswith("[=   ] PostgreSQL 16 (")
    assert lines[6] == "[=== ] the API ...\r\n"
    assert lines[7] == "edge-api: the API ended with exit code 2\r\n"


def test_no_secret_is_in_a_command_line(dev: Dev) -> None:
    commands = " ".join(word for process in dev.descendants for word in process.cmdline())
    state = (dev.state / "state.json").read_text()
    secrets = [word for word in state.split('"') if len(word) > 30]
    assert len(secrets) == 6
    assert [secret for secret in secrets if secret in commands] == []


def test_another_user_of_the_machine_reads_no_file(dev: Dev) -> None:
    # PostgreSQL's programs are for whoever runs it, where root installed them in a folder of its own
    data = [path for path in dev.state.iterdir() if "-programs-" not in path.name]
    readable = [path for path in data if path.stat().st_mode & 0o077]
    assert readable == []
    # PostgreSQL's own user, where root runs it, passes through the folder; nobody lists or changes it
    assert dev.state.stat().st_mode & 0o066 == 0


def test_the_lines_to_paste_work(dev: Dev) -> None:
    if shutil.which("curl") is None:
        assert not os.environ.get("CI"), "CI installs curl"
        pytest.skip("the lines are for curl, which this machine does not have")
    lines = dev.output.partition("Paste into another terminal")[2].split("\n\n")[1]
    pasted = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", lines], capture_output=True, text=True, timeout=30, check=True
    )
    empty, created, refused = pasted.stdout.replace("}{", "}\n{").splitlines()
    assert '"count":0' in empty
    assert '"created":true' in created
    assert '"code":"account_exists"' in refused


def test_the_official_cli_needs_no_node_of_the_machines(dev: Dev, tmp_path: Path) -> None:
    """As docs/deploy.md has it: the password in the environment, the rest of the address on the command line."""
    url = urlsplit(dev.settings["DATABASE_URL"])
    remote = url._replace(netloc=f"{url.username}@{url.hostname}:{url.port}").geturl()
    done = subprocess.run(
        [*DEV[:-1], "supabase", "db", "push", "--dry-run", f"--remote={remote}"],
        env={"PATH": str(tmp_path), "HOME": str(tmp_path), "DO_NOT_TRACK": "1", "PGPASSWORD": str(url.password)},
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "up to date" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("origin", "may_call"),
    [
        (NAMED_ORIGIN, True),
        ("http://localhost:5173", True),
        ("https://localhost", True),
        ("http://127.0.0.1:3000", True),
        ("http://[::1]:8080", True),
        ("http://localhost.example.com:5173", False),
        ("http://localhost:5173.example.com", False),
        ("http://127.0.0.10:3000", False),
        ("https://app.example.org", False),
        ("null", False),
    ],
)
def test_pages_of_this_machine_and_of_the_named_origins_may_call(dev: Dev, origin: str, *, may_call: bool) -> None:
    preflight = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,x-tenant",
    }
    for method, headers in (("OPTIONS", preflight), ("GET", {"Origin": origin})):
        response = httpx.request(
            method, f"{dev.settings['EDGE_API_URL']}{ACCOUNTS}", headers=headers, verify=NO_CERTIFICATES
        )
        assert response.headers.get("Access-Control-Allow-Origin") == (origin if may_call else None)
        assert "Access-Control-Allow-Credentials" not in response.headers
        assert response.status_code == (401 if method == "GET" else 200 if may_call else 400)


def test_a_port_in_use_is_one_clear_line(dev: Dev) -> None:
    other = {**dev.environment, "EDGE_STATE_DIR": f"{dev.environment['EDGE_STATE_DIR']}/other"}
    failed = subprocess.run(DEV, env=other, capture_output=True, text=True, timeout=30, check=False)
    port = dev.environment["EDGE_API_PORT"]
    assert failed.returncode == 1
    assert failed.stderr == (f"edge-api: port {port} of 127.0.0.1 is in use: set EDGE_API_PORT to a free one\n")


def test_a_state_folder_in_use_is_one_clear_line(dev: Dev) -> None:
    other = {**dev.environment, "EDGE_API_PORT": str(free_port())}
    for command in ("dev", "reset"):
        failed = subprocess.run(
            [*DEV[:-1], command], env=other, capture_output=True, text=True, timeout=30, check=False
        )
        assert failed.returncode == 1
        assert failed.stderr.startswith("edge-api: ")
        assert "is in use by another run" in failed.stderr


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("EDGE_CORS_ORIGINS", "app.example.com", "is wrong: must be origins"),
        ("EDGE_CORS_ORIGIN", "https://app.example.com", "there is no such setting"),
    ],
)
def test_a_wrong_setting_of_the_api_is_named(
    used_environment: dict[str, str], variable: str, value: str, message: str
) -> None:
    with running(DEV, {**used_environment, variable: value}) as dev:
        assert dev.process.wait(timeout=20) == 1
        assert "edge-api: the API ended with exit code 2" in dev.output
        assert variable in dev.output
        assert message in dev.output


def test_data_of_other_migrations_are_one_clear_line(used_environment: dict[str, str]) -> None:
    """As before migrations were folded into one another."""
    with running(DEV, used_environment) as dev:
        with psycopg.connect(dev.settings["DATABASE_URL"]) as connection:
            connection.execute("insert into supabase_migrations.schema_migrations (version) values ('20261123000100')")
        dev.process.terminate()
        dev.finish()
    failed = subprocess.run(DEV, env=used_environment, capture_output=True, text=True, timeout=30, check=False)
    assert failed.returncode == 1
    assert failed.stderr == (
        f"edge-api: the data in {dev.state} come from migrations that are no longer here: run make reset\n"
    )


@pytest.mark.parametrize(
    ("mark", "name"),
    [("bin/postgres", "PostgreSQL"), ("gateway.mjs", "the Supabase gateway"), ("edge_api.local.api", "the API")],
)
def test_a_child_that_dies_ends_everything(used_environment: dict[str, str], mark: str, name: str) -> None:
    with running(DEV, used_environment) as dev:
        dev.child(mark).kill()
        rest = dev.finish()
        assert dev.process.returncode == 1
        assert f"edge-api: {name} ended with exit code -9" in rest
        assert f"the end of {used_environment['EDGE_STATE_DIR']}" in rest
        assert_all_end(dev.descendants)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent was killed")
def test_killed_outright_it_leaves_no_process_and_starts_again(used_environment: dict[str, str]) -> None:
    with running(DEV, used_environment) as dev:
        session = dev.auth("signup", "ada@example.com")
        account = dev.call("POST", GET_OR_CREATE, session)["account"]
        dev.process.kill()
        dev.process.wait()
        assert_all_end(dev.descendants)
    with running(DEV, used_environment) as dev:
        assert dev.call("GET", ACCOUNTS, session)["accounts"] == [account]


def test_reset_wipes_everything(used_environment: dict[str, str]) -> None:
    state = Path(used_environment["EDGE_STATE_DIR"])
    with running(DEV, used_environment) as dev:
        dev.auth("signup", "ada@example.com")
        dev.process.terminate()
        dev.finish()
    subprocess.run(["make", "reset"], cwd=PROJECT, env=used_environment, timeout=30, check=True, capture_output=True)
    assert not state.exists()
    with running(DEV, used_environment) as dev:
        dev.auth("signup", "ada@example.com")


def test_reset_leaves_alone_what_is_not_its_own(used_environment: dict[str, str]) -> None:
    """EDGE_STATE_DIR may well be set to a folder that holds other things."""
    state = Path(used_environment["EDGE_STATE_DIR"])
    (state / "thesis").mkdir()
    (state / "thesis" / "chapter-1.txt").write_text("years of work")
    with running(DEV, used_environment) as dev:
        dev.process.terminate()
        dev.finish()
    assert len(list(state.iterdir())) > 5
    subprocess.run([*DEV[:-1], "reset"], env=used_environment, timeout=30, check=True)
    assert list(state.iterdir()) == [state / "thesis"]
    assert (state / "thesis" / "chapter-1.txt").read_text() == "years of work"
    (state / "thesis" / "chapter-1.txt").unlink()
    (state / "thesis").rmdir()


def test_a_state_folder_that_others_cannot_enter_will_do(environment: dict[str, str]) -> None:
    """Below root's home, say, where PostgreSQL's own user cannot go."""
    private = Path(environment["EDGE_STATE_DIR"])
    private.chmod(0o700)
    inner = {**environment, "EDGE_STATE_DIR": str(private / "state")}
    with running(DEV, inner) as dev:
        assert dev.auth("signup", "ada@example.com")["access_token"]
        assert (private / "state" / "dev.env").exists()
        dev.process.terminate()
        dev.finish()
    assert cluster_home(private / "state").exists()
    subprocess.run([*DEV[:-1], "reset"], env=inner, timeout=30, check=True)
    assert not cluster_home(private / "state").exists()
    assert list(private.iterdir()) == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("EDGE_API_PORT", "http"),
        ("EDGE_API_PORT", "0"),
        ("EDGE_API_PORT", "65536"),
        ("EDGE_API_HOST", "0.0.0.0"),  # noqa: S104 - to see it refused
        ("EDGE_POSTGRES_VERSION", "9"),
    ],
)
def test_a_wrong_setting_is_named(environment: dict[str, str], variable: str, value: str) -> None:
    failed = subprocess.run(
        DEV, env={**environment, variable: value}, capture_output=True, text=True, timeout=30, check=False
    )
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"edge-api: {variable} must be ")
