-- The objects in edge_api.scope and what is part of them, a row each: whether users' requests fail without it, how much
-- it matters where the migrations do not create it, what is compared, and who may do what. Reads catalogs only.
--
-- Runs with an empty search_path, so that PostgreSQL qualifies each name in what it returns.
--
-- The catalogs have columns named like keywords, and an aspect is a line:
-- noqa: disable=AL03,AL08,RF02,RF03,RF04,ST05,ST06,layout
with scope as (select current_setting('edge_api.scope')::jsonb as names),

relations as (
    select c.*
    from pg_class as c
    inner join pg_namespace as n on c.relnamespace = n.oid
    inner join scope as s
        on s.names -> 'schemas' ? n.nspname or s.names -> 'relations' ? format('%I.%I', n.nspname, c.relname)
    where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
),

-- each with the relation that it is part of
objects (catalog, oid, subid, whole, owner, acl, needed, added, aspects) as (
    select 'pg_namespace'::regclass, n.oid, 0, null::oid, n.nspowner, coalesce(n.nspacl, acldefault('n', n.nspowner)),
        true, null, '{}'::jsonb
    from pg_namespace as n
    inner join scope as s on s.names -> 'schemas' ? n.nspname
    union all
    -- what the API needs of the schemas that Supabase creates
    select 'pg_namespace'::regclass, oid, 0, null, null, null, true, null, jsonb_build_object(
        'usage for users', has_schema_privilege('authenticated', oid, 'usage'),
        'usage for a backend', nspname = 'auth' or has_schema_privilege('service_role', oid, 'usage'),
        'create for migrations', nspname = 'auth' or has_schema_privilege('postgres', oid, 'create'),
        -- who takes usage back from everybody does not remove the comment as well
        'first creation', nspname = 'auth' or obj_description(oid, 'pg_namespace') is not null
    )
    from pg_namespace
    where nspname in ('public', 'auth')
    union all
    -- Who is calling: whatever Supabase's version, only functions of the verified token's claims.
    select 'pg_proc'::regclass, p.oid, 0, null, null, null, true, null, jsonb_build_object(
        'execute for users', has_function_privilege('authenticated', p.oid, 'execute'),
        'options', coalesce(p.proconfig::text, ''), 'identity', p.prosrc ~* 'current_setting' and regexp_replace(
            lower(coalesce(pg_get_function_sqlbody(p.oid), regexp_replace(p.prosrc, '--[^\n]*', '', 'g'))),
            'current_setting|coalesce|nullif|select|return|begin|end|true|''request\.jwt\.claims?(\.sub)?''|''sub'''
            || '|''\{\}''|''''|::|pg_catalog\.|\muuid\M|\mjsonb?\M|\mtext\M|\mas\M|->>?|[(),;\s"]', '', 'g'
        ) = ''
    )
    from pg_proc as p
    inner join pg_namespace as n on p.pronamespace = n.oid
    where n.nspname = 'auth' and p.proname in ('uid', 'jwt') and p.pronargs = 0
    union all
    select 'pg_class'::regclass, oid, 0, null, relowner, coalesce(relacl, acldefault('r', relowner)), true, 'info',
        jsonb_build_object(
            'row level security', case when relrowsecurity then 'enable' else 'disable' end,
            'row level security for its owner', case when relforcerowsecurity then 'force' else 'no force' end,
            'persistence', case relpersistence when 'p' then 'logged' else 'unlogged' end,
            'replica identity', case relreplident when 'd' then 'default' else relreplident::text end
        )
    from relations
    union all
    select 'pg_class'::regclass, r.oid, a.attnum, r.oid, null, null, true,
        case when a.attnotnull and d.oid is null and a.attidentity = '' then 'error' else 'info' end,
        jsonb_build_object(
            'type', format_type(a.atttypid, a.atttypmod)
            || case when a.attcollation in (0, 100) then '' else ' collate ' || a.attcollation::regcollation end,
            'default', case when concat(a.attidentity, a.attgenerated) = '' then '' else 'generated ' end
            || coalesce(pg_get_expr(d.adbin, r.oid), 'nothing'),
            -- PostgreSQL 18 makes constraints of them, which need not have been checked
            'not null', a.attnotnull and not exists (
                select from pg_constraint as c
                where c.conrelid = r.oid and c.contype = 'n' and c.conkey = array[a.attnum] and not c.convalidated
            )
        )
    from relations as r
    inner join pg_attribute as a on r.oid = a.attrelid and a.attnum > 0 and not a.attisdropped
    left join pg_attrdef as d on r.oid = d.adrelid and a.attnum = d.adnum
    where r.relkind in ('r', 'p', 'f')
    union all
    select 'pg_constraint'::regclass, c.oid, 0, r.oid, null, null, c.contype = 'u', 'warning',
        jsonb_build_object('definition', concat_ws(
            ', ', pg_get_constraintdef(c.oid), case when not (i.indisvalid and i.indisready) then 'index invalid' end,
            (select min('triggers disabled') from pg_trigger where tgconstraint = c.oid and tgenabled in ('D', 'R'))
        ))
    from pg_constraint as c
    inner join relations as r on c.conrelid = r.oid
    left join pg_index as i on c.conindid = i.indexrelid and c.conrelid = i.indrelid
    where c.contype in ('p', 'u', 'f', 'c', 'x')
    union all
    select 'pg_class'::regclass, indexrelid, 0, indrelid, null, null, false, case when indisunique then 'warning' end,
        jsonb_build_object('definition', pg_get_indexdef(indexrelid))
    from pg_index
    where indrelid in (select r.oid from relations as r)
        and not exists (select from pg_constraint where conindid = indexrelid and conrelid = indrelid)
    union all
    select 'pg_trigger'::regclass, oid, 0, tgrelid, null, null, false, 'warning', jsonb_build_object(
        'definition', pg_get_triggerdef(oid)
        || case tgenabled when 'O' then '' when 'D' then ', disabled' else ', not enabled as usual' end
    )
    from pg_trigger where tgrelid in (select r.oid from relations as r) and not tgisinternal
    union all
    select 'pg_rewrite'::regclass, oid, 0, ev_class, null, null, false, 'warning',
        jsonb_build_object('definition', pg_get_ruledef(oid))
    from pg_rewrite where ev_class in (select r.oid from relations as r) and rulename != '_RETURN'
    union all
    select 'pg_policy'::regclass, p.oid, 0, r.oid, null, null,
        p.polpermissive and v.roles && array['public', 'authenticated']::name[], 'info',
        jsonb_build_object('definition', to_jsonb(v) - array['schemaname', 'tablename', 'policyname'])
    from pg_policy as p
    inner join relations as r on p.polrelid = r.oid
    inner join pg_policies as v
        on r.relnamespace::regnamespace::name = v.schemaname and r.relname = v.tablename and p.polname = v.policyname
    union all
    select 'pg_proc'::regclass, p.oid, 0, null, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner)),
        has_function_privilege('authenticated', p.oid, 'execute'),
        case
            when s.names -> 'schemas' ? n.nspname then 'info'
            -- PostgREST takes all functions of a name that have the given arguments for the one that is meant
            when exists (
                select from pg_proc as o
                where o.oid != p.oid and o.pronamespace = p.pronamespace and o.proname = p.proname
                    and coalesce(o.proargnames[:o.pronargs], '{}') <@ coalesce(p.proargnames[:p.pronargs], '{}')
                    and p.pronargs - p.pronargdefaults <= o.pronargs
            ) then 'error'
            else 'warning'
        end, jsonb_build_object(
            'signature', format('(%s) returns %s', pg_get_function_arguments(p.oid), pg_get_function_result(p.oid)),
            -- what its calls are thought to cost is the project's own
            'definition', case when p.prokind != 'a' then
                regexp_replace(replace(pg_get_functiondef(p.oid), e'\r\n', e'\n'), ' (COST|ROWS) \d+', '', 'g')
            end
        )
    from pg_proc as p
    inner join pg_namespace as n on p.pronamespace = n.oid
    inner join scope as s
        on s.names -> 'schemas' ? n.nspname or s.names -> 'functions' ? format('%I.%I', n.nspname, p.proname)
)

select
    k.kind, k.kind || ' ' || k.name as subject, coalesce(w.type || ' ' || w.identity, '') as parent, o.needed, o.added,
    o.aspects || jsonb_strip_nulls(jsonb_build_object('owner', o.owner::regrole, 'comment', quote_literal(case
        when o.subid > 0 then col_description(o.oid, o.subid)
        when o.owner is not null or o.whole is not null then obj_description(o.oid, o.catalog::text::name)
    end))) as aspects,
    array(
        select array[case a.grantee when 0 then 'public' else a.grantee::regrole::text end, concat(
            lower(a.privilege_type), l.columns, case when a.is_grantable then ', to pass on' end,
            case when a.grantor != o.owner then ', granted by ' || a.grantor::regrole end
        )] as granted
        from (
            select o.acl, ''
            union all
            select attacl, format(' (%I)', attname) from pg_attribute
            where o.catalog = 'pg_class'::regclass and o.subid = 0 and attrelid = o.oid and not attisdropped
        ) as l (acl, columns)
        cross join lateral aclexplode(l.acl) as a
        where a.grantee != o.owner
        order by granted
    ) as rights
from objects as o
cross join lateral pg_identify_object(o.catalog, o.oid, o.subid) as i
cross join lateral (
    select regexp_replace(i.type, '^.* (column|constraint)$', '\1') as kind,
        case o.catalog when 'pg_proc'::regclass then o.oid::regprocedure::text else i.identity end as name
) as k
left join lateral pg_identify_object('pg_class'::regclass, o.whole, 0) as w on o.whole is not null
order by k.kind, parent, o.subid, subject
