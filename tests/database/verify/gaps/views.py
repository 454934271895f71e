"""Views, materialized views and rules on views that hand out rows of a protected table."""

from typing import Final

from tests.database.verify.gap import CONTESTED, Gap, contested, reached, tighter, weaker

_ALL = "select * from public.user_accounts"
_CLOSED = "revoke all on public.v from public, anon, authenticated, service_role;"
_HIDDEN = "create schema hidden; "

GAPS: Final[dict[str, Gap]] = {
    "a view": reached(f"create view public.v as {_ALL}"),
    "a view to select from": reached(f"create view public.v as {_ALL}; {_CLOSED} grant select on public.v to anon"),
    "a view, one column": reached(
        f"create view public.v as {_ALL}; {_CLOSED} grant select (created_at) on public.v to authenticated"
    ),
    "a view for public": reached(f"create view public.v as {_ALL}; {_CLOSED} grant select on public.v to public"),
    "a view to update": reached(
        f"create view public.v as {_ALL}; {_CLOSED} grant update (account_name) on public.v to authenticated"
    ),
    "a view to insert into": reached(
        f"create view public.v as {_ALL}; {_CLOSED} grant insert on public.v to authenticated"
    ),
    "a view to delete from": reached(f"create view public.v as {_ALL}; {_CLOSED} grant delete on public.v to anon"),
    "a view with a security barrier": reached(f"create view public.v with (security_barrier) as {_ALL}"),
    "security_invoker = off": reached(f"create view public.v with (security_invoker = off) as {_ALL}"),
    "security_invoker was reset": reached(
        f"create view public.v with (security_invoker) as {_ALL}; alter view public.v reset (security_invoker)"
    ),
    "a view of a superuser": reached(
        f"create view public.v as {_ALL}; grant select on public.v to anon", superuser=True
    ),
    "a view of service_role": reached(
        f"create view public.v as {_ALL}; alter view public.v owner to service_role; grant select on public.v to anon",
        superuser=True,
    ),
    "a view of a member of the owner, not forced": reached(
        f"""create role plain in role postgres; alter table public.user_accounts no force row level security;
        create view public.v as {_ALL}; alter view public.v owner to plain; grant select on public.v to anon""",
        superuser=True,
    ),
    "a view of a view": reached(
        f"{_HIDDEN} create view hidden.v as {_ALL}; create view public.v as select * from hidden.v"
    ),
    "a view of a view of a view": reached(
        f"{_HIDDEN} create view hidden.a as {_ALL}; create view hidden.b as select * from hidden.a; "
        "create view public.v as select id from hidden.b"
    ),
    "an invoker view of a plain view": reached(
        f"create view public.inner_v as {_ALL}; revoke all on public.inner_v from authenticated, service_role;"
        "create view public.v with (security_invoker) as select * from public.inner_v"
    ),
    "an invoker view of a plain view in a schema that nobody can use": reached(
        f"{_HIDDEN} create view hidden.v as {_ALL}; grant select on hidden.v to anon; "
        "create view public.v with (security_invoker) as select * from hidden.v"
    ),
    "an invoker view of a materialized view in a schema that nobody can use": reached(
        f"{_HIDDEN} create materialized view hidden.v as {_ALL}; grant select on hidden.v to authenticated; "
        "create view public.v with (security_invoker) as select account_name from hidden.v"
    ),
    "an invoker view of an invoker view of a plain view": reached(
        f"{_HIDDEN} create view hidden.v as {_ALL}; grant select on hidden.v to anon;"
        "create view hidden.w with (security_invoker) as select * from hidden.v; grant select on hidden.w to anon; "
        "create view public.v with (security_invoker) as select * from hidden.w"
    ),
    "a plain view of an invoker view": tighter(
        # which is read as if the caller had named it
        f"{_HIDDEN} create view hidden.v with (security_invoker) as {_ALL}; "
        "create view public.v as select * from hidden.v"
    ),
    "a materialized view": reached(f"create materialized view public.v as {_ALL}"),
    "a materialized view, one column": reached(
        f"create materialized view public.v as {_ALL}; {_CLOSED} grant select (account_name) on public.v to anon"
    ),
    "a materialized view of a materialized view": reached(
        f"{_HIDDEN} create materialized view hidden.v as {_ALL}; "
        "create materialized view public.v as select * from hidden.v"
    ),
    "a materialized view of an invoker view": reached(
        f"{_HIDDEN} create view hidden.v with (security_invoker) as {_ALL}; "
        "create materialized view public.v as select * from hidden.v"
    ),
    "a view in another schema that anon can use": reached(
        f"create schema api; grant usage on schema api to anon; create view api.v as {_ALL}; "
        "grant select on api.v to anon"
    ),
    "a view in another schema that all can use": reached(
        f"create schema api; grant usage on schema api to public; create view api.v as {_ALL}; "
        "grant select on api.v to public"
    ),
    "a view in accounts_private": reached(
        f"create view accounts_private.v as {_ALL}; grant select on accounts_private.v to authenticated",
        only_person=True,
    ),
    "a view that joins": reached(
        "create table public.todos (user_id uuid); insert into public.todos select user_id from public.user_accounts; "
        "alter table public.todos enable row level security; "
        "create view public.v as select ua.account_name from public.todos as t inner join public.user_accounts as ua "
        "on t.user_id = ua.user_id"
    ),
    "a view with a sub-select": reached(
        "create view public.v as select (select string_agg(ua.account_name, ',') from public.user_accounts as ua)"
    ),
    "a view with a common table expression": reached(
        f"create view public.v as with all_rows as ({_ALL}) select account_name from all_rows"
    ),
    "a view of whole rows": reached("create view public.v as select to_jsonb(ua) from public.user_accounts as ua"),
    "a view that counts": contested(
        "create view public.v as select count(*) as n from public.user_accounts", only_person=True
    ),
    "a view that tells whether": reached(
        "create view public.v as select exists (select from public.user_accounts as ua where "
        "ua.account_name = u.n) from (values ('Victim''s zqvx')) as u (n)",
        levels=CONTESTED,
        attack="select exists from public.v",
        only_person=True,
    ),
    "a view of a union": reached(
        f"create view public.v as {_ALL} where false union all {_ALL} where user_id is not null"
    ),
    "a view of auth.users": reached("create view public.v as select id, email from auth.users"),
    "a view of auth.users that joins": reached(
        "create view public.v as select u.email from auth.users as u inner join public.user_accounts as ua "
        "on u.id = ua.user_id"
    ),
    "a materialized view of auth.users": reached("create materialized view public.v as select email from auth.users"),
    "a rule on an invoker view that updates": reached(
        f"create view public.v with (security_invoker) as {_ALL}; create rule r as on update to public.v do instead "
        "update public.user_accounts set account_name = new.account_name"
    ),
    "a rule on an invoker view that deletes": reached(
        f"create view public.v with (security_invoker) as {_ALL}; create rule r as on delete to public.v do instead "
        "delete from public.user_accounts",
    ),
    "a rule on a view that has nothing to do with it": reached(
        "create view public.v as select 1 as n; create rule r as on insert to public.v do instead "
        "update public.user_accounts set account_name = 'Reached'"
    ),
    "a rule on a view that returns": reached(
        "create view public.v with (security_invoker) as select id, account_name from public.user_accounts; "
        "create rule r as on update to public.v do instead update public.user_accounts set updated_at = now() "
        "returning id, account_name",
        attack="update public.v set account_name = 'x' where false; update public.v set account_name = 'x' returning *",
    ),
    "a view with an instead-of trigger": reached(
        """create view public.v as select null::uuid as id, 'x' as account_name;
        create function public.change() returns trigger language plpgsql security definer set search_path = '' as $$
        begin update public.user_accounts set account_name = new.account_name; return new; end $$;
        create trigger change instead of update on public.v for each row execute function public.change()"""
    ),
    "a view that calls a function of a schema that nobody can use": reached(
        """create schema hidden;
        create function hidden.all_names() returns text language sql stable security definer set search_path = ''
        as 'select string_agg(account_name, '','') from public.user_accounts';
        create view public.v with (security_invoker) as select hidden.all_names()"""
    ),
    "a view that is filled later": weaker(
        f"create materialized view public.v as {_ALL} with no data", levels="error warning info"
    ),
    "a view that filters by the caller": reached(
        # and can be inserted into without a check option
        f"create view public.v as {_ALL} where user_id = auth.uid()"
    ),
    "a view that filters by the caller, read only": weaker(
        # what is pushed below the condition sees the other rows
        f"create view public.v as {_ALL} where user_id = auth.uid(); {_CLOSED} grant select on public.v to "
        f"authenticated",
        levels=CONTESTED,
        only_person=True,
    ),
    "a view of a role that row level security holds for": weaker(
        f"""create role plain; grant select on public.user_accounts to plain; grant usage on schema public to plain;
        create view public.v as {_ALL}; alter view public.v owner to plain; grant select on public.v to anon""",
        superuser=True,
    ),
    "a view in a schema that nobody can use": tighter(
        f"{_HIDDEN} create view hidden.v as {_ALL}; grant select on hidden.v to anon"
    ),
    "a view that nobody may read": tighter(
        f"create view public.v as {_ALL}; revoke all on public.v from anon, authenticated"
    ),
    "a view for another role": tighter(
        f"create role reporting; create view public.v as {_ALL}; {_CLOSED} grant select on public.v to reporting"
    ),
    "a view that filters by the caller, behind a barrier": weaker(
        f"create view public.v with (security_barrier) as {_ALL} where user_id = auth.uid(); "
        f"{_CLOSED} grant select on public.v to authenticated",
        levels="warning info none",
        only_person=True,
    ),
    "a view that filters by the caller and checks": weaker(
        f"create view public.v with (security_barrier) as {_ALL} where user_id = auth.uid() with cascaded check option",
        levels=f"{CONTESTED} info none",
        only_person=True,
    ),
    **{
        f"a view that says the caller: {name}": reached(
            f"create view public.v with (security_barrier) as {_ALL} {where}"
        )
        for name, where in {
            "or any": "where user_id = auth.uid() or is_active",
            "not": "where user_id != auth.uid()",
            "or nobody": "where user_id = auth.uid() or auth.uid() is null",
            "coalesced": "where user_id = coalesce(auth.uid(), user_id)",
        }.items()
    },
    "a view of the policies' own words": reached(
        f"create view public.v as {_ALL} where user_id in (select id from auth.users)"
    ),
    "a view of a parent": reached(
        """create schema hidden; create table hidden.parent (like public.user_accounts);
        alter table public.user_accounts inherit hidden.parent; create view public.v as select * from hidden.parent"""
    ),
    "a view of a copy of rows through a function": reached(
        """create schema hidden; create function hidden.rows() returns setof public.user_accounts
        language sql security definer set search_path = '' as 'select * from public.user_accounts';
        create view public.v as select * from hidden.rows()"""
    ),
    "a materialized view for service_role": tighter(
        f"create materialized view public.v as {_ALL}; {_CLOSED} grant select on public.v to service_role"
    ),
    "a materialized view with an index": reached(
        f"create materialized view public.v as {_ALL}; create unique index on public.v (id)"
    ),
    "a view with a name to be quoted": reached(
        f'create schema "Shop; drop"; grant usage on schema "Shop; drop" to anon; '
        f'create view "Shop; drop"."All ""accounts""" as {_ALL}; '
        'grant select on "Shop; drop"."All ""accounts""" to anon'
    ),
    "many views": reached(
        "do $$begin for n in 1..20 loop execute format('create view public.v%s as select * from "
        "public.user_accounts', n); "
        "end loop; end$$"
    ),
    "a view granted with grant option": reached(
        f"create view public.v as {_ALL}; {_CLOSED} grant select on public.v to authenticated with grant option; "
        "set local role authenticated; grant select on public.v to anon"
    ),
    "a materialized view granted on by another": reached(
        f"create role middle; grant middle to postgres; grant usage on schema public to middle; "
        f"create materialized view public.v as {_ALL}; {_CLOSED} grant select on public.v to middle with grant option; "
        "set local role middle; grant select on public.v to anon"
    ),
}
