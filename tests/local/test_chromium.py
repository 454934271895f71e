"""A machine without a browser is told so once, before any test runs."""

import os
import subprocess
import sys

import pytest

from edge_api.embedded.packages import PROJECT


def collect(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "--quiet", *arguments],
        cwd=PROJECT,
        env={"PATH": str(PROJECT / "nowhere"), **environment},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.mark.parametrize(
    "paths", [(), ("tests/page",), ("tests/local", "tests/page/test_page.py::test_serve_has_no_page")]
)
def test_a_missing_browser_is_told_once_before_anything_runs(paths: tuple[str, ...]) -> None:
    for browser in ({}, {"EDGE_CHROMIUM": "/nowhere/chromium"}, {"EDGE_CHROMIUM": os.devnull}):
        done = collect(*paths, **browser)
        assert done.returncode == pytest.ExitCode.USAGE_ERROR
        assert done.stdout == ""
        assert done.stderr.strip().startswith(
            "ERROR: Chromium, in which the page is tested, is missing: apt-get install"
        )
        assert len(done.stderr.strip().splitlines()) == 1


def test_what_needs_no_browser_runs_without_one() -> None:
    for arguments in (
        ("-n0", "tests/local/test_chromium.py"),
        ("-n0", "tests/local", "tests/page", "--ignore=tests/page"),
    ):
        assert collect(*arguments).returncode == 0
