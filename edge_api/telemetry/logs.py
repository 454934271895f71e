"""Logging: a line per event on standard output, as JSON unless that is a terminal.

No request body, response body or message of an unexpected error is logged: they could hold a user's data.
"""

import logging
import os
import re
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from queue import SimpleQueue
from select import PIPE_BUF
from typing import Final, cast

import orjson
from starlette.types import Scope

from edge_api.problems import log_fields
from edge_api.telemetry import Observer

logger = logging.getLogger(__name__)

_MAX_FRAMES: Final = 30
_MAX_QUEUED_LINES: Final = 10_000  # some 4 MB
_GATHER_SECONDS: Final = 0.02
_FLUSH_SECONDS: Final = 2.0
_STANDARD_OUTPUT: Final = 1


def _without_message(error: BaseException | None) -> str:
    """The types of an exception and its causes, and the places they came through; never a message."""
    chain: list[str] = []
    while error is not None and len(chain) < 10:
        frames = traceback.extract_tb(error.__traceback__)[-_MAX_FRAMES:]
        places = (f"\n  {frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
        chain.insert(0, "".join([type(error).__qualname__, *places]))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(chain)


def log_crash(scope: Scope, error: Exception) -> None:
    """Log an unexpected error; not as `exc_info`, of which a host's own logging would write the message."""
    logger.error("crash: %(request_id)s: %(exception)s", {**log_fields(scope), "exception": _without_message(error)})


class _Formatter(logging.Formatter):
    """One line per record. This package's have what happened before a colon, and its fields as the only argument."""

    def __init__(self) -> None:
        super().__init__()
        self._for_people = os.isatty(_STANDARD_OUTPUT)

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        fields: dict[str, object] = {"level": record.levelname.lower(), "timestamp": at}
        if record.name.startswith("edge_api"):
            fields |= {"event": str(record.msg).partition(":")[0], **cast("dict[str, object]", record.args or {})}
        else:  # a library's message may go on with an error's, and with arguments
            event = re.split(r"[\n(<]", record.getMessage(), maxsplit=1)[0].strip()
            fields |= {"event": event, "logger": record.name}
        if record.exc_info:
            fields["exception"] = _without_message(record.exc_info[1])
        if self._for_people:
            about = [f"{name}={value}" for name, value in fields.items() if name not in {"event", "level", "timestamp"}]
            return " ".join([f"{at:%X} {fields['level']}: {fields['event']}", *about])
        return orjson.dumps(fields, default=str, option=orjson.OPT_UTC_Z).decode()


class _Output(logging.Handler):
    """Standard output, written by a thread: no request waits for it, and lines that find no room are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(_Formatter())
        self._lines: SimpleQueue[str | threading.Event] = SimpleQueue()
        self._dropped = self._reported = 0
        threading.Thread(target=self._run, daemon=True).start()

    def handle(self, record: logging.LogRecord) -> bool:
        """Queue a line without waiting, not even for the handler's lock, which whoever flushes holds."""
        try:
            if self._lines.qsize() < _MAX_QUEUED_LINES:
                self._lines.put(self.format(record))
            else:
                self._dropped += 1
        except Exception:
            self.handleError(record)
        return True

    def flush(self) -> None:
        """Wait until all lines are written, for some seconds at most: standard output may be blocked."""
        written = threading.Event()
        self._lines.put(written)
        written.wait(_FLUSH_SECONDS)

    def _run(self) -> None:
        while True:
            batch: list[bytes] = []
            first = self._lines.get()
            time.sleep(_GATHER_SECONDS)  # waking up for each line would slow down the event loop's thread
            for line in (first, *(self._lines.get() for _ in range(self._lines.qsize()))):
                if isinstance(line, threading.Event):
                    self._write(batch)
                    line.set()
                else:
                    batch.append(f"{line}\n".encode(errors="backslashreplace"))
                    if sum(map(len, batch)) > PIPE_BUF // 2:  # workers' lines do not mix within PIPE_BUF (POSIX, write)
                        self._write(batch)
            self._write(batch)

    def _write(self, batch: list[bytes]) -> None:
        """Write past Python's buffers, which would wait at exit for a blocked write."""
        data, count = b"".join(batch), len(batch)
        batch.clear()
        try:
            while data:
                data = data[os.write(_STANDARD_OUTPUT, data) :]
        except OSError:  # the disk is full, or the reader has gone
            self._reported -= count  # so many more are missing, and not reported yet
            return
        dropped = self._dropped - self._reported
        if dropped and self._lines.qsize() < _MAX_QUEUED_LINES // 2:  # else the report might be dropped as well
            self._reported += dropped
            logger.warning("log lines dropped: %(dropped)s", {"dropped": dropped})


class Logs(Observer):
    """A line for each request, at its end, with what was found out about it meanwhile."""

    @contextmanager
    def request(self, scope: Scope) -> Iterator[None]:
        """Log a request."""
        since, fields = time.perf_counter(), log_fields(scope)
        try:
            yield
        finally:
            # never the path itself, which may hold anything
            fields |= {"method": scope["method"], "route": getattr(scope.get("route"), "path", None)}
            milliseconds = round((time.perf_counter() - since) * 1000, 1)
            fields |= {"status": scope["edge_api.status"], "duration_ms": milliseconds}
            logger.info("request: %(method)s %(route)s %(status)s", fields)

    def close(self) -> None:
        """Write the last lines: a worker ends by uvicorn's last signal, which runs no exit handlers."""
        for handler in logging.getLogger().handlers:
            handler.flush()


def configure(level: str) -> None:
    """Send everything that is logged to standard output. Only the first call in a process has an effect.

    Args:
        level: minimum log level: debug, info, warning, error. Libraries' own lines begin at info.
    """
    if not any(isinstance(handler, _Output) for handler in logging.getLogger().handlers):
        minimum = logging.getLevelNamesMapping()[level.upper()]
        logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # which no line says
        logging.raiseExceptions = False  # a line that cannot be formatted is lost, not printed with its arguments
        logging.basicConfig(handlers=[_Output()], level=max(minimum, logging.INFO), force=True)
        logging.getLogger("edge_api").setLevel(minimum)
