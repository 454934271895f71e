"""What an operator does with `edge-api serve`: check it, restart it under load, kill it, read about its settings."""

import subprocess
from pathlib import Path

import psutil
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from edge_api.local.packages import PROJECT
from edge_api.local.processes import free_port
from edge_api.local.stack import Stack
from edge_api.settings import Settings
from tests.edge.faults import KEY
from tests.edge.scripted import scripted_upstream
from tests.edge.serving import SERVE, serving, workers


def check(url: str, key: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {"SUPABASE_URL": url, "SUPABASE_PUBLISHABLE_KEY": key, **settings}
    return subprocess.run([*SERVE, "--check"], env=environment, capture_output=True, text=True, timeout=40, check=False)


def test_check_says_what_would_be_served(stack: Stack) -> None:
    done = check(stack.supabase_url, stack.keys.publishable, EDGE_API_WORKERS="3", EDGE_METRICS_PORT="9464")
    assert done.returncode == 0
    project, traces, *settings = done.stdout.splitlines()
    assert (project, traces) == (f"{stack.supabase_url}: ready", "traces: off")
    assert {"EDGE_API_PORT=9403", "EDGE_API_WORKERS=3", "EDGE_METRICS_PORT=9464"} <= set(settings)
    assert stack.keys.publishable not in done.stdout


def test_check_refuses_wrong_settings() -> None:
    done = check(f"http://127.0.0.1:{free_port()}", "sb_secret_x")
    assert (done.returncode, done.stdout) == (2, "")


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    with (
        scripted_upstream() as upstream,
        serving(tmp_path, upstream.url, KEY, EDGE_API_WORKERS="2") as (_, child),
    ):
        parent = psutil.Process(child.pid)
        child.wait_until(lambda: len(workers(parent)) == 2, seconds=30)
        everyone = parent.children(recursive=True)
        parent.kill()
        assert not psutil.wait_procs(everyone, timeout=20)[1]


def default(setting: FieldInfo) -> str:
    if setting.default is PydanticUndefined:
        return "required"
    if setting.default in (None, (), ""):
        return "none"
    if isinstance(setting.default, float):
        return f"{setting.default:g}"
    return str(setting.default).lower() if isinstance(setting.default, bool) else str(setting.default)


def test_the_table_of_settings_is_true_and_whole() -> None:
    table = (PROJECT / "docs" / "settings.md").read_text().partition("| variable | meaning | default |")[2]
    rows = [[cell.strip() for cell in row.split("|")[1:4]] for row in table.partition("\n\n")[0].splitlines()[2:]]
    documented = {name.strip("`"): stated for name, _, stated in rows}
    fields = Settings.model_fields
    assert documented == {name.upper(): default(setting) for name, setting in fields.items()}
    assert all(len(meaning) > 10 for _, meaning, _ in rows)
