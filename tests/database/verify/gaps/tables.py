"""Inheritance and partitions in both directions, rules, triggers that copy, publications, foreign keys, copies."""

from typing import Final

from tests.database.verify.gap import CONTESTED, Gap, locked_out, own, reached, undecidable, weaker

_LIKE = "(like public.user_accounts)"
_ALL = "(like public.user_accounts including all)"
_INHERIT = "alter table public.user_accounts inherit"
_TRIGGER = "returns trigger language plpgsql set search_path = ''"

GAPS: Final[dict[str, Gap]] = {
    "inherits from a table": reached(f"create table public.parent {_LIKE}; {_INHERIT} public.parent"),
    "inherits from a table in another schema": reached(
        f"create schema api; grant usage on schema api to anon; create table api.parent {_LIKE}; "
        f"grant select on api.parent to anon; {_INHERIT} api.parent"
    ),
    "inherits from a table with one column": reached(
        f"create table public.parent (account_name text not null); {_INHERIT} public.parent"
    ),
    "inherits from a table of which a column can be read": reached(
        f"create table public.parent {_LIKE}; revoke all on public.parent from anon, authenticated; "
        f"grant select (account_name) on public.parent to authenticated; {_INHERIT} public.parent"
    ),
    "inherits from a table that can be updated": reached(
        f"create table public.parent {_LIKE}; revoke all on public.parent from anon, authenticated; "
        f"grant update on public.parent to authenticated; {_INHERIT} public.parent"
    ),
    "inherits from a table that can be deleted from": reached(
        f"create table public.parent {_LIKE}; revoke all on public.parent from anon, authenticated; "
        f"grant delete on public.parent to anon; {_INHERIT} public.parent"
    ),
    "inherits from a table that can be truncated": reached(
        f"create table public.parent {_LIKE}; revoke all on public.parent from anon, authenticated; "
        f"grant truncate on public.parent to anon; {_INHERIT} public.parent"
    ),
    "inherits from a grandparent": reached(
        f"create schema hidden; create table public.top {_LIKE}; create table hidden.middle () inherits (public.top); "
        f"{_INHERIT} hidden.middle"
    ),
    "inherits from two": reached(
        f"create schema hidden; create table hidden.closed {_LIKE}; create table public.parent {_LIKE}; "
        f"{_INHERIT} hidden.closed; {_INHERIT} public.parent"
    ),
    "inherits from a table with an open policy": reached(
        f"create table public.parent {_LIKE}; alter table public.parent enable row level security; "
        f"create policy p on public.parent for select using (true); {_INHERIT} public.parent"
    ),
    "inherits from a table that a view shows": reached(
        f"create schema hidden; create table hidden.parent {_LIKE}; {_INHERIT} hidden.parent; "
        "create view public.v as select * from hidden.parent"
    ),
    "a partition by list": reached(
        f"create table public.parent {_LIKE} partition by list (is_active); "
        "alter table public.parent attach partition public.user_accounts default"
    ),
    "a partition by range": reached(
        f"create table public.parent {_LIKE} partition by range (created_at); alter table public.parent "
        "attach partition public.user_accounts for values from (minvalue) to (maxvalue)"
    ),
    "a partition by hash": reached(
        f"create table public.parent {_LIKE} partition by hash (id); alter table public.parent "
        "attach partition public.user_accounts for values with (modulus 1, remainder 0)"
    ),
    "a partition of a partition": reached(
        f"""create schema hidden; create table public.top {_LIKE} partition by list (is_active);
        create table hidden.middle {_LIKE} partition by list (is_active);
        alter table public.top attach partition hidden.middle default;
        alter table hidden.middle attach partition public.user_accounts default"""
    ),
    "a table inherits from it": reached("create table public.child () inherits (public.user_accounts)"),
    "a table inherits from it that can be inserted into": reached(
        "create schema api; grant usage on schema api to authenticated; "
        "create table api.child () inherits (public.user_accounts); grant insert on api.child to authenticated"
    ),
    "a grandchild": reached(
        "create schema hidden; create table hidden.child () inherits (public.user_accounts); "
        "create table public.grandchild () inherits (hidden.child)"
    ),
    "a child with row level security and no policy": weaker(
        "create table public.child () inherits (public.user_accounts); revoke all on public.child from anon, "
        "authenticated; alter table public.child enable row level security",
        only_person=True,
        levels="warning info none",
    ),
    "a child that can be truncated": reached(
        """create table public.child () inherits (public.user_accounts);
        alter table public.child enable row level security;
        insert into public.child (user_id, account_name) values ('00000000-0000-4000-8000-00000000002b', 'Theirs')"""
    ),
    "inherits from a table in a schema that nobody can use": weaker(
        f"create schema hidden; create table hidden.parent {_LIKE}; {_INHERIT} hidden.parent",
        levels="warning info none",
    ),
    "inherits from a table with row level security and no policy": weaker(
        f"create table public.parent {_LIKE}; revoke all on public.parent from anon, authenticated; "
        f"alter table public.parent enable row level security; {_INHERIT} public.parent",
        levels="warning info none",
    ),
    "a rule in words of PostgreSQL 18": undecidable(
        "create table public.todos (id uuid); create rule r as on insert to public.todos do instead update "
        "public.user_accounts set account_name = 'Reached' returning with (old as before) before.id",
        since=18,
    ),
    "a rule on another table that updates": reached(
        "create table public.todos (id int); create rule r as on insert to public.todos do also "
        "update public.user_accounts set account_name = 'Reached'"
    ),
    "a rule on another table that deletes": reached(
        "create table public.todos (id int); create rule r as on delete to public.todos do instead "
        "delete from public.user_accounts"
    ),
    "a rule on another table that copies": reached(
        "create table public.todos (id int); create table public.copies (name text); "
        "create rule r as on insert to public.todos do also "
        "insert into public.copies select account_name from public.user_accounts",
        attack="insert into public.todos values (1); select * from public.copies",
    ),
    "a rule on another table that selects": reached(
        "create table public.todos (id int); create rule r as on update to public.todos do instead "
        "select account_name from public.user_accounts",
        attack="update public.todos set id = 1",
    ),
    "a rule on a table in another schema": reached(
        "create schema api; grant usage on schema api to anon; create table api.todos (id int); "
        "grant insert on api.todos to anon; create rule r as on insert to api.todos do also "
        "delete from public.user_accounts"
    ),
    "a rule on the table that writes all rows": reached(
        "create rule r as on update to public.user_accounts do also delete from auth.users"
    ),
    "a rule on the table that keeps new rows": locked_out(
        "create table public.copies (name text); create rule r as on insert to public.user_accounts do also "
        "insert into public.copies values (new.account_name)"
    ),
    "a rule on the table that forbids deletion": weaker(
        "create rule r as on delete to public.user_accounts do instead nothing", levels=CONTESTED
    ),
    "a rule on the table that forbids changes": locked_out(
        "create rule r as on update to public.user_accounts do instead nothing"
    ),
    "a rule on the table that forbids new rows": locked_out(
        "create rule r as on insert to public.user_accounts where new.account_name != 'x' do instead nothing"
    ),
    "a rule on auth.users": weaker(
        "create rule r as on update to auth.users do also delete from public.user_accounts",
        superuser=True,
        only_person=True,
        levels="error warning info none",
    ),
    "a trigger that copies rows": undecidable(
        f"""create table public.copies (row jsonb); create function public.f() {_TRIGGER} as
        $$begin insert into public.copies values (to_jsonb(new)); return null; end$$;
        create trigger copies after insert or update on public.user_accounts for each row execute function public.f();
        update public.user_accounts set account_name = account_name"""
    ),
    "a trigger that changes the other rows": reached(
        f"""create function public.f() {_TRIGGER} security definer as
        $$begin if pg_trigger_depth() < 2 then
        update public.user_accounts set account_name = new.account_name where id != new.id; end if; return null; end$$;
        create trigger others after update on public.user_accounts for each row execute function public.f()""",
        levels=CONTESTED,
        only_person=True,
    ),
    "a trigger that suppresses changes": locked_out(
        f"""create function public.f() {_TRIGGER} as 'begin return null; end';
        create trigger a before update on public.user_accounts for each row execute function public.f()""",
        only_person=True,
    ),
    "a trigger that chooses the owner": locked_out(
        f"""create function public.f() {_TRIGGER} as
        $$begin new.user_id := '00000000-0000-4000-8000-00000000001a'; return new; end$$;
        create trigger a before insert on public.user_accounts for each row execute function public.f()""",
        only_person=True,
    ),
    "a trigger of the project's own": weaker(
        f"""create function public.f() {_TRIGGER} as 'begin return null; end';
        create trigger a after insert on public.user_accounts for each row execute function public.f()""",
        only_person=True,
    ),
    "a publication": weaker("create publication p for table public.user_accounts"),
    "a publication of a column": weaker("create publication p for table public.user_accounts (id, account_name)"),
    "a publication of some rows": locked_out("create publication p for table public.user_accounts where (is_active)"),
    "a publication of this and another": weaker(
        "create table public.todos (id int); create publication p for table public.todos, public.user_accounts"
    ),
    "a publication of a schema": weaker(
        "create publication p for tables in schema public", superuser=True, only_person=True
    ),
    "a publication of everything": weaker("create publication p for all tables", superuser=True, only_person=True),
    "a publication of a parent": weaker(
        f"create schema hidden; create table hidden.parent {_LIKE} partition by list (is_active); "
        "alter table hidden.parent attach partition public.user_accounts default; "
        "create publication p for table hidden.parent with (publish_via_partition_root)",
        only_person=True,
    ),
    "the publication of Realtime": weaker(
        # which asks the policies before it sends a row
        "create publication supabase_realtime for table public.user_accounts"
    ),
    "replica identity": weaker("alter table public.user_accounts replica identity full"),
    "a foreign key that keeps users from being deleted": weaker(
        "create table public.orders (account_id uuid references public.user_accounts (id)); "
        "alter table public.orders enable row level security",
        only_person=True,
        levels="warning info none",
    ),
    "a foreign key that restricts": weaker(
        "create table public.orders (account_id uuid references public.user_accounts (id) on delete restrict); "
        "alter table public.orders enable row level security",
        only_person=True,
        levels="warning info none",
    ),
    "a foreign key that forgets": weaker(
        "create table public.orders (account_id uuid references public.user_accounts (id) on delete set null); "
        "alter table public.orders enable row level security",
        only_person=True,
        levels="warning info none",
    ),
    "a copy takes its place": reached(
        """create table public.copy (like public.user_accounts including all);
        insert into public.copy select * from public.user_accounts;
        drop table public.user_accounts cascade; alter table public.copy rename to user_accounts""",
        only_person=True,
    ),
    "a view takes its place": reached(
        """alter table public.user_accounts rename to accounts_of_users;
        create view public.user_accounts as select * from public.accounts_of_users""",
        only_person=True,
    ),
    "a foreign key to an open table": reached(
        """create table public.profiles (id uuid primary key); insert into public.profiles select id from auth.users;
        revoke select on public.profiles from anon, authenticated;
        alter table public.user_accounts add constraint to_profile foreign key (user_id)
        references public.profiles (id) on delete cascade""",
        levels=CONTESTED,
        only_person=True,
    ),
    "a foreign key to an open table that changes": reached(
        """create table public.kinds (name text primary key);
        insert into public.kinds select account_name from public.user_accounts;
        revoke all on public.kinds from anon, authenticated; grant update on public.kinds to authenticated;
        alter table public.user_accounts add constraint to_kind foreign key (account_name)
        references public.kinds (name) on update cascade""",
        levels=CONTESTED,
        only_person=True,
    ),
    "a foreign key of users to an open table": reached(
        """create table public.tenants (id uuid primary key); grant delete on public.tenants to anon; insert
        into public.tenants select id from auth.users;
        alter table auth.users add constraint to_tenant foreign key (id) references public.tenants (id)
        on delete cascade""",
        superuser=True,
        levels=f"{CONTESTED} info none",
        only_person=True,
    ),
    "inherits from a table with a name to be quoted": reached(
        f'create table public."Odd ""Parent" {_LIKE}; {_INHERIT} public."Odd ""Parent"'
    ),
    "a partition of a list of values": reached(
        f"create table public.parent {_LIKE} partition by list (is_active); "
        "alter table public.parent attach partition public.user_accounts for values in (true, false)"
    ),
    "a publication with a name to be quoted": weaker(
        'create publication "all; changes" for table public.user_accounts'
    ),
    "a rule with a name to be quoted": reached(
        """create table public."Odd Table" (id int); create rule "Odd; ""rule" as on insert
        to public."Odd Table" do also
        update public.user_accounts set account_name = 'Reached'"""
    ),
    "a trigger with a name to be quoted": weaker(
        f"""create function public."F n"() {_TRIGGER} as 'begin return null; end';
        create trigger "A; b" after insert on public.user_accounts for each row execute function public."F n"()""",
        only_person=True,
    ),
    "a foreign table of another": own(
        "create foreign data wrapper w; create server s foreign data wrapper w; create foreign table public.x "
        "(name text) server s options (schema_name 'public', table_name 'todos'); "
        "grant select on public.x to anon",
        superuser=True,
    ),
    # Copies
    "a copy of two columns": reached("create table public.x as select user_id, account_name from public.user_accounts"),
    "a copy of two columns, of other types": reached(
        "create table public.x as select user_id::text, account_name::varchar(99) from public.user_accounts"
    ),
    "a copy of some columns and one more": reached(
        "create table public.x as select now() as copied, account_name, is_active, user_id from public.user_accounts"
    ),
    "a copy of two columns that a view shows": reached(
        "create schema hidden; create table hidden.x as select user_id, account_name from public.user_accounts; "
        "create view public.v as select account_name from hidden.x"
    ),
    "a copy of two columns that a function returns": reached(
        "create schema hidden; create table hidden.x as select user_id, account_name from public.user_accounts; "
        "create function public.f() returns setof text language sql security definer set search_path = '' as "
        "'select account_name from hidden.x'"
    ),
    "a copy of two columns with an open policy": reached(
        "create table public.x as select user_id, account_name from public.user_accounts; "
        "alter table public.x enable row level security; create policy p on public.x for select using (true)"
    ),
    "a copy of all that the table has": reached(
        f"create table public.x {_ALL}; insert into public.x select * from public.user_accounts"
    ),
    "a table of its own with these columns": own(
        "create table public.board (user_id uuid primary key, account_name text not null, score int); "
        "insert into public.board values (gen_random_uuid(), 'Theirs', 1)"
    ),
    "a copy in partitions": reached(
        f"create schema hidden; create table public.x {_LIKE} partition by list (is_active); create table hidden.x "
        "partition of public.x default; insert into public.x select * from public.user_accounts"
    ),
    "a copy in a parent": reached(
        f"create table public.parent {_LIKE}; insert into public.parent select * from public.user_accounts; "
        f"{_INHERIT} public.parent"
    ),
    "a copy in another partition": reached(
        f"create table public.parent {_LIKE} partition by list (is_active); create table public.old partition of "
        "public.parent for values in (false); insert into public.parent select id, user_id, account_name, false, "
        "created_at, updated_at from public.user_accounts; update public.user_accounts set is_active = true; "
        "alter table public.parent attach partition public.user_accounts for values in (true)"
    ),
    "a table of its own with these columns, and policies": own(
        "create table public.x as select user_id, account_name from public.user_accounts; alter table public.x "
        "enable row level security; create policy p on public.x using (user_id = (select auth.uid()))"
    ),
    "a table of its own with these columns, for a backend": own(
        "create table public.x as select user_id, account_name from public.user_accounts; "
        "revoke all on public.x from anon, authenticated"
    ),
    "a table of its own with these columns and no row": own(
        "create table public.x (user_id uuid, account_name text); revoke insert on public.x from anon, authenticated"
    ),
    "a table of its own with a name": own(
        "create table public.x (user_id uuid, name text, created_at timestamptz, is_active boolean); "
        "insert into public.x values (gen_random_uuid(), 'Theirs')"
    ),
    "a table of its own with a name of accounts": own(
        "create table public.x (id uuid primary key, account_name text); "
        "insert into public.x values (gen_random_uuid(), 'Cash')"
    ),
}
