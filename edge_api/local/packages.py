"""Where the checkout and the installed packages' folders are."""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

from edge_api.local.processes import StackError

PROJECT: Final = Path(__file__).resolve().parents[2]


def package_folder(name: str) -> Path:
    """The folder of an installed Python package, found without importing it. Raises StackError if it is missing."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise StackError(f"the Python package {name} is missing: run make in the checkout")
    return Path(spec.origin).parent
