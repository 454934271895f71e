"""Rows that are reached under another name, in another role, through what one does not think of."""

from typing import Final

from tests.database.verify.gap import CONTESTED, Gap, own, reached, tighter, undecidable, weaker

_DEFINER = "language sql security definer set search_path = ''"
_PLPGSQL = "language plpgsql security definer set search_path = ''"
_NAMES = "select string_agg(account_name, ',') from public.user_accounts"
_HIDDEN = f"create schema hidden; create function hidden.f() returns text {_DEFINER} as $${_NAMES}$$;"
_ON = "on public.user_accounts"
_MINE = "user_id = (select auth.uid())"
_VICTIM = "00000000-0000-4000-8000-00000000001a"

GAPS: Final[dict[str, Gap]] = {
    # Names and texts
    "a comment's sign in a text": reached(
        f"create function public.f() returns text {_DEFINER} as $$select '--' || string_agg(account_name, '/*') "
        "from public.user_accounts$$"
    ),
    "a comment's signs in texts": reached(
        f"create function public.f() returns text {_DEFINER} as $$select '/*' || (select string_agg(account_name, '') "
        "from public.user_accounts) || '*/'$$"
    ),
    "a comment's sign in a name": reached(
        f'create function public.f() returns text {_DEFINER} as $$select s."--" from '
        "(select string_agg(account_name, ',') as \"--\" from public.user_accounts) as s$$"
    ),
    "a semicolon in a text": reached(
        f"create function public.f() returns text {_DEFINER} as $$select string_agg(account_name, ';') "
        f"from public.user_accounts where account_name <> '; {_MINE}'$$"
    ),
    "a backslash in a text": reached(
        f"create function public.f() returns text {_DEFINER} as $$select E'\\' -- ' || string_agg(account_name, '') "
        "from public.user_accounts$$"
    ),
    "the table's name in escapes": reached(
        f"create function public.f() returns text {_DEFINER} as "
        """$$select string_agg(account_name, ',') from public.U&"user\\005faccounts"$$"""
    ),
    "the table's name in escapes of its own": reached(
        f"create function public.f() returns text {_DEFINER} as "
        """$$select string_agg(account_name, ',') from public.U&"user!005faccounts" uescape '!'$$"""
    ),
    "the table's name with its asterisk": reached(
        f"create function public.f() returns text {_DEFINER} as "
        "'select string_agg(account_name, '','') from public.user_accounts*'"
    ),
    "the table's name after the database's": reached(
        "do $do$begin execute format('create function public.f() returns text language sql security definer "
        "set search_path = '''' as $$select string_agg(account_name, '','') from %I.public.user_accounts$$', "
        "current_database()); end$do$"
    ),
    "a function's name in quotation marks": reached(
        f"{_HIDDEN} create function public.g() returns text {_DEFINER} as "
        """'select "hidden" . "f" ()'"""
    ),
    "an expression with from": reached(
        f"create function public.f() returns text {_PLPGSQL} as $$declare r text; begin "
        "r := string_agg(account_name, ',') from public.user_accounts; return r; end$$"
    ),
    "in the condition of an if": reached(
        f"create function public.f() returns text {_PLPGSQL} as $$declare r text; begin if (select count(*) from "
        f"public.user_accounts) > 0 then r := ({_NAMES}); end if; return r; end$$"
    ),
    "in square brackets": reached(
        f"create function public.f() returns text {_DEFINER} as $$select (array(select account_name from "
        "public.user_accounts order by 1 desc))[1]$$"
    ),
    "by the cursor of a loop": reached(
        f"""create function public.f() returns setof text {_PLPGSQL} as $$
        declare c cursor (n int) for select ua.account_name from public.user_accounts as ua; begin
        for r in c(1) loop return next r.account_name; end loop; end$$"""
    ),
    "by a row's type": reached(
        f"create function public.f() returns jsonb {_PLPGSQL} as $$declare r public.user_accounts%rowtype; begin "
        "select * into strict r from public.user_accounts order by created_at limit 1; return to_jsonb(r); end$$"
    ),
    "in one of two branches of case": reached(
        f"create function public.f(n int) returns text {_PLPGSQL} as $$declare r text; begin case n when 1 then "
        f"select string_agg(account_name, ',') into r from public.user_accounts; else r := ''; end case; "
        "return r; end$$"
    ),
    "recursively": reached(
        f"create function public.f() returns setof text {_DEFINER} as $$with recursive a as (select account_name "
        "from public.user_accounts union select account_name from a) select account_name from a$$"
    ),
    "of a sample": reached(
        f"create function public.f() returns setof text {_DEFINER} as $$select account_name from public.user_accounts "
        "tablesample system (100)$$"
    ),
    # Fixed statements that are run as a text
    "a prepared text": undecidable(
        f"create function public.f(what text) returns text {_PLPGSQL} as $$declare r text; begin "
        "execute format('select string_agg(t::text, '','') from public.%I as t', what) into r; return r; end$$",
        attack="select public.f('user_accounts')",
    ),
    "the statistics of a table": reached(
        "analyze public.user_accounts; create function public.f() returns text "
        f"{_DEFINER} as $$select string_agg(histogram_bounds::text, ',') from pg_catalog.pg_stats "
        "where tablename = 'user_accounts'$$",
        levels=CONTESTED,
        only_person=True,
    ),
    # Functions that change a table or who is calling
    "a function that disables row level security": reached(
        f"create function public.f() returns void {_PLPGSQL} as "
        "$$begin alter table public.user_accounts disable row level security; end$$",
        attack="select public.f(); select * from public.user_accounts",
    ),
    "a function that grants": reached(
        f"create function public.f() returns void {_PLPGSQL} as "
        "$$begin grant truncate on public.user_accounts to anon, authenticated; end$$",
        attack="select public.f(); truncate public.user_accounts; select true",
    ),
    "a function that creates a policy": reached(
        f"create function public.f() returns void {_PLPGSQL} as "
        "$$begin create policy p on public.user_accounts for select using (true); end$$",
        attack="select public.f(); select * from public.user_accounts",
    ),
    "a function that keeps a copy": reached(
        f"create function public.f() returns void {_PLPGSQL} as $$begin create table public.copies as select * "
        "from public.user_accounts; grant select on public.copies to anon, authenticated; end$$",
        attack="select public.f(); select * from public.copies",
    ),
    "a function that becomes service_role": reached(
        "create function public.f() returns text language plpgsql as $$declare r text; begin set local role "
        "service_role; select string_agg(account_name, ',') into r from public.user_accounts; return r; end$$"
    ),
    "a function that becomes service_role by a setting": reached(
        "create function public.f() returns text language plpgsql as $$declare r text; begin perform "
        "set_config('role', 'service_role', true); r := (select string_agg(account_name, ',') from "
        "public.user_accounts); return r; end$$"
    ),
    "a function whose role is set": reached(
        f"create function public.f() returns text language sql set role = 'service_role' as $${_NAMES}$$",
        superuser=True,
    ),
    "a function that becomes what it is told": undecidable(
        "create function public.f(who text, query text) returns text language plpgsql as $$declare r text; begin "
        "perform set_config('role', who, true); execute query into r; return r; end$$",
        attack="select public.f('service_role', 'select string_agg(account_name, '','') from public.user_accounts')",
    ),
    "a trigger that becomes service_role": undecidable(
        "create table public.todos (id int); create function public.f() returns trigger language plpgsql as $$begin "
        "set local role service_role; update public.user_accounts set account_name = 'Reached'; return null; end$$; "
        "create trigger t after insert on public.todos for each row execute function public.f()",
    ),
    "a function that is the victim": undecidable(
        "create function public.f() returns setof public.user_accounts language plpgsql as $$begin perform "
        f"set_config('request.jwt.claim.sub', '{_VICTIM}', true); return query select * from "
        "public.list_accounts(); end$$",
    ),
    "a function that is whom it is told": reached(
        "create function public.f(who uuid) returns setof public.user_accounts language plpgsql as $$begin perform "
        "set_config('request.jwt.claims', json_build_object('sub', who, 'role', 'authenticated')::text, true); "
        "return query select * from public.user_accounts; end$$",
    ),
    "a function that is the victim by a statement": reached(
        "create function public.f() returns setof public.user_accounts language plpgsql as $$begin set local "
        f"request.jwt.claim.sub = '{_VICTIM}'; return query select * from public.user_accounts; end$$",
    ),
    "a function that is the victim, for service_role": tighter(
        "create function public.f() returns setof public.user_accounts language plpgsql as $$begin perform "
        f"set_config('request.jwt.claim.sub', '{_VICTIM}', true); return query select * from "
        "public.list_accounts(); end$$; revoke execute on function public.f() from public, anon, authenticated"
    ),
    "a function that sets a setting of its own": own(
        "create function public.f() returns void language plpgsql as $$begin perform set_config('app.tenant', 'x', "
        "true); set local statement_timeout = '5s'; end$$"
    ),
    "a function that is planned before the policies": reached(
        """create function public.leak(public.user_accounts) returns boolean language plpgsql leakproof immutable
        cost 0.0000001 as $$begin raise exception '%', $1; end$$""",
        superuser=True,
        attack="set local enable_indexscan = off; set local enable_bitmapscan = off; "
        "select * from public.user_accounts as ua where public.leak(ua)",
        levels=CONTESTED,
    ),
    "an operator in a function with the owner's rights": reached(
        f"""create schema hidden; create function hidden.f(text, text) returns text language sql as $${_NAMES}$$;
        create operator public.### (leftarg = text, rightarg = text, function = hidden.f);
        create function public.g() returns text {_DEFINER} as $$select 'a' operator(public.###) 'b'$$"""
    ),
    "a default in a function with the owner's rights": undecidable(
        f"""create schema hidden; create function hidden.f() returns text language sql as $${_NAMES}$$;
        create table hidden.notes (id int, note text default hidden.f());
        create function public.g() returns text {_DEFINER} as
        'insert into hidden.notes (id) values (1) returning note'""",
    ),
    "a rule that calls a function": reached(
        f"{_HIDDEN} create table public.todos (id int); create rule r as on insert to public.todos do instead "
        "select hidden.f()",
        attack="insert into public.todos values (1)",
    ),
    "a default of a parameter": reached(
        f"{_HIDDEN} create function public.g(what text default hidden.f()) returns text language sql as 'select what'",
        attack="select public.g()",
    ),
    "a procedure that calls another": reached(
        f"create schema hidden; create procedure hidden.p() {_DEFINER} as 'delete from public.user_accounts'; "
        f"create procedure public.p() {_PLPGSQL} as 'begin call hidden.p(); end'"
    ),
    "a window function": reached(
        f"""create schema hidden; create function hidden.step(text, text) returns text {_DEFINER} as $${_NAMES}$$;
        create aggregate public.leak(text) (sfunc = textcat, stype = text, msfunc = hidden.step, minvfunc =
        hidden.step, mstype = text, mfinalfunc = hidden.last);
        """.replace(", mfinalfunc = hidden.last", ""),
        attack="select public.leak('x') over (rows between 1 preceding and current row) from generate_series(1, 3)",
    ),
    "a constraint trigger": reached(
        f"""create table public.todos (id int); create function public.f() returns trigger {_PLPGSQL} as
        $$begin delete from public.user_accounts; return null; end$$;
        create constraint trigger t after insert on public.todos deferrable initially deferred
        for each row execute function public.f()"""
    ),
    "the condition of a trigger": reached(
        f"""create schema hidden; create function hidden.f(int) returns boolean {_PLPGSQL} as
        $$begin raise exception '%', ({_NAMES}); end$$; create table public.todos (id int);
        create function public.g() returns trigger language plpgsql as 'begin return new; end';
        create trigger t before insert on public.todos for each row when (hidden.f(new.id))
        execute function public.g()"""
    ),
    "a sequence's table in a loop of functions": own(
        f"create function public.a(int) returns int {_DEFINER} as 'select 1'; create or replace function public.b(int) "
        f"returns int {_DEFINER} as 'select public.a($1)'; create or replace function public.a(int) returns int "
        f"{_DEFINER} as 'select public.b($1)'"
    ),
    # Roles
    "a view of a role that bypasses": reached(
        """create role reporter bypassrls; grant usage on schema public to reporter;
        grant select on public.user_accounts to reporter; create view public.v as select * from public.user_accounts;
        alter view public.v owner to reporter; grant select on public.v to anon""",
        superuser=True,
    ),
    "a view of a role with a policy": reached(
        f"""create role reporter; grant usage on schema public to reporter;
        grant select on public.user_accounts to reporter;
        create policy reports {_ON} for select to reporter using (true);
        create view public.v as select * from public.user_accounts;
        alter view public.v owner to reporter; grant select on public.v to anon""",
        superuser=True,
    ),
    "a role to give itself": reached(
        """create role reader bypassrls; grant usage on schema public to reader;
        grant select on public.user_accounts to reader;
        grant reader to authenticated with admin true, inherit false, set false""",
        superuser=True,
        attack="grant reader to authenticated with inherit true, set true; set local role reader; "
        "select * from public.user_accounts",
        levels=CONTESTED,
        since=16,
    ),
    "a role to become": reached(
        """create role reader bypassrls; grant usage on schema public to reader;
        grant select on public.user_accounts to reader;
        grant reader to authenticated with inherit false, set true""",
        superuser=True,
        attack="set local role reader; select * from public.user_accounts",
        levels=CONTESTED,
        since=16,
    ),
    "a role that can neither be become nor inherited": weaker(
        """create role reader; grant select on public.user_accounts to reader;
        grant reader to authenticated with inherit false, set false""",
        superuser=True,
        levels="warning info none",
        since=16,
    ),
    "a role of service_role's, inherited": reached(
        "create role backend; grant truncate on public.user_accounts to backend; grant backend to anon with "
        "inherit true; grant backend to service_role",
        superuser=True,
    ),
    # Policies
    **{
        f"a policy for service_role: {name}": weaker(
            f"create policy p {_ON} {rest}", levels="warning info none", only_person=True
        )
        for name, rest in {
            "by name": "to service_role using (true) with check (true)",
            "by the owner's name": "for all to postgres using (true)",
            "by the token's role": "using (auth.role() = 'service_role')",
            "by a sub-select": "for select using ((select auth.role()) = 'service_role')",
            "by the claim": "using ((select auth.jwt()) ->> 'role' = 'service_role') with check (true and false)",
            "by the current user": "using (current_user = 'service_role')",
        }.items()
    },
    **{
        f"a policy for the caller: {name}": weaker(
            f"create policy p {_ON} for select to authenticated using ({condition})",
            levels="warning info none",
            only_person=True,
        )
        for name, condition in {
            "turned round": "(select auth.uid()) = user_id",
            "in a sub-select": "user_id in (select auth.uid())",
            "any of an array": "user_id = any (array[(select auth.uid())])",
            "and signed in": "auth.uid() is not null and auth.uid() = user_id",
            "as text": "user_id::text = (select auth.jwt() ->> 'sub')",
            "by the token": "user_id = ((select auth.jwt()) ->> 'sub')::uuid",
            "by the setting": "user_id = (nullif(current_setting('request.jwt.claims', true), '')::json "
            "->> 'sub')::uuid",
            "or for service_role": "user_id = auth.uid() or auth.role() = 'service_role'",
            "not distinct": "user_id is not distinct from (select auth.uid())",
            "and an or": "user_id = auth.uid() and (is_active or created_at < now())",
        }.items()
    },
    "a policy of a function that says the caller": weaker(
        "create function public.is_me(who uuid) returns boolean language sql stable as 'select who = auth.uid()'; "
        f"create policy p {_ON} for select to authenticated using (public.is_me(user_id))",
        levels=CONTESTED,
        only_person=True,
    ),
    "a policy for administrators": weaker(
        "create table public.admins (user_id uuid); alter table public.admins enable row level security; "
        f"create policy p {_ON} for select to authenticated using (exists (select from public.admins as a "
        "where a.user_id = (select auth.uid())))",
        levels="warning info",
        only_person=True,
    ),
    "a policy for administrators of the token": weaker(
        f"create policy p {_ON} for select to authenticated using ((select auth.jwt()) -> 'app_metadata' ->> 'role' "
        "= 'admin')",
        levels="warning info",
        only_person=True,
    ),
    "a policy for administrators whom anybody appoints": reached(
        "create table public.admins (user_id uuid); grant insert, select on public.admins to authenticated; "
        f"create policy p {_ON} for select to authenticated using (exists (select from public.admins as a "
        "where a.user_id = (select auth.uid())))",
        attack="insert into public.admins values ((current_setting('request.jwt.claims')::json ->> 'sub')::uuid); "
        "select * from public.user_accounts",
        levels=CONTESTED,
        only_person=True,
    ),
    **{
        f"a policy that seems to be for the caller: {name}": reached(
            f"create policy p {_ON} for select to authenticated using ({condition})",
            # this one asks who is calling
            levels=CONTESTED if name == "exists" else "",
            only_person=name == "exists",
        )
        for name, condition in {
            "of a case": "case when user_id = auth.uid() then true else is_active end",
            "exists": "exists (select from (select auth.uid() as id) as me where me.id is not null)",
            "a comparison of nothing": "user_id = coalesce(nullif(auth.uid(), auth.uid()), user_id)",
            "a double negation": "not (user_id = auth.uid() and false)",
            "a role of all": "auth.role() in ('authenticated', 'service_role')",
            "a text": "'user_id = auth.uid()' is not null",
        }.items()
    },
    "a restrictive policy that limits an open one": weaker(
        f"create policy p {_ON} for select to authenticated using (true); "
        f"create policy q {_ON} as restrictive for all to public using (user_id in (select auth.uid()))",
        levels="warning info",
        only_person=True,
    ),
    # Copies
    "a copy of the table": reached("create table public.user_accounts_backup as table public.user_accounts"),
    "a copy of the table, closed": tighter(
        "create table public.user_accounts_backup as table public.user_accounts; "
        "alter table public.user_accounts_backup enable row level security"
    ),
    "a copy of the table in a schema that nobody can use": tighter(
        "create schema hidden; create table hidden.backup as table public.user_accounts; "
        "grant select on hidden.backup to anon"
    ),
    "a copy with one more column": reached(
        "create table public.history as select now() as copied, ua.* from public.user_accounts as ua"
    ),
    "a copy by a trigger into a table with an open policy": reached(
        """create table public.copies (user_id uuid, row jsonb); alter table public.copies enable row level security;
        create policy all_of_them on public.copies using (true) with check (true);
        create function public.f() returns trigger language plpgsql security definer set search_path = '' as
        $$begin insert into public.copies values (new.user_id, to_jsonb(new)); return null; end$$;
        create trigger copies after insert or update on public.user_accounts for each row execute function public.f();
        update public.user_accounts set account_name = account_name""",
        levels=CONTESTED,
        only_person=True,
    ),
    "a copy by a trigger into a table with a policy of its own": weaker(
        """create table public.copies (user_id uuid, row jsonb); alter table public.copies enable row level security;
        create policy mine on public.copies for select using (user_id = (select auth.uid()));
        create function public.f() returns trigger language plpgsql security definer set search_path = '' as
        $$begin insert into public.copies values (new.user_id, to_jsonb(new)); return null; end$$;
        create trigger copies after insert or update on public.user_accounts for each row execute function public.f();
        update public.user_accounts set account_name = account_name""",
        levels="warning info none",
        only_person=True,
    ),
    "a materialized view of a function": reached(
        f"{_HIDDEN} create materialized view public.v as select hidden.f() as names"
    ),
    "a materialized view of nothing that is theirs": own(
        "create materialized view public.v as select count(*) as n from pg_catalog.pg_class"
    ),
    "a view of the columns of the catalog": own(
        "create view public.v as select column_name from information_schema.columns where table_name = 'user_accounts'"
    ),
    "a view by a lateral join": reached(
        "create view public.v as select s.account_name from generate_series(1, 1) as g cross join lateral "
        "(select ua.account_name from public.user_accounts as ua where ua.created_at < now() limit 10) as s"
    ),
    "a view of a window": reached(
        "create view public.v as select first_value(account_name) over (partition by is_active order by created_at) "
        "as name from public.user_accounts"
    ),
    "a recursive view": reached(
        "create view public.v as with recursive all_names (name) as (select account_name from public.user_accounts "
        "union select name from all_names) select name from all_names"
    ),
    "a view of a view that limits": weaker(
        "create schema hidden; create view hidden.v with (security_barrier) as select * from public.user_accounts "
        f"where {_MINE}; create view public.v as select account_name from hidden.v; revoke all on public.v from "
        "anon, authenticated; grant select on public.v to authenticated",
        levels="warning info none",
        only_person=True,
    ),
}
