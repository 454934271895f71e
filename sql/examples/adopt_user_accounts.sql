-- Replaces a project's existing table public.user_accounts by the one that the migrations create.
--
--     psql "$DATABASE_URL" --no-psqlrc -f sql/examples/adopt_user_accounts.sql
--
-- One transaction. If anything is in the way, it lists what, how many and the SQL that removes it, and changes nothing:
-- psql's exit code is 3 then. Otherwise the old table moves into a schema that only its owner can use, the migrations
-- themselves create the new one, the rows are copied, and the foreign keys of other tables are pointed to it. Rights,
-- policies, indexes and constraints of the old table are not carried over. What to do before and after: docs/deploy.md.
--
-- With -v leave_columns=broker,note the columns broker and note, which accounts do not have, stay in the old table.
-- noqa: disable=RF04

\set QUIET on
\set ON_ERROR_STOP on
\set SHOW_CONTEXT never
\if :{?leave_columns} \else \set leave_columns '' \endif

-- The text form of a uuid, and the characters that the constraints on account_name refuse: anywhere, and at an end.
\set uuid '^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$'
\set control '\\u0001-\\u001f\\u007f-\\u009f'
\set white_space ' \\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000'

begin;
set local transaction_isolation = 'read committed';
set local search_path = '';
-- a timestamp without time zone is taken as UTC
set local timezone = 'UTC';
-- an error, rather than a copy without the rows that a policy hides
set local row_security = off;
set local lock_timeout = '5s';
set local statement_timeout = '30min';

-- The table -------------------------------------------------------------------------------------------------------
-- Locked before its rows are read, so that the rows that are checked are the rows that are copied.

do $$
declare
    old_table constant regclass := to_regclass('public.user_accounts');
    old_owner constant name := (select pg_get_userbyid(c.relowner) from pg_class as c where c.oid = old_table);
begin
    if to_regnamespace('accounts_private') is not null or to_regnamespace('accounts_before_adoption') is not null then
        raise exception 'nothing was changed: the schema accounts_private or accounts_before_adoption exists'
        using hint = 'Both exist after an adoption: is the table adopted already? See edge-api verify.';
    elsif old_table is null then
        raise exception 'nothing was changed: there is no table public.user_accounts'
        using hint = 'Apply the migrations: supabase db push.';
    elsif (select c.relkind != 'r' from pg_class as c where c.oid = old_table)
        or exists (select from pg_inherits as i where old_table in (i.inhrelid, i.inhparent))
    then
        raise exception 'nothing was changed: public.user_accounts is not a plain table'
        using hint = 'Views, foreign tables, partitions and tables with parents or children are not adopted.';
    elsif current_user != 'postgres' or not pg_has_role(old_owner, 'usage') then
        raise exception 'nothing was changed: % cannot adopt a table that belongs to %', current_user, old_owner
        using hint = 'Connect as postgres, and make it a member of the role that owns the table.';
    end if;
    -- in the order in which a sign-up takes them whose trigger inserts into user_accounts
    lock table auth.users in share row exclusive mode;
    lock table public.user_accounts in access exclusive mode;
exception
    when lock_not_available then
        raise exception 'nothing was changed: public.user_accounts is in use' using hint = 'Run it again later.';
end
$$;

-- What is in the way ----------------------------------------------------------------------------------------------
-- For each kind: how many, which where they have names, and SQL that removes it. All of it is listed below at once.

create temporary table obstacle (
    ordinal int generated always as identity,
    kind text not null,
    number bigint not null,
    identity text,
    fix text not null
) on commit drop;

-- Columns: a fix changes to the first of the types.
with expected (name, is_required, types) as (
    values
    ('id', false, null),
    ('user_id', true, array['text', 'character varying', 'uuid']),
    ('account_name', true, array['text', 'character varying']),
    ('is_active', false, array['boolean']),
    ('created_at', false, array['timestamp with time zone', 'timestamp without time zone']),
    ('updated_at', false, array['timestamp with time zone', 'timestamp without time zone'])
),

actual as (
    select
        attnum as position,
        attname::text as name,
        format_type(atttypid, null) as type
    from pg_attribute
    where attrelid = 'public.user_accounts'::regclass and attnum > 0 and not attisdropped
)

insert into pg_temp.obstacle (kind, number, identity, fix)
select
    case
        when a.name is null then 'columns that are missing'
        when e.name is null then 'columns that accounts do not have'
        else 'columns of another type'
    end as kind,
    1 as number,
    coalesce(a.name || ' ' || a.type, e.name) as identity,
    case
        when a.name is null
            then format('-- alter table public.user_accounts rename column ... to %I; or add column', e.name)
        when e.name is null
            then format(
                '-- to leave them in the old table: psql -v leave_columns=%s',
                string_agg(a.name, ',') filter (where e.name is null) over ()
            )
        else format(
            'alter table public.user_accounts alter %1$I drop default, alter %1$I type %2$s using %1$I::%2$s;',
            a.name, e.types[1]
        )
    end as fix
from expected as e
full join actual as a on e.name = a.name
where
    (a.name is null and e.is_required)
    or a.type != all(e.types)
    or (e.name is null and a.name != all(string_to_array(:'leave_columns', ',')))
order by a.position;

-- Objects that refer to the table or its row type by identity, not by name: they would still use the old table.
insert into pg_temp.obstacle (kind, number, identity, fix)
select distinct
    'objects that depend on the table' as kind,
    1 as number,
    o.type || ' ' || o.identity as identity,
    case
        when o.type in ('view', 'materialized view', 'trigger', 'rule', 'policy', 'function', 'procedure')
            then format('drop %s %s; -- and create it again after the adoption', o.type, o.identity)
        when o.type = 'publication relation'
            then format(
                'alter publication %I drop table public.user_accounts;', split_part(o.identity, ' in publication ', 2)
            )
        else format('-- make %s %s independent of the table', o.type, o.identity)
    end as fix
from pg_depend as d
left join pg_rewrite as r on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
left join pg_class as v on r.ev_class = v.oid and v.relkind in ('v', 'm')
cross join
    pg_identify_object(
        case when v.oid is null then d.classid else 'pg_class'::regclass end, coalesce(v.oid, d.objid), 0
    ) as o
where
    d.deptype in ('n', 'a')
    and (d.refclassid, d.refobjid) in (
        ('pg_class'::regclass, 'public.user_accounts'::regclass),
        ('pg_type'::regclass, 'public.user_accounts'::regtype),
        ('pg_type'::regclass, 'public.user_accounts[]'::regtype)
    )
    -- not what moves with the table; foreign keys follow below
    and o.type not in ('default value', 'index', 'sequence', 'statistics object', 'table constraint')
    and not (o.type = 'policy' and o.identity like '% on public.user\_accounts')
order by identity;

-- Foreign keys of other tables. An id that is a uuid is kept, so that references from a uuid column stay valid.
create temporary table foreign_key on commit drop as
select
    f.conrelid::regclass::text as referencing_table,
    quote_ident(f.conname) as constraint_name,
    pg_get_constraintdef(f.oid) as definition,
    array_length(f.confkey, 1) = 1 and a.attname in ('id', 'user_id') and a.atttypid = 'uuid'::regtype as stays_valid
from pg_constraint as f
inner join pg_attribute as a on f.confrelid = a.attrelid and f.confkey[1] = a.attnum
where
    f.contype = 'f'
    and f.confrelid = 'public.user_accounts'::regclass
    and f.conrelid != f.confrelid
    and f.conparentid = 0;

insert into pg_temp.obstacle (kind, number, identity, fix)
select
    'foreign keys to another column than an id or user_id of type uuid' as kind,
    1 as number,
    constraint_name || ' on ' || referencing_table as identity,
    format('alter table %s drop constraint %s;', referencing_table, constraint_name) as fix
from pg_temp.foreign_key
where not stays_valid
order by identity;

-- Names that the migrations refuse too, but only when the rows are in order.
insert into pg_temp.obstacle (kind, number, identity, fix)
select
    'functions that have a name of the migrations' as kind,
    1 as number,
    o.identity,
    format('-- rename %s %s', o.type, o.identity) as fix
from pg_proc as p
cross join pg_identify_object('pg_proc'::regclass, p.oid, 0) as o
where
    p.pronamespace = 'public'::regnamespace
    and p.proname in (
        'list_accounts', 'get_or_create_account', 'get_or_create_account_for', 'create_account', 'get_account',
        'rename_account'
    );

-- Rows: read once, as text, whatever types the columns have. None if a column is missing.
create temporary table old_account on commit drop as
select
    case when o.old ->> 'id' ~* :'uuid' then (o.old ->> 'id')::uuid end as id,
    case when o.old ->> 'user_id' ~* :'uuid' then (o.old ->> 'user_id')::uuid end as user_id,
    o.old ->> 'user_id' as user_id_text,
    o.old ->> 'account_name' as account_name,
    o.old -> 'is_active' as is_active,
    o.old ->> 'created_at' as created_at,
    o.old ->> 'updated_at' as updated_at
from public.user_accounts as ua
cross join to_jsonb(ua.*) as o (old)
where 'columns that are missing' != all(array(select found.kind from pg_temp.obstacle as found));

select
    'update public.user_accounts set is_active = false where is_active is null;' as fix_is_active,
    '-- rows of no user: correct user_id where you know it, then:' || e'\n'
    || 'delete from public.user_accounts as a where not exists (select from auth.users as u'
    || $$ where replace(u.id::text, '-', '') = replace(lower(a.user_id::text), '-', ''));$$ as fix_user_id,
    format(
        'update public.user_accounts set account_name = coalesce('
        'substring(regexp_replace(account_name, %L, '' '', ''g'') from %L), ''Default Alpaca Account'');',
        '[' || :'control' || ']',
        '[^' || :'white_space' || '](?:.{0,253}[^' || :'white_space' || '])?'
    ) as fix_name,
    '-- several rows of a user: which one to keep is a decision, this keeps an arbitrary one' || e'\n'
    || 'delete from public.user_accounts as a using public.user_accounts as b where a.ctid < b.ctid'
    || $$ and replace(lower(a.user_id::text), '-', '') = replace(lower(b.user_id::text), '-', '');$$ as fix_several
\gset

insert into pg_temp.obstacle (kind, number, fix)
select
    c.kind,
    count(*) as number,
    c.fix
from pg_temp.old_account as o
left join auth.users as u on o.user_id = u.id
cross join
    lateral (
        values
        (1, o.user_id_text is null, 'rows whose user_id is null', :'fix_user_id'),
        (2, o.user_id_text is not null and o.user_id is null, 'rows whose user_id is not a uuid', :'fix_user_id'),
        (3, o.user_id is not null and u.id is null, 'rows whose user_id is not the id of a user', :'fix_user_id'),
        (4, coalesce(o.account_name, '') = '', 'rows whose account_name is null or empty', :'fix_name'),
        (5, o.account_name ~ ('[' || :'control' || ']'), 'rows whose account_name has control characters', :'fix_name'),
        (
            6, o.account_name ~ ('^[' || :'white_space' || ']|[' || :'white_space' || ']$'),
            'rows whose account_name has white space at an end', :'fix_name'
        ),
        (7, char_length(o.account_name) > 255, 'rows whose account_name is too long', :'fix_name'),
        (8, o.is_active = 'null', 'rows whose is_active is null', :'fix_is_active')
    ) as c (ordinal, is_found, kind, fix)
where c.is_found
group by c.ordinal, c.kind, c.fix
order by c.ordinal;

insert into pg_temp.obstacle (kind, number, identity, fix)
select
    'users with several rows' as kind,
    count(*) as number,
    sum(u.rows_of_user) || ' rows' as identity,
    :'fix_several' as fix
from (
    select count(*) as rows_of_user from pg_temp.old_account
    where user_id is not null
    group by user_id
    having count(*) > 1
) as u
having count(*) > 0;

insert into pg_temp.obstacle (kind, number, fix)
select
    'rows whose id another row has' as kind,
    count(*) as number,
    '-- rows with the same id: give all but one of them another id' as fix
from pg_temp.old_account as o
where
    o.id in (
        select twice.id from pg_temp.old_account as twice
        group by twice.id
        having count(*) > 1
    )
having count(*) > 0;

do $$
declare
    obstacles constant text := (
        select string_agg(o.kind || ': ' || o.number || coalesce(' (' || o.identities || ')', ''), e'\n' order by o.first)
        from (
            select
                kind,
                min(ordinal) as first,
                sum(number) as number,
                string_agg(identity, ', ' order by ordinal) as identities
            from pg_temp.obstacle
            group by kind
        ) as o
    );
    fixes constant text := (
        select string_agg(o.fix, e'\n' order by o.first)
        from (select fix, min(ordinal) as first from pg_temp.obstacle group by fix) as o
    );
begin
    if obstacles is not null then
        raise exception 'nothing was changed: this is in the way of adopting public.user_accounts'
        using detail = obstacles, hint = e'Adapt this and run it, then this script again:\n' || fixes;
    end if;
end
$$;

-- The old table ---------------------------------------------------------------------------------------------------
-- Its indexes, constraints and sequences move with it, so that all names are free. Policies and grants are removed,
-- which give others access, and so are foreign keys that would keep rows elsewhere from being deleted.

create schema accounts_before_adoption;

comment on schema accounts_before_adoption is
'The table user_accounts from before the migrations. Never exposed through the API. Drop it when nothing needs it.';

revoke all on schema accounts_before_adoption from public, anon, authenticated, service_role;

alter table public.user_accounts set schema accounts_before_adoption;
alter table accounts_before_adoption.user_accounts enable row level security;

select format('drop policy %I on accounts_before_adoption.user_accounts', polname) as statement from pg_policy
where polrelid = 'accounts_before_adoption.user_accounts'::regclass
union all
select format('alter table accounts_before_adoption.user_accounts drop constraint %I', conname) from pg_constraint
where conrelid = 'accounts_before_adoption.user_accounts'::regclass and contype = 'f' and confdeltype != 'c'
union all
select
    format(
        'revoke all on accounts_before_adoption.%I from %s cascade',
        c.relname, case a.grantee when 0 then 'public' else a.grantee::regrole::text end
    )
from pg_class as c
cross join
    lateral (
        select (aclexplode(c.relacl)).grantee
        union
        select (aclexplode(attacl)).grantee from pg_attribute
        where attrelid = c.oid
    ) as a
where
    c.relnamespace = 'accounts_before_adoption'::regnamespace
    and c.relkind in ('r', 'S')
    and a.grantee != c.relowner
\gexec

-- The new table ---------------------------------------------------------------------------------------------------
-- The migrations, all of them and in their order.

\ir ../../supabase/migrations/20261126000100_user_accounts.sql
\ir ../../supabase/migrations/20261126000200_account_functions.sql

-- The migrations' own limits are for an empty table.
set local statement_timeout = '30min';

insert into public.user_accounts (id, user_id, account_name, is_active, created_at, updated_at)
select
    coalesce(o.id, gen_random_uuid()) as id,
    o.user_id,
    o.account_name,
    coalesce(o.is_active::boolean, true) as is_active,
    coalesce(o.created_at::timestamptz, o.updated_at::timestamptz, now()) as created_at,
    coalesce(o.updated_at::timestamptz, o.created_at::timestamptz, now()) as updated_at
from pg_temp.old_account as o;

select format(
    'alter table %1$s drop constraint %2$s, add constraint %2$s %3$s',
    f.referencing_table, f.constraint_name, f.definition
) as statement from pg_temp.foreign_key as f
\gexec

do $$
begin
    if (select count(*) from public.user_accounts) != (select count(*) from accounts_before_adoption.user_accounts) then
        raise exception 'nothing was changed: not every row was copied';
    end if;
end
$$;

select count(*) as accounts from public.user_accounts
\gset
commit;

\echo Adopted. Accounts: :accounts. The old table is accounts_before_adoption.user_accounts.
\echo Next, record the migrations as applied: supabase migration repair (docs/deploy.md).
