-- The functions on an altered table: without the limit of one account, with a trigger that simulates another call,
-- with a policy that hides rows. It locks the table until it is rolled back, so it is not for a project in use.
begin;
\ir helpers.psql
select plan(11);

select tests.create_user('ada');

-- Newest first, which shows only without the limit of one account

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

-- A first call that loses the race. A trigger simulates the other call, between the select and the insert

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
    'a first call that loses the race returns the winner''s account'
);
select is((select count(*) from public.list_accounts()), 1::bigint, 'of which there is one');
select tests.act_as_owner();
drop trigger play_the_other_call on public.user_accounts;

-- A policy of the project's own hides a row from its owner. Every call ends at once, and none with an error of class
-- 40, which PostgREST would retry without limit.

create policy "hide inactive" on public.user_accounts as restrictive for select to authenticated using (is_active);
update public.user_accounts set is_active = false
where user_id = tests.id_of('ada');
select tests.act_as('ada');
select throws_ok('select public.get_or_create_account()', '42501', null, 'a hidden account is refused, not retried');
select throws_ok($$select public.create_account('Second')$$, '23505', null, 'the user still has the one account');
select is_empty('select * from public.list_accounts()', 'it is not listed');
select is_empty($$select * from public.get_account(tests.account_of('ada'))$$, 'nor returned by its id');
select is_empty($$select * from public.rename_account(tests.account_of('ada'), 'New')$$, 'nor renamed');
select tests.act_as_service_role();
select results_eq(
    $$select id, created from public.get_or_create_account_for(tests.id_of('ada'))$$,
    $$select tests.account_of('ada'), false$$, 'a backend, from which it is not hidden, gets it'
);

-- A trigger of the project's own suppresses the insert

select tests.act_as_owner();
create function tests.suppress()
returns trigger
language plpgsql
set search_path = ''
as $$ begin return null; end $$;
create trigger suppress before insert on public.user_accounts
for each row execute function tests.suppress();
select tests.create_user('bob');
select tests.act_as('bob');
select throws_ok('select public.get_or_create_account()', '42501', null, 'one error at once, as for a hidden row');
select tests.act_as_service_role();
select throws_ok(
    $$select public.get_or_create_account_for(tests.id_of('bob'))$$, '42501', null, 'for a backend too'
);

select * from finish();
rollback;
