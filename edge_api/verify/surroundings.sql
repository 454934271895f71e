-- What the rules of the migrations rest on and do not create: a row for each finding, with its level, its subject, its
-- message, what a person has to decide, and the statements that fix it. Reads catalogs only, which every role may.
--
-- Runs with an empty search_path, so that PostgreSQL qualifies each name in what it returns.
--
-- The catalogs have columns named like keywords, and a row of a table of data is a line:
-- noqa: disable=RF02,RF04,ST05,layout
with recursive open_roles as (
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

memberships as (
    select a.member, a.roleid as direct, a.roleid, a.grantor
    from pg_auth_members as a
    inner join open_roles as o on a.member = o.oid
    union
    select m.member, m.direct, a.roleid, m.grantor
    from memberships as m
    inner join pg_auth_members as a on m.roleid = a.member
),

settings as (
    select s.setdatabase, r.rolname, lower(split_part(c.setting, '=', 1)) as name,
        substr(c.setting, strpos(c.setting, '=') + 1) as value,
        concat_ws(
            ' ', 'alter',
            case
                when s.setrole = 0 and s.setdatabase != 0 then format('database %I', d.datname)
                when s.setrole = 0 then 'role all'
                else format('role %I', r.rolname)
            end,
            case when s.setrole != 0 and s.setdatabase != 0 then format('in database %I', d.datname) end
        ) as target
    from pg_db_role_setting as s
    left join pg_roles as r on s.setrole = r.oid
    left join pg_database as d on s.setdatabase = d.oid cross join lateral unnest(s.setconfig) as c (setting)
    where (s.setdatabase = 0 or d.datname = current_database())
        and (
            s.setrole = 0
            or r.rolname in ('anon', 'authenticator', 'service_role')
            or (
                pg_has_role(s.setrole, (select o.oid from open_roles as o where o.name = 'authenticated'), 'member')
                and not r.rolsuper
            )
        )
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
        ('error', '^pgrst\.jwt[-_]role[-_]claim[-_]key$', 'user_metadata', 'users choose the role of their requests'),
        (
            'warning',
            '^pgrst\.jwt[-_]role[-_]claim[-_]key$',
            '^(?!\.role$)(?!.*user_metadata)', 'another claim names the role'
        ),
        ('error', '^pgrst\.db[-_]schemas?$', '^(?!.*\mpublic\M)', 'users'' requests fail'),
        (
            'warning',
            '^pgrst\.db[-_]schemas?$',
            '\m(accounts_private|auth|supabase_migrations|vault|pg_catalog|information_schema)\M',
            'a schema that is not meant for it is exposed through the API'
        ),
        ('warning', '^pgrst\.db[-_]tx[-_]end$', 'rollback', 'what users write can be lost'),
        ('warning', '^pgrst\.jwt[-_]secret$', '.', 'whoever may log in can read the secret of the tokens')
    ) as b (level, name, value, message)
        on s.name ~ b.name and s.value ~* b.value
    union all
    select s.*,
        case when r.rolsuper or r.rolbypassrls then 'error' else 'warning' end as level,
        'unauthenticated requests have the rights of ' || s.value as message
    from settings as s
    left join pg_roles as r on s.value = r.rolname
    where s.name ~ '^pgrst\.db[-_]anon[-_]role$' and s.value != 'anon'
    union all
    select s.*, 'error' as level, 'it changes who is calling' as message
    from settings as s
    inner join pg_proc as p on s.value in (p.proname, format('%s.%s', p.pronamespace::regnamespace, p.proname))
    where s.name ~ '^pgrst\.db[-_]pre[-_]request$'
        and p.prosrc ~* '(set_config\s*\(\s*|set\s+(local\s+)?)''?"?(role|session_authorization|request\.jwt)'
),

-- No name is resolved: that takes usage on its schema.
users as (
    select c.*
    from pg_class as c
    inner join pg_namespace as n on c.relnamespace = n.oid
    where n.nspname = 'auth' and c.relname = 'users'
),

-- Who owns what Auth creates; where that was opened, whoever runs the migrations.
auth_owner as (
    select coalesce(min(r.rolname), 'postgres') as owner
    from users as c
    inner join pg_roles as r on c.relowner = r.oid
    where not exists (select from open_roles as o where o.oid != 0 and pg_has_role(o.oid, r.oid, 'member'))
),

-- Who is calling: whatever Supabase's version, only functions of the verified token's claims.
identity (signature, body) as (
    values
    (
        'auth.uid()',
        'create or replace function auth.uid() returns uuid language sql stable as $body$ select coalesce('
        || 'nullif(current_setting(''request.jwt.claim.sub'', true), ''''), '
        || '(nullif(current_setting(''request.jwt.claims'', true), '''')::jsonb ->> ''sub''))::uuid $body$'
    ),
    (
        'auth.jwt()',
        'create or replace function auth.jwt() returns jsonb language sql stable as $body$ select coalesce('
        || 'nullif(current_setting(''request.jwt.claim'', true), ''''), '
        || 'nullif(current_setting(''request.jwt.claims'', true), ''''), ''{}'')::jsonb $body$'
    )
),

identity_now as (
    select i.*, p.oid, p.proowner,
        exists(
            select from pg_roles as r
            where r.rolname in ('anon', 'authenticated') and not r.rolsuper and pg_has_role(r.oid, p.proowner, 'member')
        ) as open_owner,
        p.prosecdef or p.proconfig is not null as altered,
        has_function_privilege('authenticated', p.oid, 'execute') as executable,
        not exists (select from unnest(p.proconfig) as c (setting) where c.setting like 'request.%')
        and p.prosrc ~* 'current_setting' and regexp_replace(
            lower(coalesce(pg_get_function_sqlbody(p.oid), regexp_replace(p.prosrc, '--[^\n]*', '', 'g'))),
            'current_setting|coalesce|nullif|select|return|begin|end|true|''request\.jwt\.claims?(\.sub)?''|''sub''|''\{\}'''
            || '|''''|::|pg_catalog\.|\muuid\M|\mjsonb?\M|\mtext\M|\mas\M|->>?|[(),;\s"]', '', 'g'
        ) = '' as known
    from identity as i
    left join (
        select p.*
        from pg_proc as p
        inner join pg_namespace as n on p.pronamespace = n.oid
        where n.nspname = 'auth'
    ) as p on i.signature = format('auth.%s()', p.proname) and p.pronargs = 0
)

select 'warning' as level, 'role ' || r.rolname as subject,
    'is ' || a.attribute || ': ' || a.meaning as message, '' as advice,
    array[format('alter role %I %s', r.rolname, a.fix)] as fix
from pg_roles as r
cross join
    lateral (
        values
        (r.rolsuper, 'a superuser', 'nothing holds it back', 'nosuperuser'),
        (
            r.rolbypassrls and r.rolname != 'service_role', 'exempt from row level security',
            'policies do not apply to it', 'nobypassrls'
        ),
        (
            not r.rolbypassrls and r.rolname = 'service_role', 'not exempt from row level security',
            'a backend''s requests fail', 'bypassrls'
        ),
        (r.rolcreaterole, 'allowed to create roles', 'it can give itself the rights of some', 'nocreaterole'),
        (r.rolcreatedb, 'allowed to create databases', 'nothing needs that', 'nocreatedb'),
        (r.rolreplication, 'allowed to replicate', 'it can copy the whole database', 'noreplication'),
        (r.rolcanlogin, 'allowed to log in', 'it can get past the API', 'nologin')
    ) as a (applies, attribute, meaning, fix)
where a.applies
    and (
        r.rolname in ('anon', 'authenticated', 'service_role')
        or (r.rolname = 'authenticator' and a.fix in ('nosuperuser', 'nobypassrls'))
    )
union all
select
    case
        when g.rolname in ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files') then 'error'
        else 'warning'
    end as level, 'role ' || o.name as subject, 'is a member of ' || g.rolname || case
        when g.rolname ~ 'server' then ': it reaches the server''s files, and so everything' else ''
    end as message, '' as advice, array[
        format('revoke %I from %I', d.rolname, o.name)
        || case
            when current_setting('server_version_num')::int < 160000 then '' else
                format(' granted by %s', m.grantor::regrole)
        end
        || ' cascade'
    ] as fix
from memberships as m
inner join open_roles as o on m.member = o.oid
inner join pg_roles as d on m.direct = d.oid
inner join pg_roles as g on m.roleid = g.oid
where g.rolname ~ '^(pg_|supabase_|(anon|authenticated|authenticator|service_role|postgres)$)'
union all
select 'error' as level, 'role authenticator' as subject,
    'is no member of ' || o.name || ': requests fail' as message, '' as advice,
    array[format('grant %I to authenticator', o.name)] as fix
from open_roles as o
inner join pg_roles as r on r.rolname = 'authenticator'
where o.oid != 0 and not pg_has_role(r.oid, o.oid, 'member')
union all
select level, substr(target, 7) as subject,
    'is set to ' || name || ' = ' || value || ': ' || message as message, '' as advice, array[
        format(
            '%s reset %s', target,
            (select string_agg(quote_ident(p.part), '.') from unnest(string_to_array(name, '.')) as p (part))
        )
    ] as fix
from bad_settings
union all
select 'warning' as level, 'parameter ' || p.parname as subject, o.name || ' may set it' as message, '' as advice,
    array[format('revoke set, alter system on parameter %s from %s cascade', p.parname, o.name)] as fix
from pg_parameter_acl as p
cross join lateral (select distinct a.grantee from aclexplode(p.paracl) as a) as g
inner join open_roles as o on g.grantee = o.oid
union all
select
    case when s.kind = 'database' then 'warning' else 'error' end as level, s.kind || ' ' || s.name as subject,
    'is owned by '
    || s.owner::regrole
    || ', whose rights '
    || o.rolname
    || ' has: it can drop what is in it' as message, '' as advice, array[
        format('alter %s %s owner to %I', s.kind, s.name, case when s.name ~ '^auth' then a.owner else 'postgres' end)
    ]
    || case
        when
            s.kind = 'schema'
            then array[format('grant usage on schema %s to anon, authenticated, service_role', s.name)]
        else array[]::text[]
    end as fix
from (
    select 'schema' as kind, nspname::text as name, nspowner as owner
    from pg_namespace
    where nspname in ('public', 'auth')
    union all
    select 'table' as kind, 'auth.users' as name, relowner as owner
    from users
    union all
    select 'database' as kind, format('%I', datname) as name, datdba as owner
    from pg_database
    where datname = current_database()
) as s
cross join auth_owner as a
inner join
    pg_roles as o
    on o.rolname in ('anon', 'authenticated') and not o.rolsuper and pg_has_role(o.oid, s.owner, 'member')
union all
select 'warning' as level, format('%s %I', s.kind, s.name) as subject,
    o.name || ' may create objects in it' as message, '' as advice,
    array[format('revoke create on %s %I from %s cascade', s.kind, s.name, o.name)] as fix
from (
    select 'schema' as kind, nspname as name, nspowner as owner, nspacl as acl
    from pg_namespace
    where nspname in ('public', 'auth')
    union all
    select 'database' as kind, datname as name, datdba as owner, datacl as acl
    from pg_database
    where datname = current_database()
) as s
cross join lateral aclexplode(s.acl) as a
inner join open_roles as o on a.grantee = o.oid
where a.privilege_type = 'CREATE' and s.owner != a.grantee
union all
select 'warning' as level, 'default privileges of ' || d.defaclrole::regrole as subject, o.name
    || ' has rights on all '
    || t.objects
    || ' that it will create'
    || coalesce(' in ' || n.nspname, '') as message, '' as advice, array[
        format(
            'alter default privileges for role %s%s revoke all on %s from %s', d.defaclrole::regrole,
            ' in schema ' || quote_ident(n.nspname), t.objects, o.name
        )
    ] as fix
from pg_default_acl as d
cross join
    lateral (select distinct a.grantee from aclexplode(d.defaclacl) as a where a.grantee != d.defaclrole) as a
inner join (
    select oid, name
    from open_roles
    union all
    select oid, rolname as name
    from pg_roles
    where rolname = 'service_role'
) as o on a.grantee = o.oid
inner join (
    values ('r', 'tables'), ('S', 'sequences'), ('f', 'functions'), ('n', 'schemas'), ('T', 'types')
) as t (type, objects) on d.defaclobjtype::text = t.type
left join pg_namespace as n on d.defaclnamespace = n.oid
where current_setting('edge_api.scope')::jsonb -> 'schemas' ? n.nspname
    -- those of other schemas are the project's; "all schemas" is not one
    or (d.defaclnamespace = 0 and (o.oid != 0 or t.type not in ('f', 'T')))
union all
select 'error' as level, 'function ' || signature as subject,
    case
        when oid is null then 'is missing: users'' requests fail'
        when not known then 'is not Supabase''s own: it decides who is calling'
        else 'authenticated may not execute it: users'' requests fail'
    end as message, '' as advice, array[body, format('grant execute on function %s to authenticated', signature)] as fix
from identity_now where oid is null or not known or not executable
union all
select 'warning' as level, 'function ' || signature as subject,
    'it decides who is calling, and is owned by ' || proowner::regrole || ' or has options of its own' as message,
    '' as advice, array[body, format('alter function %s owner to %s', signature, a.owner)] as fix
from identity_now
cross join auth_owner as a
where known and (open_owner or altered)
union all
select
    case when c.relrowsecurity or n.nspname != 'auth' then 'warning' else 'error' end as level,
    'table ' || c.oid::regclass as subject, o.name || ' has rights on it' as message, '' as advice,
    array[format('revoke all on table %s from %s cascade', c.oid::regclass, o.name)] as fix
from pg_class as c
inner join pg_namespace as n on c.relnamespace = n.oid
cross join
    lateral (
        select a.grantee from aclexplode(c.relacl) as a
        union
        select a.grantee
        from pg_attribute as t
        cross join lateral aclexplode(t.attacl) as a
        where t.attrelid = c.oid
    ) as a
inner join open_roles as o on a.grantee = o.oid and c.relowner != o.oid
where c.relkind in ('r', 'p', 'v', 'm')
    and (n.nspname = 'auth' or c.oid in ('pg_catalog.pg_authid'::regclass, 'pg_catalog.pg_statistic'::regclass))
union all
select 'error' as level, 'function ' || p.oid::regprocedure as subject,
    o.name || ' may execute it: it reaches the server''s files, and so everything' as message, '' as advice,
    array[format('revoke execute on function %s from %s cascade', p.oid::regprocedure, o.name)] as fix
from pg_proc as p
cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as a
inner join open_roles as o on a.grantee = o.oid where p.pronamespace = 'pg_catalog'::regnamespace
    and p.proname in ('pg_read_file', 'pg_read_binary_file', 'pg_ls_dir', 'lo_import', 'lo_export')
union all
select
    case
        when
            coalesce(pg_get_function_sqlbody(p.oid), p.prosrc)
            ~* '\m(grant|policy|no\s+force|disable|owner\s+to|bypassrls|user_accounts)\M' then 'warning'
        else 'info'
    end as level, 'event trigger ' || quote_ident(e.evtname) as subject,
    'runs ' || p.oid::regprocedure || ' with each change of the schema' as message,
    'read it and decide whether it may change them; if not, drop it' as advice, array[]::text[] as fix
from pg_event_trigger as e
inner join pg_proc as p on e.evtfoid = p.oid where e.evtenabled != 'D'
    -- Supabase's own, and what PostgREST's documentation proposes
    and e.evtname !~ '^(issue_(pg_cron|pg_net|pg_graphql)_access|issue_graphql_placeholder|pgrst_\w*watch|ensure_rls)$'
union all
select 'warning' as level, 'publication ' || quote_ident(p.pubname) as subject, 'sends changed rows of '
    || t.relid::regclass
    || ' out of the database; Realtime tells each subscriber of deleted ids' as message,
    case
        when r.oid is null then 'decide which tables it is for, and name them instead of all, or of all of a schema'
        else ''
    end as advice,
    case
        when r.oid is null then array[]::text[]
        else array[format('alter publication %I drop table %s', p.pubname, t.relid::regclass)]
    end as fix
from pg_publication as p
cross join lateral pg_get_publication_tables(p.pubname) as t
inner join protected as c on t.relid = c.oid or t.relid in (select a.relid from pg_partition_ancestors(c.oid) as a)
left join pg_publication_rel as r on p.oid = r.prpubid and t.relid = r.prrelid
union all
select 'warning' as level, format('rule %I on auth.users', w.rulename) as subject,
    'runs with each change of a user: ' || pg_get_ruledef(w.oid) as message, '' as advice,
    array[format('drop rule %I on auth.users', w.rulename)] as fix
from pg_rewrite as w
inner join users as c on w.ev_class = c.oid where w.ev_type != '1'
union all
select 'info' as level, format('constraint %I on %s', k.conname, k.conrelid::regclass) as subject,
    'a user whose account has rows there cannot be deleted' as message,
    'decide whether that is meant; if not, add "on delete cascade"' as advice, array[]::text[] as fix
from pg_constraint as k
inner join protected as c on k.confrelid = c.oid
where k.contype = 'f' and k.confdeltype in ('a', 'r') and k.conparentid = 0
    and c.oid not in (select u.oid from users as u) -- references to users are the project's own matter
union all
select 'error' as level,
    'function ' || p.oid::regprocedure as subject,
    'is called with ' || c.setting || ': whoever calls it has the identity or the claims that it sets' as message,
    '' as advice, array[format('alter routine %s reset %I', p.oid::regprocedure, split_part(c.setting, '=', 1))] as fix
from pg_proc as p
cross join lateral unnest(p.proconfig) as c (setting)
where c.setting like 'request.%'
union all
select 'warning' as level, 'server' as subject, 'is configured with ' || s.name || ' = ' || s.setting as message,
    'decide whether that is meant; if not: alter system reset ' || s.name as advice, array[]::text[] as fix
from pg_settings as s where (s.name, s.reset_val, s.source) in (
    ('row_security', 'off', 'configuration file'), ('session_replication_role', 'replica', 'configuration file')
)
