"""Child processes that never outlive their parent."""

import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

_POLL_SECONDS: Final = 0.02
_LOG_TAIL_LINES: Final = 15
_PR_SET_PDEATHSIG: Final = 1
_ATTEMPTS: Final = 3
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class StackError(Exception):
    """The stack cannot start or go on: a line for a person, and what the failing part logged."""

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(message)
        self.log_tail = ""
        if log is not None and log.exists():
            lines = log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
            self.log_tail = "\n".join([f"the end of {log}:", *(f"  {line}" for line in lines)])


class Ids(NamedTuple):
    """A user and a group of the operating system, by number: neither needs a name."""

    user: int
    group: int


class Child:
    """A process that was started here. It gets no terminal, a session of its own, and a log file."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        log: Path,
        cwd: Path,
        env: Mapping[str, str],
        stdin: bytes = b"",
        user: Ids | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        """Start it.

        Args:
            name: for messages.
            argv: the program and its arguments. No secrets: other users can read them.
            log: the file that takes its output; started anew.
            cwd: the working directory.
            env: its whole environment.
            stdin: what it reads from its standard input: the place for secrets.
            user: the user and group that run it; None for those that run this.
            stop_signal: what asks it to end.

        Raises:
            StackError: it cannot be started.
        """
        self.name = name
        self.log = log
        self._stop_signal = stop_signal
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            self._process = subprocess.Popen(
                [str(word) for word in argv],
                stdin=subprocess.PIPE,
                stdout=descriptor,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=dict(env),
                start_new_session=True,  # Ctrl-C in the terminal is for the parent, which stops its children in order
                preexec_fn=self._die_with_parent,  # noqa: PLW1509 - one system call; no thread runs yet
                **as_user(user),
            )
        except OSError as error:
            raise StackError(f"{name} cannot be started: {argv[0]}: {error.strerror}") from None
        finally:
            os.close(descriptor)
        assert self._process.stdin is not None  # noqa: S101 - a pipe, as asked for above
        with suppress(BrokenPipeError), self._process.stdin as pipe:  # it ended at once: its exit code tells
            pipe.write(stdin)

    def _die_with_parent(self) -> None:
        if _libc is not None:  # Linux only; elsewhere a killed parent leaves its children to be stopped by hand
            _libc.prctl(_PR_SET_PDEATHSIG, self._stop_signal)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self._process.poll()

    def wait_until(self, ready: Callable[[], bool], *, seconds: float) -> None:
        """Wait until `ready()`.

        Raises:
            StackError: the process ended, or it was not ready within `seconds`.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            if self.exit_code() is not None:
                raise StackError(f"{self.name} ended with exit code {self.exit_code()}", self.log)
            if time.monotonic() > deadline:
                raise StackError(f"{self.name} was not ready within {seconds:g} s", self.log)
            time.sleep(_POLL_SECONDS)

    def stop(self, *, grace_seconds: float) -> None:
        """Ask it to end; end it by force after `grace_seconds`."""
        if self._process.poll() is None:
            self._process.send_signal(self._stop_signal)
            try:
                self._process.wait(grace_seconds)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()


def as_user(ids: Ids | None) -> dict[str, Any]:
    """Arguments for subprocess that run a program with the rights of this user and group alone; none for None."""
    return {} if ids is None else {"user": ids.user, "group": ids.group, "extra_groups": []}


def free_port(preferred: int | None = None) -> int:
    """A TCP port of 127.0.0.1 that is free: `preferred` if that is free, else any."""
    for candidate in (preferred, 0):
        if candidate is None:
            continue
        with socket.socket() as probe:
            # as servers do it: connections that have just ended do not count
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise StackError("no TCP port is free on 127.0.0.1")


def on_free_port(preferred: int | None, start: Callable[[int], Child]) -> tuple[Child, int]:
    """Start a server on a free port; on another one if somebody else took it in between.

    Raises:
        StackError: it does not start.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        port = free_port(preferred)
        try:
            return start(port), port
        except StackError as error:
            if attempt == _ATTEMPTS or not re.search("in use|EADDRINUSE", error.log_tail):
                raise
    raise AssertionError("unreachable")


def accepts_connections(port: int) -> bool:
    """Whether something listens on this port of 127.0.0.1."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
