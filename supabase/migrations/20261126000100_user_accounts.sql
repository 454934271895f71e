-- The accounts table with its rights and policies: one account per user, visible to its owner only.
-- One migration, so that there is no moment at which the table exists and is open.

-- The foreign key locks auth.users for a moment: fail rather than make sign-ups queue behind a long transaction.
set local lock_timeout = '5s';
set local statement_timeout = '30s';

-- Names -----------------------------------------------------------------------------------------------------------
-- Checked before anything is created, this migration's and the next one's together: a project that uses one of these
-- names would otherwise end up with half of the objects, or with calls that have become ambiguous.

do $$
declare
    taken text;
begin
    select pg_catalog.string_agg(existing.type || ' ' || existing.identity, ', ' order by existing.identity)
    into taken
    from (
        select
            'pg_catalog.pg_namespace'::pg_catalog.regclass as catalog,
            n.oid
        from pg_catalog.pg_namespace as n
        where n.nspname = 'accounts_private'
        union all
        -- tables, views, indexes, sequences and composite types share one set of names
        select
            'pg_catalog.pg_class'::pg_catalog.regclass as catalog,
            c.oid
        from pg_catalog.pg_class as c
        where
            c.relnamespace = 'public'::pg_catalog.regnamespace
            and c.relname in ('user_accounts', 'user_accounts_pkey', 'user_accounts_user_id_key')
        union all
        select
            'pg_catalog.pg_type'::pg_catalog.regclass as catalog,
            t.oid
        from pg_catalog.pg_type as t
        where
            t.typnamespace = 'public'::pg_catalog.regnamespace
            and t.typname = 'user_accounts'
            and t.typrelid = 0
        union all
        -- with any arguments: PostgREST and SQL choose among all functions of a name
        select
            'pg_catalog.pg_proc'::pg_catalog.regclass as catalog,
            p.oid
        from pg_catalog.pg_proc as p
        where
            p.pronamespace = 'public'::pg_catalog.regnamespace
            and p.proname in (
                'list_accounts', 'get_or_create_account', 'get_or_create_account_for', 'create_account', 'get_account',
                'rename_account'
            )
    ) as candidate
    cross join lateral pg_catalog.pg_identify_object(candidate.catalog, candidate.oid, 0) as existing;

    if taken is not null then
        raise exception 'nothing was created, because these names are taken: %', taken
        using
            errcode = 'duplicate_object',
            hint = 'Rename the objects that have them. For a table user_accounts: sql/examples/adopt_user_accounts.sql.';
    end if;
end
$$;

-- Schema ----------------------------------------------------------------------------------------------------------
-- A dedicated schema: granting usage on an existing one could expose its other objects. PostgREST serves public alone.

create schema accounts_private;

comment on schema accounts_private is 'What the accounts'' tables and policies use. Never exposed through the API.';

revoke all on schema accounts_private from public, anon, authenticated, service_role;
grant usage on schema accounts_private to authenticated;

-- Table -----------------------------------------------------------------------------------------------------------

create table public.user_accounts (
    id uuid not null default gen_random_uuid(),
    user_id uuid not null default auth.uid(),
    account_name text not null,
    is_active boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint user_accounts_pkey primary key (id),
    -- also the index behind every frequent query: the policies look rows up by user_id
    constraint user_accounts_user_id_key unique (user_id),
    constraint user_accounts_user_id_fkey foreign key (user_id) references auth.users (id) on delete cascade,
    constraint user_accounts_account_name_length check (char_length(account_name) between 1 and 255),
    -- Unicode category Cc, spelled out: what a named class covers depends on the server and the locale
    constraint user_accounts_account_name_no_control check (account_name !~ '[\u0001-\u001f\u007f-\u009f]'),
    -- Unicode property White_Space without the control characters, spelled out for the same reason
    constraint user_accounts_account_name_trimmed check (
        account_name !~ '^[ \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]'
        and account_name !~ '[ \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]$'
    )
);

comment on table public.user_accounts is
'The account that a user''s broker credentials belong to. One per user; only its owner sees it.';
comment on column public.user_accounts.user_id is
'The owner. Never settable through the API: it defaults to the caller.';
comment on column public.user_accounts.account_name is
'1 to 255 characters, no control characters, no white space at either end.';
comment on column public.user_accounts.is_active is
'Whether the account may be used. While false, its owner reads it and changes nothing. Only service_role changes it.';
comment on column public.user_accounts.updated_at is 'Time of the last change, kept by a trigger.';

-- Rights ----------------------------------------------------------------------------------------------------------
-- Projects from before 30 October 2026 give each API role ALL on a new table by default, by name, so that
-- "revoke ... from public" alone would leave it. Row level security does not cover truncate, and a trigger or a foreign
-- key runs with the rights of whoever writes next: only what is used is granted.

revoke all on table public.user_accounts from public, anon, authenticated, service_role;

grant select, insert (account_name), update (account_name) on table public.user_accounts to authenticated;
grant select, insert, update, delete on table public.user_accounts to service_role;

-- Row level security ----------------------------------------------------------------------------------------------
-- (select auth.uid()) rather than auth.uid(): the sub-select runs once per statement, not once per row.

alter table public.user_accounts enable row level security;
alter table public.user_accounts force row level security;

create policy "Users see their own account" on public.user_accounts
as permissive for select to authenticated
using (user_id = (select auth.uid()));

create policy "Users create their own account" on public.user_accounts
as permissive for insert to authenticated
with check (user_id = (select auth.uid()));

create policy "Users rename their own account" on public.user_accounts
as permissive for update to authenticated
using (user_id = (select auth.uid()))
with check (user_id = (select auth.uid()));

-- Restrictive policies are ANDed with the permissive ones. "is distinct from" and not "is not true": a token without
-- the claim is an ordinary user's, and a claim that is not a boolean must not raise a cast error.

create policy "Anonymous sign-ins create nothing" on public.user_accounts
as restrictive for insert to authenticated
with check (((select auth.jwt()) ->> 'is_anonymous') is distinct from 'true');

-- "using (true)" passes the row on to the check, which raises 42501 instead of silently updating no row.

create policy "Anonymous sign-ins change nothing" on public.user_accounts
as restrictive for update to authenticated
using (true)
with check (((select auth.jwt()) ->> 'is_anonymous') is distinct from 'true');

create policy "Inactive accounts do not change" on public.user_accounts
as restrictive for update to authenticated
using (true)
with check (is_active);

comment on policy "Users see their own account" on public.user_accounts is
'Only the owner sees a row.';
comment on policy "Users create their own account" on public.user_accounts is
'A new row belongs to the caller. A caller without an identity (no sub claim) creates nothing.';
comment on policy "Users rename their own account" on public.user_accounts is
'Only the owner changes a row, and the changed row is still the owner''s. Which columns: see the grants.';
comment on policy "Anonymous sign-ins create nothing" on public.user_accounts is
'An anonymous sign-in has the role authenticated; the claim is_anonymous tells it apart.';
comment on policy "Anonymous sign-ins change nothing" on public.user_accounts is
'An anonymous sign-in has the role authenticated; the claim is_anonymous tells it apart.';
comment on policy "Inactive accounts do not change" on public.user_accounts is
'The owner of an account that was switched off still reads it. Whether it is active only service_role decides.';

-- updated_at ------------------------------------------------------------------------------------------------------

create function accounts_private.set_updated_at()
returns trigger
language plpgsql
security invoker
set search_path = ''
as $$
begin
    new.updated_at := pg_catalog.now();
    return new;
end
$$;

comment on function accounts_private.set_updated_at() is
'Trigger function: stamps updated_at, whatever the statement set it to.';

-- A trigger needs no execute right on its function.
revoke all on function accounts_private.set_updated_at() from public, anon, authenticated, service_role;

create trigger user_accounts_set_updated_at
before update on public.user_accounts
for each row execute function accounts_private.set_updated_at();

comment on trigger user_accounts_set_updated_at on public.user_accounts is 'Keeps updated_at.';
