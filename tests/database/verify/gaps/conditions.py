"""Conditions that limit what a function or a view shows to the caller's rows, and those that only seem to."""

from typing import Final

from tests.database.verify.gap import CONTESTED, Gap, own, reached, undecidable, weaker

_DEFINER = "language sql security definer set search_path = ''"
_PLPGSQL = "language plpgsql security definer set search_path = ''"
_ROWS = "returns setof public.user_accounts"
_UA = "select ua.* from public.user_accounts as ua"
_TODOS = "create table public.todos (user_id uuid, account_id uuid, note text, done boolean default true);"
_CLOSED = "alter table public.todos enable row level security;"
_FILLED = f"{_TODOS} {_CLOSED} insert into public.todos select gen_random_uuid(), id, 'x' from public.user_accounts;"
_LIMITED = "warning info none"


def _limited(sql: str) -> Gap:
    return weaker(sql, levels=_LIMITED, only_person=True)


def _function(query: str, arguments: str = "") -> str:
    return f"create function public.f({arguments}) {_ROWS} {_DEFINER} as $${query}$$"


def _block(body: str, arguments: str = "owner uuid", declared: str = "") -> str:
    return f"create function public.f({arguments}) {_ROWS} {_PLPGSQL} as $${declared} begin {body} end$$"


def _view(query: str) -> str:
    return (
        f"create view public.v with (security_barrier) as {query}; revoke all on public.v from public, anon, "
        "authenticated; grant select on public.v to authenticated"
    )


_QUERY = "return query select * from public.user_accounts"
_THEIRS = f"{_QUERY} where user_id = owner;"

# Their conditions ask who is calling, and not enough: that is for a person to see.
_ASK: Final = frozenset(
    {
        "a conflict",
        "another value of the new row",
        "caught",
        "in a branch",
        "in the own table",
        "other names of columns",
        "somebody else",
        "the caller as a column",
        "the union of a list",
        "a variable of an inner block",
        "a variable, the second of two",
    }
)

GAPS: Final[dict[str, Gap]] = {
    **{
        f"limits: {name}": _limited(f"{_TODOS} {_CLOSED} {_function(query)}")
        for name, query in {
            "in a sub-select": f"{_UA} where user_id in (select auth.uid())",
            "a sub-select first": f"{_UA} where (select auth.uid()) = ua.user_id",
            "any of an array": f"{_UA} where user_id = any (array[auth.uid()])",
            "not distinct": f"{_UA} where user_id is not distinct from auth.uid()",
            "in brackets": f"{_UA} where ((ua.user_id = (auth.uid())) and (is_active or account_name like 'A%'))",
            "and an or": f"{_UA} where user_id = auth.uid() and (is_active or now() > created_at)",
            "as text": f"{_UA} where user_id::text = (select auth.uid())::text",
            "the token's subject": f"{_UA} where user_id = (auth.jwt() ->> 'sub')::uuid",
            "the setting's subject": f"{_UA} where user_id = "
            "(nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid",
            "active accounts": f"{_UA} where id in (select accounts_private.active_account_ids())",
            "active accounts as an array": f"{_UA} where id = any "
            "(array(select accounts_private.active_account_ids()))",
            "a join with active accounts": f"{_UA} join accounts_private.active_account_ids() as mine (id) "
            "on mine.id = ua.id",
            "a join with the caller": f"{_UA} join (select auth.uid() as id) as me on me.id = ua.user_id",
            "a condition of a join": "select ua.* from (values (1)) as v (n) join public.user_accounts as ua "
            "on ua.user_id = auth.uid()",
            "the inner side of a left join": "select ua.* from (values (1)) as v (n) left join public.user_accounts "
            "as ua on ua.user_id = auth.uid() where ua.id is not null",
            "a common table expression": f"with me as (select auth.uid() as id) {_UA} join me on ua.user_id = me.id",
            "outside of a sub-select": "select * from (select * from public.user_accounts) as s "
            "where s.user_id = auth.uid()",
            "outside of a common table expression": "with rows as (select * from public.user_accounts) "
            "select * from rows where user_id = auth.uid()",
            "exists": f"{_UA} where exists (select from (select auth.uid() as id) as me where me.id = ua.user_id)",
            "exists in a shared table": f"{_UA} where exists (select 1 from public.todos as t "
            "where t.account_id = ua.id and t.user_id = (select auth.uid()))",
            "in a shared table": f"{_UA} where ua.id in (select account_id from public.todos "
            "where user_id = auth.uid())",
            "joined with a shared table": f"{_UA} inner join public.todos as t on t.account_id = ua.id "
            "where t.user_id = auth.uid()",
            "both branches": f"{_UA} where user_id = auth.uid() union all {_UA} where auth.uid() = user_id and false",
            "either branch": f"{_UA} where (user_id = auth.uid() and is_active) or (auth.uid() = user_id)",
            "for service_role only": f"{_UA} where auth.role() = 'service_role'",
            "an administrator": f"{_UA} where exists (select from public.todos as t where t.user_id = auth.uid() "
            "and t.done)",
            "an administrator by email": f"{_UA} where (auth.jwt() ->> 'email') = 'boss@example.com'",
            "an administrator by id": f"{_UA} where auth.uid() = '00000000-0000-4000-8000-00000000ffff'",
            "a lateral join": "select a.* from (select auth.uid() as id) as u cross join lateral "
            "(select ua.* from public.user_accounts as ua where ua.user_id = u.id) as a",
            "a sub-select of the caller's row": "select (select ua from public.user_accounts as ua "
            "where ua.user_id = u.id).* from auth.users as u where u.id = auth.uid()",
        }.items()
    },
    **{
        f"seems to limit: {name}": (undecidable if name in _ASK else reached)(f"{_FILLED} {_function(query)}")
        for name, query in {
            "a case": f"{_UA} where case when is_active and user_id = auth.uid() then false else true end",
            "the order": f"{_UA} order by is_active and user_id = auth.uid()",
            "the kept side of a left join": f"{_UA} left join public.todos as t on t.done and ua.user_id = auth.uid()",
            "the first branch": f"select * from public.user_accounts union all {_UA} where user_id = auth.uid()",
            "a text": f"{_UA} where 'x and user_id = auth.uid()' <> ''",
            "a nested comment": f"{_UA} where true /* /* */ and user_id = auth.uid() ; */",
            "the union of a list": f"{_UA} where user_id in (select auth.uid() union select id from auth.users)",
            "another's alias": "select x.* from (select auth.uid() as user_id) as user_accounts, "
            "public.user_accounts as x where user_accounts.user_id = auth.uid()",
            "another table's column": f"{_UA} left join public.todos as t on true where t.user_id is not distinct "
            "from auth.uid() or ua.is_active",
            "a role that all have": f"{_UA} where auth.role() = 'authenticated'",
            "not service_role": f"{_UA} where auth.role() <> 'service_role'",
            "a user": f"{_UA} where auth.uid() is not null",
            "an audience": f"{_UA} where coalesce(auth.jwt() ->> 'aud', 'authenticated') = 'authenticated'",
            "a lateral join of all": "select a.* from (select auth.uid() as id) as u cross join lateral "
            "(select ua.* from public.user_accounts as ua where ua.user_id is distinct from u.id) as a",
            "a sub-select of others' rows": "select o.* from public.user_accounts as o where exists (select from "
            "auth.users as u where u.id = o.user_id)",
            "in the own table": f"{_UA} where exists (select from public.user_accounts as mine "
            "where mine.user_id = auth.uid() and mine.is_active = ua.is_active)",
            "in all users": f"{_UA} where user_id in (select id from auth.users where id is not null)",
            "not in": f"{_UA} where user_id not in (select auth.uid())",
            "not distinct, negated": f"{_UA} where user_id is distinct from auth.uid()",
            "is not true": f"{_UA} where (user_id = auth.uid()) is not true",
            "other names of columns": "select a, b, c, d, e, f from public.user_accounts as ua (a, b, c, d, e, f), "
            "(select auth.uid() as user_id) as me where user_id = auth.uid()",
            "a setting of the request's headers": f"{_UA} where user_id = coalesce(nullif(current_setting("
            "'request.headers', true), '')::json ->> 'x-user', user_id::text)::uuid",
            "the owner in a definer function": f"{_UA} where current_user = 'postgres'",
            "a metadata claim": f"{_UA} where auth.jwt() -> 'user_metadata' ->> 'role' = 'service_role'",
        }.items()
    },
    "seems to check: a variable by its block's name": undecidable(
        _block(f"f.caller := owner; {_QUERY} where user_id = caller;", "owner uuid, caller uuid default auth.uid()")
    ),
    "seems to limit: the name of a parameter": undecidable(
        f"create function public.f(user_id uuid) {_ROWS} {_PLPGSQL} as $$#variable_conflict use_variable\n"
        f"begin {_QUERY} where user_id = auth.uid(); end$$",
        attack="select public.f((current_setting('request.jwt.claims', true)::json ->> 'sub')::uuid)::text",
    ),
    "seems to limit: a view whose column is the caller": undecidable(
        "create schema hidden; create view hidden.v as select auth.uid() as user_id, account_name from "
        "public.user_accounts; create function public.f() returns setof hidden.v language sql security definer "
        "set search_path = '' as 'select * from hidden.v where user_id = auth.uid()'",
        attack="select public.f()::text",
    ),
    "seems to limit: a value beside the row": reached(
        f"create function public.f() returns void {_DEFINER} as "
        "'update public.user_accounts set is_active = is_active and user_id = auth.uid()'"
    ),
    "seems to limit: a branch of merge": undecidable(
        f"""create function public.f() returns void {_PLPGSQL} as $$begin
        merge into public.user_accounts as ua using (values (1)) as v on true
        when matched and user_id = auth.uid() then do nothing
        when matched then update set account_name = 'Reached'; end$$"""
    ),
    "seems to limit: another value of the new row": undecidable(
        f"create function public.f(owner uuid) returns void {_DEFINER} as $$insert into public.user_accounts "
        "(user_id, account_name) values (owner, coalesce(auth.uid()::text, 'Reached'))$$"
    ),
    "seems to limit: a conflict": undecidable(
        f"create function public.f(account uuid) returns void {_DEFINER} as $$insert into public.user_accounts "
        "(id, user_id, account_name) values (account, coalesce(auth.uid(), '00000000-0000-4000-8000-00000000004d'), "
        "'Reached') on conflict (id) do update set account_name = excluded.account_name$$"
    ),
    "limits: a new row": _limited(
        f"create function public.f(name text) returns void {_DEFINER} as $$insert into public.user_accounts "
        "(user_id, account_name) values (auth.uid(), name) on conflict (user_id) do update set account_name = "
        "excluded.account_name$$"
    ),
    "limits: a new row of the caller's default": _limited(
        f"create function public.f(name text) returns void {_DEFINER} as "
        "'insert into public.user_accounts (account_name) values (name)'"
    ),
    "limits: a new row by a select": _limited(
        f"create function public.f(name text) returns void {_DEFINER} as $$insert into public.user_accounts "
        "(user_id, account_name) select auth.uid(), name where auth.uid() is not null$$"
    ),
    "limits: a change": _limited(
        f"create function public.f(name text) returns uuid {_DEFINER} as $$update public.user_accounts as ua "
        "set account_name = name where ua.user_id = auth.uid() returning ua.id$$"
    ),
    "limits: a deletion": _limited(
        f"create function public.f(account uuid) returns void {_DEFINER} as $$delete from public.user_accounts "
        "where id = account and user_id = (select auth.uid())$$"
    ),
    # Blocks that check before they read
    **{
        f"checks: {name}": _limited(f"{_TODOS} {_CLOSED} {_block(body, arguments, declared)}")
        for name, (body, arguments, declared) in {
            "distinct": (
                f"if auth.uid() is distinct from owner then raise exception 'no'; end if; {_THEIRS}",
                "owner uuid",
                "",
            ),
            "nobody or not equal": (
                f"if auth.uid() is null or owner <> auth.uid() then raise exception 'no'; end if; {_THEIRS}",
                "owner uuid",
                "",
            ),
            "equal, then": (f"if owner = auth.uid() then {_THEIRS} end if;", "owner uuid", ""),
            "equal, else": (
                f"if owner = (select auth.uid()) then {_THEIRS} else raise exception 'no'; end if;",
                "owner uuid",
                "",
            ),
            "returns early": (f"if owner is distinct from auth.uid() then return; end if; {_THEIRS}", "owner uuid", ""),
            "a variable": (
                f"if owner is distinct from caller then raise exception 'no'; end if; {_THEIRS}",
                "owner uuid",
                "declare caller constant uuid := (select auth.uid());",
            ),
            "a variable that is selected": (
                f"select auth.uid() into caller; {_QUERY} where user_id = caller;",
                "",
                "declare caller uuid;",
            ),
            "a variable that is assigned": (
                f"caller := auth.uid(); if caller is null then raise exception 'no'; end if; "
                f"{_QUERY} where user_id = caller;",
                "",
                "declare caller uuid;",
            ),
            "the account": (
                "if not exists (select from public.user_accounts where id = account and user_id = auth.uid()) then "
                f"raise exception 'no'; end if; {_QUERY} where id = account;",
                "account uuid",
                "",
            ),
            "the account, found": (
                "perform 1 from public.user_accounts where id = account and user_id = auth.uid(); if not found then "
                f"raise exception 'no'; end if; {_QUERY} where id = account;",
                "account uuid",
                "",
            ),
            "service_role": (
                f"if auth.role() is distinct from 'service_role' then raise exception 'no'; end if; {_THEIRS}",
                "owner uuid",
                "",
            ),
            "service_role of the token": (
                f"if coalesce(auth.jwt() ->> 'role', '') <> 'service_role' then raise exception 'x'; end if; {_THEIRS}",
                "owner uuid",
                "",
            ),
            "an administrator": (
                "if not exists (select 1 from public.todos where user_id = auth.uid() and note = 'admin') then "
                f"raise exception 'no'; end if; {_QUERY};",
                "",
                "",
            ),
            "a claim that users cannot choose": (
                "if coalesce(auth.jwt() -> 'app_metadata' ->> 'role', '') <> 'admin' then raise exception 'no'; "
                f"end if; {_QUERY};",
                "",
                "",
            ),
        }.items()
    },
    **{
        f"seems to check: {name}": (undecidable if name in _ASK else reached)(
            f"{_FILLED} {_block(body, arguments, declared)}"
        )
        for name, (body, arguments, declared) in {
            "signed in": (f"if auth.uid() is null then raise exception 'no'; end if; {_QUERY};", "", ""),
            "not equal, and nobody": (
                f"if owner <> auth.uid() then raise exception 'no'; end if; {_THEIRS}",
                "owner uuid",
                "",
            ),
            "not equal to a variable": (
                f"if not (owner = caller) then raise exception 'no'; end if; {_THEIRS}",
                "owner uuid",
                "declare caller uuid := auth.uid();",
            ),
            "a notice": (
                f"if owner is distinct from auth.uid() then raise notice 'no'; end if; {_THEIRS}",
                "owner uuid",
                "",
            ),
            "the other way round": (
                f"if owner = auth.uid() then raise exception 'no'; end if; {_THEIRS}",
                "owner uuid",
                "",
            ),
            "else": (f"if owner = auth.uid() then return; else {_THEIRS} end if;", "owner uuid", ""),
            "and something": (
                f"if owner is distinct from auth.uid() and auth.uid() is null and false then raise exception 'no'; "
                f"end if; {_THEIRS}",
                "owner uuid",
                "",
            ),
            "in a branch": (
                "if owner is null then if owner is distinct from auth.uid() then raise exception 'no'; end if; end if; "
                f"{_THEIRS}",
                "owner uuid",
                "",
            ),
            "caught": (
                "begin if owner is distinct from auth.uid() then raise exception 'no'; end if; "
                f"exception when others then null; end; {_THEIRS}",
                "owner uuid",
                "",
            ),
            "afterwards": (f"{_THEIRS} if owner = auth.uid() then return; end if;", "owner uuid", ""),
            "somebody else": (
                f"if auth.uid() is distinct from auth.uid() then raise exception 'no'; end if; {_THEIRS}",
                "owner uuid",
                "",
            ),
            "signed in as authenticated": (
                f"if auth.role() <> 'authenticated' then raise exception 'no'; end if; {_QUERY};",
                "",
                "",
            ),
            "has an account": (
                "if not exists (select from public.user_accounts where user_id = auth.uid()) then "
                f"raise exception 'no'; end if; {_QUERY};",
                "",
                "",
            ),
            "the owner's name": (
                f"if current_user <> 'postgres' then raise exception 'no'; end if; {_QUERY};",
                "",
                "",
            ),
            "a variable of a loop": (
                f"for caller in select user_id from public.user_accounts loop {_QUERY} where user_id = caller; "
                "end loop;",
                "",
                "declare caller uuid := auth.uid();",
            ),
            "a variable of an inner block": (
                f"declare caller uuid := owner; begin {_QUERY} where user_id = caller; end;",
                "owner uuid",
                "declare caller uuid := auth.uid();",
            ),
            "a variable, the second of two": (
                f"select 1, owner into n, caller; {_QUERY} where user_id = caller;",
                "owner uuid",
                "declare n int; caller uuid := auth.uid();",
            ),
            "a loop over all": (
                "for r in select * from public.user_accounts loop return next r; "
                "perform from public.user_accounts where user_id = auth.uid(); end loop;",
                "",
                "declare r public.user_accounts;",
            ),
            "a loop that begins with it": (
                "for r in select * from public.user_accounts loop perform from public.user_accounts where user_id = "
                "auth.uid(); return next r; end loop;",
                "",
                "declare r public.user_accounts;",
            ),
            "a claim that users choose": (
                "if coalesce(auth.jwt() -> 'user_metadata' ->> 'role', '') <> 'service_role' then raise exception "
                f"'no'; end if; {_QUERY};",
                "",
                "",
            ),
        }.items()
    },
    # Views behind a barrier
    **{
        f"a view limits: {name}": _limited(f"{_TODOS} {_CLOSED} {_view(query)}")
        for name, query in {
            "in a sub-select": f"{_UA} where user_id in (select auth.uid())",
            "active accounts": f"{_UA} where id in (select accounts_private.active_account_ids())",
            "a join": "select ua.account_name, t.note from public.todos as t join public.user_accounts as ua "
            "on ua.id = t.account_id where ua.user_id = (select auth.uid())",
            "a shared table": f"{_UA} where exists (select from public.todos as t where t.account_id = ua.id and "
            "t.user_id = auth.uid())",
            "and an or": f"{_UA} where user_id = auth.uid() and (is_active or account_name = 'x')",
        }.items()
    },
    **{
        f"a view seems to limit: {name}": (undecidable if name in _ASK else reached)(f"{_FILLED} {_view(query)}")
        for name, query in {
            "a case": f"{_UA} where case when is_active and user_id = auth.uid() then false else true end",
            "the first branch": f"select * from public.user_accounts union all {_UA} where user_id = auth.uid()",
            "the order": f"{_UA} order by (is_active and user_id = auth.uid())",
            "a left join": f"{_UA} left join public.todos as t on t.done and ua.user_id = auth.uid()",
            "the caller as a column": "select s.* from (select account_name, auth.uid() as user_id from "
            "public.user_accounts) as s where s.user_id = auth.uid()",
        }.items()
    },
    "a table of a name that is alike": own(
        'create table public."User_Accounts" (id int); create function public.f() returns int '
        f"""{_DEFINER} as 'select id from public."User_Accounts"'"""
    ),
    "a table of the same name in the function's schema": own(
        "create schema shop; create table shop.user_accounts (id int, name text); create function public.f() "
        "returns setof text language sql security definer set search_path = shop as 'select name from user_accounts'"
    ),
    "a function of the project's that asks who owns an account": _limited(
        f"create function public.owns(account uuid) returns boolean {_DEFINER} stable as $$select exists (select 1 "
        "from public.user_accounts as ua where ua.id = account and ua.user_id = auth.uid())$$"
    ),
    "a table that asks a function who owns an account": _limited(
        f"create function public.owns(account uuid) returns boolean {_DEFINER} stable as $$select exists (select 1 "
        "from public.user_accounts as ua where ua.id = account and ua.user_id = auth.uid())$$; "
        f"{_TODOS} {_CLOSED} create policy mine on public.todos using (public.owns(account_id)) "
        "with check (public.owns(account_id))"
    ),
    "tells who owns an account": reached(
        f"create function public.owner_of(account uuid) returns uuid {_DEFINER} stable as "
        "'select user_id from public.user_accounts where id = account'"
    ),
    "deletes the caller's user": _limited(
        f"create function public.delete_me() returns void {_DEFINER} as "
        "$$delete from auth.users where id = (select auth.uid())$$"
    ),
    "the email of the caller": _limited(
        f"create function public.my_email() returns text {_DEFINER} as "
        "$$select u.email from auth.users as u where u.id = auth.uid()$$"
    ),
    "the emails of those who have an account": reached(
        f"create function public.emails() returns setof text {_DEFINER} as $$select u.email from auth.users as u "
        "join public.user_accounts as ua on ua.user_id = u.id$$"
    ),
    "a user's email, by an id": reached(
        f"create function public.email_of(who uuid) returns text {_PLPGSQL} as $$declare found text; begin "
        "select email into found from auth.users where id = who; return found; end$$",
        levels="error",
    ),
    "tells by an error's fields": reached(
        f"create function public.f() returns void {_PLPGSQL} as $$begin raise exception using message = "
        "(select string_agg(account_name, ',') from public.user_accounts); end$$"
    ),
    "tells by what cannot be converted": reached(
        f"create function public.f() returns int {_DEFINER} as 'select account_name::int from public.user_accounts'",
        levels=CONTESTED,
        only_person=True,
    ),
    "a parameter that is the caller's id on one way only": reached(
        _block(
            "if owner is null then select user_id into owner from public.user_accounts where user_id = auth.uid(); "
            "end if; return query select * from public.user_accounts where user_id = owner;"
        ),
        attack="select * from public.f('{user}')",
    ),
    "a parameter after a variable of its name": reached(
        _block(
            "declare owner uuid := auth.uid(); begin perform owner; end; "
            "return query select * from public.user_accounts where user_id = owner;"
        ),
        attack="select * from public.f('{user}')",
    ),
}
