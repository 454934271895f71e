"""What is seen from outside: logs, metrics and traces. The latter two are imported only where they are asked for."""

import logging
import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from http import HTTPMethod
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Final

from starlette.types import Scope

from edge_api.settings import Settings

logger = logging.getLogger(__name__)

# https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
_ASK_FOR_TRACES: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")
_METHODS: Final = frozenset(method.value for method in HTTPMethod)


class Observer:
    """Is told of each request and of each call to Supabase, by a context manager around it. Does nothing by itself."""

    def request(self, _scope: Scope) -> AbstractContextManager[object]:
        """Around a request. At the end `scope` has `edge_api.status`, 0 without a response, and `edge_api.problem`."""
        return nullcontext()

    def upstream(self, _function: str) -> AbstractContextManager[object]:
        """Around a call of an SQL function. What is raised is what the client is told."""
        return nullcontext()

    def propagate(self, headers: dict[str, str]) -> None:
        """Add to the headers of a call to Supabase."""

    def close(self) -> None:
        """Let go of everything, within seconds."""


class _Observers(Observer):
    """Several as one."""

    def __init__(self, parts: Sequence[Observer]) -> None:
        self._parts = parts

    def request(self, scope: Scope) -> AbstractContextManager[object]:
        return _within(part.request(scope) for part in self._parts)

    def upstream(self, function: str) -> AbstractContextManager[object]:
        return _within(part.upstream(function) for part in self._parts)

    def propagate(self, headers: dict[str, str]) -> None:
        for part in self._parts:
            part.propagate(headers)

    def close(self) -> None:
        for part in self._parts:
            part.close()


def _within(managers: Iterable[AbstractContextManager[object]]) -> AbstractContextManager[object]:
    stack = ExitStack()
    for manager in managers:
        stack.enter_context(manager)
    return stack


def _tracing_requested() -> bool:
    """Whether OpenTelemetry's own variables ask for traces."""
    environment = {name: value.strip().lower() for name, value in os.environ.items() if name.startswith("OTEL_")}
    return (
        environment.get("OTEL_SDK_DISABLED") != "true"
        and environment.get("OTEL_TRACES_EXPORTER") != "none"
        and any(environment.get(name) for name in _ASK_FOR_TRACES)
    )


def _tracing_unavailable() -> str | None:
    """Why requested traces cannot be sent, or None."""
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        return "off: edge-api[otel] is not installed"
    if not entry_points(group="opentelemetry_traces_exporter", name=exporter_name()):
        return "off: OTEL_TRACES_EXPORTER names an exporter that is not installed"
    return None


def traces() -> str:
    """Whether there are traces, in words."""
    return (_tracing_unavailable() or "as the OTEL_ variables say") if _tracing_requested() else "off"


def exporter_name() -> str:
    """The entry point of the exporter that OTEL_TRACES_EXPORTER asks for: entry points are how the SDK finds them."""
    name = os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    return "otlp_proto_http" if name in {"", "otlp"} else name


def method_of(scope: Scope) -> str:
    """A request's method, or _OTHER, as OpenTelemetry has it, for one that is not HTTP's own."""
    method: str = scope["method"]
    return method if method in _METHODS else "_OTHER"


def observer(settings: Settings) -> Observer:
    """The log lines, and what else the settings and the environment ask for."""
    from edge_api.telemetry.logs import Logs  # noqa: PLC0415 - it imports this module

    enabled: list[Observer] = [Logs()]
    if settings.edge_metrics_port is not None:
        from edge_api.telemetry.metrics import Metrics  # noqa: PLC0415 - an extra

        enabled.append(Metrics(settings))
    if _tracing_requested():
        if reason := _tracing_unavailable():  # not a reason to stop: platforms set them for all services
            logger.warning("no traces: %(reason)s", {"reason": reason})
        else:
            from edge_api.telemetry.tracing import Tracing  # noqa: PLC0415 - an extra

            enabled.append(Tracing(settings))
    return _Observers(enabled) if len(enabled) > 1 else enabled[0]
