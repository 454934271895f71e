-- For the tables that hang off an account (credentials are the first): whose accounts may the caller work in?

set local lock_timeout = '5s';
set local statement_timeout = '30s';

grant usage on schema accounts_private to authenticated;

create function accounts_private.active_account_ids()
returns setof uuid
language sql
stable
security invoker
rows 1
set search_path = ''
as $$
    select ua.id
    from public.user_accounts as ua
    where
        ua.user_id = (select auth.uid())
        and ua.is_active
$$;

comment on function accounts_private.active_account_ids() is
'The ids of the caller''s active accounts, for the policies of account-scoped tables. Write such a policy as '
'account_id = any (array(select accounts_private.active_account_ids())): the array is built once per statement and the '
'comparison can use an index on account_id, which "account_id in (select ...)" cannot.';

revoke all on function accounts_private.active_account_ids() from public, anon, authenticated, service_role;
grant execute on function accounts_private.active_account_ids() to authenticated;
