"""Which conditions `edge-api verify` takes for a limit to the caller's rows, and which it does not."""

from typing import Final

import pytest

from edge_api.verify.bodies import mentions
from edge_api.verify.syntax import read
from tests.database.verify.texts import function

_TABLE: Final = "public.user_accounts"
_FROM: Final = f"select * from {_TABLE}"
_THEIRS: Final = f"{_FROM} where user_id = owner; end"
_ACCOUNT: Final = f"{_FROM} where id = account; end"
_DENY: Final = "then raise exception 'x'; end if;"
_MINE: Final = "user_id = auth.uid()"
_ROLE: Final = "auth.jwt() -> 'app_metadata' ->> 'role'"
_LIMITED: Final = (
    f"{_FROM} where ({_MINE}) is true",
    f"{_FROM} where ({_MINE}) = true",
    f"{_FROM} where {_MINE} limit 1",
    f"{_FROM} where {_MINE} for update",
    f"{_FROM} ua where ua.{_MINE} group by ua.id having true",
    f"{_FROM} where user_id = (select auth.uid() limit 1)",
    f"{_FROM} join (select auth.uid() as user_id) as me using (user_id)",
    f"{_FROM} where auth.uid() is not null and auth.uid() = user_id and created_at between now() and now()",
    f"{_FROM} where user_id::text = auth.uid()::text",
    f"{_FROM} ua where ua.id = any (select accounts_private.active_account_ids())",
    f"begin if (owner = auth.uid()) is not true {_DENY} {_THEIRS}",
    f"begin if coalesce(owner <> auth.uid(), true) {_DENY} {_THEIRS}",
    f"begin if not coalesce(owner = auth.uid(), false) {_DENY} {_THEIRS}",
    f"begin if auth.uid() is null {_DENY} if owner != auth.uid() {_DENY} {_THEIRS}",
    f"declare c uuid; begin c := auth.uid(); if c is null {_DENY} if owner != c {_DENY} {_THEIRS}",
    f"begin if auth.uid() is null or auth.uid() != owner {_DENY} {_THEIRS}",
    f"begin if (select auth.uid()) is null or owner <> (select auth.uid()) {_DENY} {_THEIRS}",
    f"declare r record; begin for r in {_FROM} where {_MINE} loop {_FROM} where id = r.id; end loop; end",
    f"{_FROM} where not (user_id <> auth.uid())",
    f"begin if owner is distinct from auth.uid() {_DENY} for n in 1..2 loop null; end loop; {_THEIRS}",
    f"{_FROM} where coalesce({_MINE}, false)",
    f"{_FROM} where id = (select distinct id from {_TABLE} where {_MINE})",
    f"{_FROM} join (select b.id as a, auth.uid() as b from public.t b) me on me.b = user_id",
    f"begin if coalesce({_ROLE}, '') <> 'admin' {_DENY} {_FROM}; end",
    f"declare c uuid; begin c := (select id from {_TABLE} where {_MINE}); {_FROM} where id = c; end",
    f"begin update {_TABLE} set is_active = false where id = account and {_MINE}; if not found {_DENY} {_ACCOUNT}",
    f"begin if owner <> auth.uid() then raise exception 'x'; elsif auth.uid() = owner then {_THEIRS} if; end",
    f"begin if not (public.is_admin() and flag) {_DENY} {_FROM}; end",
    f"begin if auth.uid() is null {_DENY} if owner <> auth.uid() and not public.is_admin() {_DENY} {_THEIRS}",
    f"begin if not (owner is not distinct from auth.uid() and public.is_admin()) {_DENY} {_THEIRS}",
    f"{_FROM} where not (user_id <> auth.uid() or account_name = 'x')",
    f"{_FROM} ua where exists (select from (select auth.uid() id union select auth.uid()) x where x.id = ua.id)",
    f"select ua.* from public.t left join ({_TABLE} ua join public.s on s.id = ua.id) on ua.{_MINE}",
    f"with x as (select auth.uid() as me), y (mine) as (select me from x) {_FROM} join x on user_id = x.me",
)
_UNLIMITED: Final = (
    f"{_FROM} where {_MINE} is null",
    f"{_FROM} where {_MINE} is distinct from true",
    f"{_FROM} where not ({_MINE})",
    f"{_FROM} where ({_MINE}) is unknown",
    f"{_FROM} ua where ua.{_MINE} or exists (select 1)",
    f"{_FROM} where coalesce({_MINE}, true)",
    f"{_FROM} where nullif({_MINE}, true)",
    f"{_FROM} where ({_MINE}) >= false",
    f"{_FROM} where {_MINE} - 1",
    f"{_FROM} where {_MINE} || ''",
    f"{_FROM} where user_id = (auth.uid(), owner)",
    f"{_FROM} where user_id = all (array[auth.uid()])",
    f"{_FROM} where exists ({_FROM} x where x.{_MINE} and user_accounts.is_active)",
    f"{_FROM} a, {_TABLE} b where a.{_MINE}",
    f"{_FROM} a join {_TABLE} b on true and a.{_MINE}",
    f"{_FROM} a left join public.t b on b.id = a.id where b.{_MINE} or b.id is null",
    f"{_FROM} a where a.id in (select account_id from public.t where t.user_id <> auth.uid())",
    f"{_FROM} a where a.id = (select b.id from public.t b where b.x = auth.uid() union select a.id)",
    f"{_FROM} where user_id = case when true then user_id else auth.uid() end",
    f"with x as (select auth.uid() as user_id) {_FROM}",
    f"with x as (select auth.uid() as id) {_FROM} left join x on x.id = user_id",
    f"with x as (select user_id from {_TABLE}) {_FROM} join x using (user_id)",
    f"{_FROM} natural left join (select auth.uid() as user_id) as me",
    f"{_FROM} left join (select auth.uid() as user_id) as me using (user_id)",
    f"{_FROM} full join (select auth.uid() as user_id) as me using (user_id)",
    f"{_FROM} where user_id in (select coalesce(owner, auth.uid()))",
    f"{_FROM} where user_id in (values (auth.uid()), (owner))",
    f"{_FROM} where user_id = any (select auth.uid() union all select owner)",
    f"{_FROM} where user_id::text like auth.uid()::text || '%'",
    f"{_FROM} where {_MINE} collate x",
    f"{_FROM} where user_id::text::char(1) = auth.uid()::text::char(1)",
    f'{_FROM} where user_id::text::pg_catalog."char" = auth.uid()::text::pg_catalog."char"',
    f"{_FROM} order by {_MINE}",
    f"{_FROM} limit (select 1 where {_MINE})",
    f"select *, (select 1 where {_MINE}) from {_TABLE}",
    f"select * from ({_FROM} offset 0) s left join public.t on s.{_MINE}",
    f"select * from (select auth.uid() as user_id, account_name from {_TABLE}) s where s.{_MINE}",
    f"select * from (select *, auth.uid() from {_TABLE}) as s(a,b,c,d,e,f,user_id) where s.{_MINE}",
    f"select s.* from (select user_id from {_TABLE} union all select user_id from {_TABLE}) s",
    f"declare c uuid := auth.uid(); begin perform f(c); c := owner; {_FROM} where user_id = c; end",
    f"declare c uuid := auth.uid(); begin select owner into strict c; {_FROM} where user_id = c; end",
    f"declare c uuid := auth.uid(); cur refcursor; begin fetch cur into c; {_FROM} where user_id = c; end",
    f"declare c uuid := auth.uid(); begin execute 'select 1' into c; {_FROM} where user_id = c; end",
    f"declare c uuid := auth.uid(); begin foreach c in array list loop {_FROM} where user_id = c; end loop; end",
    f"declare c uuid default auth.uid(); begin call public.other(c); {_FROM} where user_id = c; end",
    f"declare c uuid default auth.uid(); begin if x then c = owner; end if; {_FROM} where user_id = c; end",
    f"begin if x then select user_id into owner from {_TABLE} where {_MINE}; end if; {_THEIRS}",
    f"begin if x then owner := auth.uid(); end if; {_THEIRS}",
    f"begin declare owner uuid := auth.uid(); begin null; end; {_THEIRS}",
    f"begin if owner = auth.uid() or is_admin then {_THEIRS} if; end",
    f"begin if owner is distinct from auth.uid() and x {_DENY} {_THEIRS}",
    f"begin if not (owner is not distinct from auth.uid() or true) {_DENY} {_THEIRS}",
    f"begin while owner is distinct from auth.uid() loop exit; end loop; {_THEIRS}",
    f"begin assert owner = auth.uid(); {_THEIRS}",
    f"begin case when owner = auth.uid() then null; else null; end case; {_THEIRS}",
    f"begin if owner is distinct from auth.uid() then null; end if; {_THEIRS}",
    f"begin if owner is distinct from auth.uid() then return query {_FROM}; end if; end",
    f"begin if owner is distinct from auth.uid() then perform 1; else raise exception 'x'; end if; {_THEIRS}",
    f"begin if not found {_DENY} {_FROM}; end",
    f"begin perform 1 from {_TABLE} where {_MINE}; if not found {_DENY} {_ACCOUNT}",
    f"begin if exists (select from {_TABLE} where id = account or {_MINE}) then {_ACCOUNT} if; end",
    f"begin if exists (select from {_TABLE} where {_MINE}) and account is not null then {_ACCOUNT} if; end",
    f"begin if (select count(*) from {_TABLE} where id = account and {_MINE}) >= 0 then {_ACCOUNT} if; end",
    f"insert into {_TABLE} (account_name, user_id) values (auth.uid()::text, owner)",
    f"insert into {_TABLE} (user_id) select owner where owner <> auth.uid()",
    f"insert into {_TABLE} (user_id) values (auth.uid()) on conflict (account_name) do update set account_name = 'x'",
    f"insert into {_TABLE} (user_id) values (auth.uid()) on conflict (user_id) do update set user_id = owner",
    f"update {_TABLE} set (user_id, is_active) = (owner, true) where {_MINE}",
    f"delete from {_TABLE} using public.t where t.{_MINE}",
    f"update {_TABLE} ua set is_active = false from public.t where t.{_MINE} and t.x = ua.is_active",
    f"update {_TABLE} set account_name = 'x' where id in (select id from {_TABLE} where user_id <> auth.uid())",
    f"{_FROM} where public.is_admin() or is_active",
    f"{_FROM} as x (user_id, a, b, c, d, e, f) where x.{_MINE}",
    f"select (select string_agg(ua.account_name, ',') from {_TABLE} ua) from {_TABLE} ua where ua.{_MINE}",
    f"{_FROM} where user_id in (select auth.uid() except select owner intersect select owner)",
    f"select * from public.t window w as (partition by {_MINE}) union {_FROM}",
    f"with x as (table {_TABLE}) select 1 from x",
    f"merge into {_TABLE} ua using public.t on t.x = ua.id and ua.{_MINE} when matched then delete",
    f"begin create rule r as on insert to {_TABLE} do nothing; alter table {_TABLE} disable trigger all; end",
    f"update only ({_TABLE}) set is_active = false",
    f"grant select on public.t, {_TABLE} to anon",
    f"{_FROM} where not (user_id <> auth.uid()) is true",
    f"{_FROM} where not (user_id = auth.uid() or is_active)",
    f"{_FROM} where not (user_id <> auth.uid() and is_active)",
    f"begin if owner <> auth.uid() and not public.is_admin() {_DENY} {_THEIRS}",
    f"begin if auth.uid() is null {_DENY} if owner <> auth.uid() and not flag {_DENY} {_THEIRS}",
    f"{_FROM} where coalesce(public.is_admin(), true)",
    f"begin if not coalesce(public.is_admin(), true) {_DENY} {_FROM}; end",
    f"{_FROM} ua left join (public.t b join public.s c on exists (select from public.u where {_MINE})) on true",
    f"{_FROM} a full join (select auth.uid() as id) b on a.user_id = b.id and (select count(*) from {_TABLE}) > 0",
    f"with gone as (delete from {_TABLE} returning user_id) select * from gone where user_id = auth.uid()",
    f"with recursive x as (select id, user_id from {_TABLE} union select * from x) select * from x",
    f"with x as ({_FROM}) select * from x as y where y.{_MINE} union all select * from x",
    f"select 1 union all select 2 limit (select count(*) from {_TABLE})",
    f"begin drop policy p on {_TABLE}; end",
    f"select * from (select auth.uid() as id), ({_FROM}) where id = auth.uid()",
    f"begin if owner = auth.uid() then return; elsif true then raise exception 'x'; end if; {_THEIRS}",
    f"begin if x then null; elsif owner is distinct from auth.uid() {_DENY} {_THEIRS}",
    f"{_FROM} where user_id = any (array[auth.uid()] || array[owner])",
    f"{_FROM} where exists (select from accounts_private.active_account_ids() as a (id))",
    f"{_FROM} ua where ua.user_id = (select s.b from (select auth.uid() as a, owner as b) as s)",
    f"{_FROM} ua join (select auth.uid() as a, owner as b) as s on s.b = ua.user_id",
    f"select s.* from (select user_id, auth.uid() as id, account_name from {_TABLE}) as s where s.id = auth.uid()",
    f"select * from (select user_id, string_agg(account_name, ',') over () from {_TABLE}) s where s.{_MINE}",
    f"begin if {_ROLE} <> 'admin' {_DENY} {_FROM}; end",
    f"begin if coalesce({_ROLE}, 'admin') <> 'admin' {_DENY} {_FROM}; end",
    f"begin if coalesce({_ROLE}, auth.jwt() ->> 'x') <> 'admin' {_DENY} {_FROM}; end",
    f"{_FROM} where coalesce({_ROLE}, 'admin') = 'admin'",
    f"{_FROM} where coalesce(auth.uid(), user_id) = '00000000-0000-4000-8000-00000000ffff'",
    f"{_FROM} where coalesce(auth.uid(), owner) in (select user_id from public.admins)",
    f"begin if auth.uid() is null or auth.uid() <> (select a from public.t) {_DENY} {_FROM}; end",
    f"begin if (select role from public.t where {_MINE}) <> 'admin' {_DENY} {_FROM}; end",
    f"begin if auth.uid() <> '00000000-0000-4000-8000-00000000ffff' {_DENY} {_FROM}; end",
    f"begin if true and (owner = auth.uid()) is not true {_DENY} {_THEIRS}",
    f"begin if {_MINE} then for n in 1..2 loop null; end loop; end if; {_FROM}; end",
    f"begin if owner = auth.uid() then for n in 1..2 loop null; end loop; end if; {_THEIRS}",
    f"begin if owner = auth.uid() then loop exit; end loop; end if; {_THEIRS}",
    "declare r record; begin for r in select 1 where x loop "
    f"if owner is distinct from auth.uid() {_DENY} end loop; {_THEIRS}",
    f"begin begin if owner is distinct from auth.uid() {_DENY} exception when others then null; end; {_THEIRS}",
    f"begin if x then begin null; end; if owner is distinct from auth.uid() {_DENY} end if; {_THEIRS}",
    f"create rule r as on update to public.v do update {_TABLE} set is_active = false",
    f"create rule r as on update to public.v do instead (select 1; update {_TABLE} set is_active = false)",
    f"with x as not materialized ({_FROM}) select * from x",
    f"with x (a) as materialized ({_FROM}) select * from x as y where {_MINE}",
    f"{_FROM} a natural left join public.t b where b.{_MINE} or true",
    f"select * from public.f() as x (user_id), {_TABLE} where x.{_MINE}",
    f"begin if x then perform 1 from {_TABLE} where id = account and {_MINE}; end if; if not found {_DENY} {_ACCOUNT}",
    f"declare a text; begin select account_name into a from {_TABLE} where {_MINE}; {_FROM} where user_id = a; end",
    f"begin if owner = auth.uid() then null; else merge into t using y on x when matched then do nothing; "
    f"end if; {_THEIRS}",
    f"declare r record; begin for r in select u.id, m.id from public.t u, {_TABLE} m where m.{_MINE} loop "
    f"{_FROM} where id = r.id; end loop; end",
)


def _limited(text: str, parameters: str = "owner uuid, account uuid") -> set[bool]:
    defined = text if text.startswith("create ") else function(text, parameters)
    assert read(defined).readable
    found = [each for each in mentions(defined) if (each.schema, each.name) == ("public", "user_accounts")]
    return {mention.limit != "any" for mention in found}


@pytest.mark.parametrize("text", _LIMITED)
def test_what_limits_to_the_rows_of_the_caller(text: str) -> None:
    assert _limited(text) == {True}


def test_a_column_of_another_table_limits_no_user() -> None:
    found = mentions(f"select u.email from auth.users as u, public.t where {_MINE}")
    assert [mention.limit for mention in found if mention.name == "users"] == ["any"]


def test_a_parameter_that_is_given_a_value_on_one_way_is_not_the_callers() -> None:
    text = f"begin if id is null then id := auth.uid(); end if; {_FROM} where user_id = id; end"
    assert _limited(text, "id uuid") == {False}


@pytest.mark.parametrize("text", _UNLIMITED)
def test_what_does_not_limit_to_the_rows_of_the_caller(text: str) -> None:
    assert False in _limited(text)
