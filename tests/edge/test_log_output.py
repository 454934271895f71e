"""Standard output that takes no more lines: no request waits for it, and what is dropped is counted."""

import asyncio
import json
import logging
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from edge_api.local.processes import free_port
from edge_api.main import create_app
from edge_api.settings import Settings
from tests.edge.serving import SERVE, is_up
from tests.support import NO_CERTIFICATES

MORE_THAN_A_PIPE_HOLDS = 600  # lines of 200 bytes; a pipe holds 64 KiB


@contextmanager
def serving_to(output: int, *command: str, **settings: str) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    port = free_port()
    environment = {
        "PATH": os.defpath,
        "SUPABASE_URL": f"http://127.0.0.1:{free_port()}",
        "SUPABASE_PUBLISHABLE_KEY": "sb_publishable_abc",
        "EDGE_API_PORT": str(port),
        **settings,
    }
    with subprocess.Popen(
        [*command, *SERVE], env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE
    ) as process:
        try:
            deadline = time.monotonic() + 30
            while not is_up(process.pid, port):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", verify=NO_CERTIFICATES, timeout=10) as client:
                yield client, process
        finally:
            process.kill()


def assert_serves_and_ends(client: httpx.Client, process: subprocess.Popen[bytes], *, requests: int) -> None:
    assert {client.get("/healthz").status_code for _ in range(requests)} == {200}
    unknown = client.get("/nothing")
    assert (unknown.status_code, unknown.headers["content-type"]) == (404, "application/problem+json")
    process.terminate()
    assert process.wait(20) == 0
    assert process.stderr is not None
    assert process.stderr.read() == b""


def test_a_full_disk_stops_no_request() -> None:
    with Path("/dev/full").open("wb") as full, serving_to(full.fileno()) as (client, process):
        assert_serves_and_ends(client, process, requests=5)


def test_a_closed_standard_output_stops_no_request() -> None:
    closing = ("sh", "-c", 'exec "$@" >&-', "sh")
    with serving_to(subprocess.DEVNULL, *closing) as (client, process):
        # else a socket would have taken its place, and be sent the log
        assert Path(f"/proc/{process.pid}/fd/1").readlink() == Path(os.devnull)
        assert_serves_and_ends(client, process, requests=5)


def test_a_reader_that_leaves_stops_no_request() -> None:
    reading, writing = os.pipe()
    with serving_to(writing) as (client, process):
        os.close(writing)
        assert os.read(reading, 1)
        os.close(reading)
        assert_serves_and_ends(client, process, requests=5)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_reader_that_does_not_read_stops_no_request(processes: str) -> None:
    reading, writing = os.pipe()
    try:
        with serving_to(writing, EDGE_API_WORKERS=processes) as (client, process):
            os.close(writing)
            assert_serves_and_ends(client, process, requests=int(processes) * MORE_THAN_A_PIPE_HOLDS)
            assert (
                len(os.read(reading, 1_000_000)) > 32_768
            )  # it had no room for more: a write takes whole pages of a pipe
    finally:
        os.close(reading)


SCRIPT = """
import logging
import sys
from edge_api.telemetry import logs

logs.configure("info")
logger = logging.getLogger("edge_api.test")
for number in range(30_000):
    logger.info("line: %(number)s", {"number": number})
print("logged", file=sys.stderr, flush=True)
sys.stdin.readline()
logging.shutdown()
logger.info("last")
logging.shutdown()
"""


def test_lines_that_find_no_room_are_counted_and_the_count_is_logged() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"logged\n"  # with nobody reading: none of them has waited
        output, errors = process.communicate(b"go on\n", timeout=30)
    lines = [json.loads(line) for line in output.splitlines()]
    written = [line["number"] for line in lines if line["event"] == "line"]
    reports = [line for line in lines if line["event"] == "log lines dropped"]
    assert written == sorted(set(written))
    assert len(written) >= 10_000
    assert len(written) + sum(report["dropped"] for report in reports) == 30_000
    assert {report["level"] for report in reports} == {"warning"}
    assert lines[-1]["event"] == "last"
    assert errors == b""


def test_the_last_lines_are_written_before_a_worker_ends() -> None:
    flushed: list[bool] = []

    class Output(logging.Handler):
        def flush(self) -> None:
            flushed.append(True)

    app = create_app(Settings(supabase_url="http://127.0.0.1:1", supabase_publishable_key="sb_publishable_abc"))

    async def live() -> None:
        async with app.router.lifespan_context(app):
            assert flushed == []

    output = Output()
    logging.getLogger().addHandler(output)
    try:
        asyncio.run(live())
    finally:
        logging.getLogger().removeHandler(output)
    assert flushed == [True]


def test_flushing_waits_for_a_reader_that_comes_late() -> None:
    script = SCRIPT.replace("sys.stdin.readline()\n", "").replace("30_000", "2_000")
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"logged\n"
        output, _ = process.communicate(timeout=30)
    assert [json.loads(line)["event"] for line in output.splitlines()] == ["line"] * 2_000 + ["last"]


def test_a_check_nobody_reads_still_tells_by_its_exit_code() -> None:
    environment = {"SUPABASE_URL": f"http://127.0.0.1:{free_port()}", "SUPABASE_PUBLISHABLE_KEY": "sb_publishable_abc"}
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*SERVE, "--check"], env=environment, stdout=full, stderr=subprocess.PIPE, timeout=40, check=False
        )
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr


def test_no_thread_spins_while_standard_output_is_blocked() -> None:
    reading, writing = os.pipe()
    try:
        with serving_to(writing) as (client, process):
            os.close(writing)
            for _ in range(MORE_THAN_A_PIPE_HOLDS):
                client.get("/healthz")
            busy = psutil.Process(process.pid)
            before = sum(busy.cpu_times()[:2])
            assert process.stderr is not None
            assert select.select([process.stderr], [], [], 1.0)[0] == []  # a second in which nothing is said
            assert sum(busy.cpu_times()[:2]) - before < 0.5
    finally:
        os.close(reading)
