"""What Supabase's own advisors say about the migrated database."""

import json
from pathlib import Path
from typing import Any

from edge_api.local.node import supabase
from edge_api.local.stack import MIGRATOR
from tests.database.project import Project


def findings(project: Project, database: str, state: Path) -> list[tuple[str, str]]:
    """All that the advisors find, security and performance, down to mere hints: what each is called and says."""
    url = project.cluster.url(MIGRATOR, with_password=False, database=database)
    printed = supabase(
        # the exit code would say that there is something, but not what
        ["db", "advisors", "--type=all", "--level=info", "--fail-on=none", "--output-format=json", f"--remote={url}"],
        env=project.cluster.password_environment(MIGRATOR),
        state=state,
    )
    results: list[dict[str, Any]] = json.loads(printed)["results"]
    return [(result["name"], result["detail"]) for result in results]


def test_the_advisors_find_nothing(project: Project, clone: str, tmp_path: Path) -> None:
    assert findings(project, clone, tmp_path) == []


def test_the_advisors_find_a_table_without_row_level_security(project: Project, clone: str, tmp_path: Path) -> None:
    with project.connect(clone) as connection:
        connection.execute("alter table public.user_accounts disable row level security")
    assert "rls_disabled_in_public" in dict(findings(project, clone, tmp_path))


def test_the_advisors_find_a_policy_that_asks_who_is_calling_once_per_row(
    project: Project, clone: str, tmp_path: Path
) -> None:
    with project.connect(clone) as connection:
        connection.execute(
            'alter policy "Users see their own account" on public.user_accounts using (user_id = auth.uid())'
        )
    assert "auth_rls_initplan" in dict(findings(project, clone, tmp_path))
