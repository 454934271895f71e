"""Blocks of PL/pgSQL that keep the caller's id, row or right in a variable, and what looks for a way around that."""

from typing import Final

from tests.database.verify.gap import CONTESTED, Gap, own, reached, tighter, undecidable, weaker

_DEFINER = "language sql security definer set search_path = ''"
_PLPGSQL = "language plpgsql security definer set search_path = ''"
_ROWS = "returns setof public.user_accounts"
_UA = "select ua.* from public.user_accounts as ua"
_QUERY = "return query select * from public.user_accounts"
_MINE = "select {} into {} from public.user_accounts where user_id = auth.uid();"
_NAMES = "select string_agg(account_name, ',') from public.user_accounts"
_ADMINS = "create table public.admins (user_id uuid); alter table public.admins enable row level security;"
_SELF = "(current_setting('request.jwt.claims')::json ->> 'sub')::uuid"
_DENY = "then raise exception 'no'; end if;"


def _limited(sql: str) -> Gap:
    return weaker(sql, levels="warning info none", only_person=True)


def _function(query: str, arguments: str = "") -> str:
    return f"create function public.f({arguments}) {_ROWS} {_DEFINER} as $${query}$$"


def _block(body: str, arguments: str = "", declared: str = "") -> str:
    return f"create function public.f({arguments}) {_ROWS} {_PLPGSQL} as $${declared} begin {body} end$$"


# Their conditions ask who is calling, and not enough: that is for a person to see.
_ASK: Final = frozenset(
    {
        "a column of the other table",
        "a common table expression of other names",
        "a comparison of the comparison",
        "a comparison of the comparison, once more",
        "a handler that goes on",
        "a list that says nothing of nobody",
        "a longer list",
        "a name that the caller chooses",
        "a parameter in a table",
        "a parameter named like the column",
        "a parameter that is the caller",
        "a row of the caller's in a list",
        "a row whose id is set",
        "a value that was given beside the caller's row",
        "the inner of two",
        "the text with another value",
        "what changes after the check",
        "found by another statement",
    }
)

GAPS: Final[dict[str, Gap]] = {
    **{
        f"keeps: {name}": _limited(_block(body, arguments, declared))
        for name, (body, arguments, declared) in {
            "the id of the caller's account": (
                f"{_MINE.format('id', 'mine')} {_QUERY} where id = mine;",
                "",
                "declare mine uuid;",
            ),
            "the caller's row": (
                f"{_MINE.format('*', 'mine')} if not found {_DENY} {_QUERY} where id = mine.id;",
                "",
                "declare mine public.user_accounts;",
            ),
            "the caller's row in a loop": (
                "for mine in select * from public.user_accounts where user_id = auth.uid() loop "
                f"{_QUERY} where id = mine.id; end loop;",
                "",
                "declare mine record;",
            ),
            "the caller's id for a text": (
                "return query execute 'select * from public.user_accounts where user_id = $1' using auth.uid();",
                "",
                "",
            ),
            "a way for service_role": (
                f"if (select auth.role()) = 'service_role' then {_QUERY}; return; end if; "
                f"{_QUERY} where user_id = auth.uid();",
                "",
                "",
            ),
            "two conditions at once": (
                f"if owner is null or owner is distinct from auth.uid() {_DENY} "
                f"{_QUERY} where user_id = owner and is_active;",
                "owner uuid",
                "",
            ),
            "the function's name before the parameter's": (
                f"if f.owner is distinct from (select auth.uid()) {_DENY} {_QUERY} as ua where ua.user_id = f.owner;",
                "owner uuid",
                "",
            ),
            "two branches": (
                f"if owner = auth.uid() and is_active then {_QUERY} where user_id = owner; elsif owner is null then "
                f"{_QUERY} where user_id = auth.uid(); else raise exception 'no'; end if;".replace(
                    "and is_active", "and true"
                ),
                "owner uuid",
                "",
            ),
            "signed in, then equal": (
                f"if auth.uid() is null {_DENY} if owner != auth.uid() {_DENY} {_QUERY} where user_id = owner;",
                "owner uuid",
                "",
            ),
            "signed in, then equal to a variable": (
                f"caller := auth.uid(); if caller is null {_DENY} if owner <> caller {_DENY} "
                f"{_QUERY} where user_id = owner;",
                "owner uuid",
                "declare caller uuid;",
            ),
            "not true": (
                f"if (owner = auth.uid()) is not true {_DENY} {_QUERY} where user_id = owner;",
                "owner uuid",
                "",
            ),
            "a default for nobody": (
                f"if not coalesce(owner = auth.uid(), false) {_DENY} {_QUERY} where (user_id = owner) is true;",
                "owner uuid",
                "",
            ),
            "an inner block": (
                f"begin {_QUERY} where user_id = caller; exception when others then raise; end;",
                "",
                "declare caller uuid := auth.uid();",
            ),
            "a null check and an assignment": (
                f"caller := (select auth.uid()); if caller is null {_DENY} {_QUERY} where user_id = caller;",
                "",
                "declare caller uuid;",
            ),
        }.items()
    },
    **{
        f"seems to keep: {name}": (undecidable if name in _ASK else reached)(_block(body, arguments, declared))
        for name, (body, arguments, declared) in {
            "only when nothing was given": (
                f"if owner is null then owner := auth.uid(); end if; {_QUERY} where user_id = owner;",
                "owner uuid",
                "",
            ),
            "the row of anybody": (
                f"select * into mine from public.user_accounts where id = account; {_QUERY} where id = mine.id;",
                "account uuid",
                "declare mine public.user_accounts;",
            ),
            "a value that was given beside the caller's row": (
                f"{_MINE.format('account', 'mine')} {_QUERY} where id = mine;",
                "account uuid",
                "declare mine uuid;",
            ),
            "the row of the caller, then of anybody": (
                f"{_MINE.format('*', 'mine')} select * into mine from public.user_accounts where id = account; "
                f"{_QUERY} where id = mine.id;",
                "account uuid",
                "declare mine public.user_accounts;",
            ),
            "a row whose id is set": (
                f"{_MINE.format('*', 'mine')} mine.id := account; {_QUERY} where id = mine.id;",
                "account uuid",
                "declare mine public.user_accounts;",
            ),
            "found by another statement": (
                "perform 1 from public.user_accounts where user_id = auth.uid(); perform 1 from auth.users; "
                f"if not found {_DENY} {_QUERY} where id = account;",
                "account uuid",
                "",
            ),
            "the text with another value": (
                "return query execute 'select * from public.user_accounts where user_id = $1' using owner, auth.uid();",
                "owner uuid",
                "",
            ),
            "a check of a function that always agrees": (
                f"if not (select true) {_DENY} {_QUERY};",
                "",
                "",
            ),
            "a handler that goes on": (
                f"if owner is distinct from auth.uid() {_DENY} return; exception when others then {_QUERY} "
                "where user_id = owner;",
                "owner uuid",
                "",
            ),
            "a list that says nothing of nobody": (
                f"if not (auth.uid() in (select user_id from public.user_accounts where id = account)) {_DENY} "
                f"{_QUERY} where id = account;",
                "account uuid",
                "",
            ),
            "signed in, then another": (
                f"if owner is null {_DENY} if owner != auth.uid() {_DENY} {_QUERY} where user_id = owner;",
                "owner uuid",
                "",
            ),
            "a default that lets through": (
                f"if not coalesce(owner = auth.uid(), true) {_DENY} {_QUERY} where user_id = owner;",
                "owner uuid",
                "",
            ),
            "a label": (
                f"<<checks>> begin if owner is distinct from auth.uid() then exit checks; end if; end; "
                f"{_QUERY} where user_id = owner;",
                "owner uuid",
                "",
            ),
            "a loop that is left": (
                f"loop if owner is distinct from auth.uid() then exit; end if; return; end loop; "
                f"{_QUERY} where user_id = owner;",
                "owner uuid",
                "",
            ),
            "nothing when it is the caller": (
                f"if auth.role() = 'service_role' then return; end if; {_QUERY};",
                "",
                "",
            ),
            "a comparison with itself": (f"if owner is distinct from owner {_DENY} {_QUERY};", "owner uuid", ""),
        }.items()
    },
    **{
        f"is not limited by: {name}": (undecidable if name in _ASK else reached)(_function(query, arguments))
        for name, (query, arguments) in {
            "a column of the other table": (
                f"{_UA} where user_id in (select u.id from auth.users as u, public.user_accounts as mine "
                "where mine.user_id = auth.uid())",
                "",
            ),
            "a longer list": (
                f"{_UA} where user_id = any (array[auth.uid()] || array(select id from auth.users))",
                "",
            ),
            "a list of both": (f"{_UA} where user_id in (auth.uid(), owner)", "owner uuid"),
            "a name that the caller chooses": (
                f"{_UA} join public.user_accounts as mine on ua.user_id::text <> mine.account_name "
                "where mine.user_id = auth.uid()",
                "",
            ),
            "a common table expression of other names": (
                "with a (user_id, a, b, n, d, e, f) as (select auth.uid(), ua.* from public.user_accounts as ua) "
                "select a, b, n, d, e, f from a where user_id = auth.uid()",
                "",
            ),
            "a common table expression that is used twice": (
                "with a as (select * from public.user_accounts) select * from a where user_id = auth.uid() "
                "union all select * from a",
                "",
            ),
            "the kept side of a right join": (
                "select ua.* from (values (1)) as v right join public.user_accounts as ua on ua.user_id = auth.uid()",
                "",
            ),
            "a full join": (
                "select ua.* from (select auth.uid() as id) as me full join public.user_accounts as ua "
                "on me.id = ua.user_id",
                "",
            ),
            "precedence": (f"{_UA} where user_id = auth.uid() and false or is_active", ""),
            "a comparison of the comparison": (f"{_UA} where (user_id = auth.uid()) in (true, false)", ""),
            "a comparison of the comparison, once more": (f"{_UA} where (user_id = auth.uid()) = false", ""),
            "a sub-select of all": (f"{_UA} where user_id = any (select user_id from public.user_accounts)", ""),
            "any operator": (
                f"{_UA} where user_id >= any (array[auth.uid(), '{'0' * 8}-0000-0000-0000-{'0' * 12}'])",
                "",
            ),
            "all of nothing": (f"{_UA} where user_id = all (array[]::uuid[])", ""),
            "having": (f"{_UA} group by ua.id having count(*) > 0 or bool_or(user_id = auth.uid())", ""),
            "a query beside it": (
                "select o.* from public.user_accounts as ua, lateral (select * from public.user_accounts) as o "
                "where ua.user_id = auth.uid()",
                "",
            ),
            "the inner of two": (
                "select o.* from public.user_accounts as o where (select count(*) from public.user_accounts as ua "
                "where ua.user_id = auth.uid()) >= 0",
                "",
            ),
            "a row of the caller's in a list": (
                f"{_UA} where is_active in (select mine.is_active from public.user_accounts as mine "
                "where mine.user_id = auth.uid())",
                "",
            ),
        }.items()
    },
    "a check of a function that always agrees": undecidable(
        "create function public.is_admin() returns boolean language sql as 'select true'; "
        + _block(f"if not public.is_admin() {_DENY} {_QUERY};")
    ),
    "a check of a function that asks whether somebody is signed in": undecidable(
        "create function public.is_admin() returns boolean language sql as 'select auth.uid() is not null'; "
        + _block(f"if not public.is_admin() {_DENY} {_QUERY};")
    ),
    "a check of a function that asks a table": _limited(
        f"{_ADMINS} create function public.is_admin() returns boolean {_DEFINER} stable as "
        "'select exists (select from public.admins where user_id = auth.uid())'; "
        + _block(f"if not public.is_admin() {_DENY} {_QUERY};")
    ),
    "a check of a function in a query": _limited(
        f"{_ADMINS} create function public.is_admin() returns boolean {_PLPGSQL} stable as $$begin return exists "
        "(select from public.admins as a where a.user_id = (select auth.uid())); end$$; "
        + _function(f"{_UA} where public.is_admin()")
    ),
    "a check of a table that anybody can write": undecidable(
        "create table public.admins (user_id uuid);"
        + _block(f"if not exists (select from public.admins where user_id = auth.uid()) {_DENY} {_QUERY};"),
        attack=f"insert into public.admins values ({_SELF}); select * from public.f()",
    ),
    "a share that anybody can write": undecidable(
        "create table public.shares (user_id uuid, account_id uuid); grant insert on public.shares to authenticated;"
        + _function(f"{_UA} join public.shares as s on s.account_id = ua.id where s.user_id = auth.uid()"),
        attack=f"insert into public.shares values ({_SELF}, '{{account}}'); select * from public.f()",
    ),
    "a share that only its owner can write": _limited(
        """create table public.shares (user_id uuid, account_id uuid); alter table public.shares enable row level
        security; create policy mine on public.shares using (account_id = any (array(select
        accounts_private.active_account_ids()))) with check (account_id = any (array(select
        accounts_private.active_account_ids())));"""
        + _function(f"{_UA} join public.shares as s on s.account_id = ua.id where s.user_id = auth.uid()")
    ),
    "seems to keep: what changes after the check": undecidable(
        _block(
            f"if owner is distinct from auth.uid() {_DENY} "
            "select user_id into owner from public.user_accounts where id = account; "
            f"{_QUERY} where user_id = owner;",
            "owner uuid, account uuid",
        ),
        attack=f"select * from public.f({_SELF}, '{{account}}')",
    ),
    "seems to keep: a parameter named like the column": undecidable(
        _block(f"if f.user_id is distinct from auth.uid() {_DENY} {_QUERY} as ua where ua.is_active;", "user_id uuid"),
        attack=f"select * from public.f({_SELF})",
    ),
    "is not limited by: a parameter that is the caller": undecidable(
        _function(f"{_UA} where owner = auth.uid() and is_active", "owner uuid"),
        attack=f"select * from public.f({_SELF})",
    ),
    "is not limited by: a parameter in a table": undecidable(
        "create table public.todos (id int); insert into public.todos values (1); alter table public.todos enable row "
        "level security; "
        + _function(f"{_UA} where exists (select from public.todos where owner = auth.uid())", "owner uuid"),
        attack=f"select * from public.f({_SELF})",
    ),
    "a deletion in a common table expression that nothing reads": reached(
        f"create function public.f() returns text {_DEFINER} as "
        "$$with gone as (delete from public.user_accounts) select 'gone' as gone$$"
    ),
    "creates for whom it is told, under a condition": reached(
        f"create function public.f(owner uuid) returns void {_PLPGSQL} as $$declare caller uuid := auth.uid(); begin "
        "insert into public.user_accounts (user_id, account_name) values (coalesce(owner, caller), 'Reached'); end$$"
    ),
    "gives the caller's row away": undecidable(
        f"create function public.f(owner uuid) returns void {_DEFINER} as "
        "'update public.user_accounts set user_id = owner where user_id = auth.uid()'"
    ),
    "a link that the caller names": undecidable(
        _function(
            f"{_UA} join public.user_accounts as mine on ua.user_id::text = mine.account_name "
            "where mine.user_id = auth.uid()"
        ),
        attack="update public.user_accounts set account_name = '{user}'; select * from public.f()",
    ),
    "an administrator's role in a profile": _limited(
        """create table public.profiles (id uuid primary key, role text); alter table public.profiles enable row level
        security; create policy mine on public.profiles for select using (id = auth.uid());"""
        + _block(
            f"if (select role from public.profiles where id = auth.uid()) is distinct from 'admin' {_DENY} {_QUERY};"
        )
    ),
    # Who is calling, by the project's own functions and tables
    **{
        f"the project's own words: {name}": _limited(
            f"""{_ADMINS} create function public.me() returns uuid language sql stable as 'select auth.uid()';
            create function public.mine() returns setof uuid language sql stable as
            $$select id from public.user_accounts where user_id = (select auth.uid())$$; {made}"""
        )
        for name, made in {
            "the caller": _function(f"{_UA} where user_id = public.me()"),
            "the caller in a sub-select": _function(f"{_UA} where user_id = (select public.me())"),
            "the caller's accounts": _function(f"{_UA} where id in (select public.mine())"),
            "the caller's accounts, joined": _function(f"{_UA} join public.mine() as m (id) on m.id = ua.id"),
            "an administrator in a list": _function(f"{_UA} where auth.uid() in (select user_id from public.admins)"),
            "an administrator in a list, in a block": _block(
                f"if auth.uid() is null or not (select auth.uid() in (select user_id from public.admins)) {_DENY} "
                f"{_QUERY} where user_id = auth.uid();"
            ),
            "two columns at once": _function(f"{_UA} where (ua.user_id, ua.is_active) = (auth.uid(), true)"),
            "a new row": _function(
                "insert into public.user_accounts (user_id, account_name) select auth.uid() as user_id, 'New' "
                "where auth.uid() is not null on conflict (user_id) do nothing returning *"
            ),
            "one common table expression of another": _function(
                "with a as (select * from public.user_accounts), b as (select * from a where user_id = auth.uid()) "
                "select * from b"
            ),
            "a common table expression in a block": _block(
                "return query with a as (select * from public.user_accounts) select a.* from a "
                "where a.user_id = (select auth.uid());"
            ),
        }.items()
    },
    **{
        f"a policy in the project's own words: {name}": weaker(
            f"""{_ADMINS} create function public.me() returns uuid language sql stable as 'select auth.uid()';
            grant execute on function public.me() to authenticated;
            create policy p on public.user_accounts for select to authenticated using ({condition})""",
            levels="warning info",
            only_person=True,
        )
        for name, condition in {
            "the caller": "user_id = public.me()",
            "the caller, selected": "user_id = (select public.me())",
            "an administrator in a list": "(select auth.uid()) in (select user_id from public.admins)",
        }.items()
    },
    "somebody else by a function of the project's": undecidable(
        "create function public.me() returns uuid language sql stable as "
        "$$select '00000000-0000-4000-8000-00000000001a'::uuid$$; revoke execute on function public.me() from public, "
        "anon, authenticated; " + _function(f"{_UA} where user_id = public.me()")
    ),
    "whom one says by a function of the project's": undecidable(
        "create function public.me(who uuid) returns uuid language sql stable as 'select coalesce(who, auth.uid())'; "
        + _function(f"{_UA} where user_id = public.me(owner)", "owner uuid")
    ),
    "an administrator in a list that anybody can write": undecidable(
        "create table public.admins (user_id uuid);"
        + _function(f"{_UA} where auth.uid() in (select user_id from public.admins)"),
        attack=f"insert into public.admins values ({_SELF}); select * from public.f()",
    ),
    "everybody in a list": undecidable(_function(f"{_UA} where auth.uid() in (select id from auth.users)")),
    "rows in a list of rows": undecidable(
        _function(
            f"{_UA} where (user_id, is_active) in (select auth.uid(), true union select id, true from auth.users "
            "where id is not null)"
        )
    ),
    # Objects where nobody looks
    "a view among those of the standard": reached(
        "create view information_schema.accounts as select * from public.user_accounts; "
        "grant select on information_schema.accounts to anon",
        superuser=True,
        attack="select * from information_schema.accounts",
    ),
    "a function that belongs to an extension": reached(
        f"create function public.f() returns text {_DEFINER} as $${_NAMES}$$; "
        "alter extension plpgsql add function public.f()",
        superuser=True,
    ),
    "a function of the server's with its owner's rights": undecidable(
        "create function public.f(text, out word text, out ndoc integer, out nentry integer) returns setof record "
        "language internal strict security definer as 'ts_stat1'",
        superuser=True,
        attack="select * from public.f('select to_tsvector(''simple'', account_name) from public.user_accounts')",
    ),
    "a role in capitals": reached(
        "create function public.f() returns text language plpgsql as $$declare r text; begin perform "
        "set_config('ROLE', 'service_role', true); r := (select string_agg(account_name, ',') from "
        "public.user_accounts); return r; end$$"
    ),
    "a role that gets nothing": own(
        "create function public.f() returns bigint language plpgsql as $$begin set local role anon; return (select "
        "count(*) from pg_catalog.pg_class); end$$"
    ),
    "a function that becomes service_role behind a check": tighter(
        "create function public.f() returns text language plpgsql as $$declare r text; begin set local role "
        "service_role; select string_agg(account_name, ',') into r from public.user_accounts; return r; end$$; "
        "revoke execute on function public.f() from public, anon, authenticated"
    ),
    "a view of authenticated": weaker(
        "create view public.v as select * from public.user_accounts; alter view public.v owner to authenticated; "
        "grant select on public.v to authenticated",
        superuser=True,
        levels="warning info none",
        only_person=True,
    ),
    "a login that is service_role's": own("create role backend login in role service_role", superuser=True),
    "a function that refreshes": own(
        "create schema hidden; create materialized view hidden.v as select * from public.user_accounts; "
        f"create function public.f() returns void {_PLPGSQL} as "
        "'begin refresh materialized view hidden.v; end'"
    ),
    "credentials of an account": own(
        """create table public.credentials (id uuid primary key default gen_random_uuid(), account_id uuid not null
        references public.user_accounts (id) on delete cascade, secret text);
        alter table public.credentials enable row level security;
        create policy mine on public.credentials for all to authenticated
        using (account_id = any (array(select accounts_private.active_account_ids())))
        with check (account_id = any (array(select accounts_private.active_account_ids())));
        create view public.my_credentials with (security_invoker = true) as select c.id, ua.account_name
        from public.credentials as c join public.user_accounts as ua on ua.id = c.account_id"""
    ),
    "credentials by a function that checks": _limited(
        f"""create table public.credentials (account_id uuid, secret text);
        alter table public.credentials enable row level security;
        create function public.add_credential(account uuid, secret text) returns void {_PLPGSQL} as $$begin
        if not exists (select 1 from public.user_accounts as ua where ua.id = account and ua.user_id = auth.uid())
        then raise exception 'not yours' using errcode = '42501'; end if;
        insert into public.credentials (account_id, secret) values (account, add_credential.secret); end$$"""
    ),
    "a switch by a function that checks": _limited(
        f"""create function public.close(account uuid) returns void {_PLPGSQL} as $$declare mine uuid; begin
        select ua.id into mine from public.user_accounts as ua where ua.id = account and ua.user_id = auth.uid();
        if mine is null then raise exception 'not yours'; end if;
        update public.user_accounts set is_active = false where id = mine; end$$"""
    ),
    "a switch by a function that does not check": reached(
        f"""create function public.close(account uuid) returns void {_PLPGSQL} as $$declare mine uuid; begin
        select ua.id into mine from public.user_accounts as ua where ua.id = account;
        if mine is null then raise exception 'not yours'; end if;
        update public.user_accounts set is_active = false where id = mine; end$$"""
    ),
    "a number of accounts for a page": weaker(
        f"create function public.total() returns bigint {_DEFINER} as 'select count(*)::int from public.user_accounts'",
        levels=CONTESTED,
        only_person=True,
    ),
    "a function for all of one's own accounts' names": own(
        "create function public.names() returns setof text language sql stable set search_path = '' as "
        "$$select account_name from public.user_accounts where user_id = (select auth.uid())$$"
    ),
}
