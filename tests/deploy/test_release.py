"""`.ci/release`, as far as it goes without packages: CI rehearses all of it."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from edge_api import __version__
from edge_api.local.packages import PROJECT

TAG: Final = f"v{__version__}"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the script reads before it builds, which needs a Python that works."""
    for folder in (".ci", "edge_api", "bin"):
        (tmp_path / folder).mkdir()
    python = tmp_path / "bin" / "python3"
    python.write_text("#!/bin/sh\nexit 33\n")
    python.chmod(0o755)
    for name in (".ci/release", "CHANGELOG.md", "edge_api/__init__.py"):
        shutil.copy(PROJECT / name, tmp_path / name)
    return tmp_path


def release(checkout: Path, tag: str) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = ["bash", checkout / ".ci" / "release", tag, checkout / "release"]
    environment = {"PATH": f"{checkout / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def with_changelog(checkout: Path, text: str) -> None:
    (checkout / "CHANGELOG.md").write_text(text)


def test_the_notes_are_the_section_of_the_version(checkout: Path) -> None:
    with_changelog(
        checkout,
        f"# Changelog\n\n## [Unreleased]\n\n- Later\n\n## [{__version__}] - 2026-12-01\n\n### Added\n\n- Now\n\n"
        f"## [0.0.{__version__}] - 2026-01-01\n\n- Before\n",
    )
    assert release(checkout, TAG).returncode == 33
    assert (checkout / "release" / "notes.md").read_text().strip() == "### Added\n\n- Now"


def test_a_tag_that_is_not_the_version_releases_nothing(checkout: Path) -> None:
    done = release(checkout, "v99.0.0")
    assert done.returncode == 1
    assert done.stderr == f"the tag is v99.0.0, and the version in edge_api/__init__.py {__version__}\n"
    assert list((checkout / "release").rglob("*.*")) == []


@pytest.mark.parametrize("section", ["", f"## [{__version__}]\n\n## [0.0.1]\n\n- Before\n"])
def test_a_version_that_the_changelog_does_not_know_releases_nothing(checkout: Path, section: str) -> None:
    with_changelog(checkout, f"# Changelog\n\n## [Unreleased]\n\n- Later\n\n{section}")
    done = release(checkout, TAG)
    assert (done.returncode, done.stderr) == (1, f"CHANGELOG.md says nothing under [{__version__}]\n")


def test_a_rehearsal_takes_what_is_to_be_released(checkout: Path) -> None:
    assert release(checkout, "unreleased").returncode == 33
    notes = (checkout / "release" / "notes.md").read_text()
    assert re.search(r"^### \w+$", notes, re.MULTILINE)
