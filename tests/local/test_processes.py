"""Child processes, and what is said when they fail."""

import socket
import sys
from pathlib import Path

import pytest

from edge_api.local.processes import Child, StackError, free_port


def child(folder: Path, program: str, *arguments: str) -> Child:
    return Child("the part", [program, *arguments], log=folder / "log", cwd=folder, env={})


def test_a_program_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"^the part cannot be started: /nowhere/program: No such file or directory$"):
        child(tmp_path, "/nowhere/program")


def test_a_program_that_ends_too_early_is_shown_with_the_end_of_its_log(tmp_path: Path) -> None:
    part = child(tmp_path, sys.executable, "-c", "print(*range(100), sep='\\n'); raise SystemExit(3)")
    with pytest.raises(StackError, match=r"^the part ended with exit code 3$") as ended:
        part.wait_until(lambda: False, seconds=30)
    assert ended.value.log_tail.endswith("\n  98\n  99")
    assert "  84" not in ended.value.log_tail


def test_a_program_that_never_gets_ready_is_not_waited_for_without_end(tmp_path: Path) -> None:
    part = child(tmp_path, sys.executable, "-c", "import signal; signal.pause()")
    with pytest.raises(StackError, match=r"^the part was not ready within 0.1 s$"):
        part.wait_until(lambda: False, seconds=0.1)
    part.stop(grace_seconds=10)
    assert part.exit_code() is not None


def test_a_program_that_does_not_stop_when_asked_is_ended(tmp_path: Path) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    part = child(tmp_path, sys.executable, "-c", deaf)
    part.wait_until(lambda: "deaf" in part.log.read_text(), seconds=30)
    part.stop(grace_seconds=0.1)
    assert part.exit_code() == -9


def test_a_log_is_for_its_owner_only(tmp_path: Path) -> None:
    part = child(tmp_path, sys.executable, "-c", "")
    part.stop(grace_seconds=10)
    assert part.log.stat().st_mode & 0o777 == 0o600


def test_a_log_is_not_written_through_a_link(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("years of work")
    (tmp_path / "log").symlink_to(elsewhere)
    with pytest.raises(OSError, match="symbolic links"):
        child(tmp_path, sys.executable, "-c", "print('in')")
    assert elsewhere.read_text() == "years of work"


def test_a_port_that_is_taken_is_not_given() -> None:
    port = free_port()
    assert free_port(port) == port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        assert free_port(port) != port
