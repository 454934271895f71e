"""What is logged: a line an event, for a program to read, or for a person at a terminal.

What a user sends, and what the database answers, is never logged; nor is the message of an error that nobody expected,
which could hold either.
"""

import logging
import re
import sys
import traceback
from typing import Any, Final

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_MOST_FRAMES: Final = 30


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


def configure(*, level: str, for_people: bool) -> None:
    """Send everything that is logged to standard output.

    Args:
        level: the least that is logged: debug, info, warning, error.
        for_people: coloured lines instead of JSON.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        error_without_message,
    ]
    lowest = logging.getLevelNamesMapping()[level.upper()]
    for_a_person: list[Processor] = [_exception_as_text, structlog.dev.ConsoleRenderer()]
    structlog.configure(
        processors=[
            *shared,
            *(for_a_person if for_people else [structlog.processors.JSONRenderer(serializer=orjson.dumps)]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(lowest),
        logger_factory=structlog.PrintLoggerFactory() if for_people else structlog.BytesLoggerFactory(),
        cache_logger_on_first_use=True,
    )
    # the libraries' logging, into the same stream and form
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, _first_words, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(for_a_person if for_people else [structlog.processors.JSONRenderer()]),
            ],
        )
    )
    logging.raiseExceptions = False  # a line that cannot be written is lost, instead of printed with its arguments
    logging.basicConfig(handlers=[handler], level=max(lowest, logging.INFO), force=True)
