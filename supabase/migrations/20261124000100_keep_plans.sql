-- The same functions in a language that keeps their plans. Before PostgreSQL 18 the body of a function in SQL is
-- planned anew at each call, which took longer than the call itself; plpgsql plans it once a session, and PostgREST's
-- sessions last. Who calls is asked for once, as in get_or_create_account. Names, arguments, results, rights and
-- comments stay as they are.
set local lock_timeout = '5s';
set local statement_timeout = '60s';

create or replace function public.list_accounts()
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

create or replace function public.create_account(account_name text)
returns public.user_accounts
language plpgsql
volatile
security invoker
set search_path = ''
as $$
declare
    made public.user_accounts;
begin
    insert into public.user_accounts as ua (account_name)
    values (create_account.account_name)
    returning ua.* into made;
    return made;
end
$$;

create or replace function public.get_account(account_id uuid)
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

create or replace function public.rename_account(account_id uuid, account_name text)
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

create or replace function accounts_private.active_account_ids()
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
