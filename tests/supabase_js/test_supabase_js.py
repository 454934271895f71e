"""The same work as a web frontend does it: supabase-js, with the generated types."""

import json
import shutil
import socket
import time
from pathlib import Path
from uuid import uuid4

import pytest

from edge_api.local import types
from edge_api.local.packages import PROJECT
from edge_api.local.stack import Stack
from tests.docs.frontend import refusals
from tests.node import run_node, type_errors
from tests.support import User, signed

HERE = Path(__file__).parent


def test_a_typed_client_compiles_and_what_is_wrong_does_not() -> None:
    assert type_errors(HERE) == ""


WRONG_TYPES = (
    ('"default_name"?: string', '"defaultName"?: string'),
    ('Writable<"user_accounts", "account_name", "account_name">', 'Database["public"]["Tables"]["user_accounts"]'),
    ('"created": boolean', '"created": any'),
    ('"is_active": boolean', '"is_active": boolean | null'),
)


def test_other_types_would_be_noticed(tmp_path: Path) -> None:
    shutil.copy(HERE / "tsconfig.json", tmp_path)
    (tmp_path / "node_modules").symlink_to(PROJECT / "node_modules")
    generated = types.DATABASE_TYPES.read_text()
    for number, (right, wrong) in enumerate(WRONG_TYPES):
        assert right in generated
        for folder in ("tests/supabase_js", "supabase"):
            (tmp_path / str(number) / folder).mkdir(parents=True)
        shutil.copy(HERE / "types.ts", tmp_path / str(number) / "tests" / "supabase_js")
        (tmp_path / str(number) / "supabase" / "database.types.ts").write_text(generated.replace(right, wrong))
    found = type_errors(tmp_path)
    for number in range(len(WRONG_TYPES)):
        assert f"{number}/tests/supabase_js/types.ts" in found


@pytest.mark.parametrize("file", sorted(HERE.glob("*.test.ts")), ids=lambda file: file.name)
def test_in_node(stack: Stack, user: User, file: Path, subtests: pytest.Subtests, tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # and nobody listens: connections are refused
        done = run_node(
            f"--test-reporter={HERE / 'reporter.mjs'}",
            file,
            folder=tmp_path,
            env={
                **stack.settings(),
                "EXPIRED_TOKEN": signed(stack, {"sub": str(user.id), "exp": int(time.time()) - 3600}),
                "FORGED_TOKEN": signed(stack, {"sub": str(user.id)}, key="x" * 48),
                "ANONYMOUS_TOKEN": signed(stack, {"sub": str(user.id), "is_anonymous": True}),
                "DELETED_TOKEN": signed(stack, {"sub": str(uuid4())}),
                "SILENT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
                "REFUSALS": json.dumps(refusals()),
            },
        )
    results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert results, done.stderr or done.stdout
    for result in results:
        with subtests.test(result["name"]):
            assert result["failure"] is None, result["failure"]
            assert result["skipped"] is False
    failed = [result["name"] for result in results if result["failure"]]
    assert (done.returncode == 0) == (not failed), done.stderr
