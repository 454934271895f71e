"""A machine without a browser is told so once, before any test runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_api.local.packages import PROJECT
from tests import chromium

MISSING = "Chromium, in which the page is tested, is missing: apt-get install"


def collect(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "--quiet", *arguments],
        cwd=PROJECT,
        env={"PATH": str(PROJECT / "nowhere")},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_a_missing_browser_is_told_once_before_anything_runs() -> None:
    done = collect()
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert done.stdout == ""
    assert done.stderr.strip().startswith(f"ERROR: {MISSING}")
    assert len(done.stderr.strip().splitlines()) == 1


def test_what_needs_no_browser_runs_without_one() -> None:
    done = collect("-n0", "tests/local/test_chromium.py", "tests/page", "--ignore=tests/page")
    assert done.returncode == 0
    assert "test_what_needs_no_browser_runs_without_one" in done.stdout


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    monkeypatch.setenv("PATH", str(PROJECT / "nowhere"))
    monkeypatch.delenv("EDGE_CHROMIUM", raising=False)


@pytest.mark.parametrize("browser", [None, "/nowhere/chromium", os.devnull])
@pytest.mark.parametrize(
    "paths", [["tests"], ["tests/page"], ["tests/local", "tests/page/test_page.py::test_serve_has_no_page"]]
)
def test_tests_of_the_page_need_a_program(
    nowhere: None, monkeypatch: pytest.MonkeyPatch, paths: list[str], browser: str | None
) -> None:
    if browser is not None:
        monkeypatch.setenv("EDGE_CHROMIUM", browser)
    with pytest.raises(pytest.UsageError, match=MISSING):
        chromium.require(paths, [])


@pytest.mark.parametrize(
    ("paths", "ignored"), [(["tests/local/test_chromium.py"], []), (["tests"], ["tests/page"]), (["bench"], [])]
)
def test_other_tests_need_none(nowhere: None, paths: list[str], ignored: list[str]) -> None:
    chromium.require(paths, ignored)


def test_a_program_that_is_named_will_do(nowhere: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "chromium"
    program.touch(mode=0o700)
    monkeypatch.setenv("EDGE_CHROMIUM", str(program))
    chromium.require(["tests"], [])
