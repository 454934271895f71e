"""More than ten times what it can do, for as long as `--soak` says: refused in order, and gone without a trace."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest

from edge_api.local import stack as local_stack
from edge_api.local.packages import PROJECT
from edge_api.local.stack import MIGRATOR, Stack
from tests.support import ACCOUNTS, NO_CERTIFICATES, signed

# As many as the API has to Supabase; and many more than ten times that, and than it lets wait.
USUAL_CONNECTIONS = 32
TOO_MANY_CONNECTIONS = 640
PROCESSES = 2


@pytest.fixture
def own_stack(state_folders: Callable[[], Path]) -> Iterator[Stack]:
    """A stack that nothing else has used, with the settings that it has by itself."""
    with local_stack.run(state_folders(), durable=False) as running:
        yield running


@pytest.fixture
def tokens(own_stack: Stack) -> list[str]:
    users = [uuid4() for _ in range(50)]
    with own_stack.cluster.connect(MIGRATOR) as database:
        for user in users:
            database.execute("insert into auth.users (id, email) values (%s, %s)", [user, f"{user}@example.com"])
    return [signed(own_stack, {"sub": str(user), "exp": int(time.time()) + 86_400}) for user in users]


class Load:
    """What came of some load."""

    def __init__(self, results: list[dict[str, Any]], seconds: float) -> None:
        self.responses: Counter[str] = sum((Counter(result["responses"]) for result in results), Counter())
        self.faults: Counter[str] = sum((Counter(result["faults"]) for result in results), Counter())
        self.rate = self.responses.total() / seconds
        self.good_rate = self.responses["200"] / seconds
        self.slowest = max(result["max"] for result in results)
        self._p99 = max(result["p99"] for result in results)

    def __str__(self) -> str:
        return (
            f"{self.rate:.0f} responses/s, {self.good_rate:.0f} with 200; {dict(self.responses)}, {dict(self.faults)}; "
            f"99 % within {self._p99:.2f} s, all within {self.slowest:.2f} s"
        )


def offer(url: str, tokens: list[str], *, connections: int, seconds: float, processes: int) -> Load:
    """Call on so many connections at the same time, shared out among processes."""
    todo = {"url": url, "tokens": tokens, "connections": connections // processes, "seconds": seconds}
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.soak.load"],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    try:
        for child in children:
            assert child.stdin is not None
            child.stdin.write(json.dumps(todo))
            child.stdin.close()
            child.stdin = None
        return Load([json.loads(child.communicate(timeout=seconds + 120)[0]) for child in children], seconds)
    finally:
        for child in children:
            child.kill()
            child.wait()


def settled(measure: Callable[[], float], most: float, *, seconds: float = 30) -> float:
    """What is measured as soon as it is `most` at most, or after `seconds`."""
    deadline = time.monotonic() + seconds
    while (found := measure()) > most and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def test_what_is_too_much_is_refused_in_order_and_leaves_nothing_behind(
    own_stack: Stack, tokens: list[str], pytestconfig: pytest.Config, record_property: Callable[[str, object], None]
) -> None:
    seconds = float(pytestconfig.getoption("--soak"))
    url = own_stack.api_url
    api = psutil.Process(own_stack.children[-1].pid)

    def megabytes() -> float:
        return float(api.memory_info().rss) / 1e6

    files_when_idle = api.num_fds()
    usual = offer(url, tokens, connections=USUAL_CONNECTIONS, seconds=5, processes=1)
    assert set(usual.responses) == {"200"}
    assert not usual.faults

    offer(url, tokens, connections=TOO_MANY_CONNECTIONS, seconds=min(seconds, 10), processes=PROCESSES)
    memory_before = settled(megabytes, 0, seconds=5)

    load = offer(url, tokens, connections=TOO_MANY_CONNECTIONS, seconds=seconds, processes=PROCESSES)
    ended = time.monotonic()
    in_a_row = 0
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {tokens[0]}"}, verify=NO_CERTIFICATES) as client:
        while in_a_row < 20 and time.monotonic() < ended + 10:
            in_a_row = in_a_row + 1 if client.get(ACCOUNTS).status_code == 200 else 0
    recovered_in = time.monotonic() - ended
    memory_after = settled(megabytes, 1.1 * memory_before)
    files_after = settled(api.num_fds, files_when_idle + 4)

    for name, value in {
        "usual load": usual,
        "overload": load,
        "20 calls after": f"{recovered_in:.2f} s",
        "memory": f"{memory_before:.1f} MB before, {memory_after:.1f} MB after",
        "open files": f"{files_when_idle} before, {files_after:.0f} after",
    }.items():
        record_property(name, str(value))
        sys.stdout.write(f"{name}: {value}\n")

    assert set(load.responses) <= {"200", "503", "504"}
    assert load.responses["503"] > 0
    assert not load.faults
    assert in_a_row == 20
    assert recovered_in < 2
    assert memory_after <= 1.1 * memory_before
    assert files_after <= files_when_idle + 4
