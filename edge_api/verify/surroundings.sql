-- What the rules of the migrations rest on and do not create: a row for each finding, with its level, its subject, its
-- message, what a person has to decide, and the statements that fix it. Reads catalogs only, which every role may.
--
-- Runs with an empty search_path, so that PostgreSQL qualifies each name in what it returns, and resolves no name: that
-- takes usage on its schema.
--
-- The catalogs have columns named like keywords, and a row of a table of data is a line:
-- noqa: disable=AL03,RF02,RF04,ST05,layout
with open_roles as (
    select oid, rolname as name
    from pg_roles where rolname in ('anon', 'authenticated')
    union all
    select 0::oid as oid, 'public' as name
),

protected as (
    select c.oid
    from pg_class as c
    inner join pg_namespace as n on c.relnamespace = n.oid
    where current_setting('edge_api.scope')::jsonb -> 'relations' ? format('%I.%I', n.nspname, c.relname)
),

-- What the roles above own is theirs to change, as long as nothing else makes them everything.
members (name, of) as (
    select o.name, r.oid
    from open_roles as o
    inner join pg_roles as m on o.oid = m.oid and not m.rolsuper
    inner join pg_roles as r on pg_has_role(m.oid, r.oid, 'member')
),

auth_owner as (
    select coalesce(max(rolname), 'postgres') as owner from pg_roles where rolname = 'supabase_auth_admin'
),

settings as (
    select
        lower(split_part(c.setting, '=', 1)) as name, substr(c.setting, strpos(c.setting, '=') + 1) as value,
        case
            when s.setrole = 0 and d.oid is not null then format('database %I', d.datname)
            else format('role %s', coalesce(quote_ident(r.rolname), 'all')) || coalesce(' in database ' || quote_ident(d.datname), '')
        end as target
    from pg_db_role_setting as s
    left join pg_roles as r on s.setrole = r.oid
    left join pg_database as d on s.setdatabase = d.oid
    cross join lateral unnest(s.setconfig) as c (setting)
    where (s.setdatabase = 0 or d.datname = current_database())
        and (s.setrole = 0 or r.rolname in ('anon', 'authenticated', 'authenticator', 'service_role'))
),

bad_settings as (
    select s.*, b.level, b.message
    from settings as s
    inner join (
        values
        ('error', '^request\.', '', 'every request has the identity or the claims that it sets'),
        ('error', '^row_security$', '^(off|false|no|0)$', 'users'' requests fail'),
        ('warning', '^session_replication_role$', '^(replica|local)$', 'triggers and foreign keys are not enforced'),
        ('warning', '^role$', '^(?!anon$|none$)', 'sessions begin with the rights of another role'),
        ('warning', '^default_transaction_read_only$', '^(on|true|yes|1)$', 'users'' requests that write fail'),
        ('error', '^pgrst\.jwt_role_claim_key$', 'user_metadata', 'users choose the role of their requests'),
        ('warning', '^pgrst\.jwt_role_claim_key$', '^(?!\.role$)(?!.*user_metadata)', 'another claim names the role'),
        ('error', '^pgrst\.db_anon_role$', '^(?!anon$)', 'unauthenticated requests have the rights of that role'),
        ('error', '^pgrst\.db_schemas?$', '^(?!.*\mpublic\M)', 'users'' requests fail'),
        (
            'warning', '^pgrst\.db_schemas?$',
            '\m(accounts_private|auth|supabase_migrations|vault|pg_catalog|information_schema)\M',
            'a schema that is not meant for it is exposed through the API'
        ),
        ('warning', '^pgrst\.db_tx_end$', 'rollback', 'what users write can be lost'),
        ('warning', '^pgrst\.jwt_secret$', '.', 'whoever may log in can read the secret of the tokens')
    ) as b (level, name, value, message)
        on s.name ~ b.name and s.value ~* b.value
    union all
    select s.*, 'error' as level, 'it changes who is calling' as message
    from settings as s
    inner join pg_proc as p on s.value in (p.proname, format('%s.%s', p.pronamespace::regnamespace, p.proname))
    where s.name = 'pgrst.db_pre_request'
        and p.prosrc ~* '(set_config\s*\(\s*|set\s+(local\s+)?)''?"?(role|session_authorization|request\.jwt)'
),

-- What decides who may do what, by whom it is to be owned, and by whom it is.
places (kind, name, owned_by, owner, acl) as (
    select 'schema', n.nspname, case n.nspname when 'public' then 'pg_database_owner' else a.owner end, n.nspowner, n.nspacl
    from pg_namespace as n
    cross join auth_owner as a
    where n.nspname in ('public', 'auth')
    union all
    select c.kind, c.name, a.owner, c.owned_by, null
    from (
        select 'table' as kind, 'auth.users' as name, relowner as owned_by, relnamespace as schema
        from pg_class
        where relname = 'users'
        union all
        select 'function', oid::regprocedure::text, proowner, pronamespace from pg_proc where proname in ('uid', 'jwt')
    ) as c
    inner join pg_namespace as n on c.schema = n.oid and n.nspname = 'auth'
    cross join auth_owner as a
    union all
    select 'database', quote_ident(datname), 'postgres', datdba, datacl
    from pg_database
    where datname = current_database()
),

-- What nobody is to have of what, and what it means to have it.
closed (level, kind, name, owner, acl, privilege, message) as (
    select 'warning', kind, name, owner, acl, 'create', 'may create objects in it'
    from places
    union all
    select 'warning', 'parameter', parname, null, paracl, 'set, alter system', 'may set it'
    from pg_parameter_acl
    union all
    select 'error', 'function', oid::regprocedure::text, proowner, coalesce(proacl, acldefault('f', proowner)),
        'execute', 'may execute it: it reaches the server''s files, and so everything'
    from pg_proc
    where pronamespace = 'pg_catalog'::regnamespace
        and proname in ('pg_read_file', 'pg_read_binary_file', 'pg_ls_dir', 'lo_import', 'lo_export')
    union all
    select case when c.relrowsecurity or n.nspname != 'auth' then 'warning' else 'error' end,
        'table', c.oid::regclass::text, c.relowner,
        c.relacl || (select array_agg(i.acl) from pg_attribute as t cross join unnest(t.attacl) as i (acl) where t.attrelid = c.oid),
        'all', 'has rights on it'
    from pg_class as c
    inner join pg_namespace as n on c.relnamespace = n.oid
    where c.relkind in ('r', 'p', 'v', 'm')
        and (n.nspname = 'auth' or c.oid in ('pg_catalog.pg_authid'::regclass, 'pg_catalog.pg_statistic'::regclass))
)

select 'warning' as level, 'role ' || r.rolname as subject, 'is ' || a.message as message,
    '' as advice, array[format('alter role %I %s', r.rolname, a.fix)] as fix
from pg_roles as r
cross join lateral (
    values
    (r.rolsuper, 'a superuser: nothing holds it back', 'nosuperuser'),
    (r.rolbypassrls and r.rolname != 'service_role', 'exempt from row level security', 'nobypassrls'),
    (not r.rolbypassrls and r.rolname = 'service_role', 'not exempt from row level security: requests fail', 'bypassrls'),
    (r.rolcreaterole, 'allowed to create roles: it can give itself the rights of some', 'nocreaterole'),
    (r.rolcreatedb, 'allowed to create databases', 'nocreatedb'),
    (r.rolreplication, 'allowed to replicate: it can copy the whole database', 'noreplication'),
    (r.rolcanlogin, 'allowed to log in: it can get past the API', 'nologin')
) as a (applies, message, fix)
where a.applies
    and (
        r.rolname in ('anon', 'authenticated', 'service_role')
        or (r.rolname = 'authenticator' and a.fix in ('nosuperuser', 'nobypassrls'))
    )
union all
select case when bool_or(g.rolname ~ '_server_(program|files)$') then 'error' else 'warning' end, 'role ' || m.rolname,
    format('is a member of %s, and so may what is not for users: %s', r.rolname, string_agg(g.rolname, ', ' order by g.rolname)),
    '', array[
        format('revoke %I from %I', r.rolname, m.rolname)
        || case when current_setting('server_version_num')::int < 160000 then '' else
            format(' granted by %s', a.grantor::regrole)
        end || ' cascade'
    ]
from pg_auth_members as a
inner join pg_roles as m on a.member = m.oid and m.rolname in ('anon', 'authenticated', 'service_role')
inner join pg_roles as r on a.roleid = r.oid
-- a superuser is everybody's member
inner join pg_roles as g on r.oid = g.oid or (pg_has_role(r.oid, g.oid, 'member') and not r.rolsuper)
where g.oid < 16384 -- predefined
    or g.rolsuper or g.rolbypassrls or g.rolcreaterole or g.rolreplication
    or g.rolname ~ '^(supabase_|anon$|authenticated$)'
    or exists (
        select from closed as c
        cross join lateral aclexplode(c.acl) as x
        where x.grantee = g.oid and c.privilege ~* x.privilege_type
    )
    -- whom a policy of a protected table is for
    or exists (select from pg_policy as p inner join protected as t on p.polrelid = t.oid where g.oid = any(p.polroles))
group by m.rolname, r.rolname, a.grantor
union all
select 'error', 'role authenticator', format('is no member of %s: requests fail', o.name),
    '', array[format('grant %I to authenticator', o.name)]
from open_roles as o
inner join pg_roles as r on r.rolname = 'authenticator' and not pg_has_role(r.oid, o.oid, 'member')
where o.oid != 0
union all
select level, target, format('is set to %s = %s: %s', name, value, message), '', array[format('alter %s reset %s', target, name)]
from bad_settings
union all
select distinct c.level, c.kind || ' ' || c.name, o.name || ' ' || c.message,
    '', array[format('revoke %s on %s %s from %s cascade', c.privilege, c.kind, c.name, o.name)]
from closed as c
cross join lateral aclexplode(c.acl) as a
inner join open_roles as o on a.grantee = o.oid
where a.grantee is distinct from c.owner and (c.privilege = 'all' or c.privilege ~* a.privilege_type)
union all
select case p.kind when 'database' then 'warning' else 'error' end, p.kind || ' ' || p.name,
    format('is owned by %s, whose rights %s has: it can change and drop it', p.owner::regrole, m.name),
    '', array[format('alter %s %s owner to %I', p.kind, p.name, p.owned_by)] || array(
        select format('grant usage on schema %s to anon, authenticated, service_role', p.name) where p.kind = 'schema'
    )
from places as p
inner join members as m on p.owner = m.of
union all
select distinct 'warning', 'default privileges of ' || d.defaclrole::regrole,
    format('%s has rights on all %s that it will create%s', o.name, t.objects, ' in ' || n.nspname),
    '', array[
        format(
            'alter default privileges for role %s%s revoke all on %s from %s', d.defaclrole::regrole,
            ' in schema ' || quote_ident(n.nspname), t.objects, o.name
        )
    ]
from pg_default_acl as d
cross join lateral aclexplode(d.defaclacl) as a
inner join (
    select oid, name from open_roles
    union all
    select oid, rolname from pg_roles where rolname = 'service_role'
) as o on a.grantee = o.oid
inner join (
    values ('r', 'tables'), ('S', 'sequences'), ('f', 'functions'), ('n', 'schemas'), ('T', 'types')
) as t (type, objects) on d.defaclobjtype::text = t.type
left join pg_namespace as n on d.defaclnamespace = n.oid
where a.grantee != d.defaclrole
    and (
        current_setting('edge_api.scope')::jsonb -> 'schemas' ? n.nspname
        -- those of other schemas are the project's; "all schemas" is not one
        or (d.defaclnamespace = 0 and (a.grantee != 0 or t.type not in ('f', 'T')))
    )
union all
select 'warning', 'publication ' || quote_ident(p.pubname),
    format('sends changed rows of %s out of the database; Realtime tells each subscriber of deleted ids', t.relid::regclass),
    case when r.oid is null then 'decide which tables it is for, and name them instead of all' else '' end,
    array(select format('alter publication %I drop table %s', p.pubname, r.prrelid::regclass) where r.oid is not null)
from pg_publication as p
cross join lateral pg_get_publication_tables(p.pubname) as t
inner join protected as c on t.relid = c.oid or t.relid in (select a.relid from pg_partition_ancestors(c.oid) as a)
left join pg_publication_rel as r on p.oid = r.prpubid and t.relid = r.prrelid
union all
select case
        when coalesce(pg_get_function_sqlbody(p.oid), p.prosrc)
        ~* '\m(grant|policy|no\s+force|disable|owner\s+to|bypassrls|user_accounts)\M' then 'warning'
        else 'info'
    end,
    'event trigger ' || quote_ident(e.evtname), format('runs %s with each change of the schema', p.oid::regprocedure),
    'read it and decide whether it may change them; if not, drop it', '{}'
from pg_event_trigger as e
inner join pg_proc as p on e.evtfoid = p.oid
where e.evtenabled != 'D'
    -- Supabase's own, and what PostgREST's documentation proposes
    and e.evtname !~ '^(issue_(pg_cron|pg_net|pg_graphql)_access|issue_graphql_placeholder|pgrst_\w*watch|ensure_rls)$'
union all
select 'warning', 'function ' || p.oid::regprocedure,
    'is leakproof: where a condition calls it, it sees rows before the policies do',
    '', array[format('alter function %s not leakproof', p.oid::regprocedure)]
from pg_proc as p
inner join pg_language as l on p.prolang = l.oid
where p.proleakproof and p.oid >= 16384 and l.lanname not in ('c', 'internal')
