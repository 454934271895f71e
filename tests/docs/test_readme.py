"""README.md: the requests of "Call it" respond as printed, links lead somewhere, and the page stays short."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

from edge_api.local.packages import PROJECT
from edge_api.local.stack import Stack
from tests.node import run_node

README: Final = (PROJECT / "README.md").read_text()
PAGES: Final = [*PROJECT.glob("*.md"), *(PROJECT / "docs").glob("*.md")]


def blocks(language: str) -> list[str]:
    section = README.partition("\n## Call it\n")[2].partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


def test_the_shell_commands_respond_as_printed(stack: Stack, tmp_path: Path) -> None:
    state = tmp_path / ".local"
    state.mkdir()
    (state / "dev.env").write_text("".join(f"{name}='{value}'\n" for name, value in stack.settings().items()))
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", "\n".join(blocks("sh"))],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=45,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed, actual = json.loads(blocks("json")[0]), json.loads(done.stdout)
    assert actual["created"] is printed["created"] is True
    assert actual["account"].keys() == printed["account"].keys()
    assert actual["account"]["account_name"] == printed["account"]["account_name"]


def test_the_code_for_a_frontend_runs(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(PROJECT / "node_modules")
    check = "console.log(JSON.stringify([account.created, accounts.length, accounts[0].id === account.id]));\n"
    (tmp_path / "frontend.mjs").write_text(blocks("js")[0] + check)
    done = run_node("frontend.mjs", folder=tmp_path, env=stack.settings())
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [True, 1, True]


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_link_within_the_project_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text())
    for path, anchor in links:
        target = (page.parent / path) if path else page
        assert target.exists(), path
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{path}#{anchor}"
