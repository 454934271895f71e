"""What `make types` makes of the migrations, whichever PostgreSQL they run on."""

from pathlib import Path
from typing import LiteralString

from edge_api.local import types
from edge_api.local.expected import expected_state
from edge_api.local.packages import PROJECT
from tests.database.project import Project
from tests.docs import frontend
from tests.node import type_errors

EXAMPLE = (PROJECT / "sql" / "examples" / "account_credentials.sql").read_text()


def generated(project: Project, database: str, folder: Path) -> str:
    return types.database_types(project.cluster, database, folder)


def test_the_checked_in_types_are_those_of_the_migrations(project: Project, clone: str, tmp_path: Path) -> None:
    assert types.DATABASE_TYPES.read_text() == generated(project, clone, tmp_path), "run `make types`"


def test_verify_compares_with_what_the_migrations_create(project: Project, clone: str) -> None:
    assert types.EXPECTED.read_text() == expected_state(project.cluster, clone), "run `make types`"


CHANGES: dict[LiteralString, tuple[bool, str]] = {
    "alter table public.user_accounts add column nickname text": (True, '"nickname": string | null'),
    "alter table public.user_accounts drop column is_active cascade": (False, '"is_active"?: boolean'),
    "drop function public.get_account": (False, '"get_account"'),
    "grant insert (created_at) on public.user_accounts to authenticated": (
        True,
        'Writable<"user_accounts", "account_name" | "created_at", never>',
    ),
    "revoke update (account_name) on public.user_accounts from authenticated": (
        False,
        'Writable<"user_accounts", "account_name", "account_name">',
    ),
}


def test_changes_of_the_database_are_noticed(project: Project, clone: str, tmp_path: Path) -> None:
    with project.connect(clone) as connection:
        for change in CHANGES:
            connection.execute(change)
    before, after = types.DATABASE_TYPES.read_text(), generated(project, clone, tmp_path)
    for appears, text in CHANGES.values():
        assert (text in before, text in after) == (not appears, appears)


def test_an_account_scoped_table_gets_types_with_what_its_users_may_write(
    project: Project, clone: str, tmp_path: Path
) -> None:
    with project.connect(clone) as connection, connection.transaction():
        connection.execute(EXAMPLE.encode())
    text = generated(project, clone, tmp_path)
    assert (
        '"account_credentials": Writable<"account_credentials", "account_id" | "label" | "vault_secret_id", never>'
        in (text)
    )
    assert '"add_credential":' in text
    frontend.check_out(tmp_path, text)
    assert (tmp_path / frontend.OF_THE_EXAMPLE).exists()
    assert type_errors(tmp_path) == ""
