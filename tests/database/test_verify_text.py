"""What `edge-api verify` understands of expressions and of the text of functions and views."""

import pytest

from edge_api.verify.bodies import becomes, carries_rows, counts_only, is_dynamic, mentions
from edge_api.verify.conditions import is_open
from edge_api.verify.findings import printable, runnable
from edge_api.verify.syntax import read
from tests.database.verify.texts import function

OWN = "(user_id = ( SELECT auth.uid() AS uid))"


@pytest.mark.parametrize(
    ("expression", "opens"),
    [
        (OWN, False),
        ("(auth.uid() = user_id)", False),
        (f"({OWN} AND (is_active OR true))", False),
        (f"({OWN} OR (account_name = 'a or b'))", True),
        (f"(NOT {OWN})", True),
        ("(user_id <> auth.uid())", True),
        ("(user_id = auth.uid()) IS NOT FALSE", True),
        ("(auth.uid() IS NOT NULL)", True),
        ("(auth.role() = 'authenticated'::text)", True),
        ("(CURRENT_USER = 'service_role'::name)", False),
        ("true", True),
        (None, True),
        ("false", False),
    ],
)
def test_which_policies_let_rows_through_without_asking(expression: str | None, opens: bool) -> None:
    assert is_open(expression) is opens


FROM = "select * from public.user_accounts"


@pytest.mark.parametrize(
    ("text", "verbs", "asks"),
    [
        (FROM, {"select"}, False),
        (f"{FROM} where user_id = auth.uid()", {"select"}, True),
        (f"{FROM} where user_id = auth.uid() or true", {"select"}, False),
        (f"{FROM} where 'and user_id = auth.uid()' <> ''", {"select"}, False),
        (f"{FROM} where user_id = owner", {"select"}, False),
        (f"{FROM} where exists (select from team where user_id = auth.uid())", {"select"}, True),
        (f"{FROM} where public.is_admin()", {"select"}, True),
        ("update public.user_accounts set account_name = 'x' where id = $1", {"update"}, False),
        ("delete from only public.user_accounts", {"delete"}, False),
        ("truncate table public.user_accounts", {"truncate"}, False),
        ("insert into public.user_accounts (account_name) values ('x')", {"insert", "update"}, True),
        ("insert into public.user_accounts (user_id) values (owner)", {"insert", "update"}, False),
        ("begin drop table public.user_accounts; end", {"insert", "update", "delete", "truncate"}, False),
        ("begin drop policy p on public.user_accounts; end", {"insert", "update", "delete", "truncate"}, False),
    ],
)
def test_what_a_text_does_with_a_table(text: str, verbs: set[str], asks: bool) -> None:
    (mention,) = {found for found in mentions(function(text)) if found.name == "user_accounts"}
    assert (mention.schema, set(mention.verbs), mention.asks) == ("public", verbs, asks)


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("begin set local role service_role; end", True),
        ("select set_config('ROLE', who, true)", True),
        ("select set_config(setting, value, true)", True),
        ("select set_config('request.jwt.claims', claims, true)", True),
        ("begin set local request.jwt.claim.sub = 'x'; end", True),
        ("update public.todos set role = 'x'", False),
        ("select set_config('ro' || 'le', 'x', true)", True),
        ("begin set local role anon; reset role; end", False),
        ("select set_config('request.jwt.claims', '', true)", False),
        ("select set_config('app.tenant', 'x', true)", False),
    ],
)
def test_who_is_calling_is_seen_to_change(text: str, changes: bool) -> None:
    assert becomes(function(text)) is changes


def test_a_functions_own_settings_say_who_is_calling() -> None:
    assert becomes(function("select 1").replace("language sql", "language sql set role = 'service_role'"))
    assert not becomes(function("select 1").replace("language sql", "language sql set search_path = ''"))


def test_what_cannot_be_read_may_change_who_is_calling() -> None:
    text = function("plv8.execute('set local role service_role')").replace("language sql", "language plv8")
    assert becomes(text)
    assert not becomes(text.replace("role", "x"))


@pytest.mark.parametrize(
    "text", ["-- from user_accounts\nselect 1", "select 'user_accounts'", "/* from user_accounts */"]
)
def test_what_only_looks_like_it(text: str) -> None:
    assert [mention for mention in mentions(text) if mention.name == "user_accounts"] == []


@pytest.mark.parametrize(
    ("text", "dynamic"),
    [
        ("begin execute query; end", True),
        ("begin execute format('select * from %I', name) into owner; end", True),
        ("select query_to_xml(query, true, true, '')", True),
        ("select histogram_bounds from pg_catalog.pg_stats", True),
        ("begin return; end", False),
    ],
)
def test_sql_that_is_put_together_is_recognised(text: str, dynamic: bool) -> None:
    assert is_dynamic(function(text)) is dynamic


@pytest.mark.parametrize(
    ("text", "carries"),
    [
        ("begin raise notice '%', x; end", True),
        ("begin raise exception 'x' using detail = y; end", True),
        ("begin raise 'x'; execute y using z; perform '%'; end", False),
        ("begin new.x := 1; return new; end", True),
        ("begin return new; end", False),
        ("select 'insert'", False),
    ],
)
def test_rows_that_leave_by_another_way_are_seen(text: str, carries: bool) -> None:
    assert carries_rows(function(text, returns="trigger")) is carries


@pytest.mark.parametrize(
    "cast", ["x::text", 'x::public."Odd name"[]', "(x)::jsonb::text[]", "x :: uuid", "cast(x as uuid)", "(select x)"]
)
def test_a_cast_and_a_select_around_an_expression_are_left_out(cast: str) -> None:
    assert read(f"select {cast}").statements == read("select x").statements


@pytest.mark.parametrize(
    "text",
    [
        "select from where",
        function("begin for n in select 1 loop null; end loop; end"),
        function("begin return; end").replace("plpgsql", "plv8"),
        function("#variable_conflict use_variable\nbegin return; end"),
        "select old.id from update_of_another_version returning with (old as before)",
    ],
)
def test_what_cannot_be_read_is_undecided(text: str) -> None:
    assert not read(text).readable
    assert carries_rows(text)


def test_a_field_of_a_variable_of_a_tables_type_is_one() -> None:
    body = f"begin select * into mine from t; mine.id := account; {FROM} where id = mine.id; end"
    text = function(f"declare mine public.user_accounts; {body}")
    assert read(text).readable
    assert [mention.asks for mention in mentions(text) if mention.name == "user_accounts"] == [False]


def test_a_number_of_rows_is_told_from_rows() -> None:
    assert counts_only(" SELECT count(*) AS n\n   FROM public.user_accounts;")
    assert not counts_only(" SELECT count(*) AS n, account_name\n   FROM public.user_accounts;")


def test_names_are_printed_so_that_they_fake_nothing_and_still_name_it() -> None:
    assert printable("a\u202eb\nc\x1b") == "a\\202eb c\\001b"
    assert runnable('drop policy "a\n\\b\u202e" on t') == 'drop policy U&"a\\000a\\\\b\\202e" on t'
    assert runnable('drop policy "a \\ b" on t') == 'drop policy "a \\ b" on t'
