"""OpenTelemetry traces, set up by the standard's own environment variables.

A span has what a log line has: names of routes and functions, statuses, codes. No path, no query, no token, no id of a
user, and no message of an exception.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from os import environ
from typing import Final
from urllib.parse import urlsplit

from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode, format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers
from starlette.types import Scope

from edge_api import __version__
from edge_api.errors import ApiError, Kind
from edge_api.problems import log_fields
from edge_api.settings import Settings
from edge_api.telemetry import Observer, exporter_name, method_of

# Longer than one attempt to send, shorter than what a supervisor waits for.
_FLUSH_SECONDS: Final = 5.0
# Baggage is not passed on: anybody may write it, and it would reach Supabase.
_PROPAGATOR: Final = TraceContextTextMapPropagator()


def _provider() -> TracerProvider:
    exporter, *_ = entry_points(group="opentelemetry_traces_exporter", name=exporter_name())
    resource = {SERVICE_VERSION: __version__}
    if not environ.get("OTEL_SERVICE_NAME") and "service.name" not in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        resource[SERVICE_NAME] = "edge-api"
    provider = TracerProvider(resource=Resource.create(resource), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter.load()()))  # a bounded queue, sent by a thread
    return provider


class Tracing(Observer):
    """A span for each request, and one within it for each call to Supabase."""

    def __init__(self, settings: Settings) -> None:
        self._provider = _provider()
        self._tracer = self._provider.get_tracer("edge_api", __version__)
        url = urlsplit(settings.supabase_url)
        self._server: dict[str, str | int] = {
            "server.address": url.hostname or "",
            "server.port": url.port or (443 if url.scheme == "https" else 80),
        }

    @contextmanager
    def request(self, scope: Scope) -> Iterator[None]:
        """A server's span, part of the caller's trace if it sent a `traceparent`."""
        method = method_of(scope)
        with self._tracer.start_as_current_span(
            method,
            context=_PROPAGATOR.extract(Headers(scope=scope)),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method, "url.scheme": scope["scheme"]},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            log_fields(scope)["trace_id"] = format_trace_id(span.get_span_context().trace_id)
            try:
                yield
            finally:
                status = scope["edge_api.status"]
                span.set_attribute("http.response.status_code", status)
                if route := getattr(scope.get("route"), "path", None):
                    span.update_name(f"{method} {route}")
                    span.set_attribute("http.route", route)
                if problem := scope.get("edge_api.problem"):
                    span.set_attribute("error.type", problem)
                if status >= 500:  # as the conventions have it: 4xx is no error of the server's
                    span.set_status(Status(StatusCode.ERROR))

    @contextmanager
    def upstream(self, function: str) -> Iterator[None]:
        """A client's span."""
        with self._tracer.start_as_current_span(
            f"POST /rest/v1/rpc/{function}",
            kind=SpanKind.CLIENT,
            attributes={
                "http.request.method": "POST",
                "url.template": f"/rest/v1/rpc/{function}",
                **self._server,
            },
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except Exception as error:
                span.set_attribute(
                    "error.type", error.kind.code if isinstance(error, ApiError) else Kind.INTERNAL_ERROR.code
                )
                span.set_status(Status(StatusCode.ERROR))
                raise

    def propagate(self, headers: dict[str, str]) -> None:
        """Pass the trace on."""
        _PROPAGATOR.inject(headers)

    def close(self) -> None:
        """Send what is left, for some seconds at most: a collector that is down delays no shutdown."""
        thread = threading.Thread(target=self._provider.shutdown, daemon=True)
        thread.start()
        thread.join(timeout=_FLUSH_SECONDS)
