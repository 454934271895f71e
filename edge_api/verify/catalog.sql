-- What a database says of the objects in edge_api.scope: a row for each fact that the migrations decide, and for each
-- thing that somebody could have hung onto these objects. Reads catalogs alone, which every role may.
--
-- Runs with an empty search_path, so that PostgreSQL qualifies each name in what it gives back. Left out is what
-- differs between versions without meaning anything: the constraints that PostgreSQL 18 makes of "not null".
--
-- What it reads has names, kinds and roles, and is called so:
-- noqa: disable=RF04
with scope as (
    select current_setting('edge_api.scope')::jsonb as names
),

schemas as (
    select
        n.oid,
        n.nspowner,
        format('%I', n.nspname) as name
    from pg_namespace as n
    inner join scope as s on s.names -> 'schemas' ? n.nspname
),

relations as (
    select
        c.oid,
        c.relowner,
        c.relacl,
        c.relkind,
        c.relrowsecurity,
        c.relforcerowsecurity,
        c.relpersistence,
        c.relreplident,
        c.reloptions,
        c.relname,
        format('%I.%I', n.nspname, c.relname) as name,
        case c.relkind
            when 'v' then 'view'
            when 'm' then 'materialized view'
            when 'S' then 'sequence'
            when 'f' then 'foreign table'
            else 'table'
        end as kind
    from pg_class as c
    inner join pg_namespace as n on c.relnamespace = n.oid
    inner join scope as s
        on
            s.names -> 'schemas' ? n.nspname
            or s.names -> 'relations' ? format('%I.%I', n.nspname, c.relname)
    where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
),

columns as (
    select
        a.attrelid,
        a.attnum,
        a.attacl,
        a.attnotnull,
        a.attidentity,
        a.attgenerated,
        a.attcollation,
        a.atttypid,
        a.atttypmod,
        r.name as relation,
        r.kind as relation_kind,
        r.relowner,
        format('%I', a.attname) as name
    from pg_attribute as a
    inner join relations as r on a.attrelid = r.oid
    where a.attnum > 0 and not a.attisdropped and r.relkind in ('r', 'p', 'f')
),

functions as (
    select
        p.*,
        p.oid::regprocedure::text as name,
        format('%I.%I', n.nspname, p.proname) as bare_name
    from pg_proc as p
    inner join pg_namespace as n on p.pronamespace = n.oid
    inner join scope as s
        on
            s.names -> 'schemas' ? n.nspname
            or s.names -> 'functions' ? format('%I.%I', n.nspname, p.proname)
),

api_roles as (
    select *
    from pg_roles
    where rolname in ('anon', 'authenticated', 'service_role')
),

rights as (
    -- in public, the project's own roles may have rights
    select
        'schema' as kind,
        format('%I', n.nspname) as name,
        n.nspowner as owner,
        '' as column_name,
        a.privilege_type,
        a.is_grantable,
        a.grantee
    from pg_namespace as n
    cross join lateral aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) as a
    where
        n.oid in (select s.oid from schemas as s)
        or (n.nspname = 'public' and (a.grantee = 0 or a.grantee in (select r.oid from api_roles as r)))
    union all
    -- it is not for the migrations to say who may use auth, as long as auth.uid() can be called
    select
        'schema' as kind,
        n.nspname as name,
        n.nspowner as owner,
        '' as column_name,
        p.privilege as privilege_type,
        false as is_grantable,
        r.oid as grantee
    from pg_namespace as n
    cross join api_roles as r
    cross join (values ('USAGE'), ('CREATE')) as p (privilege)
    where
        n.nspname = 'auth'
        and (r.rolname, p.privilege) in (('anon', 'CREATE'), ('authenticated', 'CREATE'), ('authenticated', 'USAGE'))
        and has_schema_privilege(r.oid, n.oid, p.privilege)
    union all
    select
        r.kind,
        r.name,
        r.relowner as owner,
        '' as column_name,
        a.privilege_type,
        a.is_grantable,
        a.grantee
    from relations as r
    cross join
        lateral aclexplode(
            coalesce(
                r.relacl,
                case r.relkind when 'S' then acldefault('s', r.relowner) else acldefault('r', r.relowner) end
            )
        ) as a
    union all
    select
        c.relation_kind as kind,
        c.relation as name,
        c.relowner as owner,
        format(' (%s)', c.name) as column_name,
        a.privilege_type,
        a.is_grantable,
        a.grantee
    from columns as c
    cross join lateral aclexplode(c.attacl) as a
    union all
    select
        case f.prokind when 'p' then 'procedure' else 'function' end as kind,
        f.name,
        f.proowner as owner,
        '' as column_name,
        a.privilege_type,
        a.is_grantable,
        a.grantee
    from functions as f
    cross join lateral aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) as a
),

-- views over our tables, and views over those
readers as (
    select
        c.oid,
        c.relkind,
        c.relowner,
        c.reloptions,
        c.relname,
        c.relnamespace,
        e.reads
    from (
        with recursive edges as (
            select
                w.ev_class as reader,
                d.refobjid as reads
            from pg_rewrite as w
            inner join pg_depend as d on w.oid = d.objid
            where
                d.classid = 'pg_rewrite'::regclass
                and d.refclassid = 'pg_class'::regclass
                and d.refobjid != w.ev_class
        ),

        closure as (
            select
                edges.reader,
                relations.name as reads
            from edges
            inner join relations on edges.reads = relations.oid
            where relations.relkind in ('r', 'p')
            union
            select
                edges.reader,
                closure.reads
            from edges
            inner join closure on edges.reads = closure.reader
        )

        select
            reader,
            reads
        from closure
    ) as e
    inner join pg_class as c on e.reader = c.oid
    where c.relkind in ('v', 'm') and c.oid not in (select r.oid from relations as r)
)

select
    'schema' as kind,
    name,
    '' as parent,
    jsonb_build_object(
        'owner', nspowner::regrole::text,
        'comment', obj_description(oid, 'pg_namespace')
    ) as properties
from schemas
union all
select
    'relation' as kind,
    name,
    '' as parent,
    jsonb_build_object(
        'kind', kind,
        'owner', relowner::regrole::text,
        'row security', relrowsecurity,
        'forced row security', relforcerowsecurity,
        'persistence', case relpersistence when 'p' then 'logged' when 'u' then 'unlogged' else 'temporary' end,
        'replica identity',
        case relreplident when 'd' then 'default' when 'f' then 'full' when 'i' then 'index' else 'nothing' end,
        'options', coalesce(to_jsonb(reloptions), '[]'),
        'definition', case when relkind in ('v', 'm') then pg_get_viewdef(oid) end,
        'comment', obj_description(oid, 'pg_class')
    ) as properties
from relations
union all
select
    'column' as kind,
    format('%s.%s', c.relation, c.name) as name,
    c.relation as parent,
    jsonb_build_object(
        'table', c.relation,
        'column', c.name,
        'type', format_type(c.atttypid, c.atttypmod),
        'not null', c.attnotnull,
        'default', pg_get_expr(d.adbin, d.adrelid),
        'generated', concat_ws(' ', nullif(c.attidentity, ''), nullif(c.attgenerated, '')),
        'collation', c.attcollation::regcollation::text,
        'comment', col_description(c.attrelid, c.attnum)
    ) as properties
from columns as c
left join pg_attrdef as d on c.attrelid = d.adrelid and c.attnum = d.adnum
union all
select
    'constraint' as kind,
    format('%I on %s', c.conname, r.name) as name,
    r.name as parent,
    jsonb_build_object(
        'table', r.name,
        'constraint', format('%I', c.conname),
        'type', c.contype,
        'definition', pg_get_constraintdef(c.oid),
        'enforced',
        not exists (
            select from pg_trigger as t
            where t.tgconstraint = c.oid and t.tgenabled not in ('O', 'A')
        ),
        'comment', obj_description(c.oid, 'pg_constraint')
    ) as properties
from pg_constraint as c
inner join relations as r on c.conrelid = r.oid
where c.contype in ('p', 'u', 'f', 'c', 'x')
union all
select
    'index' as kind,
    format('%s on %s', i.indexrelid::regclass, r.name) as name,
    r.name as parent,
    jsonb_build_object(
        'index', i.indexrelid::regclass::text,
        'definition', pg_get_indexdef(i.indexrelid),
        'unique', i.indisunique,
        'usable', i.indisvalid and i.indisready and i.indislive,
        'constraint',
        exists (
            select from pg_constraint as c
            where c.conindid = i.indexrelid and c.conrelid = i.indrelid
        )
    ) as properties
from pg_index as i
inner join relations as r on i.indrelid = r.oid
union all
select
    'trigger' as kind,
    format('%I on %s', t.tgname, r.name) as name,
    r.name as parent,
    jsonb_build_object(
        'table', r.name,
        'trigger', format('%I', t.tgname),
        'definition', pg_get_triggerdef(t.oid),
        'enabled',
        case t.tgenabled when 'O' then 'yes' when 'D' then 'no' when 'A' then 'always' else 'on replicas' end,
        'comment', obj_description(t.oid, 'pg_trigger')
    ) as properties
from pg_trigger as t
inner join relations as r on t.tgrelid = r.oid
where not t.tgisinternal
union all
select
    'rule' as kind,
    format('%I on %s', w.rulename, r.name) as name,
    r.name as parent,
    jsonb_build_object(
        'table', r.name,
        'rule', format('%I', w.rulename),
        'definition', pg_get_ruledef(w.oid)
    ) as properties
from pg_rewrite as w
inner join relations as r on w.ev_class = r.oid
where r.relkind not in ('v', 'm')
union all
select
    'policy' as kind,
    format('%I on %s', p.polname, r.name) as name,
    r.name as parent,
    jsonb_build_object(
        'table', r.name,
        'policy', format('%I', p.polname),
        'mode', case when p.polpermissive then 'permissive' else 'restrictive' end,
        'command',
        case p.polcmd
            when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all'
        end,
        'roles', (
            select jsonb_agg(case u.role when 0 then 'public' else u.role::regrole::text end order by u.role)
            from unnest(p.polroles) as u (role)
        ),
        'using', pg_get_expr(p.polqual, p.polrelid),
        'with check', pg_get_expr(p.polwithcheck, p.polrelid),
        'comment', obj_description(p.oid, 'pg_policy')
    ) as properties
from pg_policy as p
inner join relations as r on p.polrelid = r.oid
union all
select
    'function' as kind,
    f.name,
    f.bare_name as parent,
    jsonb_build_object(
        'kind', case f.prokind when 'p' then 'procedure' else 'function' end,
        'owner', f.proowner::regrole::text,
        'security', case when f.prosecdef then 'definer' else 'invoker' end,
        'settings',
        coalesce((select jsonb_agg(c.setting order by c.setting) from unnest(f.proconfig) as c (setting)), '[]'),
        'language', l.lanname,
        'body', replace(coalesce(pg_get_function_sqlbody(f.oid), f.prosrc), e'\r\n', e'\n'),
        'arguments', pg_get_function_arguments(f.oid),
        'result', pg_get_function_result(f.oid),
        'volatility', case f.provolatile when 'v' then 'volatile' when 's' then 'stable' else 'immutable' end,
        'parallel', case f.proparallel when 'u' then 'unsafe' when 'r' then 'restricted' else 'safe' end,
        'null input', case when f.proisstrict then 'returns null on null input' else 'called on null input' end,
        'leakproof', case when f.proleakproof then 'leakproof' else 'not leakproof' end,
        'planner', format('cost %s rows %s', f.procost, f.prorows),
        'definition', case when f.prokind in ('f', 'p') then pg_get_functiondef(f.oid) end,
        'comment', obj_description(f.oid, 'pg_proc')
    ) as properties
from functions as f
inner join pg_language as l on f.prolang = l.oid
union all
select
    'right' as kind,
    format('%s %s to %s', kind, name, role) as name,
    name as parent,
    jsonb_build_object(
        'on', format('%s %s', kind, name),
        'role', role,
        'privileges', jsonb_object_agg(privilege, grantable)
    ) as properties
from (
    select
        r.kind,
        r.name,
        case r.grantee when 0 then 'public' else r.grantee::regrole::text end as role,
        lower(r.privilege_type) || r.column_name as privilege,
        bool_or(r.is_grantable) as grantable
    from rights as r
    where r.grantee != r.owner
    group by r.kind, r.name, r.grantee, r.privilege_type, r.column_name
) as each_right
group by kind, name, role
union all
select
    'default privilege' as kind,
    format('%s of %s in %s to %s', objects, owner, coalesce(schema, 'all schemas'), role) as name,
    coalesce(schema, '') as parent,
    jsonb_build_object(
        'objects', objects,
        'owner', owner,
        'schema', schema,
        'role', role,
        'privileges', jsonb_object_agg(privilege, grantable)
    ) as properties
from (
    select
        s.name as schema,
        d.defaclrole::regrole::text as owner,
        case d.defaclobjtype
            when 'r' then 'tables'
            when 'S' then 'sequences'
            when 'f' then 'functions'
            else 'types'
        end as objects,
        case a.grantee when 0 then 'public' else a.grantee::regrole::text end as role,
        lower(a.privilege_type) as privilege,
        bool_or(a.is_grantable) as grantable
    from pg_default_acl as d
    left join schemas as s on d.defaclnamespace = s.oid
    cross join lateral aclexplode(d.defaclacl) as a
    where
        a.grantee != d.defaclrole
        and d.defaclobjtype in ('r', 'S', 'f', 'T')
        -- those of public are the project's: closed since 30 October 2026, open to the API's roles before
        and (s.oid is not null or (d.defaclnamespace = 0 and a.grantee in (select r.oid from api_roles as r)))
    group by s.name, d.defaclrole, d.defaclobjtype, a.grantee, a.privilege_type
) as each_default
group by objects, owner, schema, role
union all
select
    'role' as kind,
    r.rolname as name,
    '' as parent,
    jsonb_build_object(
        'superuser', r.rolsuper,
        'bypassrls', r.rolbypassrls,
        'createrole', r.rolcreaterole,
        'createdb', r.rolcreatedb,
        'replication', r.rolreplication,
        'login', r.rolcanlogin,
        'stronger roles', coalesce(
            (
                select jsonb_agg(distinct format('%I', d.rolname))
                from pg_auth_members as a
                inner join pg_roles as d on a.roleid = d.oid
                inner join pg_roles as m on d.oid = m.oid or pg_has_role(d.oid, m.oid, 'member')
                where
                    a.member = r.oid
                    and m.oid != r.oid
                    and (
                        m.rolsuper
                        or m.rolbypassrls
                        or m.rolcreaterole
                        or m.rolname in ('pg_read_all_data', 'pg_write_all_data', 'pg_maintain')
                        or m.oid in (select o.oid from api_roles as o)
                        or m.oid in (select t.relowner from relations as t)
                        or m.oid in (select f.proowner from functions as f)
                        or m.oid in (
                            select x.grantee from rights as x
                            where x.kind = 'table'
                        )
                    )
            ),
            '[]'
        )
    ) as properties
from api_roles as r
union all
select
    'child table' as kind,
    i.inhrelid::regclass::text as name,
    r.name as parent,
    jsonb_build_object('table', r.name, 'row security', c.relrowsecurity) as properties
from pg_inherits as i
inner join relations as r on i.inhparent = r.oid
inner join pg_class as c on i.inhrelid = c.oid
where c.relkind in ('r', 'p', 'f')
union all
select
    'parent table' as kind,
    i.inhparent::regclass::text as name,
    r.name as parent,
    jsonb_build_object('table', r.name, 'partition', c.relkind = 'p') as properties
from pg_inherits as i
inner join relations as r on i.inhrelid = r.oid
inner join pg_class as c on i.inhparent = c.oid
where r.relkind in ('r', 'p')
union all
select
    'view' as kind,
    v.oid::regclass::text as name,
    v.reads as parent,
    jsonb_build_object(
        'reads', v.reads,
        'kind', case v.relkind when 'm' then 'materialized view' else 'view' end,
        'invoker', exists (
            select from pg_options_to_table(v.reloptions) as s
            where case when s.option_name = 'security_invoker' then s.option_value::boolean end
        ),
        'rules', coalesce(
            (
                select jsonb_agg(format('%I', w.rulename) order by w.rulename)
                from pg_rewrite as w
                where w.ev_class = v.oid and w.ev_type != '1'
            ),
            '[]'
        ),
        'bypasses',
        v.relkind = 'm'
        or o.rolsuper
        or o.rolbypassrls
        or (v.relowner = t.relowner and not t.relforcerowsecurity),
        'readers', coalesce(
            (
                select jsonb_agg(r.rolname order by r.rolname)
                from api_roles as r
                where
                    r.rolname in ('anon', 'authenticated')
                    and has_schema_privilege(r.oid, v.relnamespace, 'usage')
                    and (
                        has_any_column_privilege(r.oid, v.oid, 'select, insert, update')
                        or has_table_privilege(r.oid, v.oid, 'delete')
                    )
            ),
            '[]'
        )
    ) as properties
from readers as v
inner join pg_roles as o on v.relowner = o.oid
inner join relations as t on v.reads = t.name
union all
select
    'definer function' as kind,
    p.oid::regprocedure::text as name,
    '' as parent,
    jsonb_build_object('tables', jsonb_agg(distinct r.name)) as properties
from pg_proc as p
inner join relations as r
    on
        r.relkind in ('r', 'p')
        and coalesce(pg_get_function_sqlbody(p.oid), p.prosrc)
        ~ ('\m' || regexp_replace(r.relname, '(\W)', '\\\1', 'g') || '\M')
where
    p.prosecdef
    and p.prokind in ('f', 'p')
    and p.prorettype not in ('pg_catalog.trigger'::regtype, 'pg_catalog.event_trigger'::regtype)
    and p.oid not in (select f.oid from functions as f)
    and exists (
        select from api_roles as a
        where
            a.rolname in ('anon', 'authenticated')
            and has_schema_privilege(a.oid, p.pronamespace, 'usage')
            and has_function_privilege(a.oid, p.oid, 'execute')
    )
group by p.oid
union all
select
    'publication' as kind,
    format('%I of %s', p.pubname, r.name) as name,
    r.name as parent,
    jsonb_build_object('publication', format('%I', p.pubname), 'table', r.name) as properties
from pg_publication_tables as p
inner join relations as r on r.name = format('%I.%I', p.schemaname, p.tablename)
order by kind, name
