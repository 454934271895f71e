"""Which conditions `edge-api verify` takes for such as ask who is calling, and which it does not."""

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
_OWN: Final = frozenset({"my_id()", "is_admin()"})
"""Functions of the project's, which a text may call without their schema."""
_ASK: Final = (
    f"begin if not (select public.is_admin()) {_DENY} {_FROM}; end",
    f"begin if not coalesce((auth.jwt() -> 'app_metadata' ->> 'is_admin')::boolean, false) {_DENY} {_FROM}; end",
    f"begin if auth.uid() is null or auth.uid() not in (select user_id from public.admins) {_DENY} {_FROM}; end",
    f"{_FROM} where case when public.is_admin() then true else {_MINE} end",
    f"{_FROM} where auth.jwt() ->> 'user_role' = 'admin'",
    f"{_FROM} where auth.jwt() #>> '{{app_metadata,role}}' = 'admin'",
    f"declare c jsonb := auth.jwt(); begin {_FROM} where user_id = (c ->> 'sub')::uuid; end",
    f"declare n int; begin select count(*) into n from public.t where {_MINE}; if n = 0 {_DENY} {_FROM}; end",
    f"begin if (select count(*) from public.t where {_MINE}) < 1 {_DENY} {_FROM}; end",
    f"declare v uuid; w uuid; begin v := auth.uid(); w := v; {_FROM} where user_id = w; end",
    f"declare r record; begin for r in {_FROM} loop continue when r.user_id is distinct from auth.uid(); end loop; end",
    f"declare i uuid; ids uuid[]; begin ids := array(select a from public.t where {_MINE}); "
    f"foreach i in array ids loop {_FROM} where id = i; end loop; end",
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
    f"with u as (select auth.uid() as uid) {_FROM} where user_id = (select uid from u)",
    f"merge into {_TABLE} ua using (select auth.uid() as id) me on ua.user_id = me.id when matched then delete",
    f"{_FROM} where user_id = my_id()",
    f"begin if not is_admin() {_DENY} {_FROM}; end",
    f"begin perform private.assert_owner(account); {_ACCOUNT}",
    f"begin case when owner = auth.uid() then {_FROM} where user_id = owner; else raise 'x'; end case; end",
    f"{_FROM} a join public.members m on m.account_id = a.id and m.{_MINE}",
    f"select a.* from public.members m left join {_TABLE} a on a.id = m.account_id where m.{_MINE}",
    f"{_FROM} a where (select auth.uid()) in (select user_id from public.shares s where s.account_id = a.id)",
)
_DO_NOT_ASK: Final = (
    f"begin if not (select is_admin from public.t where {_MINE}) {_DENY} {_FROM}; end",
    f"begin if not (auth.jwt() -> 'app_metadata' ->> 'is_admin')::boolean {_DENY} {_FROM}; end",
    f"begin if auth.uid() not in (select user_id from public.admins) {_DENY} {_FROM}; end",
    f"{_FROM} where case when {_MINE} then true else is_active end",
    f"{_FROM} where auth.jwt() ->> 'aal' = 'aal1'",
    f"declare c jsonb := '{{}}'::jsonb; begin {_FROM} where user_id = (c ->> 'sub')::uuid; end",
    f"declare n int; begin select count(*) into n from public.t; if n = 0 {_DENY} {_FROM}; end",
    f"begin if owner is null then owner := auth.uid(); end if; {_THEIRS}",
    f"{_FROM} where user_id = his_id()",
    f"begin perform 1; {_FROM}; end",
    f"begin perform 1 from {_TABLE} where {_MINE}; {_FROM}; end",
    f"begin case when owner is null then {_FROM}; else raise 'x'; end case; end",
    f"{_FROM} where auth.uid() is not null",
    f"{_FROM} where auth.jwt() -> 'user_metadata' ->> 'role' = 'admin'",
    f"begin if auth.role() <> 'authenticated' {_DENY} {_FROM}; end",
    f"{_FROM} a left join public.todos t on t.{_MINE}",
    f"{_FROM} where {_MINE} is distinct from true",
    f"{_FROM} where not ({_MINE})",
    f"{_FROM} where ({_MINE}) is unknown",
    f"{_FROM} ua where ua.{_MINE} or exists (select 1)",
    f"{_FROM} where coalesce({_MINE}, true)",
    f"{_FROM} a, {_TABLE} b where a.{_MINE}",
    f"{_FROM} a join {_TABLE} b on true and a.{_MINE}",
    f"{_FROM} a left join public.t b on b.id = a.id where b.{_MINE} or b.id is null",
    f"{_FROM} a where a.id in (select account_id from public.t where t.user_id <> auth.uid())",
    f"{_FROM} where user_id = case when true then user_id else auth.uid() end",
    f"with x as (select auth.uid() as user_id) {_FROM}",
    f"with x as (select auth.uid() as id) {_FROM} left join x on x.id = user_id",
    f"with x as (select user_id from {_TABLE}) {_FROM} join x using (user_id)",
    f"{_FROM} natural left join (select auth.uid() as user_id) as me",
    f"{_FROM} left join (select auth.uid() as user_id) as me using (user_id)",
    f"{_FROM} full join (select auth.uid() as user_id) as me using (user_id)",
    f"{_FROM} where user_id in (select coalesce(owner, auth.uid()))",
    f"{_FROM} order by {_MINE}",
    f"{_FROM} limit (select 1 where {_MINE})",
    f"select *, (select 1 where {_MINE}) from {_TABLE}",
    f"select * from ({_FROM} offset 0) s left join public.t on s.{_MINE}",
    f"select s.* from (select user_id from {_TABLE} union all select user_id from {_TABLE}) s",
    f"begin if owner = auth.uid() or is_admin then {_THEIRS} if; end",
    f"begin if owner is distinct from auth.uid() and x {_DENY} {_THEIRS}",
    f"begin if not (owner is not distinct from auth.uid() or true) {_DENY} {_THEIRS}",
    f"begin while owner is distinct from auth.uid() loop exit; end loop; {_THEIRS}",
    f"begin assert owner = auth.uid(); {_THEIRS}",
    f"begin if owner is distinct from auth.uid() then null; end if; {_THEIRS}",
    f"begin if owner is distinct from auth.uid() then return query {_FROM}; end if; end",
    f"begin if owner is distinct from auth.uid() then perform 1; else raise exception 'x'; end if; {_THEIRS}",
    f"begin if not found {_DENY} {_FROM}; end",
    f"begin if exists (select from {_TABLE} where id = account or {_MINE}) then {_ACCOUNT} if; end",
    f"begin if exists (select from {_TABLE} where {_MINE}) and account is not null then {_ACCOUNT} if; end",
    f"insert into {_TABLE} (user_id) select owner where owner <> auth.uid()",
    f"delete from {_TABLE} using public.t where t.{_MINE}",
    f"update {_TABLE} set account_name = 'x' where id in (select id from {_TABLE} where user_id <> auth.uid())",
    f"{_FROM} where public.is_admin() or is_active",
    f"select * from public.t window w as (partition by {_MINE}) union {_FROM}",
    f"with x as (table {_TABLE}) select 1 from x",
    f"begin create rule r as on insert to {_TABLE} do nothing; alter table {_TABLE} disable trigger all; end",
    f"update only ({_TABLE}) set is_active = false",
    f"grant select on public.t, {_TABLE} to anon",
    f"{_FROM} where not (user_id = auth.uid() or is_active)",
    f"{_FROM} where not (user_id <> auth.uid() and is_active)",
    f"begin if owner <> auth.uid() and not public.is_admin() {_DENY} {_THEIRS}",
    f"begin if auth.uid() is null {_DENY} if owner <> auth.uid() and not flag {_DENY} {_THEIRS}",
    f"{_FROM} where coalesce(public.is_admin(), true)",
    f"begin if not coalesce(public.is_admin(), true) {_DENY} {_FROM}; end",
    f"{_FROM} ua left join (public.t b join public.s c on exists (select from public.u where {_MINE})) on true",
    f"{_FROM} a full join (select auth.uid() as id) b on a.user_id = b.id and (select count(*) from {_TABLE}) > 0",
    f"with recursive x as (select id, user_id from {_TABLE} union select * from x) select * from x",
    f"with x as ({_FROM}) select * from x as y where y.{_MINE} union all select * from x",
    f"select 1 union all select 2 limit (select count(*) from {_TABLE})",
    f"begin drop policy p on {_TABLE}; end",
    f"begin if owner = auth.uid() then return; elsif true then raise exception 'x'; end if; {_THEIRS}",
    f"begin if {_ROLE} <> 'admin' {_DENY} {_FROM}; end",
    f"begin if coalesce({_ROLE}, auth.jwt() -> 'user_metadata' ->> 'x') <> 'admin' {_DENY} {_FROM}; end",
    f"{_FROM} where coalesce(auth.uid(), user_id) = '00000000-0000-4000-8000-00000000ffff'",
    f"{_FROM} where coalesce(auth.uid(), owner) in (select user_id from public.admins)",
    f"begin if (select role from public.t where {_MINE}) <> 'admin' {_DENY} {_FROM}; end",
    f"begin if auth.uid() <> '00000000-0000-4000-8000-00000000ffff' {_DENY} {_FROM}; end",
    f"begin if true and (owner = auth.uid()) is not true {_DENY} {_THEIRS}",
    f"create rule r as on update to public.v do update {_TABLE} set is_active = false",
    f"create rule r as on update to public.v do instead (select 1; update {_TABLE} set is_active = false)",
    f"with x as not materialized ({_FROM}) select * from x",
    f"{_FROM} a natural left join public.t b where b.{_MINE} or true",
    f"select * from public.f() as x (user_id), {_TABLE} where x.{_MINE}",
)


def _asks(text: str) -> set[bool]:
    defined = text if text.startswith("create ") else function(text)
    assert read(defined).readable
    found = [each for each in mentions(defined, _OWN) if (each.schema, each.name) == ("public", "user_accounts")]
    return {mention.asks for mention in found}


@pytest.mark.parametrize("text", _ASK)
def test_what_asks_who_is_calling(text: str) -> None:
    assert _asks(text) == {True}


@pytest.mark.parametrize("text", _DO_NOT_ASK)
def test_what_does_not_ask_who_is_calling(text: str) -> None:
    assert False in _asks(text)
