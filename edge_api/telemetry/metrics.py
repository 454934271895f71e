"""Prometheus metrics of this process. What adds up all processes is in `exposition`.

Labels come from fixed sets: routes as they are declared, methods of HTTP, codes of problems, names of SQL functions.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import Counter, Gauge, Histogram
from starlette.types import Scope

from edge_api import __version__
from edge_api.errors import ApiError, Kind
from edge_api.settings import Settings
from edge_api.telemetry import Observer, method_of

# Seconds. A call takes milliseconds; the last bounds are those of the time-outs.
_BUCKETS: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15)


class _Instruments:
    """What is exported. In no registry: they write into the folder, from which the collector reads."""

    requests = Counter(
        "edge_api_requests", "Requests that were responded to.", ["method", "route", "status"], registry=None
    )
    request_seconds = Histogram(
        "edge_api_request_duration_seconds", "Time to respond to a request.", ["route"], buckets=_BUCKETS, registry=None
    )
    requests_under_way = Gauge(
        "edge_api_requests_in_progress",
        "Requests that are being served.",
        registry=None,
        multiprocess_mode="livesum",
    )
    problems = Counter(
        "edge_api_problems",
        "Requests that were refused or failed, by the code of the problem.",
        ["code"],
        registry=None,
    )
    calls = Counter(
        "edge_api_upstream_calls",
        "Calls of SQL functions through Supabase; outcome is ok, or the code of the problem.",
        ["function", "outcome"],
        registry=None,
    )
    call_seconds = Histogram(
        "edge_api_upstream_duration_seconds",
        "Time that Supabase took for a call.",
        ["function"],
        buckets=_BUCKETS,
        registry=None,
    )
    calls_under_way = Gauge(
        "edge_api_upstream_calls_in_progress",
        "Calls to Supabase that are under way or wait for a connection.",
        registry=None,
        multiprocess_mode="livesum",
    )
    calls_limit = Gauge(
        "edge_api_upstream_calls_limit",
        "How many calls may be under way or wait; any more are refused as overloaded.",
        registry=None,
        multiprocess_mode="livesum",
    )
    info = Gauge("edge_api_info", "The version that runs.", ["version"], registry=None, multiprocess_mode="livemax")


class Metrics(Observer):
    """Counts in this process."""

    def __init__(self, settings: Settings) -> None:
        _Instruments.info.labels(__version__).set(1)
        _Instruments.calls_limit.set(settings.edge_upstream_connections + settings.edge_upstream_waiting)

    @contextmanager
    def request(self, scope: Scope) -> Iterator[None]:
        """Count a request."""
        since = time.perf_counter()
        _Instruments.requests_under_way.inc()
        try:
            yield
        finally:
            _Instruments.requests_under_way.dec()
            route = getattr(scope.get("route"), "path", "none")
            _Instruments.requests.labels(method_of(scope), route, scope["edge_api.status"]).inc()
            _Instruments.request_seconds.labels(route).observe(time.perf_counter() - since)
            if problem := scope.get("edge_api.problem"):
                _Instruments.problems.labels(problem).inc()

    @contextmanager
    def upstream(self, function: str) -> Iterator[None]:
        """Count a call."""
        since = time.perf_counter()
        outcome = "cancelled"  # the client gave up
        _Instruments.calls_under_way.inc()
        try:
            yield
            outcome = "ok"
        except ApiError as error:
            outcome = error.kind.code
            raise
        except Exception:
            outcome = Kind.INTERNAL_ERROR.code
            raise
        finally:
            _Instruments.calls_under_way.dec()
            _Instruments.calls.labels(function, outcome).inc()
            _Instruments.call_seconds.labels(function).observe(time.perf_counter() - since)
