"""Logging: a line per event on standard output, coloured at a terminal, else JSON.

No request body, response body or message of an unexpected error is logged: they could hold a user's data.
"""

import logging
import os
import re
import threading
import time
import traceback
from queue import SimpleQueue
from select import PIPE_BUF
from typing import Final

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

logger = structlog.stdlib.get_logger(__name__)

_MAX_FRAMES: Final = 30
_MAX_QUEUED_LINES: Final = 10_000  # some 4 MB
_GATHER_SECONDS: Final = 0.02
_FLUSH_SECONDS: Final = 2.0
_STANDARD_OUTPUT: Final = 1


def without_message(error: BaseException | None) -> str:
    """The types of an exception and its causes, and the places they came through; never a message."""
    chain: list[str] = []
    while error is not None and len(chain) < 10:
        frames = traceback.extract_tb(error.__traceback__)[-_MAX_FRAMES:]
        places = (f"\n  {frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
        chain.insert(0, "".join([type(error).__qualname__, *places]))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(chain)


def _first_words(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Keep the beginning of a library's message: asyncio's go on with the error's message and with arguments."""
    event["event"] = re.split(r"[\n(<]", str(event["event"]), maxsplit=1)[0].strip()
    return event


class _Output(logging.Handler):
    """Standard output, written by a thread: no request waits for it, and lines that find no room are counted.

    structlog calls `msg`; libraries' records come through `emit`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: SimpleQueue[str | threading.Event] = SimpleQueue()
        self._dropped = self._reported = 0
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
            self._reported -= count  # so many more are missing, and not reported yet
            return
        dropped = self._dropped - self._reported
        if dropped and self._lines.qsize() < _MAX_QUEUED_LINES // 2:  # else the report might be dropped as well
            self._reported += dropped
            logger.warning("log lines dropped", dropped=dropped)


def configure(level: str) -> None:
    """Send everything that is logged to standard output. Only the first call in a process has an effect.

    Args:
        level: minimum log level: debug, info, warning, error.
    """
    root = logging.getLogger()
    if any(isinstance(handler, _Output) for handler in root.handlers):
        return
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(lambda exc_info: without_message(exc_info[1])),
    ]
    renderer: Processor = structlog.processors.JSONRenderer(lambda event, **how: orjson.dumps(event, **how).decode())
    if os.isatty(_STANDARD_OUTPUT):
        renderer = structlog.dev.ConsoleRenderer()
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
    logging.raiseExceptions = False  # a line that cannot be formatted is lost, instead of printed with its arguments
    logging.basicConfig(handlers=[output], level=max(minimum, logging.INFO), force=True)
