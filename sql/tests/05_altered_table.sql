-- What the functions do where the table were another: without its limit of one account, or with a trigger that plays
-- the calls of others. It locks the table until it is rolled back: not for a project in use.
begin;
\ir helpers.psql
select plan(4);

select tests.create_user('ada');

-- Newest first: seen only with the limit of one account lifted

select tests.act_as_owner();
alter table public.user_accounts drop constraint user_accounts_user_id_key;
delete from public.user_accounts
where user_id = tests.id_of('ada');
insert into public.user_accounts (user_id, account_name, created_at)
values
(tests.id_of('ada'), 'middle', now() - interval '1 hour'),
(tests.id_of('ada'), 'newest', now()),
(tests.id_of('ada'), 'oldest', now() - interval '2 hours');
select tests.act_as('ada');
select results_eq(
    'select account_name from public.list_accounts()', $$values ('newest'), ('middle'), ('oldest')$$,
    'the list is newest first'
);
select tests.act_as_owner();
delete from public.user_accounts
where user_id = tests.id_of('ada');
alter table public.user_accounts add constraint user_accounts_user_id_key unique (user_id);

-- A first call that loses the race. A trigger plays the other call: it comes in between the look and the insert

create function tests.play_the_other_call()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if pg_catalog.pg_trigger_depth() = 1 then
        insert into public.user_accounts (user_id, account_name)
        values (new.user_id, 'The other call''s')
        on conflict do nothing;
    end if;
    return new;
end
$$;
create trigger play_the_other_call before insert on public.user_accounts
for each row execute function tests.play_the_other_call();
select tests.act_as('ada');
select results_eq(
    'select account_name, created from public.get_or_create_account()', $$values ('The other call''s', false)$$,
    'a first call that loses the race answers the winner''s account'
);
select is((select count(*) from public.list_accounts()), 1::bigint, 'of which there is one');
select tests.act_as_owner();
delete from public.user_accounts
where user_id = tests.id_of('ada');
-- the other call's row is never to be seen: as if it were deleted each time
alter policy "Users see their own account" on public.user_accounts using (account_name != 'The other call''s');
select tests.act_as('ada');
select throws_ok(
    'select public.get_or_create_account()',
    '40001',
    null,
    'a call that loses every race gives up with a retryable error'
);
select tests.act_as_owner();
drop trigger play_the_other_call on public.user_accounts;
alter policy "Users see their own account" on public.user_accounts using (user_id = (select auth.uid()));

select * from finish();
rollback;
