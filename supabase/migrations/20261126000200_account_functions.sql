-- The accounts functions: what supabase-js calls with rpc() and edge_api forwards to.
--
-- Every function is security invoker: it runs with the caller's rights, under the caller's row level security. The
-- predicates on user_id repeat the policy, so that neither a lost policy nor a caller that bypasses row level security
-- turns "my account" into "all accounts".
--
-- All are in plpgsql, which plans once a session; before PostgreSQL 18 a function in SQL is planned at each call.
--
-- None raises an error of class 40, which PostgREST retries without limit, even after the client has disconnected.

set local lock_timeout = '5s';
set local statement_timeout = '30s';

create function public.list_accounts()
returns setof public.user_accounts
language plpgsql
stable
security invoker
set search_path = ''
as $$
declare
    caller constant uuid := auth.uid();
begin
    return query
    select ua.*
    from public.user_accounts as ua
    where ua.user_id = caller
    order by ua.created_at desc, ua.id asc;
end
$$;

comment on function public.list_accounts() is 'The caller''s accounts, newest first. Empty for a new user.';

-- "returns table" rather than a composite type: the result is flat, and the generated clients know each column's type.
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
    -- The first round is enough unless the account appears or disappears at this moment. Under read committed each
    -- statement sees what was committed before it began: a call that loses the race finds the winner's row in the next.
    for attempt in 1..3 loop
        -- The common case: one index probe, no lock, nothing written.
        return query
        select ua.id, ua.user_id, ua.account_name, ua.is_active, ua.created_at, ua.updated_at, false
        from public.user_accounts as ua
        where ua.user_id = caller;
        if found then
            return;
        end if;

        -- The column's default takes user_id from the token. If another call is inserting the same user's row, this
        -- waits for it to end and then does nothing.
        return query
        insert into public.user_accounts as ua (account_name)
        values (get_or_create_account.default_name)
        on conflict on constraint user_accounts_user_id_key do nothing
        returning ua.id, ua.user_id, ua.account_name, ua.is_active, ua.created_at, ua.updated_at, true;
        if found then
            return;
        end if;
    end loop;

    raise exception 'the account can neither be read nor created' using errcode = 'insufficient_privilege';
end
$$;

comment on function public.get_or_create_account(text) is
'The caller''s account, created under the given name if it does not exist: one row, with created telling which it was. '
'Safe to call any number of times and concurrently: exactly one call returns created = true. An existing account keeps '
'its name. Raises insufficient_privilege (42501) if a policy of the project''s own hides the account from its owner.';

create function public.create_account(account_name text)
returns public.user_accounts
language plpgsql
volatile
security invoker
set search_path = ''
as $$
declare
    new_account public.user_accounts;
begin
    insert into public.user_accounts as ua (account_name)
    values (create_account.account_name)
    returning ua.* into new_account;
    return new_account;
end
$$;

comment on function public.create_account(text) is
'Creates the caller''s account. Raises unique_violation (23505) if it exists.';

create function public.get_account(account_id uuid)
returns setof public.user_accounts
language plpgsql
stable
security invoker
rows 1
set search_path = ''
as $$
declare
    caller constant uuid := auth.uid();
begin
    return query
    select ua.*
    from public.user_accounts as ua
    where
        ua.id = get_account.account_id
        and ua.user_id = caller;
end
$$;

comment on function public.get_account(uuid) is
'The account with this id if it is the caller''s, else no row: another user''s account looks like one that does not '
'exist.';

create function public.rename_account(account_id uuid, account_name text)
returns setof public.user_accounts
language plpgsql
volatile
security invoker
rows 1
set search_path = ''
as $$
declare
    caller constant uuid := auth.uid();
begin
    return query
    update public.user_accounts as ua
    set account_name = rename_account.account_name
    where
        ua.id = rename_account.account_id
        and ua.user_id = caller
    returning ua.*;
end
$$;

comment on function public.rename_account(uuid, text) is
'Renames the caller''s account and returns it, or no row if no account of the caller''s has this id. Raises '
'insufficient_privilege (42501) while the account is inactive.';

create function public.get_or_create_account_for(owner uuid, default_name text default 'Default Alpaca Account')
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
begin
    -- As in get_or_create_account, but for the owner, whom only service_role may name.
    for attempt in 1..3 loop
        return query
        select ua.id, ua.user_id, ua.account_name, ua.is_active, ua.created_at, ua.updated_at, false
        from public.user_accounts as ua
        where ua.user_id = get_or_create_account_for.owner;
        if found then
            return;
        end if;

        return query
        insert into public.user_accounts as ua (user_id, account_name)
        values (get_or_create_account_for.owner, get_or_create_account_for.default_name)
        on conflict on constraint user_accounts_user_id_key do nothing
        returning ua.id, ua.user_id, ua.account_name, ua.is_active, ua.created_at, ua.updated_at, true;
        if found then
            return;
        end if;
    end loop;

    raise exception 'the account can neither be read nor created' using errcode = 'insufficient_privilege';
end
$$;

comment on function public.get_or_create_account_for(uuid, text) is
'A user''s account, for a trusted backend that knows the user''s id: service_role alone calls it. The guarantees are '
'those of get_or_create_account, also against the user''s own calls. Raises foreign_key_violation (23503) if the user '
'does not exist.';

create function accounts_private.active_account_ids()
returns setof uuid
language plpgsql
stable
security invoker
rows 1
set search_path = ''
as $$
declare
    caller constant uuid := auth.uid();
begin
    return query
    select ua.id
    from public.user_accounts as ua
    where
        ua.user_id = caller
        and ua.is_active;
end
$$;

comment on function accounts_private.active_account_ids() is
'The ids of the caller''s active accounts, for the policies of account-scoped tables. Write such a policy as '
'account_id = any (array(select accounts_private.active_account_ids())): the array is built once per statement and the '
'comparison can use an index on account_id, which "account_id in (select ...)" cannot.';

-- Rights ----------------------------------------------------------------------------------------------------------
-- PostgreSQL gives execute on a new function to public; projects from before 30 October 2026 also to each API role.

revoke all on function public.list_accounts() from public, anon, authenticated, service_role;
revoke all on function public.get_or_create_account(text) from public, anon, authenticated, service_role;
revoke all on function public.create_account(text) from public, anon, authenticated, service_role;
revoke all on function public.get_account(uuid) from public, anon, authenticated, service_role;
revoke all on function public.rename_account(uuid, text) from public, anon, authenticated, service_role;
revoke all on function public.get_or_create_account_for(uuid, text) from public, anon, authenticated, service_role;
revoke all on function accounts_private.active_account_ids() from public, anon, authenticated, service_role;

grant execute on function public.list_accounts() to authenticated;
grant execute on function public.get_or_create_account(text) to authenticated;
grant execute on function public.create_account(text) to authenticated;
grant execute on function public.get_account(uuid) to authenticated;
grant execute on function public.rename_account(uuid, text) to authenticated;
grant execute on function public.get_or_create_account_for(uuid, text) to service_role;
grant execute on function accounts_private.active_account_ids() to authenticated;

-- Hosted projects notify PostgREST by an event trigger; any other PostgREST would keep its old schema cache.
notify pgrst, 'reload schema';
