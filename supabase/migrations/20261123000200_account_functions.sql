-- The API: what supabase-js calls with rpc() and the HTTP wrapper forwards to.
--
-- Every function is security invoker: it runs with the caller's rights, under the caller's row level security. The
-- predicates on user_id say the same once more, so that neither a lost policy nor a caller that bypasses RLS
-- turns "my account" into "all accounts".

set local lock_timeout = '5s';
set local statement_timeout = '30s';

create function public.list_accounts()
returns setof public.user_accounts
language sql
stable
security invoker
set search_path = ''
as $$
    select ua.*
    from public.user_accounts as ua
    where ua.user_id = (select auth.uid())
    order by ua.created_at desc, ua.id asc
$$;

comment on function public.list_accounts() is 'The caller''s accounts, newest first. Empty for a new user.';

-- A table function, not a composite type: it comes out flat, with a type for each column in the generated clients.
-- "on conflict on constraint", because the output columns hide the table's column names from "on conflict (user_id)".
create function public.get_or_create_account(default_name text default 'Default Alpaca Account')
returns table (
    id uuid,
    user_id uuid,
    account_name text,
    is_active boolean,
    created_at timestamptz,
    updated_at timestamptz,
    created boolean
)
language plpgsql
volatile
security invoker
rows 1
set search_path = ''
as $$
declare
    caller constant uuid := auth.uid();
begin
    -- One round is enough unless the account comes or goes at this very moment. Under read committed each statement
    -- sees what was committed before it began, so a first call that lost the race finds the winner's row in round two.
    for attempt in 1..10 loop
        -- The common case: one index probe, no lock, nothing written.
        return query
        select ua.id, ua.user_id, ua.account_name, ua.is_active, ua.created_at, ua.updated_at, false
        from public.user_accounts as ua
        where ua.user_id = caller;
        if found then
            return;
        end if;

        -- user_id is not ours to name: the column's default takes it from the token. If another call is inserting the
        -- same user's row, this waits for it to end and then does nothing.
        return query
        insert into public.user_accounts as ua (account_name)
        values (get_or_create_account.default_name)
        on conflict on constraint user_accounts_user_id_key do nothing
        returning ua.id, ua.user_id, ua.account_name, ua.is_active, ua.created_at, ua.updated_at, true;
        if found then
            return;
        end if;
    end loop;

    raise exception 'the account kept changing'
    using errcode = 'serialization_failure', hint = 'Call again.';
end
$$;

comment on function public.get_or_create_account(text) is
'The caller''s account, made with the given name if there is none: one row, with created telling which it was. '
'Safe to call any number of times and at the same moment: exactly one call answers created = true. An existing '
'account keeps its name.';

create function public.create_account(account_name text)
returns public.user_accounts
language sql
volatile
security invoker
set search_path = ''
as $$
    insert into public.user_accounts as ua (account_name)
    values (create_account.account_name)
    returning ua.*
$$;

comment on function public.create_account(text) is
'Makes the caller''s account. Raises unique_violation (23505) if there is one.';

create function public.get_account(account_id uuid)
returns setof public.user_accounts
language sql
stable
security invoker
rows 1
set search_path = ''
as $$
    select ua.*
    from public.user_accounts as ua
    where
        ua.id = get_account.account_id
        and ua.user_id = (select auth.uid())
$$;

comment on function public.get_account(uuid) is
'The account with this id if it is the caller''s, else no row: someone else''s and none at all look the same.';

create function public.rename_account(account_id uuid, account_name text)
returns setof public.user_accounts
language sql
volatile
security invoker
rows 1
set search_path = ''
as $$
    update public.user_accounts as ua
    set account_name = rename_account.account_name
    where
        ua.id = rename_account.account_id
        and ua.user_id = (select auth.uid())
    returning ua.*
$$;

comment on function public.rename_account(uuid, text) is
'Renames the caller''s account and answers it, or no row if there is none of the caller''s under this id.';

-- Rights: hosted default privileges give execute to each API role by name, and PostgreSQL itself gives it to public.

revoke all on function public.list_accounts() from public, anon, authenticated, service_role;
revoke all on function public.get_or_create_account(text) from public, anon, authenticated, service_role;
revoke all on function public.create_account(text) from public, anon, authenticated, service_role;
revoke all on function public.get_account(uuid) from public, anon, authenticated, service_role;
revoke all on function public.rename_account(uuid, text) from public, anon, authenticated, service_role;

grant execute on function public.list_accounts() to authenticated;
grant execute on function public.get_or_create_account(text) to authenticated;
grant execute on function public.create_account(text) to authenticated;
grant execute on function public.get_account(uuid) to authenticated;
grant execute on function public.rename_account(uuid, text) to authenticated;
