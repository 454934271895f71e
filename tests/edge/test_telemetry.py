"""Metrics and traces, as Prometheus and a collector get them from a running `edge-api serve`."""

import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families

from edge_api import errors
from edge_api.local.packages import PROJECT
from edge_api.local.processes import free_port
from edge_api.local.stack import Stack
from tests.edge.faults import KEY, ROW_AND_CREATED, TOKEN
from tests.edge.problems import MARK
from tests.edge.scripted import responding, scripted_upstream
from tests.edge.serving import SERVE, log_of, serving, workers
from tests.support import ACCOUNTS, GET_OR_CREATE, NO_CERTIFICATES, User

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(port: int) -> Samples:
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", verify=NO_CERTIFICATES).text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def test_metrics_are_those_of_all_workers_and_stay_when_workers_are_replaced(
    tmp_path: Path, stack: Stack, user: User
) -> None:
    port = free_port()
    settings = {"EDGE_API_WORKERS": "2", "EDGE_METRICS_PORT": str(port), "TMPDIR": str(tmp_path)}
    with serving(tmp_path, stack.supabase_url, stack.keys.publishable, **settings) as (url, child):
        parent = psutil.Process(child.pid)
        child.wait_until(lambda: len(workers(parent)) == 2, seconds=30)
        first = workers(parent)
        replaced = [psutil.Process(pid) for pid in first]
        headers = {"Authorization": f"Bearer {user.token}"}
        for _ in range(20):  # each on a connection of its own, so that both workers get some
            assert httpx.post(f"{url}{GET_OR_CREATE}", headers=headers, verify=NO_CERTIFICATES).status_code == 200
        assert httpx.get(f"{url}{ACCOUNTS}", verify=NO_CERTIFICATES).status_code == 401
        assert httpx.get(f"{url}/some/{user.id}", verify=NO_CERTIFICATES).status_code == 404
        assert httpx.request("BREW", f"{url}{ACCOUNTS}", verify=NO_CERTIFICATES).status_code in {400, 405}
        parent.send_signal(signal.SIGHUP)
        child.wait_until(lambda: len(workers(parent)) == 2 and not workers(parent) & first, seconds=30)
        assert httpx.get(f"{url}/healthz", verify=NO_CERTIFICATES).status_code == 200
        assert not psutil.wait_procs(replaced, timeout=20)[1]

        samples = scrape(port)
        assert value(samples, "edge_api_requests_total", method="POST", route=GET_OR_CREATE, status="200") == 20
        assert value(samples, "edge_api_requests_total", method="GET", route=ACCOUNTS, status="401") == 1
        assert value(samples, "edge_api_requests_total", method="GET", route="none", status="404") == 1
        assert value(samples, "edge_api_requests_total", method="GET", route="/healthz", status="200") == 1
        assert value(samples, "edge_api_request_duration_seconds_count", route=GET_OR_CREATE) == 20
        assert value(samples, "edge_api_request_duration_seconds_bucket", route=GET_OR_CREATE, le="+Inf") == 20
        assert 0 < value(samples, "edge_api_request_duration_seconds_sum", route=GET_OR_CREATE) < 60
        assert value(samples, "edge_api_upstream_calls_total", function="get_or_create_account", outcome="ok") == 20
        assert value(samples, "edge_api_upstream_duration_seconds_count", function="get_or_create_account") == 20
        assert value(samples, "edge_api_problems_total", code="missing_token") == 1
        assert value(samples, "edge_api_problems_total", code="not_found") == 1
        assert value(samples, "edge_api_requests_in_progress") == 0
        assert value(samples, "edge_api_upstream_calls_in_progress") == 0
        assert value(samples, "edge_api_upstream_calls_limit") == 2 * (32 + 128)
        text = str(samples)
        assert str(user.id) not in text
        assert "BREW" not in text
        child.stop(grace_seconds=15)
        assert child.exit_code() == 0
    assert [path.name for path in tmp_path.iterdir()] == ["api.log"]


def test_what_supabase_does_wrong_is_counted_by_what_the_client_was_told(tmp_path: Path) -> None:
    port = free_port()
    with (
        scripted_upstream(responding(500, {"message": MARK})) as upstream,
        serving(tmp_path, upstream.url, KEY, EDGE_METRICS_PORT=str(port)) as (url, _),
    ):
        response = httpx.post(
            f"{url}{GET_OR_CREATE}", headers={"Authorization": f"Bearer {TOKEN}"}, verify=NO_CERTIFICATES
        )
        assert response.status_code == 502
        samples = scrape(port)
        calls = value(
            samples, "edge_api_upstream_calls_total", function="get_or_create_account", outcome="bad_upstream"
        )
        assert calls == value(samples, "edge_api_problems_total", code="bad_upstream") == 1
        assert MARK not in str(samples)


@pytest.mark.parametrize("by", ["another server", "the API itself"])
def test_a_port_that_is_taken_is_said_and_nothing_is_served(tmp_path: Path, by: str) -> None:
    port = str(free_port())
    with scripted_upstream() as upstream:
        environment = {
            "SUPABASE_URL": upstream.url,
            "SUPABASE_PUBLISHABLE_KEY": KEY,
            "EDGE_API_PORT": port,
            "EDGE_METRICS_PORT": port if by == "the API itself" else upstream.url.rpartition(":")[2],
        }
        failed = subprocess.run(SERVE, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert failed.returncode == 2
    assert "EDGE_METRICS_PORT: the port cannot be listened at" in failed.stderr
    assert "Traceback" not in failed.stderr


def exported(tmp_path: Path) -> dict[str, set[str]]:
    """The names of all samples that are exported, with their labels."""
    port = free_port()
    with (
        scripted_upstream(responding(500, {})) as upstream,
        serving(tmp_path, upstream.url, KEY, EDGE_METRICS_PORT=str(port)) as (url, _),
    ):
        httpx.post(f"{url}{GET_OR_CREATE}", headers={"Authorization": f"Bearer {TOKEN}"}, verify=NO_CERTIFICATES)
        found: dict[str, set[str]] = {}
        for name, labels in scrape(port):
            found.setdefault(name, set()).update(label for label, _ in labels)
        return found


def test_the_dashboard_the_alerts_and_the_docs_speak_of_metrics_that_there_are(tmp_path: Path) -> None:
    dashboard = json.loads((PROJECT / "deploy" / "grafana" / "edge-api.json").read_text())
    alerts = yaml.safe_load((PROJECT / "deploy" / "prometheus" / "alerts.yml").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    rules = [rule for group in alerts["groups"] for rule in group["rules"]]
    queries += [rule["expr"] for rule in rules]
    names = exported(tmp_path)
    used = set()
    for query in queries:
        for name, labels in re.findall(r"(edge_api_\w+)(\{[^}]*\})?", query):
            assert name in names, query
            assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", labels)) <= names[name] | {"job"}, query
            used.add(name)
        for by in re.findall(r"by \(([^)]*)\)", query):
            assert set(re.findall(r"\w+", by)) <= {"job"}.union(*names.values()), query
    documented = set(re.findall(r"`(edge_api_\w+)", (PROJECT / "docs" / "operate.md").read_text()))
    families = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in names if not name.endswith("_created")}
    assert documented == families
    assert families - {re.sub(r"_(bucket|count|sum)$", "", name) for name in used} == set()
    assert len(rules) == len({rule["alert"] for rule in rules})
    for rule in rules:
        assert rule["for"]
        assert {"summary", "description", "runbook_url"} <= set(rule["annotations"])
        anchor = rule["annotations"]["runbook_url"].rpartition("#")[2]
        assert f"### {rule['alert']}\n" in (PROJECT / "docs" / "operate.md").read_text()
        assert anchor == rule["alert"].lower()


def test_each_code_is_explained_to_operators() -> None:
    """Both ways: no code is missing, and none is of the past."""
    codes = {kind.code for kind in errors.Kind}
    page = (PROJECT / "docs" / "operate.md").read_text()
    table = page.partition("| code | status |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == codes | {"bad_http"}


@dataclass
class Collector:
    """What an OpenTelemetry collector got."""

    url: str
    spans: list[Span] = field(default_factory=list)
    raw: bytes = b""
    got: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, count: int) -> list[Span]:
        with self.got:
            assert self.got.wait_for(lambda: len(self.spans) >= count, timeout=20)
            return list(self.spans)


@contextmanager
def collector() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            export = ExportTraceServiceRequest.FromString(body)
            with state.got:
                state.raw += body
                for resource in export.resource_spans:
                    for scope in resource.scope_spans:
                        state.spans.extend(scope.spans)
                state.got.notify_all()
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = Collector(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join(timeout=10)
        server.server_close()


def attributes(span: Span) -> dict[str, str | int]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


def test_a_trace_goes_from_the_caller_through_to_supabase(tmp_path: Path) -> None:
    with (
        collector() as sink,
        scripted_upstream(responding(200, [ROW_AND_CREATED])) as upstream,
        serving(tmp_path, upstream.url, KEY, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, OTEL_BSP_SCHEDULE_DELAY="50") as (
            url,
            child,
        ),
    ):
        headers = {
            "Authorization": f"Bearer {TOKEN}",
            "traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01",
            "baggage": "kilroy=here",
        }
        assert (
            httpx.post(f"{url}{GET_OR_CREATE}?who=kilroy", headers=headers, verify=NO_CERTIFICATES).status_code == 200
        )
        client, server = sorted(sink.wait_for(2), key=lambda span: span.kind, reverse=True)
        (call,) = upstream.received
        line = next(line for line in map(json.loads, log_of(url, child).splitlines()) if line.get("status"))
    assert (server.kind, client.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)
    assert server.trace_id.hex() == client.trace_id.hex() == line["trace_id"] == TRACE_ID
    assert server.parent_span_id.hex() == "b7ad6b7169203331"
    assert client.parent_span_id == server.span_id
    assert call.headers["traceparent"] == f"00-{TRACE_ID}-{client.span_id.hex()}-01"
    assert "baggage" not in call.headers
    assert server.name == f"POST {GET_OR_CREATE}"
    assert attributes(server)["http.response.status_code"] == 200
    assert attributes(server)["http.route"] == GET_OR_CREATE
    assert attributes(client)["url.template"] == "/rest/v1/rpc/get_or_create_account"
    for secret in ("kilroy", TOKEN, KEY, str(ROW_AND_CREATED["user_id"]), "Mine"):
        assert secret.encode() not in sink.raw
    assert b"edge-api" in sink.raw


def test_a_failure_has_its_code_in_the_trace_and_no_message(tmp_path: Path) -> None:
    with (
        collector() as sink,
        scripted_upstream(responding(500, {"message": MARK})) as upstream,
        serving(tmp_path, upstream.url, KEY, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, OTEL_BSP_SCHEDULE_DELAY="50") as (
            url,
            _,
        ),
    ):
        headers = {"Authorization": f"Bearer {TOKEN}"}
        assert httpx.post(f"{url}{GET_OR_CREATE}", headers=headers, verify=NO_CERTIFICATES).status_code == 502
        for span in sink.wait_for(2):
            assert attributes(span)["error.type"] == "bad_upstream"
            assert span.status.code == 2
            assert not span.status.message
            assert not span.events
    assert MARK.encode() not in sink.raw


def test_a_collector_that_is_down_holds_nobody_up(tmp_path: Path) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    with (
        scripted_upstream(responding(200, [ROW_AND_CREATED])) as upstream,
        serving(tmp_path, upstream.url, KEY, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_BSP_SCHEDULE_DELAY="10") as (
            url,
            child,
        ),
    ):
        headers = {"Authorization": f"Bearer {TOKEN}"}
        for _ in range(20):
            assert httpx.post(f"{url}{GET_OR_CREATE}", headers=headers, verify=NO_CERTIFICATES).status_code == 200
        child.stop(grace_seconds=20)
        assert child.exit_code() == 0
    assert TOKEN not in (tmp_path / "api.log").read_text()


def test_an_exporter_that_there_is_not_is_said_and_the_api_serves(tmp_path: Path) -> None:
    with (
        scripted_upstream(responding(200, [ROW_AND_CREATED])) as upstream,
        serving(tmp_path, upstream.url, KEY, OTEL_TRACES_EXPORTER="pigeon") as (url, _),
    ):
        response = httpx.post(
            f"{url}{GET_OR_CREATE}", headers={"Authorization": f"Bearer {TOKEN}"}, verify=NO_CERTIFICATES
        )
        assert response.status_code == 200
    assert "OTEL_TRACES_EXPORTER names an exporter that is not installed" in (tmp_path / "api.log").read_text()


def test_without_its_extra_no_trace_is_sent_and_the_api_serves() -> None:
    """FastAPI brings OpenTelemetry's interface along, without the SDK that does something."""
    script = "import sys; sys.modules['opentelemetry.sdk'] = None; from edge_api import server; server.application()"
    environment = {"SUPABASE_URL": "http://127.0.0.1:1", "SUPABASE_PUBLISHABLE_KEY": KEY, "PATH": os.defpath}
    done = subprocess.run(
        [SERVE[0].replace("edge-api", "python"), "-c", script],
        env=environment | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert "edge-api[otel] is not installed" in done.stdout


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
    ],
    ids=["nothing set", "disabled", "none"],
)
def test_nothing_is_traced_or_loaded_unless_asked_for(environment: dict[str, str]) -> None:
    script = (
        "import sys, edge_api.server; edge_api.server.application(); "
        "print(*(name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'prometheus'))))"
    )
    environment |= {"SUPABASE_URL": "http://127.0.0.1:1", "SUPABASE_PUBLISHABLE_KEY": KEY, "PATH": os.defpath}
    loaded = subprocess.run(
        [SERVE[0].replace("edge-api", "python"), "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout.split()
    assert loaded == []
