"""What `edge-api verify` understands of expressions and of the text of functions and views."""

import pytest

from edge_api.verify.bodies import becomes, carries_rows, counts_only, is_dynamic, mentions
from edge_api.verify.conditions import conjuncts, limit_of
from edge_api.verify.findings import printable, runnable
from edge_api.verify.syntax import read
from tests.database.verify.texts import function

OWN = "(user_id = ( SELECT auth.uid() AS uid))"


@pytest.mark.parametrize(
    ("expression", "rows"),
    [
        (OWN, "own"),
        ("(auth.uid() = user_id)", "own"),
        (f"({OWN} AND (is_active OR true))", "own"),
        (f"({OWN} OR (account_name = 'a or b'))", "any"),
        (f"({OWN} OR false)", "own"),
        (f"(NOT {OWN})", "any"),
        ("(user_id <> auth.uid())", "any"),
        ("(user_id = auth.uid()) IS NOT NULL", "any"),
        ("true", "any"),
        (None, "any"),
        ("false", "nothing"),
        (f"({OWN} AND false)", "nothing"),
    ],
)
def test_which_rows_a_policy_lets_through(expression: str | None, rows: str) -> None:
    assert limit_of(expression) == rows


def test_a_condition_more_is_recognised() -> None:
    assert conjuncts(OWN) < conjuncts(f"({OWN} AND (( SELECT (auth.jwt() ->> 'aal'::text)) = 'aal2'::text))")
    assert not conjuncts(OWN) <= conjuncts(f"({OWN} OR is_active)")


FROM = "select * from public.user_accounts"


@pytest.mark.parametrize(
    ("text", "verbs", "own"),
    [
        (FROM, {"select"}, False),
        (f"{FROM} where user_id = auth.uid()", {"select"}, True),
        (f"{FROM} as ua where (ua.user_id = (select auth.uid()))", {"select"}, True),
        (f"{FROM} where user_id = auth.uid() or true", {"select"}, False),
        (f"{FROM} where (user_id = auth.uid()) is not null", {"select"}, False),
        (f"{FROM} where not user_id = auth.uid()", {"select"}, False),
        (f"{FROM} where exists (select from public.user_accounts as ua where user_id = auth.uid())", {"select"}, False),
        (f"{FROM} as ua left join team as t on ua.user_id = auth.uid()", {"select"}, False),
        (f"{FROM} where case when user_id = auth.uid() then false else true end", {"select"}, False),
        (f"{FROM} where 'and user_id = auth.uid()' <> ''", {"select"}, False),
        (f"{FROM} where user_id = any (array[auth.uid()] || others)", {"select"}, False),
        (f"{FROM} where user_id = owner", {"select"}, False),
        (f"declare me uuid := auth.uid(); begin return query {FROM} where user_id = me; end", {"select"}, True),
        (
            f"declare me uuid := auth.uid(); begin me := x; return query {FROM} where user_id = me; end",
            {"select"},
            False,
        ),
        ("update public.user_accounts set account_name = 'x' where id = $1", {"update"}, False),
        ("delete from only public.user_accounts", {"delete"}, False),
        ("truncate table public.user_accounts", {"truncate"}, False),
        ("insert into public.user_accounts (account_name) values ('x')", {"insert"}, True),
        ("insert into public.user_accounts (user_id) values (owner)", {"insert"}, False),
        ("execute 'select * from public.user_accounts'", {"select"}, False),
    ],
)
def test_what_a_text_does_with_a_table(text: str, verbs: set[str], own: bool) -> None:
    mention = next(found for found in mentions(function(text)) if found.name == "user_accounts")
    assert (mention.schema, set(mention.verbs), mention.limit != "any") == ("public", verbs, own)


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        (f"{FROM} where exists (select from team where user_id = auth.uid())", "asked"),
        (f"{FROM} as ua join team as t on t.id = ua.id where t.user_id = auth.uid()", "asked"),
        (f"{FROM} where public.is_admin()", "asked"),
        (f"if not public.is_admin() then raise 'no'; end if; {FROM}", "asked"),
        (f"{FROM} where user_id = auth.uid()", "own"),
        (
            "if coalesce((select role from t where user_id = auth.uid()), '') <> 'admin' then raise 'no'; end if; "
            f"{FROM}",
            "asked",
        ),
        (f"{FROM} where public.is_admin() or public.is_boss()", "asked"),
        (f"{FROM} ua join t on t.account_id = ua.id join s on s.t = t.id where s.user_id = auth.uid()", "asked"),
        (
            "if not exists (select from s where id = account and user_id = auth.uid()) then raise 'no'; end if; "
            f"{FROM} where id = account",
            "asked",
        ),
        (
            "declare a uuid; begin select account_id into a from t where user_id = auth.uid(); "
            f"{FROM} where id = a; end",
            "asked",
        ),
    ],
)
def test_whose_rows_a_condition_lets_through(text: str, passes: str) -> None:
    mention = next(found for found in mentions(function(text)) if found.name == "user_accounts")
    assert mention.limit == passes


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("begin set local role service_role; end", [("role", "service_role")]),
        ("select set_config('ROLE', who, true)", [("role", "")]),
        ("select set_config(setting, value, true)", [("unknown", "")]),
        ("select set_config('request.jwt.claims', claims, true)", [("identity", "")]),
        ("begin set local request.jwt.claim.sub = 'x'; end", [("identity", "")]),
        ("update public.todos set role = 'x'", []),
        ("select set_config('role', 'x' || who, true)", [("role", "")]),
        ("select set_config('ro' || 'le', 'x', true)", [("unknown", "")]),
        ("begin set session role to 'x'; reset role; end", [("role", "x")]),
        ("select set_config('request.jwt.claims', '', true)", []),
        ("select set_config('app.tenant', 'x', true)", []),
    ],
)
def test_who_is_calling_is_seen_to_change(text: str, changes: list[tuple[str, str]]) -> None:
    assert list(becomes(function(text))) == changes


@pytest.mark.parametrize(
    "text", ["-- from user_accounts\nselect 1", "select 'user_accounts'", "/* from user_accounts */"]
)
def test_what_only_looks_like_it(text: str) -> None:
    assert [mention for mention in mentions(text) if mention.name == "user_accounts"] == []


@pytest.mark.parametrize(
    ("text", "dynamic"),
    [
        ("begin execute query; end", True),
        ("begin execute format('select * from %I', name) into x; end", True),
        ("select query_to_xml(query, true, true, '')", True),
        ("begin execute 'select 1' into owner; end", False),
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


@pytest.mark.parametrize("cast", ["x::char", 'x::pg_catalog."char"', "x::varchar(3)", "x::bpchar", "x::bit"])
def test_a_cast_that_cuts_something_off_is_not_left_out(cast: str) -> None:
    assert read(f"select {cast}").statements != read("select x").statements


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
    assert is_dynamic(text)
    assert carries_rows(text)


def test_what_cannot_be_read_may_change_who_is_calling() -> None:
    text = function("plv8.execute('set local role service_role')").replace("language sql", "language plv8")
    assert becomes(text) == (("unknown", ""),)
    assert becomes(text.replace("role", "x")) == ()


def test_a_field_of_a_variable_of_a_tables_type_is_one() -> None:
    body = f"begin select * into mine from t; mine.id := account; {FROM} where id = mine.id; end"
    text = function(f"declare mine public.user_accounts; {body}")
    assert not is_dynamic(text)
    assert {mention.limit for mention in mentions(text)} == {"any"}


def test_a_number_of_rows_is_told_from_rows() -> None:
    assert counts_only(" SELECT count(*) AS n\n   FROM public.user_accounts;")
    assert not counts_only(" SELECT count(*) AS n, account_name\n   FROM public.user_accounts;")


def test_names_are_printed_so_that_they_fake_nothing_and_still_name_it() -> None:
    assert printable("a\u202eb\nc\x1b") == "a\\202eb c\\001b"
    assert runnable('drop policy "a\n\\b\u202e" on t') == 'drop policy U&"a\\000a\\\\b\\202e" on t'
    assert runnable('drop policy "a \\ b" on t') == 'drop policy "a \\ b" on t'
