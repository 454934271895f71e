-- The functions: what each returns, and to which caller.
begin;
\ir helpers.psql
select plan(55);

select tests.create_user('ada');
select tests.create_user('bob');
select tests.create_user('carol');

-- list_accounts, get_or_create_account

select tests.act_as('ada');
select is_empty('select * from public.list_accounts()', 'a new user''s list is empty');
select results_eq(
    'select user_id, account_name, is_active, created_at, updated_at, created from public.get_or_create_account()',
    $$select tests.id_of('ada'), 'Default Alpaca Account', true, now(), now(), true$$,
    'the first call creates the default account and returns created = true'
);
select results_eq(
    'select id, user_id, account_name, is_active, created_at, updated_at, created from public.get_or_create_account()',
    'select id, user_id, account_name, is_active, created_at, updated_at, false from public.user_accounts',
    'the next call returns all of that account, and created = false'
);
select results_eq(
    $$select account_name, created from public.get_or_create_account('Another')$$,
    $$values ('Default Alpaca Account', false)$$, 'an existing account keeps its name'
);
select results_eq(
    $$select account_name, created from public.get_or_create_account(null)$$,
    $$values ('Default Alpaca Account', false)$$, 'an invalid name does not matter if the account exists'
);
select results_eq(
    'select * from public.list_accounts()', 'select * from public.user_accounts', 'the list then holds it'
);

select tests.act_as('bob');
select throws_ok(
    $$select public.get_or_create_account(' ')$$, '23514', null, 'a first call with a bad name is refused'
);
select throws_ok('select public.get_or_create_account(null)', '23502', null, 'a first call with no name is refused');
select is_empty('select * from public.list_accounts()', 'and leaves nothing behind');
select results_eq(
    $$select user_id, account_name, created from public.get_or_create_account('Paper')$$,
    $$select tests.id_of('bob'), 'Paper', true$$, 'a first call can choose the name'
);
select is((select count(*) from public.list_accounts()), 1::bigint, 'the list holds the caller''s account only');

-- create_account

select throws_ok($$select public.create_account('Second')$$, '23505', null, 'a second account is refused');
select results_eq('select account_name from public.list_accounts()', $$values ('Paper')$$, 'and changes nothing');
select tests.act_as('carol');
select throws_ok($$select public.create_account('')$$, '23514', null, 'create_account refuses a bad name');
select throws_ok($$select public.create_account(null)$$, '23502', null, 'create_account refuses a null name');
select results_eq(
    $$select user_id, account_name from public.create_account('Carol''s')$$,
    $$select tests.id_of('carol'), 'Carol''s'$$, 'create_account returns the new account'
);

-- get_account, rename_account

select tests.act_as('ada');
select results_eq(
    $$select * from public.get_account(tests.account_of('ada'))$$, 'select * from public.list_accounts()',
    'get_account returns the caller''s account'
);
select is_empty($$select * from public.get_account(tests.account_of('bob'))$$, 'but no row for another''s');
select is_empty($$select * from public.get_account(tests.id_of('nobody'))$$, 'nor for an id that does not exist');
select is_empty('select * from public.get_account(null)', 'nor for null');
select results_eq(
    $$select id, user_id, account_name from public.rename_account(tests.account_of('ada'), 'Renamed')$$,
    $$select tests.account_of('ada'), tests.id_of('ada'), 'Renamed'$$, 'rename_account returns the renamed account'
);
select results_eq('select account_name from public.list_accounts()', $$values ('Renamed')$$, 'which is stored');
select throws_ok(
    $$select public.rename_account(tests.account_of('ada'), 'x ')$$, '23514', null, 'rename_account refuses a bad name'
);
select throws_ok(
    $$select public.rename_account(tests.account_of('ada'), null)$$, '23502', null, 'rename_account refuses a null name'
);
select is_empty(
    $$select * from public.rename_account(tests.account_of('bob'), 'Taken')$$, 'no row for another''s account'
);
select is_empty(
    $$select * from public.rename_account(tests.id_of('nobody'), 'Taken')$$, 'no row for an id that does not exist'
);
select
    results_eq(
        'select account_name from public.list_accounts()', $$values ('Renamed')$$, 'and the caller''s is not renamed'
    );
select tests.act_as('bob');
select results_eq('select account_name from public.list_accounts()', $$values ('Paper')$$, 'nor the other user''s');

-- A caller that bypasses row level security gets "my account" too, never "all accounts"

select tests.act('postgres', jsonb_build_object('sub', tests.id_of('ada')));
select is(
    (
        select count(*) from public.user_accounts
        where user_id in (tests.id_of('ada'), tests.id_of('bob'), tests.id_of('carol'))
    ), 3::bigint,
    'the owner bypasses row level security'
);
select results_eq(
    'select user_id from public.list_accounts()', $$select tests.id_of('ada')$$, 'yet lists the caller''s accounts only'
);
select results_eq(
    'select user_id, created from public.get_or_create_account()', $$select tests.id_of('ada'), false$$,
    'gets the caller''s account'
);
select is_empty($$select * from public.get_account(tests.account_of('bob'))$$, 'gets no other by id');
select is_empty($$select * from public.rename_account(tests.account_of('bob'), 'Taken')$$, 'and renames no other');
select results_eq(
    'select * from accounts_private.active_account_ids()', $$select tests.account_of('ada')$$,
    'and only the caller''s accounts are active for it'
);
select tests.act('postgres', '{}');
select is_empty('select * from public.list_accounts()', 'without a caller there is no list');
select is_empty('select * from accounts_private.active_account_ids()', 'and no active account');
select throws_ok(
    'select public.get_or_create_account()', '23502', null, 'and no account is created: it would have no owner'
);

-- The helper for child tables

select tests.act_as('ada');
select results_eq(
    'select * from accounts_private.active_account_ids()', $$select tests.account_of('ada')$$,
    'active_account_ids returns the caller''s account'
);
select tests.act_as_service_role();
update public.user_accounts set is_active = false
where user_id = tests.id_of('ada');
select tests.act_as('ada');
select is_empty('select * from accounts_private.active_account_ids()', 'unless it has been switched off');
select results_eq(
    'select is_active, created from public.get_or_create_account()', 'values (false, false)',
    'an account that is switched off is still the user''s one account'
);
select results_eq('select is_active from public.list_accounts()', 'values (false)', 'it is listed');
select results_eq(
    $$select is_active from public.get_account(tests.account_of('ada'))$$, 'values (false)', 'returned by its id'
);
select throws_ok(
    $$select public.rename_account(tests.account_of('ada'), 'Off')$$, '42501', null, 'and cannot be renamed'
);
select is_empty(
    $$select * from public.rename_account(tests.account_of('bob'), 'Off')$$, 'nor another''s, like one that is missing'
);

-- get_or_create_account_for: a trusted backend gives the user's id

select tests.act_as_owner();
select tests.create_user('dan');
select tests.act_as_service_role();
select results_eq(
    $$select user_id, account_name, is_active, created_at, updated_at, created
    from public.get_or_create_account_for(tests.id_of('dan'))$$,
    $$select tests.id_of('dan'), 'Default Alpaca Account', true, now(), now(), true$$,
    'a backend creates the account of the user whose id it gives'
);
select results_eq(
    $$select id, user_id, account_name, is_active, created_at, updated_at, created
    from public.get_or_create_account_for(tests.id_of('dan'), 'Another')$$,
    $$select id, user_id, account_name, is_active, created_at, updated_at, false from public.user_accounts
    where user_id = tests.id_of('dan')$$,
    'and gets all of it the next time'
);
select results_eq(
    $$select is_active, created from public.get_or_create_account_for(tests.id_of('ada'))$$, 'values (false, false)',
    'an inactive one too'
);
select tests.act_as('dan');
select results_eq(
    'select account_name, created from public.get_or_create_account()',
    $$values ('Default Alpaca Account', false)$$, 'it is the one that the user gets'
);
select throws_ok(
    $$select public.get_or_create_account_for(tests.id_of('dan'))$$, '42501', null, 'a user may not call it'
);
select tests.act_as_service_role();
select throws_ok(
    $$select public.get_or_create_account_for(tests.id_of('nobody'))$$, '23503', null,
    'a user who does not exist gets no account'
);
select throws_ok('select public.get_or_create_account_for(null)', '23502', null, 'nor does null');
select tests.act_as_owner();
select tests.create_user('erin');
select tests.act_as_service_role();
select throws_ok(
    $$select public.get_or_create_account_for(tests.id_of('erin'), ' ')$$, '23514', null, 'a bad name is refused'
);
select results_eq(
    $$select user_id, account_name, created from public.get_or_create_account_for(tests.id_of('erin'), 'Paper')$$,
    $$select tests.id_of('erin'), 'Paper', true$$, 'a valid one is taken'
);

-- Look-alikes: objects that the caller creates are not used in place of the real ones

select tests.act_as_owner();
delete from public.user_accounts
where user_id = tests.id_of('ada');
create schema look_alike;
grant all on schema look_alike to authenticated;
select tests.act_as('ada');
create table look_alike.user_accounts (like public.user_accounts);
insert into look_alike.user_accounts (id, user_id, account_name, is_active, created_at, updated_at)
values (tests.id_of('bob'), tests.id_of('ada'), 'Forged', true, now(), now());
create function look_alike.now() returns timestamptz language sql as $$ select '2000-01-01'::timestamptz $$;
create function look_alike.uid() returns uuid language sql as $$ select tests.id_of('bob') $$;
create function look_alike.eq(uuid, uuid) returns boolean language sql as $$ select true $$;
do $$
begin
    create operator look_alike.= (function = look_alike.eq, leftarg = uuid, rightarg = uuid);
end
$$;
create function pg_temp.now() returns timestamptz language sql as $$ select '2000-01-01'::timestamptz $$;
create temporary table user_accounts (like public.user_accounts);
set local search_path = look_alike, public, extensions, pg_catalog, pg_temp;
select results_eq(
    'select account_name, created from public.get_or_create_account()',
    $$values ('Default Alpaca Account', true)$$, 'look-alikes of tables, functions and operators change nothing'
);
select is(
    (select updated_at from public.rename_account(tests.account_of('ada'), 'Renamed')), pg_catalog.now(),
    'nor for the trigger'
);

select * from finish();
rollback;
