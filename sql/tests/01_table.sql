-- The table: its defaults, and what it refuses for every role.
begin;
\ir helpers.psql
select plan(29);

-- Defaults

select tests.create_user('ada');
select tests.create_user('bob');
select tests.create_user('dan');
select tests.act_as('ada');
select lives_ok(
    $$insert into public.user_accounts (account_name) values ('Mine')$$, 'a name is all that a new account needs'
);
select results_eq(
    $$select user_id, is_active, created_at, updated_at from public.user_accounts$$,
    $$select tests.id_of('ada'), true, now(), now()$$,
    'it belongs to the caller, is active, and was created and changed now'
);
select isnt((select id from public.user_accounts), null, 'it has an id');
select tests.act_as('bob');
insert into public.user_accounts (account_name) values ('Mine');
select tests.act_as_owner();
select is(
    (
        select count(distinct id) from public.user_accounts
        where user_id in (tests.id_of('ada'), tests.id_of('bob'))
    ), 2::bigint,
    'no two accounts have the same id'
);

-- One account a user

select tests.act_as('ada');
select throws_ok(
    $$insert into public.user_accounts (account_name) values ('Second')$$, '23505', null,
    'a second account of the same user is refused'
);
select tests.act_as_service_role();
select throws_ok(
    $$insert into public.user_accounts (user_id, account_name) values (tests.id_of('ada'), 'Second')$$, '23505', null,
    'even when a service creates it'
);
select throws_ok(
    $$insert into public.user_accounts (user_id, account_name) values (tests.id_of('nobody'), 'Mine')$$, '23503', null,
    'an account of a user who does not exist is refused'
);
select throws_ok(
    $$insert into public.user_accounts (id, user_id, account_name)
    select id, tests.create_user('carol'), 'Mine' from public.user_accounts limit 1$$, '42501', null,
    'service_role creates no users'
);

-- Names: the limits hold for every role

select tests.act_as_owner();
create function tests.rename(name text)
returns void
language sql
set search_path = ''
as $$ update public.user_accounts set account_name = name where user_id = tests.id_of('ada') $$;

select throws_ok($$select tests.rename('')$$, '23514', null, 'an empty name is refused');
select lives_ok($$select tests.rename('x')$$, 'one character is enough');
select lives_ok($$select tests.rename(repeat('x', 255))$$, '255 characters are taken');
select lives_ok($$select tests.rename(repeat(U&'\+01F3E6', 255))$$, '255 characters of four bytes each are taken');
select throws_ok($$select tests.rename(repeat('x', 256))$$, '23514', null, '256 characters are refused');
select throws_ok($$select tests.rename(null)$$, '23502', null, 'null is refused');
select throws_ok($$select tests.rename(' x')$$, '23514', null, 'a leading blank is refused');
select throws_ok($$select tests.rename('x ')$$, '23514', null, 'a trailing blank is refused');
select throws_ok($$select tests.rename(U&'\3000x')$$, '23514', null, 'a leading ideographic space is refused');
select throws_ok($$select tests.rename(U&'x\00A0')$$, '23514', null, 'a trailing no-break space is refused');
select lives_ok($$select tests.rename(U&'x \00A0 x')$$, 'white space inside is taken');
select throws_ok($$select tests.rename(U&'x\0009x')$$, '23514', null, 'a tab is refused');
select throws_ok($$select tests.rename(U&'x\0085x')$$, '23514', null, 'a C1 control is refused');
select throws_ok($$select tests.rename(U&'x\007Fx')$$, '23514', null, 'a delete is refused');

-- Each code point of Unicode's category Cc (control) and property White_Space is refused, and no neighbour of one.
create temporary table code_points (code_point int, is_control boolean, is_white_space boolean);
insert into code_points
select
    c as code_point,
    c < 32 or c between 127 and 159 as is_control,
    c = any(array[32, 160, 5760, 8232, 8233, 8239, 8287, 12288]) or c between 8192 and 8202 as is_white_space
from generate_series(1, 65535) as c
where
    c <= 1024
    or c between 5750 and 5770
    or c between 6150 and 6160
    or c between 8180 and 8300
    or c between 12280 and 12300
    or c between 65270 and 65290;

-- a table under the same constraints: 3,000 changes of one row would take seconds
create table tests.names (like public.user_accounts including defaults including constraints);
alter table tests.names alter column user_id drop not null;
create function tests.is_refused(name text)
returns boolean
language plpgsql
set search_path = ''
as $$
begin
    insert into tests.names (account_name) values (name);
    return false;
exception
    when check_violation then
        return true;
end
$$;

select is_empty(
    $$select code_point from code_points where tests.is_refused('a' || chr(code_point) || 'a') != is_control$$,
    'inside a name every control character is refused, and nothing else'
);
select is_empty(
    $$select code_point from code_points
    where tests.is_refused(chr(code_point) || 'a') != (is_control or is_white_space)$$,
    'at its beginning white space is refused too, and nothing else'
);
select is_empty(
    $$select code_point from code_points
    where tests.is_refused('a' || chr(code_point)) != (is_control or is_white_space)$$,
    'and at its end'
);

-- updated_at

select tests.act_as_service_role();
insert into public.user_accounts (user_id, account_name, updated_at)
values (tests.id_of('dan'), 'Mine', '2000-01-01');
update public.user_accounts set updated_at = '2001-01-01', is_active = false
where user_id = tests.id_of('dan');
select is(
    (
        select updated_at from public.user_accounts
        where user_id = tests.id_of('dan')
    ), now(),
    'a change sets updated_at to now, whatever the statement sets'
);
select is(
    (
        select is_active from public.user_accounts
        where user_id = tests.id_of('dan')
    ), false,
    'a service can switch an account off'
);

-- Deleting a user

select tests.act_as_owner();
delete from auth.users
where id = tests.id_of('ada');
select is_empty(
    $$select 1 from public.user_accounts where user_id = tests.id_of('ada')$$, 'deleting a user deletes the account'
);
select isnt_empty(
    $$select 1 from public.user_accounts where user_id = tests.id_of('bob')$$, 'and no other account'
);

select * from finish();
rollback;
