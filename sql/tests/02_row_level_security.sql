-- Row level security: who reads and changes which rows.
begin;
\ir helpers.psql
select plan(49);

select tests.create_user('ada');
select tests.create_user('bob');
select tests.create_user('guest');

-- Ada

select tests.act_as('ada');
select is_empty('select 1 from public.user_accounts', 'a new user sees no row');
select lives_ok($$insert into public.user_accounts (account_name) values ('Ada''s')$$, 'a user creates an account');
select results_eq('select account_name from public.user_accounts', $$values ('Ada''s')$$, 'and sees it');
select results_eq(
    $$update public.user_accounts set account_name = 'Renamed' returning account_name$$, $$values ('Renamed')$$,
    'and renames it'
);

-- Bob, who knows all of Ada's ids

select tests.act_as('bob');
select is_empty('select 1 from public.user_accounts', 'another user does not see it');
select is_empty(
    $$select 1 from public.user_accounts where user_id = tests.id_of('ada')$$, 'not when asking for it'
);
select is((select count(*) from public.user_accounts), 0::bigint, 'and cannot count it');
select is_empty(
    $$update public.user_accounts set account_name = 'Taken' where user_id = tests.id_of('ada') returning 1$$,
    'another user cannot rename it'
);
select throws_ok(
    $$insert into public.user_accounts (user_id, account_name) values (tests.id_of('ada'), 'Theirs')$$, '42501', null,
    'another user cannot insert in the owner''s name'
);
select lives_ok(
    $$insert into public.user_accounts (account_name) values ('Bob''s')$$,
    'another user can create an account too'
);
select results_eq('select account_name from public.user_accounts', $$values ('Bob''s')$$, 'each user sees their own');
select throws_ok('delete from public.user_accounts', '42501', null, 'a user cannot delete, not even their own');
select throws_ok('truncate public.user_accounts', '42501', null, 'a user cannot truncate: no policy would stop it');

-- Inactive accounts: read by their owner, changed only by service_role

select tests.act_as_service_role();
update public.user_accounts set is_active = false
where user_id in (tests.id_of('ada'), tests.id_of('bob'));
select tests.act_as('bob');
select results_eq(
    'select account_name, is_active from public.user_accounts', $$values ('Bob''s', false)$$,
    'the owner of an inactive account sees it, and no other inactive account'
);
select throws_ok(
    $$update public.user_accounts set account_name = 'Renamed'$$, '42501', null, 'its owner cannot rename it'
);
select throws_ok(
    $$insert into public.user_accounts (account_name) values ('Renamed')
    on conflict (user_id) do update set account_name = excluded.account_name$$,
    '42501', null, 'not by an upsert either'
);
select throws_ok('update public.user_accounts set is_active = true', '42501', null, 'nor switch it on');
select throws_ok(
    $$insert into public.user_accounts (account_name) values ('Another')$$, '23505', null, 'nor create another one'
);
select is_empty(
    $$update public.user_accounts set account_name = 'Taken' where user_id = tests.id_of('ada') returning 1$$,
    'nor rename another user''s'
);
select tests.act_as_service_role();
select results_eq(
    $$update public.user_accounts set is_active = true, account_name = 'Bob''s'
    where user_id in (tests.id_of('ada'), tests.id_of('bob')) returning is_active$$,
    'values (true), (true)', 'a service changes it and switches it on'
);
select tests.act_as('bob');
select lives_ok(
    $$update public.user_accounts set account_name = 'Bob''s own'$$, 'then its owner renames it again'
);

-- The policies hold even if a column is granted by mistake

select tests.act_as_owner();
grant insert (user_id), update (user_id), delete on public.user_accounts to authenticated;
select tests.create_user('carol');
select tests.act_as('carol');
select throws_ok(
    $$insert into public.user_accounts (user_id, account_name) values (tests.id_of('guest'), 'Theirs')$$, '42501', null,
    'the policy by itself keeps a user from creating another''s account'
);
select tests.act_as('bob');
select throws_ok(
    $$update public.user_accounts set user_id = tests.id_of('guest')$$, '42501', null,
    'the policy by itself keeps a user from giving the account away'
);
select is_empty(
    $$update public.user_accounts set user_id = tests.id_of('bob') where user_id = tests.id_of('ada') returning 1$$,
    'the policy by itself keeps a user from taking over another''s account'
);
select is_empty('delete from public.user_accounts returning 1', 'no policy allows a delete');
select tests.act_as_owner();
revoke insert (user_id), update (user_id), delete on public.user_accounts from authenticated;

-- Anonymous sign-ins: the role authenticated, but no writes

select tests.act_as_anonymous_sign_in('guest');
select throws_ok(
    $$insert into public.user_accounts (account_name) values ('Mine')$$, '42501', null,
    'an anonymous sign-in creates no account'
);
select throws_ok(
    'select * from public.get_or_create_account()', '42501', null, 'not through get_or_create_account either'
);
select throws_ok(
    $$select * from public.create_account('Mine')$$, '42501', null, 'nor through create_account'
);
select is_empty('select * from public.list_accounts()', 'an anonymous sign-in may list, and gets no row');
select is_empty('select 1 from public.user_accounts', 'nor from the table');
select tests.act_as_service_role();
insert into public.user_accounts (user_id, account_name) values (tests.id_of('guest'), 'Guest''s');
select tests.act_as_anonymous_sign_in('guest');
select results_eq(
    'select account_name from public.user_accounts', $$values ('Guest''s')$$,
    'an anonymous sign-in sees an account that a service made for it'
);
select throws_ok(
    $$update public.user_accounts set account_name = 'Mine'$$, '42501', null, 'and gets an error when renaming it'
);
select tests.act_as('guest');
select lives_ok(
    $$update public.user_accounts set account_name = 'Mine'$$, 'after a regular sign-in it can be renamed'
);

-- Claims, forged and partial

select tests.act('authenticated', jsonb_build_object('sub', tests.id_of('ada'), 'is_anonymous', 'perhaps'));
select lives_ok(
    $$update public.user_accounts set account_name = 'Renamed'$$,
    'a claim is_anonymous that is not a boolean raises no cast error'
);
select tests.act('authenticated', jsonb_build_object('sub', tests.id_of('carol'), 'is_anonymous', 'perhaps'));
select lives_ok(
    $$insert into public.user_accounts (account_name) values ('Carol''s')$$, 'nor does it for a new account'
);
select tests.act('authenticated', '{}');
select is_empty('select 1 from public.user_accounts', 'without claims no row is visible');
select is_empty('select * from public.list_accounts()', 'nor listed');
select is_empty($$update public.user_accounts set account_name = 'x' returning 1$$, 'nor changed');
select throws_ok(
    $$insert into public.user_accounts (account_name) values ('x')$$,
    '42501',
    null,
    'nor created: an account has an owner'
);
select tests.act('authenticated', '{"sub": null, "role": "authenticated"}');
select is_empty('select 1 from public.user_accounts', 'a null sub is no user');
select throws_ok('select * from public.get_or_create_account()', '42501', null, 'and gets no account');
select tests.act('authenticated', '{"sub": "ada", "role": "authenticated"}');
select throws_ok('select 1 from public.user_accounts', '22P02', null, 'a sub that is not a uuid is an error');
select throws_ok('select * from public.get_or_create_account()', '22P02', null, 'for the functions too');
select tests.act('anon', jsonb_build_object('sub', tests.id_of('ada'), 'role', 'authenticated'));
select throws_ok(
    'select 1 from public.user_accounts', '42501', null, 'a role claim gives nothing: the database role counts'
);
select throws_ok('select * from public.list_accounts()', '42501', null, 'for the functions too');
select tests.act('authenticated', jsonb_build_object('sub', tests.id_of('ada'), 'role', 'service_role'));
select is((select count(*) from public.user_accounts), 1::bigint, 'a claim of service_role opens no other row');

-- Escalation

select tests.act_as('ada');
select throws_ok(
    'alter table public.user_accounts disable row level security', '42501', null,
    'a user cannot switch row level security off'
);
select throws_ok(
    'create policy mine on public.user_accounts using (true)', '42501', null, 'nor add a policy'
);
set local row_security = off;
select throws_ok(
    'select 1 from public.user_accounts', '42501', null, 'row_security = off is an error for a user, not a bypass'
);

select * from finish();
rollback;
