"""The browser of the page's tests: it is no Python package."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

_PAGE: Final = Path(__file__).with_name("page")


def chromium() -> Path:
    """Where the browser is: at EDGE_CHROMIUM, or on the PATH. Raises FileNotFoundError if it is missing."""
    found = os.environ.get("EDGE_CHROMIUM") or shutil.which("chromium")
    if not found or not os.access(found, os.X_OK):
        raise FileNotFoundError(
            "Chromium, in which the page is tested, is missing: apt-get install chromium, or EDGE_CHROMIUM=the path of "
            "one; --ignore=tests/page runs the other tests"
        )
    return Path(found)


def require(paths: Sequence[str], ignored: Sequence[str]) -> None:
    """Raise UsageError if tests at these paths, but for ignored ones, need the browser and it is missing."""
    requested = [Path(path.partition("::")[0]).resolve() for path in paths]
    if _PAGE in (Path(path).resolve() for path in ignored):
        return
    if any(path.is_relative_to(_PAGE) or _PAGE.is_relative_to(path) for path in requested):
        try:
            chromium()
        except FileNotFoundError as error:
            raise pytest.UsageError(str(error)) from None
