"""What the locks pin, and for which machines."""

import json
import re
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Final

import pytest

from edge_api.local.packages import PROJECT

UV: Final = Path(sys.executable).with_name("uv")
SERVING: Final = PROJECT / "deploy" / "requirements.lock"
# requires-python, and the newest that the classifiers name
PYTHONS: Final = ("3.11", "3.14")
# Alpine is musl
MACHINES: Final = (
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "x86_64-unknown-linux-musl",
    "aarch64-unknown-linux-musl",
    "aarch64-apple-darwin",
)


@pytest.mark.parametrize(("machine", "python"), list(product(MACHINES, PYTHONS)))
def test_what_serves_is_there_for_each_machine_compiled_and_by_hash(tmp_path: Path, machine: str, python: str) -> None:
    install = ["--quiet", "pip", "install", "--dry-run", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    target = ["--python-platform", machine, "--python-version", python, "--target", str(tmp_path / "target")]
    done = subprocess.run(
        [UV, *install, *target, "--requirement", SERVING], capture_output=True, text=True, timeout=100, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def versions(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", ["deploy/requirements.lock", "deploy/build.lock"])
def test_what_serves_is_what_was_tested(name: str) -> None:
    tested = versions(PROJECT / "requirements.lock").items()
    assert versions(PROJECT / name)
    assert versions(PROJECT / name).items() <= tested


def test_each_package_of_each_lock_has_hashes_and_no_address() -> None:
    locks = [PROJECT / "requirements.lock", *PROJECT.glob("*/*.lock"), *PROJECT.glob(".*/*.lock")]
    assert len(locks) >= 5
    for lock in locks:
        text = lock.read_text()
        for requirement in re.split(r"\n(?=\w)", text.partition("\n\n")[2] or text)[1:]:
            assert "--hash=sha256:" in requirement, f"{lock.name}: {requirement}"
        assert "://" not in text
    packages = json.loads((PROJECT / "package-lock.json").read_text())["packages"]
    assert all("resolved" not in package for package in packages.values())
    assert all(package["integrity"] for path, package in packages.items() if path)


def test_what_package_lock_does_not_pin_is_told() -> None:
    """Binaries for other machines, which a registry may not have had when the lock was created."""
    packages = json.loads((PROJECT / "package-lock.json").read_text())["packages"]
    optional = {name for package in packages.values() for name in package.get("optionalDependencies", {})}
    pinned = {path.rpartition("node_modules/")[2] for path in packages}
    security = (PROJECT / "SECURITY.md").read_text()
    told = security.partition("**Not pinned**")[2]
    assert {name for name in optional - pinned if f"`{name}`" not in told} == set()
