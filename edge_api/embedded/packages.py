"""Where the project's files and the installed packages' folders are."""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

from edge_api.embedded.processes import StackError

# The checkout, or what a wheel brings along of it.
_PACKAGED: Final = Path(__file__).resolve().parents[1] / "_project"
PROJECT: Final = _PACKAGED if _PACKAGED.is_dir() else _PACKAGED.parents[1]


def package_folder(name: str) -> Path:
    """The folder of an installed Python package, found without importing it. Raises StackError if it is missing."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise StackError(
            f"the Python package {name} is missing: run make in the checkout, or install the wheel with [verify]"
        )
    return Path(spec.origin).parent
