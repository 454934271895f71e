"""What is logged: a line an event, for a program to read, or for a person at a terminal.

What a user sends, and what the database answers, is never logged; nor is the message of an error that nobody expected,
which could hold either.
"""

import logging
import os
import re
import sys
import traceback
from collections.abc import Callable
from logging.handlers import QueueHandler, QueueListener
from queue import Full, Queue
from select import PIPE_BUF
from typing import Any, Final

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_MOST_FRAMES: Final = 30
_STANDARD_OUTPUT: Final = 1
_MAX_QUEUED_LINES: Final = 10_000  # some 4 MB
_FLUSH_SECONDS: Final = 2.0


def error_without_message(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace an exception by its kind and the places it came through, causes first."""
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    elif isinstance(error, tuple):
        error = error[1]
    chain: list[dict[str, Any]] = []
    while isinstance(error, BaseException) and len(chain) < 10:
        frames = traceback.extract_tb(error.__traceback__)[-_MOST_FRAMES:]
        chain.insert(
            0,
            {
                "type": type(error).__qualname__,
                "frames": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
            },
        )
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if chain:
        event["exception"] = chain
    return event


def _exception_as_text(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Make lines of an exception, for people."""
    if chain := event.get("exception"):
        event["exception"] = "\n".join("\n  ".join([error["type"], *error["frames"]]) for error in chain)
    return event


def _first_words(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Of a library's message keep the beginning: asyncio goes on with the error's message and with arguments."""
    event["event"] = re.split(r"[\n(<]", str(event["event"]), maxsplit=1)[0].strip()
    return event


class _Lines(QueueHandler):
    """Queues lines for a thread that writes them, and counts those for which the queue has no room.

    structlog calls `msg` with a line; libraries' records come through `emit`.
    """

    def __init__(self) -> None:
        self.lines: Queue[logging.LogRecord] = Queue(_MAX_QUEUED_LINES)
        self.dropped = 0
        super().__init__(self.lines)

    def msg(self, line: str) -> None:
        """Queue a line."""
        self.enqueue(logging.makeLogRecord({"msg": line}))

    debug = info = warning = error = critical = msg

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Format a library's record here, where its context is."""
        return logging.makeLogRecord({"msg": self.format(record)})

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queue a record without waiting."""
        try:
            self.lines.put_nowait(record)
        except Full:
            self.dropped += 1

    def flush(self) -> None:
        """Wait until all lines are written, for some seconds at most: standard output may be blocked."""
        with self.lines.all_tasks_done:
            self.lines.all_tasks_done.wait_for(lambda: not self.lines.unfinished_tasks, _FLUSH_SECONDS)


class _StandardOutput(logging.Handler):
    """Writes queued lines, several at once, past Python's buffers: at exit those would wait for a blocked write."""

    def __init__(self, queued: _Lines, render: Callable[..., str]) -> None:
        super().__init__()
        self._queued, self._render = queued, render
        self._batch: list[bytes] = []
        self._lost = self._reported = 0

    def createLock(self) -> None:  # noqa: N802 - logging's name
        """Have none: one thread writes, and at exit logging would wait for it while its write is blocked."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, at once or with the next ones. Workers' lines do not mix within PIPE_BUF (POSIX, write)."""
        self._batch.append(f"{record.msg}\n".encode(errors="backslashreplace"))
        if self._queued.lines.empty() or sum(map(len, self._batch)) > PIPE_BUF // 2:
            self._write()

    def _write(self) -> None:
        batch, self._batch = self._batch, []
        dropped = self._queued.dropped + self._lost - self._reported
        if dropped:
            batch.insert(0, f"{self._render(event='log lines dropped', dropped=dropped)}\n".encode())
        data = b"".join(batch)
        try:
            while data:
                data = data[os.write(_STANDARD_OUTPUT, data) :]
            self._reported += dropped
        except OSError:  # the disk is full, or the reader has gone
            self._lost += len(batch) - bool(dropped)


def configure(*, level: str, log_format: str | None) -> None:
    """Send everything that is logged to standard output. The first call in a process decides.

    Args:
        level: minimum log level: debug, info, warning, error.
        log_format: `json`, `console` for coloured lines, or None to choose by whether standard output is a terminal.
    """
    root = logging.getLogger()
    if any(isinstance(handler, _Lines) for handler in root.handlers):
        return
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        error_without_message,
    ]
    lowest = logging.getLevelNamesMapping()[level.upper()]
    for_people = os.isatty(_STANDARD_OUTPUT) if log_format is None else log_format == "console"
    rendering: list[Processor] = (
        [_exception_as_text, structlog.dev.ConsoleRenderer()]
        if for_people
        else [
            structlog.processors.JSONRenderer(serializer=lambda line, **options: orjson.dumps(line, **options).decode())
        ]
    )
    lines = _Lines()
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(lowest),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
    # the libraries' logging, into the same stream and form
    lines.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, _first_words, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )

    def render(**event: object) -> str:
        line: Any = event
        for processor in (*shared, *rendering):
            line = processor(None, "warning", line)
        return str(line)

    # of no use here, and slow: https://docs.python.org/3/howto/logging.html#optimization
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.raiseExceptions = False  # a line that cannot be formatted is lost, instead of printed with its arguments
    logging.basicConfig(handlers=[lines], level=max(lowest, logging.INFO), force=True)
    QueueListener(lines.lines, _StandardOutput(lines, render)).start()


def flush() -> None:
    """Wait until what was logged is written, for some seconds at most."""
    for handler in logging.getLogger().handlers:
        handler.flush()
