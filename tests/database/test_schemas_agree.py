"""What the database responses and what the Pydantic schemas expect: the same fields, of the same types."""

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, LiteralString, NamedTuple, get_args
from uuid import UUID

import psycopg
import pytest
from pydantic import AwareDatetime, BaseModel

from edge_api.local.node import supabase
from edge_api.local.stack import MIGRATOR
from edge_api.schemas.account_schemas import GetOrCreateAccountRow, UserAccountResponse
from tests.database.project import Project
from tests.support import FUNCTIONS

TABLE: Final = "user_accounts"


class Result(NamedTuple):
    """What a function responses: a list or one object, of what."""

    row: type[BaseModel]
    is_list: bool


RESULTS: Final = {
    "list_accounts": Result(UserAccountResponse, is_list=True),
    "get_or_create_account": Result(GetOrCreateAccountRow, is_list=True),
    "create_account": Result(UserAccountResponse, is_list=False),
    "get_account": Result(UserAccountResponse, is_list=True),
    "rename_account": Result(UserAccountResponse, is_list=True),
}

# How the catalogs and how the generated types call what a schema's field holds
SQL_TYPES: Final[Mapping[Any, str]] = {
    UUID: "uuid",
    str: "text",
    bool: "boolean",
    AwareDatetime: "timestamp with time zone",
}
PYTHON_TYPES: Final[Mapping[Any, str]] = {
    UUID: "uuid.UUID",
    str: "str",
    bool: "bool",
    AwareDatetime: "datetime.datetime",
}


class Column(NamedTuple):
    type: str
    nullable: bool | None  # None: not said, as for the columns of "returns table (...)"


def columns_of(schema: type[BaseModel], types: Mapping[Any, str]) -> dict[str, Column]:
    columns = {}
    for name, field in schema.model_fields.items():
        alternatives = get_args(field.annotation) or (field.annotation,)
        spelled = " | ".join(types.get(part, repr(part)) for part in alternatives if part is not type(None))
        columns[field.alias or name] = Column(spelled, type(None) in alternatives)
    return columns


def differences(where: str, found: Mapping[str, Column], expected: Mapping[str, Column]) -> list[str]:
    """In a sentence each, how what the database has differs from what a schema has."""
    said = [f"{where}.{name} is missing" for name in expected.keys() - found.keys()]
    said += [f"{where}.{name} is in no schema" for name in found.keys() - expected.keys()]
    for name in expected.keys() & found.keys():
        (type_, nullable), (wanted_type, wanted_nullable) = found[name], expected[name]
        if type_ != wanted_type:
            said.append(f"{where}.{name} is {type_}, not {wanted_type}")
        if nullable not in (None, wanted_nullable):
            said.append(f"{where}.{name} is {'nullable' if nullable else 'never null'}")
    return sorted(said)


def differences_from_the_catalogs(connection: psycopg.Connection) -> list[str]:
    def columns(query: LiteralString, *parameters: object) -> dict[str, Column]:
        return {name: Column(*column) for name, *column in connection.execute(query, parameters).fetchall()}

    def columns_of_relation(relation: int) -> dict[str, Column]:
        return columns(
            "select attname, format_type(atttypid, atttypmod), not attnotnull from pg_catalog.pg_attribute"
            " where attrelid = %s and attnum > 0 and not attisdropped",
            relation,
        )

    (table,) = connection.execute("select 'public.user_accounts'::regclass::oid").fetchone() or ()
    said = differences(TABLE, columns_of_relation(table), columns_of(UserAccountResponse, SQL_TYPES))
    functions = {
        name: found
        for name, *found in connection.execute(
            "select p.proname, p.oid, p.proretset, t.typrelid from pg_catalog.pg_proc as p"
            " join pg_catalog.pg_type as t on t.oid = p.prorettype where p.pronamespace = 'public'::regnamespace"
        ).fetchall()
    }
    for name, expected in RESULTS.items():
        if name not in functions:
            said.append(f"{name} is missing")
            continue
        function, is_list, relation = functions[name]
        found = (
            columns_of_relation(relation)
            if relation
            else columns(
                "select argument.name, format_type(argument.type, null), null::boolean from pg_catalog.pg_proc as p,"
                " unnest(p.proargnames, p.proallargtypes, p.proargmodes) as argument (name, type, mode)"
                " where p.oid = %s and argument.mode in ('t', 'o', 'b')",
                function,
            )
        )
        said += differences(name, found, columns_of(expected.row, SQL_TYPES))
        if is_list is not expected.is_list:
            said.append(f"{name} responses {'a list' if is_list else 'one object'}")
    return said


def differences_from_the_generated_types(project: Project, database: str, state: Path) -> list[str]:
    """The table only: the generator makes no Python types of functions."""
    url = project.cluster.url(MIGRATOR, with_password=False, database=database)
    module = ast.parse(
        supabase(
            ["gen", "types", "--lang=python", f"--remote={url}"],
            env=project.cluster.password_environment(MIGRATOR),
            state=state,
        )
    )
    models = {
        node.name: [field for field in node.body if isinstance(field, ast.AnnAssign)]
        for node in module.body
        if isinstance(node, ast.ClassDef)
    }
    found = {}
    for field in models["PublicUserAccounts"]:
        annotation = ast.unparse(field.annotation)
        inner = annotation.removeprefix("Optional[")
        nullable = inner != annotation
        found[ast.unparse(field.target)] = Column(inner[:-1] if nullable else inner, nullable)
    return differences(TABLE, found, columns_of(UserAccountResponse, PYTHON_TYPES))


def test_the_schemas_agree_with_the_catalogs(project: Project, clone: str) -> None:
    assert RESULTS.keys() == set(FUNCTIONS)
    with project.connect(clone) as connection:
        assert differences_from_the_catalogs(connection) == []


def test_the_schemas_agree_with_the_types_that_supabase_generates(project: Project, clone: str, tmp_path: Path) -> None:
    assert differences_from_the_generated_types(project, clone, tmp_path) == []


ROWS_OF_THE_TABLE: Final = (TABLE, *(name for name in RESULTS if name != "get_or_create_account"))


@pytest.mark.parametrize(
    ("change", "in_the_catalogs", "in_the_types"),
    [
        ("add column nickname text", "nickname is in no schema", ["nickname is in no schema"]),
        ("drop column is_active cascade", "is_active is missing", ["is_active is missing"]),
        ("alter column account_name drop not null", "account_name is nullable", ["account_name is nullable"]),
        (
            "alter column updated_at drop default, alter column updated_at type text",
            "updated_at is text, not timestamp with time zone",
            ["updated_at is str, not datetime.datetime"],
        ),
        (
            "alter column created_at type timestamp",
            "created_at is timestamp without time zone, not timestamp with time zone",
            [],  # Python has one type for both
        ),
    ],
    ids=["new column", "dropped column", "nullable column", "other type", "time without a zone"],
)
def test_a_change_of_the_table_is_noticed(
    project: Project,
    clone: str,
    tmp_path: Path,
    *,
    change: LiteralString,
    in_the_catalogs: str,
    in_the_types: list[str],
) -> None:
    with project.connect(clone) as connection:
        connection.execute("alter table public.user_accounts " + change)
        assert differences_from_the_catalogs(connection) == [f"{row}.{in_the_catalogs}" for row in ROWS_OF_THE_TABLE]
    found = differences_from_the_generated_types(project, clone, tmp_path)
    assert found == [f"{TABLE}.{difference}" for difference in in_the_types]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            "drop function public.get_or_create_account; create function public.get_or_create_account() returns table"
            " (id uuid, user_id uuid, account_name varchar, is_active boolean, created_at timestamptz, created boolean)"
            " language plpgsql as 'begin end'",
            [
                "get_or_create_account.account_name is character varying, not text",
                "get_or_create_account.updated_at is missing",
            ],
        ),
        (
            "drop function public.list_accounts; create function public.list_accounts() returns public.user_accounts"
            " language plpgsql as 'begin return null; end'",
            ["list_accounts responses one object"],
        ),
        ("drop function public.get_account", ["get_account is missing"]),
    ],
    ids=["other columns", "one object for a list", "dropped"],
)
def test_a_change_of_a_function_is_noticed(
    project: Project, clone: str, change: LiteralString, expected: list[str]
) -> None:
    with project.connect(clone) as connection:
        connection.execute(change)
        assert differences_from_the_catalogs(connection) == expected
