"""Logging: a line per event on standard output, as JSON, or coloured at a terminal.

No request body, response body or message of an unexpected error is logged: they could hold a user's data.
"""

import logging
import os
import re
import sys
import threading
import time
import traceback
from queue import SimpleQueue
from select import PIPE_BUF
from typing import Any, Final

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

logger = structlog.stdlib.get_logger(__name__)

_MAX_FRAMES: Final = 30
_MAX_QUEUED_LINES: Final = 10_000  # some 4 MB
_GATHER_SECONDS: Final = 0.02
_FLUSH_SECONDS: Final = 2.0
_STANDARD_OUTPUT: Final = 1


def without_message(error: BaseException) -> str:
    """The types of an exception and its causes, and the places they came through; never a message."""
    chain: list[str] = []
    next_error: BaseException | None = error
    while next_error is not None and len(chain) < 10:
        frames = traceback.extract_tb(next_error.__traceback__)[-_MAX_FRAMES:]
        places = (f"\n  {frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
        chain.insert(0, "".join([type(next_error).__qualname__, *places]))
        next_error = next_error.__cause__ or (None if next_error.__suppress_context__ else next_error.__context__)
    return "\n".join(chain)


def _exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    error = event.pop("exc_info", None)
    error = sys.exc_info()[1] if error is True else error[1] if isinstance(error, tuple) else error
    if isinstance(error, BaseException):
        event["exception"] = without_message(error)
    return event


def _first_words(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Keep the beginning of a library's message: asyncio's go on with the error's message and with arguments."""
    event["event"] = re.split(r"[\n(<]", str(event["event"]), maxsplit=1)[0].strip()
    return event


def _json(event: EventDict, **options: Any) -> str:  # noqa: ANN401 - orjson's
    return orjson.dumps(event, **options).decode()


class _Output(logging.Handler):
    """Standard output, written by a thread: no request waits for it, and lines that find no room are counted.

    structlog calls `msg`; libraries' records come through `emit`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: SimpleQueue[str | threading.Event] = SimpleQueue()
        self._dropped = self._lost = self._reported = 0
        threading.Thread(target=self._run, daemon=True).start()

    def msg(self, line: str) -> None:
        """Queue a line without waiting."""
        if self._lines.qsize() < _MAX_QUEUED_LINES:
            self._lines.put(line)
        else:
            self._dropped += 1

    debug = info = warning = error = critical = msg

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a library's record."""
        try:
            self.msg(self.format(record))
        except Exception:
            self.handleError(record)

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
            self._lost += count
            return
        dropped = self._dropped + self._lost - self._reported
        if dropped and self._lines.qsize() < _MAX_QUEUED_LINES // 2:  # else the report might be dropped as well
            self._reported += dropped
            logger.warning("log lines dropped", dropped=dropped)


def configure(*, level: str, log_format: str | None) -> None:
    """Send everything that is logged to standard output. Only the first call in a process has an effect.

    Args:
        level: minimum log level: debug, info, warning, error.
        log_format: `json`, `console` for coloured lines, or None for `console` at a terminal and else `json`.
    """
    root = logging.getLogger()
    if any(isinstance(handler, _Output) for handler in root.handlers):
        return
    for_people = os.isatty(_STANDARD_OUTPUT) if log_format is None else log_format == "console"
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _exception,
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer() if for_people else structlog.processors.JSONRenderer(serializer=_json)
    )
    output, minimum = _Output(), logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(minimum),
        logger_factory=lambda *_: output,
        cache_logger_on_first_use=True,
    )
    output.setFormatter(  # the libraries' logging, into the same stream and form
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, _first_words, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )

    # unused here, and slow: https://docs.python.org/3/howto/logging.html#optimization
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.raiseExceptions = False  # a line that cannot be formatted is lost, instead of printed with its arguments
    logging.basicConfig(handlers=[output], level=max(minimum, logging.INFO), force=True)


def flush() -> None:
    """Wait until what was logged is written, for some seconds at most."""
    for handler in logging.getLogger().handlers:
        handler.flush()
