"""Measure the candidates side by side, and write bench/results.json and bench/results.svg."""

import argparse
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx
import jwt
import psutil

from bench.candidates import PATH
from bench.report import Results, Run, picture, table
from edge_api.local import stack as local_stack
from edge_api.local.processes import Child, accepts_connections, free_port

HERE: Final = Path(__file__).parent
CALLERS: Final = (1, 16, 64)
SERVE: Final = [sys.executable, "-m", "edge_api.cli", "serve"]
TWO_WORKERS: Final = "edge, 2 workers"
# Those that are compared most stand side by side.
NAMES: Final = ("noop", "raw", "edge", TWO_WORKERS, "shared", "per-request")
# Of this candidate the first responses come after seconds where many wait, and two rounds say enough.
_SLOW: Final = "per-request"
_SLOW_SECONDS: Final = 4
_SETTLE_SECONDS: Final = 0.1
_IDLE_SECONDS: Final = 0.02
_PUBLISHABLE_KEY: Final = "sb_publishable_benchmark"
_CLAIMS: Final = {
    "sub": "01a209c4-2582-7088-9473-495d5ac64f35",
    "aud": "authenticated",
    "role": "authenticated",
    "email": "ada@example.com",
    "phone": "",
    "app_metadata": {"provider": "email", "providers": ["email"]},
    "user_metadata": {"email": "ada@example.com", "email_verified": True, "phone_verified": False},
    "aal": "aal1",
    "amr": [{"method": "password", "timestamp": 1763900000}],
    "session_id": "6ce1f2bd-9a3f-4d6a-8f9e-58f0c2a4a7de",
    "is_anonymous": False,
}


@dataclass(frozen=True)
class Project:
    """What a candidate is put in front of, and the token to call it with."""

    url: str
    key: str
    token: str


@dataclass(frozen=True)
class Target:
    """What is measured; `child` is the process that responds, where it is a candidate's own."""

    url: str
    project: Project
    child: Child | None = None

    def settle(self) -> None:
        """Wait until nothing is left of the last calls: servers go on with those that a client gave up."""
        if self.child is None:
            return
        process = psutil.Process(self.child.pid)
        used = -math.inf
        for _ in range(100):
            times = [each.cpu_times() for each in (process, *process.children())]
            before, used = used, sum(each.user + each.system for each in times)
            if used < before + _IDLE_SECONDS:
                return
            time.sleep(_SETTLE_SECONDS)
        raise RuntimeError(f"{self.child.name} does not come to rest")


def load(url: str, project: Project, *, callers: int, seconds: int, body: str = "") -> Run:
    """Call `url` from so many callers at a time. Raises RuntimeError if one call of them fails."""
    options = f"--threads=1 --connections={callers} --duration={seconds}s --timeout=30s --latency".split()
    done = subprocess.run(  # noqa: S603 - no input from outside
        [shutil.which("wrk") or "wrk", *options, f"--script={HERE / 'wrk.lua'}", url],
        env={**os.environ, "TOKEN": project.token, "SUPABASE_PUBLISHABLE_KEY": project.key, "BODY": body},
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + 60,
    )
    figures = json.loads(done.stdout.rstrip().rpartition("\n")[2])
    if figures["errors"] or not figures["requests"]:
        raise RuntimeError(f"{figures['errors']} calls of {url} failed, {figures['requests']} did not")
    return Run(figures["requests"] / figures["seconds"], figures["p50_ms"], figures["p99_ms"])


class Candidates:
    """Starts and stops the candidates, and knows where each of them listens."""

    def __init__(self, folder: Path, running: ExitStack) -> None:
        self._folder = folder
        self._running = running

    def start(self, name: str, project: Project) -> Target:
        """Start one, and wait until it responds."""
        port = free_port()
        argv = SERVE if name.startswith("edge") else [sys.executable, "-m", "bench.candidates", name, str(port)]
        child = self._child(
            name,
            argv,
            port,
            SUPABASE_URL=project.url,
            SUPABASE_PUBLISHABLE_KEY=project.key,
            EDGE_API_PORT=str(port),
            EDGE_API_WORKERS="2" if name == TWO_WORKERS else "1",
        )
        url = f"http://127.0.0.1:{port}{PATH}"
        httpx.post(url, headers={"Authorization": f"Bearer {project.token}"}).raise_for_status()
        return Target(url, project, child)

    def start_upstream(self) -> Project:
        """Start an instant upstream, of a project that these claims call."""
        port = free_port()
        self._child("upstream", [sys.executable, "-m", "bench.upstream", str(port)], port)
        expiry = {"iat": int(time.time()), "exp": int(time.time()) + 3600}
        token = jwt.encode({**_CLAIMS, **expiry}, "x" * 48, algorithm="HS256")
        return Project(f"http://127.0.0.1:{port}", _PUBLISHABLE_KEY, token)

    def start_up(self, argv: list[str], port: int, **env: str) -> float:
        """The seconds from the start of a server to its first response."""
        since = time.perf_counter()
        child = self._child("start-up", argv, port, **env)
        try:
            httpx.get(f"http://127.0.0.1:{port}/healthz").raise_for_status()
            return time.perf_counter() - since
        finally:
            child.stop(grace_seconds=5)

    def _child(self, name: str, argv: list[str], port: int, **env: str) -> Child:
        log = self._folder / f"{name}-{port}.log"
        child = Child(
            name, argv, log=log, cwd=HERE.parent, env={"PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1", **env}
        )
        self._running.callback(child.stop, grace_seconds=5)
        child.wait_until(lambda: accepts_connections(port), seconds=30)
        return child


def sign_up(stack: local_stack.Stack) -> Project:
    """A real user of the real stack."""
    response = httpx.post(
        f"{stack.supabase_url}/auth/v1/signup",
        headers={"apikey": stack.keys.publishable},
        json={"email": f"bench-{uuid4()}@example.com", "password": str(uuid4())},
    )
    response.raise_for_status()
    return Project(stack.supabase_url, stack.keys.publishable, response.json()["access_token"])


def measure(targets: dict[str, Target], *, rounds: int, seconds: int, report: str) -> Results:
    """Measure every target, round after round, so that the machine's moods hit them all.

    All numbers of callers of a target in a row: how it bears more of them is one of the questions.
    """
    results: dict[str, dict[int, list[Run]]] = {name: {callers: [] for callers in CALLERS} for name in targets}
    for turn in range(rounds):
        for name, target in targets.items():
            if name == _SLOW and turn > 1:
                continue
            for callers in CALLERS:
                if sys.stderr.isatty():
                    print(f"\r\x1b[K{report}, round {turn + 1}, {callers} callers: {name}", end="", file=sys.stderr)
                body = "{}" if name == "direct" else ""
                length = max(seconds, _SLOW_SECONDS) if name == _SLOW else seconds
                run = load(target.url, target.project, callers=callers, seconds=length, body=body)
                results[name][callers].append(run)
                target.settle()
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    return results


def memory_growth(candidates: Candidates, project: Project) -> dict[str, float]:
    """A worker's memory after 1,000 and after 100,000 requests, in MiB."""
    target = candidates.start("edge", project)
    assert target.child is not None
    process = psutil.Process(target.child.pid)
    made, after = 0.0, {}
    for requests in (1_000, 100_000):
        while made < requests:
            seconds = 1 if requests == 1_000 else 5
            made += load(target.url, project, callers=16, seconds=seconds).rps * seconds
        after[f"after {requests:,} requests"] = process.memory_info().rss / 2**20
    return after


def start_up(candidates: Candidates, project: Project, *, rounds: int) -> dict[str, float]:
    """The median seconds from a server's start to its first response."""
    taken: dict[str, list[float]] = {"edge-api serve": [], "a bare FastAPI app": []}
    settings = {"SUPABASE_URL": project.url, "SUPABASE_PUBLISHABLE_KEY": project.key}
    for _ in range(rounds):
        port = free_port()
        taken["edge-api serve"].append(candidates.start_up(SERVE, port, EDGE_API_PORT=str(port), **settings))
        port = free_port()
        taken["a bare FastAPI app"].append(candidates.start_up([sys.executable, "-m", "bench.bare", str(port)], port))
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def machine() -> dict[str, str]:
    """What the figures were taken on."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return {
        "cpu": f"{os.cpu_count()} x {cpu}",
        "python": platform.python_version(),
        **{name: version(name) for name in ("fastapi", "uvicorn", "pyreqwest", "aiohttp", "supabase", "pydantic")},
    }


def main() -> int:
    """Run everything; under five minutes."""
    arguments = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5, help="times that each candidate is measured (5)")
    arguments.add_argument("--seconds", type=int, default=1, help="length of a measurement (1)")
    arguments.add_argument("--only", nargs="*", help="the candidates, against the instant upstream alone")
    options = arguments.parse_args()
    if shutil.which("wrk") is None:
        print("bench: the load generator is missing: apt-get install wrk (brew install wrk)", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="edge-api-bench-") as temporary, ExitStack() as running:
        candidates = Candidates(Path(temporary), running)
        project = candidates.start_upstream()
        targets = {name: candidates.start(name, project) for name in options.only or NAMES}
        if options.only:
            print(table(measure(targets, rounds=options.rounds, seconds=options.seconds, report="instant upstream")))
            return 0
        targets["direct"] = Target(f"{project.url}/rest/v1/rpc/get_or_create_account", project)
        instant = measure(targets, rounds=options.rounds, seconds=options.seconds, report="instant upstream")
        memory = memory_growth(candidates, project)
        started = start_up(candidates, project, rounds=5)
    with tempfile.TemporaryDirectory(prefix="edge-api-bench-") as temporary, ExitStack() as running:
        candidates = Candidates(Path(temporary), running)
        state = Path(tempfile.mkdtemp(prefix="edge-api-bench-"))
        running.callback(local_stack.reset, state)
        stack = running.enter_context(local_stack.run(state))
        project = sign_up(stack)
        targets = {name: candidates.start(name, project) for name in ("raw", "edge", "shared", "per-request")}
        targets["direct"] = Target(f"{stack.supabase_url}/rest/v1/rpc/get_or_create_account", project)
        embedded = measure(targets, rounds=options.rounds - 1, seconds=options.seconds, report="embedded stack")

    results = {
        "machine": machine(),
        "instant upstream": _plain(instant),
        "embedded stack": _plain(embedded),
        "memory of a worker in MiB": memory,
        "seconds from start to first response": started,
    }
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "results.svg").write_text(picture(instant))
    print("With an instant upstream\n")
    print(table(instant))
    print("\nAgainst the embedded stack\n")
    print(table(embedded))
    print()
    print("Memory of a worker: " + ", ".join(f"{mib:.1f} MiB {when}" for when, mib in memory.items()))
    print("First response after: " + ", ".join(f"{seconds:.2f} s, {name}" for name, seconds in started.items()))
    print("\n" + ", ".join(f"{name} {value}" for name, value in machine().items()))
    return 0


def _plain(results: Results) -> dict[str, Any]:
    return {
        name: {str(callers): [asdict(run) for run in runs] for callers, runs in by_callers.items()}
        for name, by_callers in results.items()
    }


if __name__ == "__main__":
    sys.exit(main())
