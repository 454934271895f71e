"""Functions that run with their owner's rights, and what calls them."""

from typing import Final

from tests.database.verify.gap import CONTESTED, Gap, contested, reached, tighter, undecidable, weaker

_DEFINER = "language sql security definer set search_path = ''"
_PLPGSQL = "language plpgsql security definer set search_path = ''"
_NAMES = "select string_agg(account_name, ',') from public.user_accounts"
_HIDDEN = f"create schema hidden; create function hidden.f() returns text {_DEFINER} as $${_NAMES}$$;"

GAPS: Final[dict[str, Gap]] = {
    "returns all rows": reached(
        f"create function public.f() returns setof public.user_accounts {_DEFINER} "
        "as 'select * from public.user_accounts'"
    ),
    "returns a table": reached(
        f"create function public.f() returns table (name text) {_DEFINER} "
        "as 'select account_name from public.user_accounts'"
    ),
    "returns one value": reached(f"create function public.f() returns text {_DEFINER} as $${_NAMES}$$"),
    "returns JSON": reached(
        f"create function public.f() returns json {_DEFINER} as 'select json_agg(ua) from public.user_accounts as ua'"
    ),
    "returns the number": contested(
        f"create function public.f() returns bigint {_DEFINER} as 'select count(*) from public.user_accounts'",
        only_person=True,
    ),
    "has a body of parsed SQL": reached(
        f"create function public.f() returns text {_DEFINER} begin atomic {_NAMES}; end"
    ),
    "is a single expression": reached(f"create function public.f() returns text {_DEFINER} return ({_NAMES})"),
    "is in PL/pgSQL": reached(
        f"create function public.f() returns setof public.user_accounts {_PLPGSQL} as "
        "'begin return query select * from public.user_accounts; end'"
    ),
    "loops": reached(
        f"""create function public.f() returns setof text {_PLPGSQL} as
        'declare ua record; begin for ua in select * from public.user_accounts loop return next ua.account_name;
        end loop; end'"""
    ),
    "has out parameters": reached(
        f"create function public.f(out name text) {_DEFINER} as 'select max(account_name) from public.user_accounts'"
    ),
    "takes an id": reached(
        f"create function public.f(account uuid) returns setof public.user_accounts {_DEFINER} as "
        "'select * from public.user_accounts where id = account'"
    ),
    "takes a user's id": reached(
        f"create function public.f(owner uuid default auth.uid()) returns setof public.user_accounts {_DEFINER} as "
        "'select * from public.user_accounts where user_id = owner'"
    ),
    "finds its names by the search path": reached(
        "create function public.f() returns text language sql security definer as "
        "'select string_agg(account_name, '','') from user_accounts'"
    ),
    "says the table's name in capitals": reached(
        f"create function public.f() returns text {_DEFINER} as "
        "'SELECT string_agg(account_name, '','') FROM PUBLIC.USER_ACCOUNTS'"
    ),
    "quotes the table's name": reached(
        f"create function public.f() returns text {_DEFINER} as "
        """'select string_agg(account_name, '','') from "public"."user_accounts"'"""
    ),
    "belongs to a superuser": reached(
        f"create function public.f() returns text {_DEFINER} as $${_NAMES}$$", superuser=True
    ),
    "belongs to service_role": reached(
        f"create function public.f() returns text {_DEFINER} as $${_NAMES}$$; "
        "alter function public.f() owner to service_role; grant execute on function public.f() to anon",
        superuser=True,
    ),
    "is a procedure": reached(
        f"create procedure public.f() {_DEFINER} as 'update public.user_accounts set account_name = ''Reached'''"
    ),
    "has an in-out parameter": reached(
        f"create procedure public.f(inout names text) {_DEFINER} as $${_NAMES}$$",
    ),
    "updates": reached(
        f"create function public.f(account uuid, name text) returns void {_DEFINER} as "
        "'update public.user_accounts set account_name = name where id = account'"
    ),
    "inserts for anybody": reached(
        f"create function public.f(owner uuid) returns void {_DEFINER} as "
        "'insert into public.user_accounts (user_id, account_name) values (owner, ''Reached'')'"
    ),
    "deletes": reached(
        f"create function public.f(account uuid) returns void {_DEFINER} as "
        "'delete from public.user_accounts where id = account'"
    ),
    "truncates": reached(
        f"create function public.f() returns void {_PLPGSQL} as 'begin truncate public.user_accounts; end'"
    ),
    "merges": reached(
        f"""create function public.f() returns void {_PLPGSQL} as 'begin
        merge into public.user_accounts as ua using (values (1)) as v on true
        when matched then update set account_name = ''Reached''; end'"""
    ),
    "writes in a common table expression": reached(
        f"create function public.f() returns text {_DEFINER} as 'with gone as (delete from public.user_accounts "
        "returning account_name) select string_agg(account_name, '','') from gone'"
    ),
    "deletes users": reached(
        f"create function public.f(owner uuid) returns void {_DEFINER} as 'delete from auth.users where id = owner'"
    ),
    "reads users": reached(
        f"create function public.f() returns text {_DEFINER} as 'select string_agg(email, '','') from auth.users'"
    ),
    "tells by an error": reached(
        f"create function public.f() returns void {_PLPGSQL} as $$begin raise exception '%', ({_NAMES}); end$$"
    ),
    "calls another": reached(f"{_HIDDEN} create function public.f() returns text {_DEFINER} as 'select hidden.f()'"),
    "calls another that is not a definer": reached(
        f"create schema hidden; create function hidden.f() returns text language sql as $${_NAMES}$$;"
        f"create function public.f() returns text {_DEFINER} as 'select hidden.f()'"
    ),
    "calls another in PL/pgSQL": reached(
        f"{_HIDDEN} create function public.f() returns text {_PLPGSQL} as 'begin return hidden.f(); end'"
    ),
    "calls through three": reached(
        f"{_HIDDEN} create function hidden.g() returns text language sql begin atomic select hidden.f(); end;"
        "create function public.f() returns text language sql begin atomic select hidden.g(); end"
    ),
    "an invoker with a parsed body calls a definer of a schema that nobody can use": reached(
        f"{_HIDDEN} create function public.f() returns text language sql begin atomic select hidden.f(); end"
    ),
    "reads a view": reached(
        "create schema hidden; create view hidden.v as select * from public.user_accounts; "
        f"create function public.f() returns text {_DEFINER} as 'select string_agg(account_name, '','') from hidden.v'"
    ),
    "reads an invoker view": reached(
        "create view public.v with (security_invoker) as select * from public.user_accounts; "
        f"create function public.f() returns text {_DEFINER} as 'select string_agg(account_name, '','') from public.v'"
    ),
    "reads a materialized view": reached(
        "create schema hidden; create materialized view hidden.v as select * from public.user_accounts; "
        f"create function public.f() returns text {_DEFINER} as 'select string_agg(account_name, '','') from hidden.v'"
    ),
    "reads a parent table": reached(
        """create schema hidden; create table hidden.parent (like public.user_accounts);
        alter table public.user_accounts inherit hidden.parent;"""
        f"create function public.f() returns text {_DEFINER} as "
        "'select string_agg(account_name, '','') from hidden.parent'"
    ),
    "calls one of the migrations'": reached(
        f"create function public.f(owner uuid) returns text {_DEFINER} as "
        "'select account_name from public.get_or_create_account_for(owner)'"
    ),
    "behind an aggregate": reached(
        f"""create schema hidden; create function hidden.step(text, text) returns text {_DEFINER} as $${_NAMES}$$;
        create aggregate public.leak(text) (sfunc = hidden.step, stype = text);
        revoke execute on function hidden.step(text, text) from public"""
    ),
    "behind an aggregate's end": reached(
        f"""create schema hidden; create function hidden.last(text) returns text {_DEFINER} as $${_NAMES}$$;
        create aggregate public.leak(text) (sfunc = textcat, stype = text, finalfunc = hidden.last);
        revoke execute on function hidden.last(text) from public"""
    ),
    "behind an operator": reached(
        f"""create schema hidden; create function hidden.f(text, text) returns text {_DEFINER} as $${_NAMES}$$;
        create operator public.### (leftarg = text, rightarg = text, function = hidden.f)""",
        attack="select 'a' operator(public.###) 'b'",
    ),
    "behind a cast": reached(
        f"""create schema hidden; create type public.asked as (name text);
        create function hidden.f(public.asked) returns text {_DEFINER} as $${_NAMES}$$;
        create cast (public.asked as text) with function hidden.f(public.asked)""",
        attack="select cast(row('x')::public.asked as text)",
    ),
    "behind a default": reached(
        f"{_HIDDEN} create table public.todos (id int default 1, note text default hidden.f())",
        attack="insert into public.todos default values; select note from public.todos",
    ),
    "behind a check of a domain": reached(
        f"""create schema hidden; create function hidden.f(text) returns boolean {_PLPGSQL} as
        $$begin raise exception '%', ({_NAMES}); end$$;
        create domain public.d as text check (hidden.f(value))""",
        attack="select 'x'::public.d",
    ),
    "behind a policy of another table": reached(
        f"""create schema hidden; create function hidden.f() returns boolean {_PLPGSQL} as
        $$begin raise exception '%', ({_NAMES}); end$$;
        create table public.todos (id int); insert into public.todos values (1);
        alter table public.todos enable row level security; create policy p on public.todos using (hidden.f())"""
    ),
    "behind an index": reached(
        f"""create schema hidden; create function hidden.f(text) returns text {_DEFINER} immutable as $${_NAMES}$$;
        create table public.todos (note text generated always as (hidden.f('x')) stored, id int)""",
        attack="insert into public.todos (id) values (1); select note from public.todos",
    ),
    "in a trigger on a table that users write": reached(
        f"""create table public.todos (id int, note text);
        create function public.f() returns trigger {_PLPGSQL} as $$begin new.note := ({_NAMES}); return new; end$$;
        create trigger t before insert on public.todos for each row execute function public.f()""",
        attack="insert into public.todos (id) values (1); select note from public.todos",
    ),
    "in a trigger that writes": reached(
        f"""create table public.todos (id int, account_id uuid);
        create function public.f() returns trigger {_PLPGSQL} as
        $$begin update public.user_accounts set account_name = 'Reached' where id = new.account_id; return null; end$$;
        revoke execute on function public.f() from public, anon, authenticated;
        create trigger t after insert on public.todos for each row execute function public.f()""",
        attack="insert into public.todos values (1, '{account}')",
    ),
    "in a trigger of statements": reached(
        f"""create table public.todos (id int);
        create function public.f() returns trigger {_PLPGSQL} as
        $$begin update public.user_accounts set account_name = 'Reached'; return null; end$$;
        create trigger t after update on public.todos for each statement execute function public.f()"""
    ),
    "in a trigger on the parent of a table that users write": reached(
        f"""create schema hidden; create table hidden.todos (id int) partition by list (id);
        create table public.todos partition of hidden.todos default;
        create function public.f() returns trigger {_PLPGSQL} as
        $$begin update public.user_accounts set account_name = 'Reached'; return null; end$$;
        create trigger t after insert on hidden.todos for each row execute function public.f()"""
    ),
    "in another schema": reached(
        f"create schema api; grant usage on schema api to authenticated; "
        f"create function api.f() returns text {_DEFINER} as $${_NAMES}$$"
    ),
    "granted to anon by name": reached(
        f"create function public.f() returns text {_DEFINER} as $${_NAMES}$$; revoke all on function public.f() "
        "from public, anon, authenticated, service_role; grant execute on function public.f() to anon"
    ),
    "granted to public": reached(
        f"create function public.f() returns text {_DEFINER} as $${_NAMES}$$; revoke all on function public.f() "
        "from anon, authenticated, service_role"
    ),
    "an overload of the migrations'": reached(
        f"create function public.get_account(account_id text) returns text {_DEFINER} as $${_NAMES}$$",
        only_person=True,
    ),
    "in the migrations' schema": reached(
        f"create function accounts_private.f() returns text {_DEFINER} as $${_NAMES}$$", only_person=True
    ),
    "runs any statement": undecidable(
        f"create function public.f(query text) returns text {_PLPGSQL} as "
        "'declare result text; begin execute query into result; return result; end'"
    ),
    "builds the name": undecidable(
        f"create function public.f() returns text {_PLPGSQL} as $$declare result text; begin execute "
        "'select string_agg(account_name, '','') from public.' || 'user_' || 'accounts' into result; return result; end$$"
    ),
    "formats the name that it is given": undecidable(
        f"""create function public.f(t text) returns text {_PLPGSQL} as $$declare result text; begin
        execute format('select string_agg(r::text, '','') from %s as r', t) into result; return result; end$$"""
    ),
    "opens a cursor for a text": undecidable(
        f"""create function public.f(query text) returns text {_PLPGSQL} as $$declare c refcursor; result text; begin
        open c for execute query; fetch c into result; close c; return result; end$$"""
    ),
    "has a function of PostgreSQL run a text": undecidable(
        f"create function public.f(query text) returns text {_DEFINER} as "
        "'select string_agg(word, '','') from ts_stat(query)'",
        attack="select public.f('select to_tsvector(''simple'', account_name) from public.user_accounts')",
    ),
    "nested, with a text": undecidable(
        f"""create schema hidden; create function hidden.run(query text) returns text language plpgsql as
        'declare result text; begin execute query into result; return result; end';
        create function public.f(query text) returns text {_DEFINER} as 'select hidden.run(query)'"""
    ),
    "is for the caller's own row": weaker(
        f"create function public.f() returns setof public.user_accounts {_DEFINER} as "
        "'select * from public.user_accounts where user_id = auth.uid()'",
        levels="warning info none",
        only_person=True,
    ),
    "belongs to a role that row level security holds for": weaker(
        f"""create role plain; grant select on public.user_accounts to plain; grant usage on schema public to plain;
        create function public.f() returns text {_DEFINER} as $${_NAMES}$$;
        alter function public.f() owner to plain; grant execute on function public.f() to anon""",
        superuser=True,
    ),
    "is for nobody": tighter(
        f"create function public.f() returns text {_DEFINER} as $${_NAMES}$$; "
        "revoke execute on function public.f() from public, anon, authenticated"
    ),
    "is for service_role": tighter(
        f"create function public.f() returns text {_DEFINER} as $${_NAMES}$$; "
        "revoke execute on function public.f() from public, anon, authenticated; "
        "grant execute on function public.f() to service_role"
    ),
    "is in a schema that nobody can use": tighter(_HIDDEN),
    "runs any statement, for nobody": tighter(
        f"create schema hidden; create function hidden.f(query text) returns void {_PLPGSQL} as 'begin execute query; end'"
    ),
    "runs a fixed statement on another table": weaker(
        "create table public.todos (id int); create function public.f() returns void "
        f"{_PLPGSQL} as $$begin execute 'truncate public.todos'; end$$",
        levels="warning info none",
        only_person=True,
    ),
    "looks like it and is not": weaker(
        # the name in a text and a comment
        f"create function public.f() returns text {_DEFINER} as $$select 'user_accounts' -- user_accounts$$",
        levels="warning info none",
        only_person=True,
    ),
    "is contested by who may select": weaker(
        # reads only what the caller's own role may see: the owner is authenticated itself
        f"create function public.f() returns text {_DEFINER} as $${_NAMES}$$; "
        "alter function public.f() owner to authenticated",
        superuser=True,
        levels=f"{CONTESTED} info none",
        only_person=True,
    ),
}
