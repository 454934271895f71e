-- The definitions: every object that protects an account, as the catalogs hold it, compared with the text below. This
-- finds what no behavior shows: a lock held longer, a constraint that is not validated, a condition that is rarely
-- true. To change a protected object is to change this file.
-- noqa: disable=RF04
begin;
\ir helpers.psql
select plan(3);

create temporary table written (object text, definition text);

insert into written (object, definition) values
('schema accounts_private', 'owner postgres'),
('table public.user_accounts', 'owner postgres, permanent, row level security enabled, forced'),

('column id', 'uuid not null default gen_random_uuid()'),
('column user_id', 'uuid not null default auth.uid()'),
('column account_name', 'text not null'),
('column is_active', 'boolean not null default true'),
('column created_at', 'timestamp with time zone not null default now()'),
('column updated_at', 'timestamp with time zone not null default now()'),

('constraint user_accounts_pkey', 'PRIMARY KEY (id)'),
('constraint user_accounts_user_id_key', 'UNIQUE (user_id)'),
('constraint user_accounts_user_id_fkey', 'FOREIGN KEY (user_id) REFERENCES auth.users(id) ON DELETE CASCADE'),
(
    'constraint user_accounts_account_name_length',
    'CHECK (((char_length(account_name) >= 1) AND (char_length(account_name) <= 255)))'
),
(
    'constraint user_accounts_account_name_no_control',
    $$CHECK ((account_name !~ '[\u0001-\u001f\u007f-\u009f]'::text))$$
),
(
    'constraint user_accounts_account_name_trimmed',
    $$CHECK (((account_name !~ '^[ \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]'::text) AND $$
    || $$(account_name !~ '[ \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]$'::text)))$$
),

('index user_accounts_pkey', 'CREATE UNIQUE INDEX user_accounts_pkey ON public.user_accounts USING btree (id)'),
(
    'index user_accounts_user_id_key',
    'CREATE UNIQUE INDEX user_accounts_user_id_key ON public.user_accounts USING btree (user_id)'
),

(
    'trigger user_accounts_set_updated_at',
    'CREATE TRIGGER user_accounts_set_updated_at BEFORE UPDATE ON public.user_accounts '
    || 'FOR EACH ROW EXECUTE FUNCTION accounts_private.set_updated_at()'
),

-- {authenticated}: no policy is for any other role
(
    'policy "Users see their own account"',
    'permissive select to {authenticated} using (user_id = ( SELECT auth.uid() AS uid))'
),
(
    'policy "Users create their own account"',
    'permissive insert to {authenticated} check (user_id = ( SELECT auth.uid() AS uid))'
),
(
    'policy "Users rename their own account"',
    'permissive update to {authenticated} using (user_id = ( SELECT auth.uid() AS uid)) '
    || 'check (user_id = ( SELECT auth.uid() AS uid))'
),
(
    'policy "Anonymous sign-ins create nothing"',
    'restrictive insert to {authenticated} '
    || $$check ((( SELECT auth.jwt() AS jwt) ->> 'is_anonymous'::text) IS DISTINCT FROM 'true'::text)$$
),
(
    'policy "Anonymous sign-ins change nothing"',
    'restrictive update to {authenticated} using true '
    || $$check ((( SELECT auth.jwt() AS jwt) ->> 'is_anonymous'::text) IS DISTINCT FROM 'true'::text)$$
),
('policy "Inactive accounts do not change"', 'restrictive update to {authenticated} using true check is_active');

-- The functions, as pg_get_functiondef prints them
-- noqa: disable=LT05

insert into written (object, definition) values
(
    'function public.list_accounts()',
    $definition$CREATE OR REPLACE FUNCTION public.list_accounts()
 RETURNS SETOF public.user_accounts
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
AS $function$
declare
    caller constant uuid := auth.uid();
begin
    return query
    select ua.*
    from public.user_accounts as ua
    where ua.user_id = caller
    order by ua.created_at desc, ua.id asc;
end
$function$$definition$
),
(
    'function public.get_or_create_account(default_name text)',
    $definition$CREATE OR REPLACE FUNCTION public.get_or_create_account(default_name text DEFAULT 'Default Alpaca Account'::text)
 RETURNS TABLE(id uuid, user_id uuid, account_name text, is_active boolean, created_at timestamp with time zone, updated_at timestamp with time zone, created boolean)
 LANGUAGE plpgsql
 ROWS 1
 SET search_path TO ''
AS $function$
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
$function$$definition$
),
(
    'function public.create_account(account_name text)',
    $definition$CREATE OR REPLACE FUNCTION public.create_account(account_name text)
 RETURNS public.user_accounts
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
    new_account public.user_accounts;
begin
    insert into public.user_accounts as ua (account_name)
    values (create_account.account_name)
    returning ua.* into new_account;
    return new_account;
end
$function$$definition$
),
(
    'function public.get_account(account_id uuid)',
    $definition$CREATE OR REPLACE FUNCTION public.get_account(account_id uuid)
 RETURNS SETOF public.user_accounts
 LANGUAGE plpgsql
 STABLE ROWS 1
 SET search_path TO ''
AS $function$
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
$function$$definition$
),
(
    'function public.rename_account(account_id uuid, account_name text)',
    $definition$CREATE OR REPLACE FUNCTION public.rename_account(account_id uuid, account_name text)
 RETURNS SETOF public.user_accounts
 LANGUAGE plpgsql
 ROWS 1
 SET search_path TO ''
AS $function$
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
$function$$definition$
),
(
    'function public.get_or_create_account_for(owner uuid, default_name text)',
    $definition$CREATE OR REPLACE FUNCTION public.get_or_create_account_for(owner uuid, default_name text DEFAULT 'Default Alpaca Account'::text)
 RETURNS TABLE(id uuid, user_id uuid, account_name text, is_active boolean, created_at timestamp with time zone, updated_at timestamp with time zone, created boolean)
 LANGUAGE plpgsql
 ROWS 1
 SET search_path TO ''
AS $function$
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
$function$$definition$
),
(
    'function accounts_private.active_account_ids()',
    $definition$CREATE OR REPLACE FUNCTION accounts_private.active_account_ids()
 RETURNS SETOF uuid
 LANGUAGE plpgsql
 STABLE ROWS 1
 SET search_path TO ''
AS $function$
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
$function$$definition$
),
(
    'function accounts_private.set_updated_at()',
    $definition$CREATE OR REPLACE FUNCTION accounts_private.set_updated_at()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
begin
    new.updated_at := pg_catalog.now();
    return new;
end
$function$$definition$
);

-- noqa: enable=LT05

-- The actual definitions. The empty search_path makes PostgreSQL qualify every name.

create function tests.definitions()
returns table (object text, definition text)
language sql
stable
set search_path = ''
as $$
    with recursive account_table as (
        select c.*
        from pg_catalog.pg_class as c
        where c.oid = 'public.user_accounts'::pg_catalog.regclass
    ),

    -- relations with rules, views among them, that refer to the table, and those that refer to them
    referring as (
        select
            r.ev_class as oid,
            d.refobjid as to_oid
        from pg_catalog.pg_rewrite as r
        inner join pg_catalog.pg_depend as d on r.oid = d.objid
        where
            d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
            and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
            and r.ev_class != d.refobjid
    ),

    reader as (
        select referring.oid
        from account_table as t
        inner join referring on t.oid = referring.to_oid
        union
        select referring.oid
        from reader
        inner join referring on reader.oid = referring.to_oid
    )

    select
        'schema accounts_private' as object,
        'owner ' || n.nspowner::pg_catalog.regrole as definition
    from pg_catalog.pg_namespace as n
    where n.nspname = 'accounts_private'
    union all
    select
        'table public.user_accounts' as object,
        pg_catalog.concat_ws(
            ', ', 'owner ' || t.relowner::pg_catalog.regrole,
            case t.relpersistence when 'p' then 'permanent' when 'u' then 'unlogged' else 'temporary' end,
            case when t.relrowsecurity then 'row level security enabled' end,
            case when t.relforcerowsecurity then 'forced' end,
            case when t.relkind != 'r' then 'relkind ' || t.relkind::text end,
            case when t.relispartition then 'a partition' end,
            case when t.reloftype != 0 then 'of a type' end,
            case when t.relreplident != 'd' then 'replica identity ' || t.relreplident::text end,
            t.reloptions::text
        ) as definition
    from account_table as t
    union all
    select
        'column ' || a.attname as object,
        pg_catalog.concat_ws(
            ' ', pg_catalog.format_type(a.atttypid, a.atttypmod),
            case when a.attcollation not in (0, 100) then 'collate ' || a.attcollation::pg_catalog.regcollation end,
            case when a.attnotnull and n.oid is null then 'not null' end,
            case when a.attgenerated != '' then 'generated' end,
            case when a.attidentity != '' then 'identity' end,
            'default ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid),
            case when a.attstorage != y.typstorage then 'storage ' || a.attstorage::text end,
            a.attoptions::text
        ) as definition
    from account_table as t
    inner join pg_catalog.pg_attribute as a on t.oid = a.attrelid
    inner join pg_catalog.pg_type as y on a.atttypid = y.oid
    left join pg_catalog.pg_attrdef as d on a.attrelid = d.adrelid and a.attnum = d.adnum
    -- PostgreSQL 18 keeps "not null" as a constraint, which may be not valid
    left join pg_catalog.pg_constraint as n
        on a.attrelid = n.conrelid and n.contype = 'n' and n.conkey = array[a.attnum] and not n.convalidated
    where a.attnum > 0 and not a.attisdropped
    union all
    select
        'constraint ' || c.conname as object,
        pg_catalog.pg_get_constraintdef(c.oid)
        || case
            when exists (
                select from pg_catalog.pg_trigger as internal
                where internal.tgconstraint = c.oid and internal.tgenabled != 'O'
            ) then ', not enforced'
            else ''
        end as definition
    from account_table as t
    inner join pg_catalog.pg_constraint as c on t.oid = c.conrelid
    where c.contype != 'n'
    union all
    select
        'index ' || c.relname as object,
        pg_catalog.pg_get_indexdef(i.indexrelid)
        || case when i.indisvalid and i.indisready and i.indislive and i.indimmediate then '' else ', unusable' end
            as definition
    from account_table as t
    inner join pg_catalog.pg_index as i on t.oid = i.indrelid
    inner join pg_catalog.pg_class as c on i.indexrelid = c.oid
    union all
    select
        'trigger ' || g.tgname as object,
        pg_catalog.pg_get_triggerdef(g.oid)
        || case g.tgenabled when 'O' then '' else ', enabled ' || g.tgenabled::text end as definition
    from account_table as t
    inner join pg_catalog.pg_trigger as g on t.oid = g.tgrelid
    where not g.tgisinternal
    union all
    select
        'rule ' || r.rulename as object,
        pg_catalog.pg_get_ruledef(r.oid) as definition
    from account_table as t
    inner join pg_catalog.pg_rewrite as r on t.oid = r.ev_class
    union all
    select
        pg_catalog.format('policy %I', p.polname) as object,
        pg_catalog.concat_ws(
            ' ', case when p.polpermissive then 'permissive' else 'restrictive' end,
            case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' else p.polcmd::text end,
            'to', array(
                select case r.role when 0 then 'public' else r.role::pg_catalog.regrole::text end
                from pg_catalog.unnest(p.polroles) as r (role)
            )::text,
            'using ' || pg_catalog.pg_get_expr(p.polqual, p.polrelid),
            'check ' || pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)
        ) as definition
    from account_table as t
    inner join pg_catalog.pg_policy as p on t.oid = p.polrelid
    union all
    select
        'parent ' || i.inhparent::pg_catalog.regclass as object,
        'whoever reads it reads the accounts' as definition
    from account_table as t
    inner join pg_catalog.pg_inherits as i on t.oid = i.inhrelid
    union all
    select
        'child ' || i.inhrelid::pg_catalog.regclass as object,
        'its rows are among the accounts' as definition
    from account_table as t
    inner join pg_catalog.pg_inherits as i on t.oid = i.inhparent
    union all
    select
        'publication ' || p.pubname as object,
        'sends the accounts out of the database' as definition
    from pg_catalog.pg_publication_tables as p
    where p.schemaname = 'public' and p.tablename = 'user_accounts'
    union all
    select
        'view ' || v.oid::pg_catalog.regclass as object,
        'reads the accounts with the rights of ' || v.relowner::pg_catalog.regrole as definition
    from reader
    inner join pg_catalog.pg_class as v on reader.oid = v.oid
    where
        not exists (
            select from pg_catalog.pg_options_to_table(v.reloptions) as o
            where o.option_name = 'security_invoker' and o.option_value::boolean
        )
        -- security_invoker covers what a view selects; other rules still run with the rights of the view's owner
        or exists (
            select from pg_catalog.pg_rewrite as r
            where r.ev_class = v.oid and r.ev_type != '1'
        )
    union all
    select
        pg_catalog.format(
            'function %I.%I(%s)', n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid)
        ) as object,
        pg_catalog.rtrim(pg_catalog.pg_get_functiondef(p.oid), e'\n')
        || case p.proowner::pg_catalog.regrole::text when 'postgres' then '' else ', owner ' || p.proowner end
            as definition
    from pg_catalog.pg_proc as p
    inner join pg_catalog.pg_namespace as n on p.pronamespace = n.oid
    where
        n.nspname = 'accounts_private'
        or (
            n.nspname = 'public'
            and p.proname in (
                'list_accounts', 'get_or_create_account', 'get_or_create_account_for', 'create_account', 'get_account',
                'rename_account'
            )
        )
$$;

create temporary table actual as
select
    d.object,
    d.definition
from tests.definitions() as d;

select is_empty(
    'select object, definition from actual where object not in (select object from written)', 'no definition was added'
);
select is_empty('select object from written where object not in (select object from actual)', 'none is missing');
select is_empty(
    $$select object, actual.definition as actual, written.definition as written from actual
    inner join written using (object) where actual.definition is distinct from written.definition$$,
    'every definition is as expected'
);

select * from finish();
rollback;
