-- A table that belongs to an account: the pattern, for broker credentials.
--
-- An example, not a migration: to use it, copy it into supabase/migrations under a name of its own. What every such
-- table needs is marked (1) to (5); the rest is what credentials need.

-- The foreign key locks user_accounts for a moment: fail rather than make its users queue.
set local lock_timeout = '5s';
set local statement_timeout = '30s';

create table public.account_credentials (
    id uuid not null default gen_random_uuid(),
    account_id uuid not null,
    label text not null, -- noqa: RF04
    -- The key pair itself is a secret in Supabase Vault (vault.create_secret). This is its id and no more, so that
    -- neither a select nor a dump of this table reveals a secret. No foreign key: vault.secrets is Supabase's.
    vault_secret_id uuid not null,
    created_at timestamptz not null default now(),
    constraint account_credentials_pkey primary key (id),
    -- (1) credentials go with their account, as the account goes with its user
    constraint account_credentials_account_id_fkey
    foreign key (account_id) references public.user_accounts (id) on delete cascade,
    -- (2) an index that begins with account_id: the policies look rows up by it, and so does the cascade
    constraint account_credentials_account_id_label_key unique (account_id, label),
    -- Whoever uses a credential reads the secret that it points to. Without this, a user who learned the id of
    -- another user's secret could have it used for their own account.
    constraint account_credentials_vault_secret_id_key unique (vault_secret_id),
    constraint account_credentials_label_length check (char_length(label) between 1 and 100),
    -- control characters and white space written out, for the reason given at user_accounts.account_name
    constraint account_credentials_label_no_control check (label !~ '[\u0001-\u001f\u007f-\u009f]'),
    constraint account_credentials_label_trimmed check (
        label !~ '^[ \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]'
        and label !~ '[ \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]$'
    )
);

comment on table public.account_credentials is
'Broker credentials of an account: what they are called and where the secret is, never the secret itself. Only the '
'owner of the account sees them, and only while the account is active.';
comment on column public.account_credentials.account_id is
'The account that the credential belongs to. Cannot be changed: a credential does not move between accounts.';
comment on column public.account_credentials.label is
'What the owner calls it. 1 to 100 characters, no control characters, no white space at either end; unique within '
'the account.';
comment on column public.account_credentials.vault_secret_id is
'The id of the secret in Supabase Vault. Belongs to one credential only. Deleting the credential leaves the secret in '
'Vault: the service that put it there removes it.';

-- (3) Rights ------------------------------------------------------------------------------------------------------
-- Projects from before 30 October 2026 have just given ALL to each API role by name. RLS does not cover truncate.
-- No update: a changed credential is another credential, so it is deleted and added again.

revoke all on table public.account_credentials from public, anon, authenticated, service_role;

grant select, insert (account_id, label, vault_secret_id), delete on table public.account_credentials to authenticated;
grant select, insert, update, delete on table public.account_credentials to service_role;

-- (4) Row level security ------------------------------------------------------------------------------------------
-- The array is built once per statement, from one probe of user_accounts, and "= any" of it can use the index of (2).
-- It holds active accounts only, so that the credentials of an account that is switched off can be neither used nor
-- read. They are kept, and are visible again when the account is active again.

alter table public.account_credentials enable row level security;
alter table public.account_credentials force row level security;

create policy "Owners see the credentials of their active account" on public.account_credentials
as permissive for select to authenticated
using (account_id = any(array(select accounts_private.active_account_ids())));

create policy "Owners add credentials to their active account" on public.account_credentials
as permissive for insert to authenticated
with check (account_id = any(array(select accounts_private.active_account_ids())));

create policy "Owners delete credentials of their active account" on public.account_credentials
as permissive for delete to authenticated
using (account_id = any(array(select accounts_private.active_account_ids())));

-- Restrictive policies are ANDed with the permissive ones. "is distinct from" and not "is not true": a token without
-- the claim is an ordinary user's, and a claim that is no boolean must not raise a cast error.

create policy "Anonymous sign-ins add nothing" on public.account_credentials
as restrictive for insert to authenticated
with check (((select auth.jwt()) ->> 'is_anonymous') is distinct from 'true');

-- A delete has no check that could raise an error: it deletes no row.
create policy "Anonymous sign-ins delete nothing" on public.account_credentials
as restrictive for delete to authenticated
using (((select auth.jwt()) ->> 'is_anonymous') is distinct from 'true');

comment on policy "Owners see the credentials of their active account" on public.account_credentials is
'A user sees no credentials of others, and none of an account that is inactive.';
comment on policy "Owners add credentials to their active account" on public.account_credentials is
'The client names the account, so it is checked here. Another user''s account, an inactive one and one that does not '
'exist are refused alike (42501), before a constraint could tell them apart.';
comment on policy "Owners delete credentials of their active account" on public.account_credentials is
'Owners delete only what they see: an inactive account keeps its credentials.';
comment on policy "Anonymous sign-ins add nothing" on public.account_credentials is
'An anonymous sign-in has the role authenticated; the claim is_anonymous tells it apart.';
comment on policy "Anonymous sign-ins delete nothing" on public.account_credentials is
'An anonymous sign-in has the role authenticated; the claim is_anonymous tells it apart.';

-- (5) The first credential creates the account --------------------------------------------------------------------
-- Two statements on purpose. Within one, the policy would look for the account in a snapshot from before its creation,
-- and refuse the first credential.

create function public.add_credential(label text, vault_secret_id uuid)
returns public.account_credentials
language plpgsql
volatile
security invoker
set search_path = ''
as $$
declare
    own_account_id uuid;
    credential public.account_credentials;
begin
    select account.id
    into strict own_account_id
    from public.get_or_create_account() as account;

    insert into public.account_credentials as ac (account_id, label, vault_secret_id)
    values (own_account_id, add_credential.label, add_credential.vault_secret_id)
    returning ac.*
    into strict credential;

    return credential;
end
$$;

comment on function public.add_credential(text, uuid) is
'Adds a credential to the caller''s account, which is created if it does not exist: both or neither. A client needs no '
'account before its first credential, and a refused credential leaves no account behind. Raises unique_violation '
'(23505) for a label or a secret that is taken, insufficient_privilege (42501) if the account is inactive.';

-- PostgreSQL gives execute on a new function to public; projects from before 30 October 2026 also to each API role.

revoke all on function public.add_credential(text, uuid) from public, anon, authenticated, service_role;
grant execute on function public.add_credential(text, uuid) to authenticated;
