"""Who may do what: on the table, its columns, the functions, the schemas and the database."""

from typing import Final

from tests.database.verify.gap import CONTESTED, Gap, contested, locked_out, reached, tighter, weaker

_TABLE = "on table public.user_accounts"
_FUNCTIONS = {
    "list_accounts": "public.list_accounts()",
    "get_or_create_account": "public.get_or_create_account(text)",
    "create_account": "public.create_account(text)",
    "get_account": "public.get_account(uuid)",
    "rename_account": "public.rename_account(uuid, text)",
}
_INHERITS = "create function pg_temp.steal() returns trigger language plpgsql as"
# Somebody with a trigger on the table decides what the next user writes.
_TRIGGER_ATTACK = (
    f"{_INHERITS} $f$begin new.account_name := 'Reached'; return new; end$f$; create trigger steal before update on "
    "public.user_accounts for each row execute function pg_temp.steal(); select true"
)

GAPS: Final[dict[str, Gap]] = {
    **{
        f"{right} to {role}": weaker(f"grant {right} {_TABLE} to {role}", levels="error warning info")
        for right in ("select", "insert", "update", "delete")
        for role in ("anon", "public")
    },
    **{
        f"{right} to authenticated": weaker(f"grant {right} {_TABLE} to authenticated")
        for right in ("insert", "update", "delete")
    },
    **{
        f"truncate to {role}": reached(f"grant truncate {_TABLE} to {role}")
        for role in ("anon", "authenticated", "public")
    },
    **{
        f"trigger to {role}": reached(f"grant trigger {_TABLE} to {role}", levels=CONTESTED, attack=_TRIGGER_ATTACK)
        for role in ("anon", "authenticated", "public")
    },
    "references to authenticated": contested(f"grant references {_TABLE} to authenticated"),
    "references on a column to anon": contested(f"grant references (id) {_TABLE} to anon"),
    "maintain to authenticated": weaker(f"grant maintain {_TABLE} to authenticated", since=17),
    "all to anon": reached(f"grant all {_TABLE} to anon"),
    "all to authenticated": reached(f"grant all {_TABLE} to authenticated"),
    "all to public": reached(f"grant all {_TABLE} to public"),
    "all to service_role": weaker(f"grant all {_TABLE} to service_role"),
    "all to a role of the project's": weaker(
        f"create role reporting; grant all {_TABLE} to reporting", levels="warning info"
    ),
    "select to a role of PostgreSQL's": weaker(f"grant select {_TABLE} to pg_monitor"),
    "a script that grants everything": reached(
        "grant usage on schema public to anon, authenticated, service_role; "
        "grant all on all tables in schema public to anon, authenticated, service_role; "
        "grant all on all routines in schema public to anon, authenticated, service_role; "
        "grant all on all sequences in schema public to anon, authenticated, service_role"
    ),
    "a restore without column rights": weaker(
        f"revoke all {_TABLE} from authenticated; grant select, insert, update {_TABLE} to authenticated"
    ),
    "a restore that forgets the rights": locked_out(f"revoke all {_TABLE} from authenticated, service_role"),
    "a restore that forgets the rights on functions": locked_out(
        "revoke execute on all functions in schema public from authenticated"
    ),
    "a restore with execute for public": weaker(
        "grant execute on all functions in schema public, accounts_private to public", levels="error warning info"
    ),
    "select (account_name) to anon": weaker(
        f"grant select (account_name) {_TABLE} to anon", levels="error warning info"
    ),
    "update (is_active) to authenticated": weaker(f"grant update (is_active) {_TABLE} to authenticated"),
    "update (user_id) to authenticated": weaker(f"grant update (user_id) {_TABLE} to authenticated"),
    "insert (user_id, is_active) to authenticated": weaker(
        f"grant insert (user_id, is_active) {_TABLE} to authenticated"
    ),
    "insert (user_id) to public": weaker(f"grant insert (user_id) {_TABLE} to public", levels="error warning info"),
    "update (id) to service_role": weaker(f"grant update (id) {_TABLE} to service_role", levels="warning info none"),
    "with grant option": weaker(f"grant select {_TABLE} to authenticated with grant option"),
    "a column with grant option": weaker(f"grant update (account_name) {_TABLE} to authenticated with grant option"),
    "a chain of grant options": weaker(
        f"grant select {_TABLE} to authenticated with grant option; set local role authenticated; "
        f"grant select {_TABLE} to anon",
        levels="error warning info",
    ),
    "a chain of grant options with truncate": reached(
        f"create role middle; grant middle to postgres; grant usage on schema public to middle; "
        f"grant truncate {_TABLE} to middle with grant option; set local role middle; grant truncate {_TABLE} to anon"
    ),
    "a chain of three": reached(
        f"create role a; create role b; grant a, b to postgres; grant usage on schema public to a, b; "
        f"grant truncate {_TABLE} to a with grant option; set local role a; "
        f"grant truncate {_TABLE} to b with grant option; reset role; set local role b; "
        f"grant truncate {_TABLE} to authenticated",
        superuser=True,
    ),
    "a chain on a function": weaker(
        "grant execute on function public.list_accounts() to authenticated with grant option; "
        "set local role authenticated; grant execute on function public.list_accounts() to anon",
        levels="error warning info",
    ),
    "by a member role": reached(
        f"create role analyst login in role authenticated; grant truncate {_TABLE} to analyst",
    ),
    "by a role that authenticated inherits": reached(
        f"create role writers; grant truncate {_TABLE} to writers; grant writers to authenticated with inherit true",
        superuser=True,
    ),
    "select from authenticated": locked_out(f"revoke select {_TABLE} from authenticated"),
    "select on all but one column": locked_out(
        f"revoke select {_TABLE} from authenticated; "
        f"grant select (id, user_id, account_name, is_active, created_at) {_TABLE} to authenticated"
    ),
    "insert from authenticated": locked_out(f"revoke insert (account_name) {_TABLE} from authenticated"),
    "update from authenticated": locked_out(f"revoke update (account_name) {_TABLE} from authenticated"),
    "insert on the table, taken back": locked_out(
        f"grant insert {_TABLE} to authenticated; revoke insert {_TABLE} from authenticated"
    ),
    **{
        f"execute on {name} from authenticated": locked_out(f"revoke execute on function {head} from authenticated")
        for name, head in _FUNCTIONS.items()
    },
    **{
        f"execute on {name} to anon": weaker(f"grant execute on function {head} to anon", levels="error warning info")
        for name, head in _FUNCTIONS.items()
    },
    "execute on get_or_create_account_for to authenticated": weaker(
        "grant execute on function public.get_or_create_account_for(uuid, text) to authenticated",
        levels="error warning info",
    ),
    "execute on get_or_create_account_for from service_role": weaker(
        "revoke execute on function public.get_or_create_account_for(uuid, text) from service_role",
        levels="error warning",
    ),
    "execute on set_updated_at to public": weaker(
        "grant execute on function accounts_private.set_updated_at() to public"
    ),
    "execute on active_account_ids from authenticated": weaker(
        "revoke execute on function accounts_private.active_account_ids() from authenticated", levels=CONTESTED
    ),
    "execute on list_accounts to service_role": weaker(
        "grant execute on function public.list_accounts() to service_role", levels="warning info none"
    ),
    "select from service_role": weaker(f"revoke select {_TABLE} from service_role", levels="error warning info"),
    "create on public to authenticated": contested("grant create on schema public to authenticated"),
    "create on public to public": contested("grant create on schema public to public"),
    "create on public to a role of the project's": weaker(
        "create role builder; grant create on schema public to builder", levels="warning info none"
    ),
    "create on accounts_private to authenticated": contested(
        "grant create on schema accounts_private to authenticated"
    ),
    "usage on accounts_private to anon": weaker("grant usage on schema accounts_private to anon"),
    "usage on accounts_private to public": weaker("grant usage on schema accounts_private to public"),
    "usage on accounts_private from authenticated": weaker(
        "revoke usage on schema accounts_private from authenticated", levels=CONTESTED
    ),
    "usage on public from authenticated": locked_out("revoke usage on schema public from authenticated, public"),
    "usage on auth from authenticated": locked_out("revoke usage on schema auth from authenticated", superuser=True),
    "create on auth to authenticated": contested("grant create on schema auth to authenticated", superuser=True),
    "create on the database to authenticated": weaker(
        "do $$begin execute format('grant create on database %I to authenticated', current_database()); end$$"
    ),
    "create on the database to public": weaker(
        "do $$begin execute format('grant create on database %I to public', current_database()); end$$"
    ),
    "temporary tables for nobody": tighter(
        "do $$begin execute format('revoke temporary on database %I from public', current_database()); end$$"
    ),
    "usage on public from anon": tighter("revoke usage on schema public from anon, public"),
    "usage on public from public": tighter("revoke usage on schema public from public"),
    "usage on auth from anon": tighter("revoke usage on schema auth from anon", superuser=True),
    "a language for nobody": tighter("revoke usage on language plpgsql from public", superuser=True),
    "the table's type for nobody": tighter("revoke usage on type public.user_accounts from public"),
    "service_role may not delete": tighter(
        f"revoke delete {_TABLE} from service_role", levels="error warning info none"
    ),
    "all on all tables to public": reached("grant all on all tables in schema public to public"),
    "all on the schema to anon": contested("grant all on schema public to anon"),
    "to PostgREST's login": weaker(
        f"grant select {_TABLE} to authenticator", levels="warning info none", only_person=True
    ),
    "to a role with a name to be quoted": weaker(
        f'create role "Odd; role"; grant select, update (account_name) {_TABLE} to "Odd; role"', levels="warning info"
    ),
    "a chain through a role with a name to be quoted": reached(
        f'create role "Odd-role"; grant "Odd-role" to postgres; grant usage on schema public to "Odd-role"; '
        f'grant truncate {_TABLE} to "Odd-role" with grant option; set local role "Odd-role"; '
        f"grant truncate {_TABLE} to anon"
    ),
    "the functions of accounts_private for all": weaker(
        "grant usage on schema accounts_private to public; "
        "grant execute on all functions in schema accounts_private to public"
    ),
    "an old dump's rights": reached(
        f"grant all {_TABLE} to anon, authenticated, service_role; "
        "grant all on function public.get_or_create_account_for(uuid, text) to anon, authenticated, public; "
        "grant all on schema accounts_private to anon, authenticated, service_role"
    ),
}
