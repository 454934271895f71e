-- One account per user: the row that a broker credential hangs off.
-- Table, rights and policies are made in one migration, so that there is no moment at which the table is open.

-- The foreign key locks auth.users for a moment: rather give up than make sign-ups queue behind a long transaction.
set local lock_timeout = '5s';
set local statement_timeout = '30s';

-- Not exposed: PostgREST serves what is in public, and only that. A name of our own, because opening a schema that a
-- project has already would open what else is in there.
create schema accounts_private;

comment on schema accounts_private is 'What the accounts'' tables and policies use. Never exposed through the API.';

revoke all on schema accounts_private from public, anon, authenticated, service_role;

create table public.user_accounts (
    id uuid not null default gen_random_uuid(),
    user_id uuid not null default auth.uid(),
    account_name text not null,
    is_active boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint user_accounts_pkey primary key (id),
    -- also the index behind every hot query: the policies look rows up by user_id
    constraint user_accounts_user_id_key unique (user_id),
    constraint user_accounts_user_id_fkey foreign key (user_id) references auth.users (id) on delete cascade,
    constraint user_accounts_account_name_length check (char_length(account_name) between 1 and 255),
    -- Unicode category Cc, written out: what a named class covers is for each server and locale to say
    constraint user_accounts_account_name_no_control check (account_name !~ '[\u0001-\u001f\u007f-\u009f]'),
    -- Unicode property White_Space less the control characters, written out for the same reason
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
comment on column public.user_accounts.is_active is 'Whether the account may be used. Only service_role may change it.';
comment on column public.user_accounts.updated_at is 'Time of the last change, kept by a trigger.';

-- Rights ----------------------------------------------------------------------------------------------------------
-- A hosted project's default privileges give ALL on a new table to each API role by name, so that
-- "revoke ... from public" alone would leave them. RLS does not cover truncate: a role must not have it.

revoke all on table public.user_accounts from public, anon, authenticated, service_role;

grant select, insert (account_name), update (account_name) on table public.user_accounts to authenticated;
grant all on table public.user_accounts to service_role;

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
-- the claim is an ordinary user's, and a claim that is no boolean must not raise a cast error.

create policy "Anonymous sign-ins create nothing" on public.user_accounts
as restrictive for insert to authenticated
with check (((select auth.jwt()) ->> 'is_anonymous') is distinct from 'true');

-- "using (true)" lets the row through to the check, which refuses it aloud (42501) instead of updating no row.
create policy "Anonymous sign-ins change nothing" on public.user_accounts
as restrictive for update to authenticated
using (true)
with check (((select auth.jwt()) ->> 'is_anonymous') is distinct from 'true');

comment on policy "Users see their own account" on public.user_accounts is
'A row is visible to its owner and to nobody else.';
comment on policy "Users create their own account" on public.user_accounts is
'A new row belongs to the caller. A caller without an identity (no sub claim) creates nothing.';
comment on policy "Users rename their own account" on public.user_accounts is
'Only the owner changes a row, and the changed row is still the owner''s. Which columns: see the grants.';
comment on policy "Anonymous sign-ins create nothing" on public.user_accounts is
'An anonymous sign-in has the role authenticated; the claim is_anonymous tells it apart.';
comment on policy "Anonymous sign-ins change nothing" on public.user_accounts is
'An anonymous sign-in has the role authenticated; the claim is_anonymous tells it apart.';

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

-- A trigger function runs by its table's trigger, which needs no execute right: nobody has to call it.
revoke all on function accounts_private.set_updated_at() from public, anon, authenticated, service_role;

create trigger user_accounts_set_updated_at
before update on public.user_accounts
for each row execute function accounts_private.set_updated_at();

comment on trigger user_accounts_set_updated_at on public.user_accounts is 'Keeps updated_at.';
