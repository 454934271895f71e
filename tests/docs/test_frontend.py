"""docs/frontend.md: its code runs as it stands, and its table is that of the code."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_api import errors
from edge_api.local import types
from edge_api.local.stack import Stack
from tests.docs import frontend
from tests.node import run_node, type_errors


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A frontend with the page's modules in it, beside the types."""
    frontend.check_out(tmp_path, types.DATABASE_TYPES.read_text())
    return tmp_path


@pytest.mark.parametrize("module", ["with-supabase-js.ts", "with-the-api.ts"])
def test_the_modules_do_what_their_comments_say(stack: Stack, checkout: Path, module: str) -> None:
    done = run_node(module, folder=checkout, env=stack.settings())
    assert done.returncode == 0, done.stderr
    expected = re.findall(r"console\.log\(.*\); // (.*?)(?:: [a-z].*)?$", frontend.modules()[module], re.MULTILINE)
    assert expected
    assert done.stdout.splitlines() == expected


def test_the_modules_have_no_type_errors(checkout: Path) -> None:
    (checkout / frontend.OF_THE_EXAMPLE).unlink()  # its types are another database's
    assert type_errors(checkout) == ""


def test_the_commands_run(stack: Stack) -> None:
    load, *rest = frontend.scripts()
    assert ".local/dev.env" in load
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", "\n".join(rest)],
        env={"PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1", **stack.settings()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=45,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    created, listed, again, rows, renamed = _documents(done.stdout)
    assert created["created"] is True
    assert listed["accounts"] == [created["account"]]
    account_id = created["account"]["id"]
    assert (again["id"], again["created"]) == (account_id, False)
    assert rows == [{"id": account_id, "account_name": "Default Alpaca Account"}]
    assert [(row["id"], row["account_name"]) for row in renamed] == [(account_id, "Paper trading")]


def _documents(text: str) -> Iterator[Any]:
    decoder, text = json.JSONDecoder(), text.strip()
    while text:
        document, end = decoder.raw_decode(text)
        yield document
        text = text[end:].strip()


def test_the_table_has_every_error_of_the_api_and_no_other() -> None:
    documented = {(row.status, row.code) for row in frontend.rows()}
    known = {(kind.status, kind.code) for kind in errors.Kind if kind not in errors.NOT_READY}
    assert documented == known


def test_what_supabase_reports_is_what_the_api_translates() -> None:
    """The codes in the table, as Supabase would send them, become the problem beside them."""
    translated = 0
    for row in frontend.rows():
        if not row.supabase_status or row.supabase_code in {"42501", "PGRST116"}:
            continue  # these depend on who asks, and on how
        problem = errors.from_upstream(row.supabase_status, row.supabase_code)
        assert (problem.kind.status, problem.kind.code) == (row.status, row.code)
        translated += 1
    assert translated >= 5
