"""Serves metrics to Prometheus, from the process that starts the workers, summed over them."""

import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_api.settings import InvalidSettingsError

if TYPE_CHECKING:
    from prometheus_client import Metric

_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"  # the library's own variable, which workers inherit


@contextmanager
def exposition(host: str, port: int | None) -> Iterator[None]:
    """Serve Prometheus at a port of its own, if any, for this process and the workers that it starts meanwhile.

    Raises:
        InvalidSettingsError: the port cannot be had.
    """
    if port is None:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="edge-api-metrics-") as folder:
        os.environ[_FOLDER] = folder
        try:
            # the library looks at the variable when it is imported
            from prometheus_client import CollectorRegistry, start_http_server  # noqa: PLC0415
            from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead  # noqa: PLC0415

            class AllProcesses(MultiProcessCollector):
                """What a process counted stays when it ends; what was under way in it does not."""

                def collect(self) -> "Iterable[Metric]":
                    for path in Path(folder).glob("gauge_live*.db"):
                        pid = int(re.findall(r"\d+", path.stem)[-1])
                        try:
                            os.kill(pid, 0)
                        except ProcessLookupError:
                            with suppress(FileNotFoundError):  # another scrape did so just now
                                mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]
                    metrics: Iterable[Metric] = super().collect()  # type: ignore[no-untyped-call]
                    return metrics

            registry = CollectorRegistry()
            registry.register(AllProcesses(None, folder))  # type: ignore[no-untyped-call]
            try:
                server, thread = start_http_server(port, host, registry)
            except OSError as error:
                raise InvalidSettingsError(
                    f"EDGE_METRICS_PORT: the port cannot be listened at: {error.strerror}"
                ) from None
            try:
                yield
            finally:
                server.shutdown()
                server.server_close()
                thread.join(timeout=5)
        finally:
            del os.environ[_FOLDER]
