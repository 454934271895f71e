-- The objects in edge_api.scope and what hangs on them, a row each: the values of its aspects, and its rights. Reads
-- catalogs only, which every role may.
--
-- Runs with an empty search_path, so that PostgreSQL qualifies each name in what it returns.
--
-- The catalogs have columns named like keywords, and an aspect is a line:
-- noqa: disable=RF02,RF04,ST05,layout
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
objects (catalog, oid, subid, whole, owner, acl, aspects, detail) as (
    select 'pg_namespace'::regclass, n.oid, 0, null::oid, n.nspowner, coalesce(n.nspacl, acldefault('n', n.nspowner)),
        '{}'::jsonb, jsonb_build_object('creation', format('create schema %I', n.nspname))
    from pg_namespace as n
    inner join scope as s on s.names -> 'schemas' ? n.nspname
    union all
    -- What the API needs of the schemas that Supabase creates. One that lacks it gets all that Supabase gives it.
    select 'pg_namespace'::regclass, n.oid, 0, null, n.nspowner, coalesce(n.nspacl, acldefault('n', n.nspowner)),
        jsonb_build_object(
            'usage for authenticated', has_schema_privilege('authenticated', n.oid, 'usage'),
            'usage for service_role', n.nspname = 'auth' or has_schema_privilege('service_role', n.oid, 'usage'),
            'create for postgres', n.nspname = 'auth' or has_schema_privilege('postgres', n.oid, 'create'),
            -- who takes it back does not remove the comment as well
            'usage for everybody', n.nspname = 'auth' or obj_description(n.oid, 'pg_namespace') is not null
            or exists (select from aclexplode(n.nspacl) as a where a.grantee = 0 and a.privilege_type = 'USAGE')
        ),
        jsonb_build_object(
            'creation', format('create schema if not exists %I', n.nspname),
            'restore', to_jsonb(case when n.nspname = 'public' then array[
                format('alter schema public owner to %s', n.nspowner::regrole),
                format('grant all on schema public to %s', n.nspowner::regrole),
                format('comment on schema public is %L', obj_description(n.oid, 'pg_namespace'))
            ] else array[]::text[] end)
        )
    from pg_namespace as n
    where n.nspname in ('public', 'auth')
    union all
    -- Who is calling: whatever Supabase's version, only functions of the verified token's claims.
    select 'pg_proc'::regclass, p.oid, 0, null, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner)),
        jsonb_build_object(
            'identity', p.prosrc ~* 'current_setting' and regexp_replace(
                lower(coalesce(pg_get_function_sqlbody(p.oid), regexp_replace(p.prosrc, '--[^\n]*', '', 'g'))),
                'current_setting|coalesce|nullif|select|return|begin|end|true|''request\.jwt\.claims?(\.sub)?''|''sub'''
                || '|''\{\}''|''''|::|pg_catalog\.|\muuid\M|\mjsonb?\M|\mtext\M|\mas\M|->>?|[(),;\s"]', '', 'g'
            ) = '',
            'security options', not p.prosecdef and p.proconfig is null,
            'execute for authenticated', has_function_privilege('authenticated', p.oid, 'execute')
        ),
        jsonb_build_object('restore', array[
            pg_get_functiondef(p.oid),
            format(
                $do$do $$declare auth regrole; begin
for auth in select relowner from pg_catalog.pg_class where oid = pg_catalog.to_regclass('auth.users') loop
    execute pg_catalog.format('alter function %s owner to %%s', auth);
end loop; end$$$do$, p.oid::regprocedure
            )
        ])
    from pg_proc as p
    inner join pg_namespace as n on p.pronamespace = n.oid
    where n.nspname = 'auth' and p.proname in ('uid', 'jwt') and p.pronargs = 0
    union all
    select 'pg_class'::regclass, r.oid, 0, null, r.relowner,
        coalesce(r.relacl, case r.relkind when 'S' then acldefault('s', r.relowner) else acldefault('r', r.relowner) end),
        jsonb_build_object(
            'row level security', case when r.relrowsecurity then 'enable' else 'disable' end,
            'row level security for its owner', case when r.relforcerowsecurity then 'force' else 'no force' end,
            'persistence', case r.relpersistence when 'p' then 'logged' else 'unlogged' end,
            'replica identity', case r.relreplident when 'd' then 'default' else r.relreplident::text end,
            'options', coalesce(to_jsonb(r.reloptions), '[]')
        ), jsonb_build_object('creation', format('create table %s ()', r.oid::regclass))
    from relations as r
    union all
    select 'pg_class'::regclass, r.oid, a.attnum, r.oid as whole, null, null,
        jsonb_build_object(
            'type', format_type(a.atttypid, a.atttypmod) || case
                when a.attcollation not in (0, 100) then ' collate ' || a.attcollation::regcollation else ''
            end,
            -- PostgreSQL 18 makes constraints of them, which need not have been checked
            'not null', case when a.attnotnull and n.oid is null then 'set' else 'drop' end,
            'default', nullif(
                concat_ws(' ', case when a.attidentity != '' or a.attgenerated != '' then 'generated' end, d.default_value), ''
            )
        ),
        jsonb_build_object(
            'creation', concat_ws(
                ' ', format('alter table %s add column %I', r.oid::regclass, a.attname),
                format_type(a.atttypid, a.atttypmod), 'default ' || d.default_value
            ),
            'required', a.attnotnull and d.oid is null and a.attidentity = ''
        )
    from relations as r
    inner join pg_attribute as a on r.oid = a.attrelid and a.attnum > 0 and not a.attisdropped
    left join pg_constraint as n
        on a.attrelid = n.conrelid and n.contype = 'n' and n.conkey = array[a.attnum] and not n.convalidated
    left join (select *, pg_get_expr(adbin, adrelid) as default_value from pg_attrdef) as d
        on a.attrelid = d.adrelid and a.attnum = d.adnum
    where r.relkind in ('r', 'p', 'f')
    union all
    select 'pg_constraint'::regclass, c.oid, 0, r.oid as whole, null, null,
        jsonb_build_object('definition', concat_ws(
            ', ', pg_get_constraintdef(c.oid),
            case when not (i.indisvalid and i.indisready) then 'with an invalid index' end,
            (
                select min('with disabled triggers') from pg_trigger as t
                where t.tgconstraint = c.oid and t.tgenabled not in ('O', 'A')
            )
        )), '{}'
    from pg_constraint as c
    inner join relations as r on c.conrelid = r.oid
    left join pg_index as i on c.conindid = i.indexrelid and c.conrelid = i.indrelid
    where c.contype in ('p', 'u', 'f', 'c', 'x')
    union all
    select 'pg_class'::regclass, i.indexrelid, 0, r.oid as whole, null, null,
        jsonb_build_object('definition', pg_get_indexdef(i.indexrelid)), jsonb_build_object('unique', i.indisunique)
    from pg_index as i
    inner join relations as r on i.indrelid = r.oid
    where not exists (select from pg_constraint as c where c.conindid = i.indexrelid and c.conrelid = i.indrelid)
    union all
    select 'pg_trigger'::regclass, t.oid, 0, r.oid as whole, null, null,
        jsonb_build_object('definition', pg_get_triggerdef(t.oid) || case t.tgenabled
            when 'O' then '' when 'D' then ', disabled' when 'A' then ', enabled always' else ', enabled in replicas'
        end), '{}'
    from pg_trigger as t
    inner join relations as r on t.tgrelid = r.oid
    where not t.tgisinternal
    union all
    select 'pg_rewrite'::regclass, w.oid, 0, r.oid as whole, null, null,
        jsonb_build_object('definition', pg_get_ruledef(w.oid)),
        jsonb_build_object('instead', w.is_instead and w.ev_type in ('2', '3'))
    from pg_rewrite as w
    inner join relations as r on w.ev_class = r.oid
    where r.relkind not in ('v', 'm')
    union all
    select 'pg_policy'::regclass, p.oid, 0, r.oid as whole, null, null,
        jsonb_build_object('definition', concat_ws(
            ' ', format('create policy %I on %s', v.policyname, r.oid::regclass),
            'as', lower(v.permissive), 'for', lower(v.cmd),
            'to', (select string_agg(quote_ident(u.role), ', ') from unnest(v.roles) as u (role)),
            'using (' || v.qual || ')', 'with check (' || v.with_check || ')'
        )),
        jsonb_build_object(
            'permissive', v.permissive = 'PERMISSIVE', 'command', v.cmd,
            'for users', v.roles && array['public', 'authenticated']::name[], 'using', v.qual, 'check', v.with_check
        )
    from pg_policy as p
    inner join relations as r on p.polrelid = r.oid
    inner join pg_policies as v
        on r.relnamespace::regnamespace::name = v.schemaname and r.relname = v.tablename and p.polname = v.policyname
    union all
    select 'pg_proc'::regclass, p.oid, 0, null, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner)),
        jsonb_build_object(
            'signature', format('%s returns %s', pg_get_function_arguments(p.oid), pg_get_function_result(p.oid)),
            'definition', case
                when p.prokind != 'a' then replace(rtrim(pg_get_functiondef(p.oid), e'\n'), e'\r\n', e'\n')
            end
        ),
        jsonb_build_object(
            'name', format('%I.%I', n.nspname, p.proname),
            'arguments', coalesce(to_jsonb(p.proargnames[:p.pronargs]), '[]'),
            'required', p.pronargs - p.pronargdefaults
        )
    from pg_proc as p
    inner join pg_namespace as n on p.pronamespace = n.oid
    inner join scope as s
        on s.names -> 'schemas' ? n.nspname or s.names -> 'functions' ? format('%I.%I', n.nspname, p.proname)
),

rights as (
    select o.catalog, o.oid, a.grantee, a.grantor, lower(a.privilege_type) as privilege, a.is_grantable
    from objects as o
    cross join lateral aclexplode(o.acl) as a
    union all
    select 'pg_class'::regclass as catalog, c.attrelid as oid, a.grantee, a.grantor,
        format('%s (%I)', lower(a.privilege_type), c.attname) as privilege, a.is_grantable
    from relations as r
    inner join pg_attribute as c on r.oid = c.attrelid and c.attnum > 0 and not c.attisdropped
    cross join lateral aclexplode(c.attacl) as a
)

select
    k.kind, o.detail, k.kind || ' ' || k.name as subject, coalesce(w.type || ' ' || w.identity, '') as parent,
    o.aspects
    || case when o.detail ? 'restore' then '{}' else jsonb_build_object(
        'owner', o.owner::regrole,
        'comment', coalesce(quote_literal(case
            when o.subid > 0 then col_description(o.oid, o.subid) else obj_description(o.oid, o.catalog::text::name)
        end), 'null')
    ) end as aspects,
    (
        select coalesce(jsonb_agg(
            jsonb_build_array(
                case r.grantee when 0 then 'public' else r.grantee::regrole::text end, r.privilege,
                r.is_grantable, r.grantor = o.owner
            ) order by r.grantee::regrole::text, r.privilege, r.is_grantable
        ), '[]')
        from rights as r
        where r.catalog = o.catalog and r.oid = o.oid and o.subid = 0 and r.grantee != o.owner
    ) as rights
from objects as o
cross join lateral pg_identify_object(o.catalog, o.oid, o.subid) as i
cross join lateral (
    select regexp_replace(i.type, '^.* (column|constraint)$', '\1') as kind,
        case o.catalog when 'pg_proc'::regclass then o.oid::regprocedure::text else i.identity end as name
) as k
left join lateral pg_identify_object('pg_class'::regclass, o.whole, 0) as w on o.whole is not null
order by k.kind, parent, o.subid, subject
