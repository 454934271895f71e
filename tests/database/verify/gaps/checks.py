"""Checks in functions that look as if they kept others out, and do not; and some that do."""

from typing import Final

from tests.database.verify.gap import Gap, reached, undecidable, weaker

_PLPGSQL = "language plpgsql security definer set search_path = ''"
_SQL = "language sql security definer set search_path = ''"
_ROWS = "returns setof public.user_accounts"
_UA = "select ua.* from public.user_accounts as ua"
_QUERY = "return query select * from public.user_accounts;"
_DENY = "then raise exception 'no'; end if;"
_ADMINS = "create table public.admins (user_id uuid); alter table public.admins enable row level security;"
_ROLE = "auth.jwt() -> 'app_metadata' ->> 'role'"


def _block(body: str, arguments: str = "") -> str:
    return f"create function public.f({arguments}) {_ROWS} {_PLPGSQL} as $$begin {body} end$$"


def _function(query: str) -> str:
    return f"create function public.f() {_ROWS} {_SQL} as $${query}$$"


GAPS: Final[dict[str, Gap]] = {
    "null passes: a role that the token lacks": reached(_block(f"if {_ROLE} <> 'admin' {_DENY} {_QUERY}")),
    "null passes: a default that is the value itself": undecidable(
        _block(f"if coalesce({_ROLE}, 'admin') <> 'admin' {_DENY} {_QUERY}")
    ),
    "the caller's active accounts, if there are any": undecidable(
        _block(f"if not exists (select from accounts_private.active_account_ids()) {_DENY} {_QUERY}")
    ),
    **{
        f"a row that is always there: {name}": undecidable(f"{_ADMINS} {_block(f'{check} {_DENY} {_QUERY}')}")
        for name, check in {
            "exists": "if not exists (select count(*) from public.admins where user_id = auth.uid())",
            "found": "perform max(user_id::text) from public.admins where user_id = auth.uid(); if not found",
        }.items()
    },
    "a cast that cuts": undecidable(_function(f"{_UA} where user_id::char(1) = auth.uid()::char(1)")),
    "an update of a table and none that inherits from it": reached(
        f"create function public.f() returns void {_SQL} as "
        "$$update only (public.user_accounts) set account_name = 'Reached'$$"
    ),
    "rights on the second of two tables": undecidable(
        f"create table public.todos (id int); create function public.f() returns void {_PLPGSQL} as "
        "$$begin grant all on public.todos, public.user_accounts to anon, authenticated; end$$",
        attack="select public.f(); truncate public.user_accounts; select true",
    ),
    **{
        f"keeps others out: {name}": weaker(made, levels="warning info none", only_person=True)
        for name, made in {
            "a negation": _function(f"{_UA} where not (user_id <> auth.uid())"),
            "a default of false": _function(f"{_UA} where coalesce(user_id = auth.uid(), false)"),
            "a default that is none of the roles": _block(f"if coalesce({_ROLE}, '') <> 'admin' {_DENY} {_QUERY}"),
            "a row that was found just before": _block(
                "perform 1 from public.user_accounts where id = account and user_id = auth.uid(); "
                f"if not found {_DENY} return query select * from public.user_accounts where id = account;",
                "account uuid",
            ),
        }.items()
    },
}
