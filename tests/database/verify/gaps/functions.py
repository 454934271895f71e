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
    "in words of PostgreSQL 18": undecidable(
        f"create function public.f() returns setof text {_DEFINER} begin atomic update public.user_accounts set "
        "account_name = 'Reached' returning with (old as before) before.account_name; end",
        since=18,
    ),
    "runs any statement": undecidable(
        f"create function public.f(query text) returns text {_PLPGSQL} as "
        "'declare result text; begin execute query into result; return result; end'"
    ),
    "builds the name": undecidable(
        f"create function public.f() returns text {_PLPGSQL} as $$declare result text; begin execute "
        "'select string_agg(account_name, '','') from public.' || 'user_' || 'accounts' into result; return "
        "result; end$$"
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
        f"create schema hidden; create function hidden.f(query text) returns void {_PLPGSQL} as 'begin execute "
        f"query; end'"
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
    # What says "my own row" and does not mean it
    **{
        f"the caller's own: {name}": reached(
            f"create function public.f(owner uuid default auth.uid()) returns setof public.user_accounts {_DEFINER} as "
            f"$$select ua.* from public.user_accounts as ua {where}$$"
        )
        for name, where in {
            "or any": "where user_id = auth.uid() or true",
            "in a comment": "-- where user_id = auth.uid()",
            "in a comment of several lines": "/* where user_id = auth.uid() */",
            "in a text": "where 'user_id = auth.uid()' is not null",
            "negated": "where not (user_id = auth.uid())",
            "not equal": "where user_id != auth.uid()",
            "or a parameter": "where user_id = auth.uid() or user_id = owner",
            "of a list": "where user_id = any (array[auth.uid(), owner])",
            "coalesced": "where user_id = coalesce(owner, auth.uid())",
            "of nobody": "where user_id = coalesce(auth.uid(), user_id)",
            "of the other table": "join (select auth.uid() as user_id) as me on me.user_id = auth.uid()",
            "in a sub-select": "where exists (select from public.user_accounts as mine where mine.user_id = "
            "auth.uid())",
            "optional": "left join public.user_accounts as mine on mine.user_id = auth.uid()",
            "and a union": "where user_id = auth.uid() union all select * from public.user_accounts",
        }.items()
    },
    **{
        f"the caller's own row: {name}": weaker(
            f"create function public.f(account uuid default null) returns setof public.user_accounts {_DEFINER} as "
            f"$$select ua.* from public.user_accounts as ua {where}$$",
            levels="warning info none",
            only_person=True,
        )
        for name, where in {
            "turned round": "where auth.uid() = ua.user_id",
            "of a sub-select": "where ua.user_id = (select auth.uid())",
            "and an id": "where ua.id = account and ua.user_id = auth.uid()",
        }.items()
    },
    "the caller's own row, then all": reached(
        f"""create function public.f() returns setof public.user_accounts {_PLPGSQL} as $$begin
        perform 1 from public.user_accounts where user_id = auth.uid();
        return query select * from public.user_accounts; end$$"""
    ),
    "the row of a variable": reached(
        f"""create function public.f(owner uuid) returns setof public.user_accounts {_PLPGSQL} as $$
        declare caller uuid := coalesce(owner, auth.uid());
        begin return query select ua.* from public.user_accounts as ua where ua.user_id = caller; end$$"""
    ),
    "the row of a variable that is the caller": weaker(
        f"""create function public.f() returns setof public.user_accounts {_PLPGSQL} as $$
        declare caller constant uuid := auth.uid();
        begin return query select ua.* from public.user_accounts as ua where ua.user_id = caller; end$$""",
        levels="warning info none",
        only_person=True,
    ),
    # How a table can be named
    **{
        f"names the table: {name}": reached(
            f"create function public.f() returns setof public.user_accounts {_PLPGSQL} as "
            f"$$begin return query {query}; end$$"
        )
        for name, query in {
            "by the command table": "table public.user_accounts",
            "only it": "select * from only public.user_accounts",
            "in brackets": "select ua.* from (public.user_accounts as ua cross join (values (1)) as v)",
            "with spaces": "select * from public . user_accounts",
            "with a comment": "select * from public./* theirs */user_accounts",
            "on the next line": "select * from\n-- all of\npublic.user_accounts",
            "after a comma": "select ua.* from (values (1)) as v, public.user_accounts as ua",
            "in a join": "select ua.* from (values (1)) as v inner join public.user_accounts as ua on true",
            "laterally": "select ua.* from (values (1)) as v cross join lateral (select * from "
            "public.user_accounts) as ua",
            "in capitals": "SELECT * FROM Public.User_Accounts",
            "in quotation marks": 'select * from public."user_accounts"',
        }.items()
    },
    "a cursor": reached(
        f"""create function public.f() returns text {_PLPGSQL} as $$
        declare c cursor for select account_name from public.user_accounts order by id; result text;
        begin open c; fetch c into result; close c; return result; end$$"""
    ),
    "a cursor for the caller": undecidable(
        f"""create function public.f(c refcursor) returns refcursor {_PLPGSQL} as
        $$begin open c for select * from public.user_accounts; return c; end$$""",
        attack="begin; select public.f('c'); fetch all from c".removeprefix("begin; "),
    ),
    "a fixed text": undecidable(
        f"""create function public.f() returns text {_PLPGSQL} as $$declare result text; begin
        execute 'select string_agg(account_name, '','') from public.user_accounts' into result; return result; end$$"""
    ),
    "copies into an open table": reached(
        f"""create table public.copies (name text); create function public.f() returns void {_DEFINER} as
        'insert into public.copies select account_name from public.user_accounts'""",
        attack="select public.f(); select * from public.copies",
    ),
    "copies by an update": reached(
        f"""create table public.copies (name text); insert into public.copies values ('');
        create function public.f() returns void {_DEFINER} as
        $$update public.copies set name = ua.account_name from public.user_accounts as ua
        where ua.created_at < '2001-12-31'$$""",
        attack="select public.f(); select * from public.copies",
        levels=CONTESTED,
        only_person=True,
    ),
    "returns a time": reached(
        f"create function public.f() returns timestamptz {_DEFINER} as 'select min(created_at) from "
        f"public.user_accounts'",
        levels=CONTESTED,
        only_person=True,
    ),
    "returns whether one is active": reached(
        f"create function public.f(account uuid) returns boolean {_DEFINER} as "
        "'select is_active from public.user_accounts where id = account'",
        levels=CONTESTED,
        only_person=True,
        attack="select public.f('{account}')",
    ),
    "returns the length of a name": contested(
        f"create function public.f(account uuid) returns int {_DEFINER} as "
        "'select length(account_name) from public.user_accounts where id = account'",
        only_person=True,
    ),
    "returns a composite": reached(
        f"create type public.pair as (a text, b uuid); create function public.f() returns public.pair {_DEFINER} as "
        "'select account_name, id from public.user_accounts order by id limit 1'"
    ),
    "returns a domain": reached(
        f"create domain public.label as text; create function public.f() returns public.label {_DEFINER} as "
        "$$select min(account_name)::public.label from public.user_accounts where id::text like '%1a'$$"
    ),
    "returns an array": reached(
        f"create function public.f() returns text[] {_DEFINER} as "
        "'select array_agg(account_name) from public.user_accounts'"
    ),
    "returns a record": reached(
        f"create function public.f(out a uuid, out b text) returns setof record {_DEFINER} as "
        "'select id, account_name from public.user_accounts'"
    ),
    "takes many": reached(
        f"create function public.f(variadic accounts uuid[] default '{{}}') returns setof text {_DEFINER} as "
        "'select account_name from public.user_accounts'",
        attack="select string_agg(f, ',') from public.f()",
    ),
    "takes a row": reached(f"create function public.f(public.user_accounts) returns text {_DEFINER} as $${_NAMES}$$"),
    "has a name to be quoted": reached(
        'create schema "Shop; drop"; grant usage on schema "Shop; drop" to anon; create type "Shop; drop"."Odd Type" '
        """as enum ('a'); create function "Shop; drop"."Get "" all"("Owner" "Shop; drop"."Odd Type" default 'a', """
        f"n numeric(10,2)[] default null) returns text {_DEFINER} as $${_NAMES}$$; "
        'grant execute on all functions in schema "Shop; drop" to anon',
        attack='select "Shop; drop"."Get "" all"()',
    ),
    "several overloads": reached(
        f"create function public.f() returns text {_DEFINER} as $${_NAMES}$$; "
        f"create function public.f(int) returns text {_DEFINER} as $${_NAMES}$$; "
        "create function public.f(text) returns text language sql as 'select 1::text'"
    ),
    "an operator class of its own": reached(
        f"""create schema hidden; create function hidden.cmp(int, int) returns int {_PLPGSQL} immutable as
        $$begin raise exception '%', ({_NAMES}); end$$; create function public.sorted(int, int) returns int
        language sql as 'select hidden.cmp($1, $2)'; grant usage on schema hidden to anon""",
    ),
}
