"""Runs node, and the TypeScript compiler that package.json pins."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from edge_api.local.node import node
from edge_api.local.packages import PROJECT


def run_node(
    *arguments: str | Path, folder: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run node in a folder, with nothing in its environment but `env`. It runs TypeScript too, and checks no types."""
    return subprocess.run(
        [node(), *arguments],
        cwd=folder,
        env={"PATH": os.defpath, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=45,
        check=False,
    )


def type_errors(folder: Path) -> str:
    """What the TypeScript compiler says about the folder with a tsconfig.json; nothing if all is well."""
    done = run_node(PROJECT / "node_modules" / "typescript" / "bin" / "tsc", "--project", folder, folder=folder)
    assert done.stderr == ""
    assert (done.returncode == 0) == (done.stdout == "")
    return done.stdout
