"""The web server around the application: uvicorn, with bounds that it lacks."""

import asyncio
import logging
import math
import multiprocessing
import os
import signal
import sys
import threading
from contextlib import ExitStack
from http import HTTPStatus
from typing import Any, Final
from uuid import uuid4

import httptools
import uvicorn
from fastapi import FastAPI
from structlog.stdlib import get_logger
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from edge_api import logs
from edge_api.main import create_app
from edge_api.problems import MEDIA_TYPE, Problem
from edge_api.settings import Settings

logger = get_logger(__name__)

APPLICATION: Final = "edge_api.server:application"

# More than the application's own limit for a body, which it answers with 408; this one just ends the connection.
_REQUEST_SECONDS: Final = 15.0
_MAX_HEAD_BYTES: Final = 32 * 1024
# The application refuses a body that is too large and lets the rest of it pass, so that its answer gets through.
_MAX_REQUEST_BYTES: Final = 1024 * 1024
# At the end, an idle connection stays that long: a request may be on its way on it.
_LINGER_SECONDS: Final = 1.0
# Of requests sent before the first is answered. 256 KiB, which are read at once, hold thousands, each worth 10 KB.
_MAX_PIPELINED: Final = 16


class _JoinedWrites(asyncio.Transport):
    """A transport that holds what is written until more is, or until the event loop's next turn.

    uvicorn writes an answer's head and its body apart: two packets, and two times that the client wakes up.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._held = b""
        self._call_soon = asyncio.get_running_loop().call_soon

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._held:
            self._held += data
            self._send()
        else:
            self._held = bytes(data)
            self._call_soon(self._send)

    def _send(self) -> None:
        held, self._held = self._held, b""
        if held and not self._transport.is_closing():
            self._transport.write(held)

    def close(self) -> None:
        self._send()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - as in asyncio
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which by itself reads a request's head at any length and waits for it for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Expect a first request."""
        super().connection_made(_JoinedWrites(transport))
        self._deadline: asyncio.TimerHandle | None = None
        self._is_leaving = False
        self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more."""
        self._end_request()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take the next piece of a request, unless it is beyond the bounds."""
        if self._deadline is None and (self.cycle is None or self.cycle.response_complete):
            self._expect_request()  # also after an empty line, which begins no message
        self._received += len(data)
        if self._received > _MAX_REQUEST_BYTES:
            self.transport.close()
            return
        super().data_received(data)
        if self._in_head and self._received > _MAX_HEAD_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        if self._deadline is None:
            self._expect_request()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of its head; one of its trailer is no header (RFC 9110, 6.5.1)."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Its head is there."""
        self._in_head = False
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > _MAX_HEAD_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            raise httptools.HttpParserError
        if self.parser.should_upgrade() and any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
            for name, value in self.headers
        ):
            # the parser would take the body for what comes after the upgrade, and so for the next request
            self._refuse(HTTPStatus.BAD_REQUEST)
            raise httptools.HttpParserError
        if len(self.pipeline) >= _MAX_PIPELINED:
            self.transport.close()
            raise httptools.HttpParserError
        super().on_headers_complete()
        if self._is_leaving:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """All of it is there."""
        self._end_request()
        super().on_message_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            # answered before all of it was there, and what came then has ended the wait for another request
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def shutdown(self) -> None:
        """End once what is under way is answered; with nothing under way, a moment later.

        uvicorn would close an idle connection at once, and with it lose the request that has just been sent on it.
        """
        if self.cycle is None or self.cycle.response_complete:
            self._is_leaving = True
            self.loop.call_later(_LINGER_SECONDS, self._leave)
        else:
            super().shutdown()

    def _leave(self) -> None:
        """Close, unless a request has come; its answer closes then."""
        head_has_begun = self._deadline is not None and self._received > 0
        if not head_has_begun and (self.cycle is None or self.cycle.response_complete):
            self.timeout_keep_alive_handler()

    def send_400_response(self, _msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse(HTTPStatus.BAD_REQUEST)

    def _refuse(self, status: HTTPStatus) -> None:
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if (
            cycle is not None
            and not cycle.response_complete
            and (self.pipeline or cycle.response_started or not cycle.more_body)
        ):
            cycle.keep_alive = False  # this would be taken for the answer to an earlier request
            return
        request_id = uuid4().hex
        body = (
            Problem(
                title=status.phrase,
                status=status,
                detail="This is not a request in HTTP/1.1, or its head is too large.",
                code="bad_http",
                request_id=request_id,
            )
            .model_dump_json(exclude_none=True)
            .encode()
        )
        head = (
            f"Content-Type: {MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\nX-Request-ID: {request_id}\r\n"
            "X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        logger.info("request", request_id=request_id, method=None, route=None, status=status.value)
        self.transport.write(STATUS_LINE[status] + head.encode() + body)
        self.transport.close()

    def _expect_request(self) -> None:
        self._received = 0
        self._in_head = True
        self._deadline = self.loop.call_later(_REQUEST_SECONDS, self.timeout_keep_alive_handler)

    def _end_request(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _configure_logs(settings: Settings) -> None:
    logs.configure(
        level=settings.edge_log_level,
        for_people=sys.stdout.isatty() if settings.edge_log_format is None else settings.edge_log_format == "console",
    )


def _end_with_parent() -> None:
    """Have a worker end when the process that started it is gone: nobody would replace or stop it any more."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def application() -> FastAPI:
    """The application that the environment asks for, and its logs. Each worker process makes its own."""
    _end_with_parent()
    settings = Settings.from_environment()
    _configure_logs(settings)
    return create_app(settings)


def serve(settings: Settings, factory: str = APPLICATION) -> None:
    """Serve what a factory makes until SIGINT or SIGTERM; then refuse new calls, and end those under way.

    With several workers, SIGHUP replaces them one after the other, and one that ends is replaced as well.

    Raises:
        ImportError: metrics are asked for, and their extra is not installed.
        InvalidSettingsError: the port for metrics cannot be had.
    """
    _configure_logs(settings)
    with ExitStack() as stack:
        if settings.edge_metrics_port is not None:
            from edge_api.telemetry.exposition import exposition  # noqa: PLC0415 - an extra

            stack.enter_context(exposition(settings.edge_metrics_host, settings.edge_metrics_port))
        _run(settings, factory)


def _run(settings: Settings, factory: str) -> None:
    uvicorn.run(
        factory,
        factory=True,
        workers=settings.edge_api_workers,
        host=settings.edge_api_host,
        port=settings.edge_api_port,
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        loop="uvloop",
        log_config=None,
        log_level=logging.getLevelNamesMapping()[settings.edge_log_level.upper()],
        access_log=False,
        server_header=False,
        root_path=settings.edge_root_path,
        # a call takes no longer than reading it and asking Supabase
        timeout_graceful_shutdown=math.ceil(_REQUEST_SECONDS + settings.edge_upstream_timeout),
        proxy_headers=bool(settings.edge_trusted_proxies),
        forwarded_allow_ips=list(settings.edge_trusted_proxies),
    )
