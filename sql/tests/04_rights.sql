-- The privilege matrix: every right on every object, in both directions. A right that is not in the matrix fails, one
-- that is missing in the database fails, and so does an object without a row. The owner (postgres) is left out: it has
-- all rights.
begin;
\ir helpers.psql
select plan(15);

create temporary view matrix (subject, to_public, to_anon, to_authenticated, to_service_role) as
values
('schema public', 'USAGE', 'USAGE', 'USAGE', 'USAGE'),
('schema accounts_private', '', '', 'USAGE', ''),

('table public.user_accounts', '', '', 'SELECT', 'DELETE, INSERT, SELECT, UPDATE'),
('column public.user_accounts.id', '', '', '', ''),
('column public.user_accounts.user_id', '', '', '', ''),
('column public.user_accounts.account_name', '', '', 'INSERT, UPDATE', ''),
('column public.user_accounts.is_active', '', '', '', ''),
('column public.user_accounts.created_at', '', '', '', ''),
('column public.user_accounts.updated_at', '', '', '', ''),

('function public.list_accounts()', '', '', 'ALL', ''),
('function public.get_or_create_account(text)', '', '', 'ALL', ''),
('function public.create_account(text)', '', '', 'ALL', ''),
('function public.get_account(uuid)', '', '', 'ALL', ''),
('function public.rename_account(uuid, text)', '', '', 'ALL', ''),
('function public.get_or_create_account_for(uuid, text)', '', '', '', 'ALL'),
('function accounts_private.active_account_ids()', '', '', 'ALL', ''),
('function accounts_private.set_updated_at()', '', '', '', '');

-- What the catalogs say

-- Where nothing was ever granted or revoked the catalogs hold null, which stands for the built-in default: on a
-- function, execute for public.
create function tests.rights(kind text, object_owner oid, acl aclitem[])
returns aclitem[]
language sql
stable
set search_path = ''
as $$ select coalesce(acl, pg_catalog.acldefault(kind::"char", object_owner)) $$;

-- Every object of these schemas, with its kind (as acldefault knows it), its owner and its rights.
create temporary view objects (subject, kind, owned_by, acl) as
with
schemas as (
    select
        n.oid,
        n.nspname,
        n.nspowner,
        n.nspacl
    from pg_namespace as n
    where n.nspname in ('public', 'accounts_private')
),

relations as (
    select
        c.oid,
        format('%I.%I', s.nspname, c.relname) as relation,
        case c.relkind when 'S' then 's' else 'r' end as kind,
        c.relowner,
        c.relacl
    from pg_class as c
    inner join schemas as s on c.relnamespace = s.oid
    where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
)

select
    'schema ' || nspname as subject,
    'n' as kind,
    nspowner as owned_by,
    tests.rights('n', nspowner, nspacl) as acl
from schemas
union all
select
    case kind when 's' then 'sequence ' else 'table ' end || relation as subject,
    kind,
    relowner as owned_by,
    tests.rights(kind, relowner, relacl) as acl
from relations
union all
select
    format('column %s.%I', r.relation, a.attname) as subject,
    'c' as kind,
    r.relowner as owned_by,
    a.attacl as acl
from relations as r
inner join pg_attribute as a on r.oid = a.attrelid
where r.kind = 'r' and a.attnum > 0 and not a.attisdropped
union all
select
    format('function %I.%I(%s)', s.nspname, p.proname, oidvectortypes(p.proargtypes)) as subject,
    'f' as kind,
    p.proowner as owned_by,
    tests.rights('f', p.proowner, p.proacl) as acl
from pg_proc as p
inner join schemas as s on p.pronamespace = s.oid
union all
select
    format('type %I.%I', s.nspname, t.typname) as subject,
    'T' as kind,
    t.typowner as owned_by,
    tests.rights('T', t.typowner, t.typacl) as acl
from pg_type as t
inner join schemas as s on t.typnamespace = s.oid
left join pg_class as c on t.typrelid = c.oid
where t.typtype in ('e', 'd', 'r') or c.relkind = 'c'
union all
select
    format(
        'default privileges in %s on %s',
        coalesce(s.nspname, 'every schema'),
        case d.defaclobjtype
            when 'r' then 'tables'
            when 'S' then 'sequences'
            when 'f' then 'functions'
            when 'T' then 'types'
            else 'schemas'
        end
    ) as subject,
    lower(d.defaclobjtype::text) as kind,
    d.defaclrole as owned_by,
    d.defaclacl as acl
from pg_default_acl as d
left join schemas as s on d.defaclnamespace = s.oid
-- those of public are the project's: closed since 30 October 2026, open to the API's roles before
where d.defaclrole::regrole::text = 'postgres' and (d.defaclnamespace = 0 or s.nspname = 'accounts_private');

-- In a shared project, an object that is not in the matrix is the project's own.
create temporary view objects_here as
select o.* from objects as o
where not tests.shared_project() or o.subject in (select m.subject from matrix as m);

create temporary view granted (subject, grantee, rights) as
select
    o.subject,
    case r.grantee when 0 then 'public' else r.grantee::regrole::text end as grantee,
    case
        when array_agg(r.privilege_type order by r.privilege_type) = (
            select array_agg(a.privilege_type order by a.privilege_type)
            from aclexplode(tests.rights(o.kind, o.owned_by, null)) as a
            where a.grantee = o.owned_by and o.kind != 'c'
        ) then 'ALL'
        else string_agg(r.privilege_type, ', ' order by r.privilege_type)
    end || case when bool_or(r.is_grantable) then ', may grant' else '' end as rights
from objects_here as o
cross join lateral aclexplode(o.acl) as r
where r.grantee != o.owned_by
group by o.subject, o.kind, o.owned_by, r.grantee;

create temporary view actual (subject, to_public, to_anon, to_authenticated, to_service_role) as
select
    o.subject,
    coalesce(max(g.rights) filter (where g.grantee = 'public'), '') as to_public,
    coalesce(max(g.rights) filter (where g.grantee = 'anon'), '') as to_anon,
    coalesce(max(g.rights) filter (where g.grantee = 'authenticated'), '') as to_authenticated,
    coalesce(max(g.rights) filter (where g.grantee = 'service_role'), '') as to_service_role
from objects_here as o
left join granted as g on o.subject = g.subject
group by o.subject;

select set_eq(
    'select * from actual', 'select * from matrix', 'the rights are those of the matrix, no more and no less'
);
select is_empty(
    $$select subject, grantee, rights from granted
    where grantee not in ('public', 'anon', 'authenticated', 'service_role') and subject !~ '^schema public$'$$,
    'no other role has any right'
);

-- Roles

select results_eq(
    $$select rolname::text collate "default", rolbypassrls,
        rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolcanlogin
    from pg_roles where rolname in ('anon', 'authenticated', 'service_role') order by 1$$,
    $$values ('anon', false, false), ('authenticated', false, false), ('service_role', true, false)$$,
    'of the API''s roles only service_role bypasses row level security, and none has another attribute'
);
-- A role of the project's own that leads to nothing here may be granted to them.
select is_empty(
    $$select m.name, g.rolname
    from pg_roles as g
    cross join (values ('anon'), ('authenticated'), ('service_role')) as m (name)
    where g.rolname != m.name and pg_has_role(m.name, g.oid, 'member')
        and (
            g.oid < 16384 -- predefined
            or g.rolsuper or g.rolbypassrls or g.rolcreaterole or g.rolreplication
            or g.oid in (select unnest(p.polroles) from pg_policy as p where p.polrelid = 'public.user_accounts'::regclass)
            or g.oid in (select o.owned_by from objects_here as o)
            or g.oid in (
                select a.grantee
                from objects_here as o
                cross join aclexplode(o.acl) as a
                where (o.subject, a.privilege_type) != ('schema public', 'USAGE')
            )
        )$$,
    'none of them is a member of a role that is privileged or has a right'
);

-- The same, as each role

select tests.create_user('ada');
select tests.act_as_anon();
select throws_ok('select 1 from public.user_accounts', '42501', null, 'anon cannot read the table');
select throws_ok($$insert into public.user_accounts (account_name) values ('x')$$, '42501', null, 'nor insert');
select throws_ok('select public.list_accounts()', '42501', null, 'nor call a function');
select throws_ok(
    'select accounts_private.active_account_ids()', '42501', null, 'nor enter the schema that is not exposed'
);
select tests.act_as_service_role();
select throws_ok(
    'select public.get_or_create_account()', '42501', null, 'a service has no account of its own to get'
);
select lives_ok(
    $$delete from public.user_accounts where user_id = tests.id_of('ada')$$,
    'but writes the table, which is why its key never leaves the server'
);
select throws_ok('truncate public.user_accounts', '42501', null, 'it cannot truncate');
select throws_ok(
    $$create trigger mine after insert on public.user_accounts
    for each row execute function pg_catalog.suppress_redundant_updates_trigger()$$, '42501', null,
    'nor add a trigger, which would run with the rights of whoever writes next'
);
select tests.act_as('ada');
select throws_ok(
    $$insert into public.user_accounts (account_name, is_active) values ('x', false)$$, '42501', null,
    'a user sets no column but the name'
);
select throws_ok('create table public.mine ()', '42501', null, 'a user creates nothing in public');
select throws_ok(
    'create function accounts_private.mine() returns int language sql as ''select 1''', '42501', null,
    'nor in the schema that is not exposed'
);

select * from finish();
rollback;
