"""Row level security: the policies, whether they hold, and for whom."""

from typing import Final

from tests.database.verify.gap import CONTESTED, Gap, contested, locked_out, reached, tighter, undecidable, weaker
from tests.database.verify.oracle import VICTIM

_ON = "on public.user_accounts"
_SEE = f'policy "Users see their own account" {_ON}'
_CREATE = f'policy "Users create their own account" {_ON}'
_RENAME = f'policy "Users rename their own account" {_ON}'
_NOTHING_CREATED = f'policy "Anonymous sign-ins create nothing" {_ON}'
_NOTHING_CHANGED = f'policy "Anonymous sign-ins change nothing" {_ON}'
_INACTIVE = f'policy "Inactive accounts do not change" {_ON}'
_MINE = "user_id = (select auth.uid())"
_SIGNED_UP = "((select auth.jwt()) ->> 'is_anonymous') is distinct from 'true'"

# Conditions beside "the row is mine" that let the victim's row through.
_EXCEPTIONS: Final = {
    "always": "true",
    "an active account": "is_active",
    "one user": f"user_id = '{VICTIM}'",
    "the name": "account_name like 'V%'",
    "a claim that users choose": "(select auth.jwt()) -> 'user_metadata' ->> 'role' = 'service_role'",
    "a token without a user": "(select auth.uid()) is null",
    "the time": "now() > '2020-01-01'",
    "an existing user": "(select auth.jwt()) is not null",
    "a setting that anybody can set": "coalesce(current_setting('request.headers', true), '') = ''",
    "the role": "current_user = 'authenticated'",
}

GAPS: Final[dict[str, Gap]] = {
    **{
        f"sees also: {name}": reached(f"alter {_SEE} using ({_MINE} or {condition})")
        for name, condition in _EXCEPTIONS.items()
    },
    **{
        f"another policy to see: {name}": reached(
            f"create policy p {_ON} for select to authenticated using ({condition})"
        )
        for name, condition in _EXCEPTIONS.items()
    },
    "sees everything": reached(f"alter {_SEE} using (true)"),
    "sees what has no user in the token": reached(
        f"alter {_SEE} using (coalesce((select auth.uid()), user_id) = user_id)"
    ),
    "sees all but its own": reached(f"alter {_SEE} using (user_id != (select auth.uid()))"),
    "anon sees too": weaker(f"alter {_SEE} to anon, authenticated", levels="error warning info"),
    "public sees too": weaker(f"alter {_SEE} to public", levels="error warning info"),
    "anon sees everything and may": reached(
        f"create policy p {_ON} for select to anon using (true); grant select {_ON} to anon"
    ),
    "public sees everything and anon may": reached(
        f"create policy p {_ON} using (true); grant select (account_name) {_ON} to anon"
    ),
    "anon sees everything and may not": contested(f"create policy p {_ON} for select to anon using (true)"),
    "later": contested(f"alter {_SEE} using ({_MINE} or now() > '2100-01-01')"),
    "for everything": reached(f"create policy p {_ON} using (true)"),
    "for a name that fakes a line": reached(f'create policy "p\nerror: x{chr(0x202E)}" {_ON} using (true)'),
    "to change everything": reached(
        f"create policy p {_ON} for update to authenticated using (true) with check (true)"
    ),
    "to change everything, by default": reached(f"create policy p {_ON} for update using (true)"),
    "renames everything": reached(f"alter {_RENAME} using (true) with check (true)"),
    "renames what it cannot keep": contested(f"alter {_RENAME} using (true)"),
    "gives away": weaker(f"alter {_RENAME} with check (true)", levels="error warning info"),
    "creates for anybody": weaker(f"alter {_CREATE} with check (true)", levels="error warning info"),
    "creates for anybody, and may": reached(
        f"alter {_CREATE} with check (true); grant insert (user_id) {_ON} to authenticated"
    ),
    "another policy to create, and may": reached(
        f"create policy p {_ON} for insert to authenticated with check (true); grant insert {_ON} to authenticated"
    ),
    "anon creates, and may": reached(
        f"create policy p {_ON} for insert to anon with check (true); grant insert {_ON} to anon"
    ),
    "another policy to delete": contested(f"create policy p {_ON} for delete to authenticated using (true)"),
    "another policy to delete, and may": reached(
        f"create policy p {_ON} for delete to authenticated using (true); grant select, delete {_ON} to authenticated"
    ),
    "own rows may be deleted": weaker(
        f"create policy p {_ON} for delete to authenticated using ({_MINE}); grant delete {_ON} to authenticated",
        levels="error warning info",
        only_person=True,
    ),
    "its own twice": weaker(
        f"create policy p {_ON} for select to authenticated using ({_MINE})",
        levels="error warning info",
        only_person=True,
    ),
    "no policy to see": locked_out(f"drop {_SEE}"),
    "no policy to create": locked_out(f"drop {_CREATE}"),
    "no policy to rename": locked_out(f"drop {_RENAME}"),
    "anonymous sign-ins create": weaker(f"drop {_NOTHING_CREATED}"),
    "anonymous sign-ins change": weaker(f"drop {_NOTHING_CHANGED}"),
    "inactive accounts change": weaker(f"drop {_INACTIVE}"),
    "no policies at all": locked_out(
        f"drop {_SEE}; drop {_CREATE}; drop {_RENAME}; drop {_NOTHING_CREATED}; drop {_NOTHING_CHANGED}; drop "
        f"{_INACTIVE}"
    ),
    "anonymous sign-ins create after all": weaker(f"alter {_NOTHING_CREATED} with check (true)"),
    "inactive accounts change after all": weaker(f"alter {_INACTIVE} with check (true)"),
    "permissive: anonymous sign-ins change nothing": reached(
        f"drop {_NOTHING_CHANGED}; create {_NOTHING_CHANGED} for update to authenticated "
        f"using (true) with check ({_SIGNED_UP})"
    ),
    "permissive: inactive accounts do not change": reached(
        f"drop {_INACTIVE}; create {_INACTIVE} for update to authenticated using (true) with check (is_active)"
    ),
    "permissive: anonymous sign-ins create nothing": weaker(
        f"drop {_NOTHING_CREATED}; create {_NOTHING_CREATED} for insert to authenticated with check ({_SIGNED_UP})",
        levels="error warning info",
    ),
    "restrictive: sees": locked_out(
        f"drop {_SEE}; create {_SEE} as restrictive for select to authenticated using ({_MINE})"
    ),
    "seen row by row": weaker(f"alter {_SEE} using (user_id = auth.uid())"),
    "another name": weaker(f'alter {_SEE} rename to "Mine"', only_person=True),
    "for another command": reached(
        f"drop {_SEE}; create {_SEE} for all to authenticated using (true) with check ({_MINE})"
    ),
    "sees nothing": locked_out(f"alter {_SEE} using (false)"),
    "sees for another role": locked_out(f"alter {_SEE} to service_role"),
    "restrictive: nothing": locked_out(f"create policy p {_ON} as restrictive using (false)", only_person=True),
    "restrictive: only service_role": locked_out(
        f"create policy p {_ON} as restrictive for update to authenticated using (false)", only_person=True
    ),
    "restrictive: something that holds": tighter(f"create policy p {_ON} as restrictive using (is_active)"),
    "restrictive: a second factor": tighter(
        f"create policy p {_ON} as restrictive for update to authenticated "
        "using (coalesce((select auth.jwt()) ->> 'aal', 'aal1') in ('aal1', 'aal2'))"
    ),
    "off": reached("alter table public.user_accounts disable row level security"),
    "off for all tables": reached(
        "create table public.todos (); alter table public.user_accounts disable row level security; "
        "alter table public.todos disable row level security"
    ),
    "not forced": weaker("alter table public.user_accounts no force row level security"),
    "off, and no policies": reached(
        f"drop {_SEE}; drop {_CREATE}; drop {_RENAME}; alter table public.user_accounts disable row level security"
    ),
    "owned by authenticated": reached("alter table public.user_accounts owner to authenticated", superuser=True),
    "owned by anon": reached("alter table public.user_accounts owner to anon", superuser=True),
    "owned by authenticated, not forced": reached(
        "alter table public.user_accounts owner to authenticated; "
        "alter table public.user_accounts no force row level security",
        superuser=True,
    ),
    "owned by service_role": weaker("alter table public.user_accounts owner to service_role", superuser=True),
    "owned by a superuser": weaker(
        "alter table public.user_accounts owner to supabase_admin", superuser=True, levels="warning info"
    ),
    "owned by a role that authenticated inherits": reached(
        "create role owners; grant owners to authenticated with inherit true; "
        "alter table public.user_accounts owner to owners",
        superuser=True,
    ),
    "owned by a role of the project's": weaker(
        "create role owners; grant usage on schema public, accounts_private, auth to owners; "
        "alter table public.user_accounts owner to owners",
        superuser=True,
        levels=CONTESTED,
    ),
    **{
        f"as tutorials have it: {name}": reached(f"create policy p {_ON} {rest}")
        for name, rest in {
            "signed in": "for select using (auth.role() = 'authenticated')",
            "has an id": "for select using (auth.uid() is not null)",
            "signed in, all": "for all to authenticated using (auth.role() = 'authenticated')",
            "a list": f"for select to authenticated using (user_id = any (array[auth.uid(), '{VICTIM}']))",
            "not false": "for select using ((user_id = auth.uid()) is not false)",
            "by text": "for select to authenticated using (user_id::text ~ '^0')",
        }.items()
    },
    "a function of the project's decides": undecidable(
        "create function public.is_admin() returns boolean language sql as 'select true'; "
        f"create policy p {_ON} for select to authenticated using (public.is_admin())"
    ),
    "a function of the project's that says no": contested(
        "create function public.is_admin() returns boolean language sql as 'select false'; "
        f"create policy p {_ON} for select to authenticated using (public.is_admin())",
        only_person=True,
    ),
    "for a role that authenticated inherits": reached(
        f"create role team; grant team to authenticated with inherit true; "
        f"create policy p {_ON} for select to team using (true)",
        superuser=True,
    ),
    "all policies open": reached(
        f"alter {_SEE} using (true); alter {_RENAME} using (true) with check (true); alter {_CREATE} with check (true)"
    ),
    "off, with an open policy and a view": reached(
        f"alter table public.user_accounts disable row level security; create policy p {_ON} using (true); "
        "create view public.v as select * from public.user_accounts; grant all on public.user_accounts to anon"
    ),
}
