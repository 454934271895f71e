"""Serves the application with uvicorn. What meets the internet stands in front of it: deploy/Caddyfile."""

import gc
import logging
import math
import multiprocessing
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from typing import Final

import uvicorn
from fastapi import FastAPI
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from edge_api.main import create_app
from edge_api.routing import BODY_SECONDS
from edge_api.settings import Settings
from edge_api.telemetry import logs
from edge_api.telemetry.exposition import exposition

logger = logging.getLogger(__name__)

APPLICATION: Final = "edge_api.server:application"

# Longer than a proxy keeps its idle connections (nginx: 60 s): reusing one that is being closed fails the request.
_KEEP_ALIVE_SECONDS: Final = 75
# With Python's own 700, the garbage collector runs every twenty requests and finds nothing: 4 % of a worker's time.
_OBJECTS_BEFORE_COLLECTION: Final = 20_000


def application() -> FastAPI:
    """Create the application from the environment, and configure its logs. Each worker process calls this."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    gc.set_threshold(_OBJECTS_BEFORE_COLLECTION)
    settings = Settings.from_environment()
    logs.configure(settings.edge_log_level)
    return create_app(settings)


def _end_with_parent() -> None:
    """End a worker when the process that started it is gone: nothing would replace or stop it any more."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def serve(settings: Settings, factory: str = APPLICATION) -> None:
    """Serve what a factory creates until SIGINT or SIGTERM; then refuse connections, and finish requests under way.

    With several workers, SIGHUP replaces them one after the other, and one that ends is replaced as well.

    Raises:
        InvalidSettingsError: the port for metrics cannot be had.
        SystemExit: the address cannot be listened at, or the application cannot start; the code is uvicorn's, 3.
    """
    logs.configure(settings.edge_log_level)
    config = uvicorn.Config(
        factory,
        factory=True,
        workers=settings.edge_api_workers,
        http="httptools",
        ws="none",
        lifespan="on",
        loop="uvloop",
        log_config=None,
        access_log=False,
        server_header=False,
        root_path=settings.edge_root_path,
        proxy_headers=False,  # nothing here depends on the client's address or scheme
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_worker_healthcheck=10,  # seconds, in which one starts or gives a sign of life on a busy machine too
        # no request takes longer than receiving its body and calling Supabase
        timeout_graceful_shutdown=math.ceil(BODY_SECONDS + settings.edge_upstream_timeout),
    )
    with (
        _listen(settings.edge_api_host, settings.edge_api_port) as listener,
        exposition(settings.edge_metrics_host, settings.edge_metrics_port),
    ):
        logger.info("starting: %(host)s:%(port)s", {"host": settings.edge_api_host, "port": settings.edge_api_port})
        if settings.edge_api_workers == 1:
            uvicorn.Server(config).run(sockets=[listener])
        else:
            _supervise(Multiprocess(config, sockets=[listener]), listener)


def _listen(host: str, port: int) -> socket.socket:
    """Listen at an address; `::` is for IPv4 too."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, dualstack_ipv6=host == "::")
    except OSError as error:
        sys.stderr.write(f"edge-api: cannot listen (EDGE_API_PORT, EDGE_API_HOST): {error.strerror}\n")
        sys.exit(STARTUP_FAILURE)


def _supervise(supervisor: Multiprocess, listener: socket.socket) -> None:
    def refuse_connections() -> None:
        """They would be accepted until the workers have ended, and then be reset: this process holds the socket."""
        supervisor.should_exit.wait()
        with suppress(OSError):  # closed meanwhile: no worker could start
            listener.shutdown(socket.SHUT_RD)

    threading.Thread(target=refuse_connections, daemon=True).start()
    supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        sys.exit(STARTUP_FAILURE)
