"""Serves the application with uvicorn. What meets the internet stands in front of it: deploy/Caddyfile."""

import logging
import math
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Final

import uvicorn
from fastapi import APIRouter, FastAPI
from structlog.stdlib import get_logger
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from edge_api import logs
from edge_api.main import create_app
from edge_api.routing import BODY_SECONDS
from edge_api.settings import Settings

logger = get_logger(__name__)

APPLICATION: Final = "edge_api.server:application"

# Longer than a proxy keeps its idle connections (nginx: 60 s): reusing one that is being closed fails the request.
_KEEP_ALIVE_SECONDS: Final = 75
_WORKER_SECONDS: Final = 10  # for a worker to start or to give a sign of life, on a busy machine too


class CannotListenError(Exception):
    """The address is in use or not this machine's. The message names the variables."""


def _end_with_parent() -> None:
    """End a worker when the process that started it is gone: nothing would replace or stop it any more."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


@asynccontextmanager
async def _write_last_lines(_app: FastAPI) -> AsyncIterator[None]:
    """Write what is logged before a worker ends: by uvicorn's last signal, which runs no exit handlers."""
    yield
    logs.flush()


def application() -> FastAPI:
    """Create the application from the environment, and configure its logs. Each worker process calls this."""
    _end_with_parent()
    settings = Settings.from_environment()
    logs.configure(level=settings.edge_log_level, log_format=settings.edge_log_format)
    app = create_app(settings)
    app.include_router(APIRouter(lifespan=_write_last_lines))
    return app


def serve(settings: Settings, factory: str = APPLICATION) -> None:
    """Serve what a factory creates until SIGINT or SIGTERM; then refuse connections, and finish requests under way.

    With several workers, SIGHUP replaces them one after the other, and one that ends is replaced as well.

    Raises:
        CannotListenError: the address cannot be listened at.
        ImportError: metrics are asked for, and their extra is not installed.
        InvalidSettingsError: the port for metrics cannot be had.
        SystemExit: the application cannot start; the code is uvicorn's, 3.
    """
    logs.configure(level=settings.edge_log_level, log_format=settings.edge_log_format)
    with ExitStack() as stack:
        listener = stack.enter_context(_bind(settings.edge_api_host, settings.edge_api_port))
        if settings.edge_metrics_port is not None:
            from edge_api.telemetry.exposition import exposition  # noqa: PLC0415 - an extra

            stack.enter_context(exposition(settings.edge_metrics_host, settings.edge_metrics_port))
        logger.info("starting", host=settings.edge_api_host, port=settings.edge_api_port)
        _run(_config(settings, factory), listener)


def _bind(host: str, port: int) -> socket.socket:
    """Bind to an address; `::` is for IPv4 too. uvicorn listens when the application has started."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        reason = error.strerror or "no such address"
        raise CannotListenError(
            f"cannot listen at port {port} of {host} (EDGE_API_PORT, EDGE_API_HOST): {reason}"
        ) from None
    return listener


def _config(settings: Settings, factory: str) -> uvicorn.Config:
    return uvicorn.Config(
        factory,
        factory=True,
        workers=settings.edge_api_workers,
        http="httptools",
        ws="none",
        lifespan="on",
        loop="uvloop",
        log_config=None,
        log_level=logging.getLevelNamesMapping()[settings.edge_log_level.upper()],
        access_log=False,
        server_header=False,
        root_path=settings.edge_root_path,
        proxy_headers=False,  # nothing here depends on the client's address or scheme
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_worker_healthcheck=_WORKER_SECONDS,
        # no request takes longer than receiving its body and calling Supabase
        timeout_graceful_shutdown=math.ceil(BODY_SECONDS + settings.edge_upstream_timeout),
    )


def _run(config: uvicorn.Config, listener: socket.socket) -> None:
    if config.workers == 1:
        uvicorn.Server(config).run(sockets=[listener])
        return
    _refuse_connections_at_end(listener)
    supervisor = Multiprocess(config, sockets=[listener])
    supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        sys.exit(STARTUP_FAILURE)


def _refuse_connections_at_end(listener: socket.socket) -> None:
    """Stop listening at SIGINT or SIGTERM in the process that starts the workers.

    It holds the socket until they have ended: connections accepted meanwhile would wait, and then be reset.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def wait() -> None:
        while os.read(reading, 1)[0] not in {signal.SIGINT, signal.SIGTERM}:
            pass
        listener.shutdown(socket.SHUT_RD)

    threading.Thread(target=wait, daemon=True).start()
