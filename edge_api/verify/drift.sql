-- The objects in edge_api.scope and what hangs on them, a row each: its aspects, each as a list of its value and the
-- statements that give it this value, and its rights. Reads catalogs only, which every role may.
--
-- Runs with an empty search_path, so that PostgreSQL qualifies each name in what it returns.
--
-- The catalogs have columns named like keywords, and a row of a table of data is a line:
-- noqa: disable=RF02,RF04,ST05,layout
with scope as (select current_setting('edge_api.scope')::jsonb as names),

relations as (
    select
        c.*, format('%I.%I', n.nspname, c.relname) as name,
        case c.relkind
            when 'v' then 'view' when 'm' then 'materialized view' when 'S' then 'sequence' else 'table'
        end as kind, format('alter table %I.%I', n.nspname, c.relname) as alter_table
    from pg_class as c
    inner join pg_namespace as n on c.relnamespace = n.oid
    inner join scope as s
        on s.names -> 'schemas' ? n.nspname or s.names -> 'relations' ? format('%I.%I', n.nspname, c.relname)
    where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
),

policies as (
    select
        p.*,
        concat_ws(
            ' ', format('create policy %I on %s', p.polname, r.name),
            case when p.polpermissive then 'as permissive' else 'as restrictive' end,
            case p.polcmd
                when 'r' then 'for select' when 'a' then 'for insert' when 'w' then 'for update' when
                    'd'
                    then 'for delete'
                else 'for all'
            end,
            'to ' || (
                select
                    string_agg(
                        case u.role when 0 then 'public' else u.role::regrole::text end, ', ' order by u.role::text
                    )
                from unnest(p.polroles) as u (role)
            ),
            'using (' || pg_get_expr(p.polqual, p.polrelid) || ')',
            'with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')'
        ) as definition
    from pg_policy as p
    inner join relations as r on p.polrelid = r.oid
),

objects (catalog, oid, subid, kind, subject, parent, owner, acl, aspects) as (
    select
        'pg_namespace'::regclass, n.oid, 0, 'schema', format('schema %I', n.nspname), '', n.nspowner,
        coalesce(n.nspacl, acldefault('n', n.nspowner)),
        jsonb_build_object('existence', jsonb_build_array(true, format('create schema %I', n.nspname)))
    from pg_namespace as n
    inner join scope as s on s.names -> 'schemas' ? n.nspname
    union all
    -- What the API needs of the schemas that are not the migrations' own.
    select
        'pg_namespace'::regclass, n.oid, 0, 'schema', format('schema %I', n.nspname), '', null::oid, null::aclitem[],
        jsonb_build_object(
            'existence', jsonb_build_array(true, format('create schema if not exists %I', n.nspname)),
            'usage for authenticated',
            jsonb_build_array(
                has_schema_privilege('authenticated', n.oid, 'usage'),
                format('grant usage on schema %I to authenticated', n.nspname)
            ),
            'usage for service_role',
            jsonb_build_array(
                n.nspname = 'auth' or has_schema_privilege('service_role', n.oid, 'usage'),
                format('grant usage on schema %I to service_role', n.nspname)
            )
        )
    from pg_namespace as n
    where n.nspname in ('public', 'auth')
    union all
    select
        'pg_class'::regclass, r.oid, 0, r.kind, format('%s %s', r.kind, r.name), '', r.relowner,
        coalesce(r.relacl, case r.relkind when 'S' then acldefault('s', r.relowner) else acldefault('r', r.relowner) end),
        jsonb_build_object(
            'existence', jsonb_build_array(true, format('create table %s ()', r.name)), 'row level security',
            jsonb_build_array(
                r.relrowsecurity,
                format(
                    '%s %s row level security', r.alter_table,
                    case when r.relrowsecurity then 'enable' else 'disable' end
                )
            ),
            'row level security for its owner',
            jsonb_build_array(
                r.relforcerowsecurity,
                format(
                    '%s %s row level security', r.alter_table,
                    case when r.relforcerowsecurity then 'force' else 'no force' end
                )
            ),
            'persistence',
            jsonb_build_array(
                case r.relpersistence when 'p' then 'logged' else 'unlogged' end, format('%s set logged', r.alter_table)
            ),
            'replica identity', jsonb_build_array(r.relreplident, format('%s replica identity default', r.alter_table)),
            'options', jsonb_build_array(coalesce(to_jsonb(r.reloptions), '[]'))
        )
    from relations as r
    union all
    select
        'pg_class'::regclass, r.oid, a.attnum, 'column', format('column %s.%I', r.name, a.attname),
        format('%s %s', r.kind, r.name), null, null,
        jsonb_build_object(
            'existence',
            jsonb_build_array(
                true,
                concat_ws(
                    ' ', format('%s add column %I %s', r.alter_table, a.attname, format_type(a.atttypid, a.atttypmod)),
                    'default ' || pg_get_expr(d.adbin, d.adrelid)
                )
            ),
            'type',
            jsonb_build_array(
                format_type(a.atttypid, a.atttypmod),
                format('%s alter column %I type %s', r.alter_table, a.attname, format_type(a.atttypid, a.atttypmod))
            ),
            'not null',
            jsonb_build_array(
                a.attnotnull
                -- PostgreSQL 18 makes constraints of them, which need not have been checked
                and not exists (
                    select from pg_constraint as c
                    where c.conrelid = r.oid and c.contype = 'n' and c.conkey = array[a.attnum] and not c.convalidated
                ),
                format(
                    '%s alter column %I %s not null', r.alter_table, a.attname,
                    case when a.attnotnull then 'set' else 'drop' end
                )
            ),
            'default',
            jsonb_build_array(
                pg_get_expr(d.adbin, d.adrelid), format('%s alter column %I ', r.alter_table, a.attname)
                || coalesce('set default ' || pg_get_expr(d.adbin, d.adrelid), 'drop default')
            ),
            'generation',
            jsonb_build_array(
                concat_ws(' ', nullif(a.attidentity, ''), nullif(a.attgenerated, '')),
                format('%s alter column %I drop identity if exists', r.alter_table, a.attname),
                format('%s alter column %I drop expression if exists', r.alter_table, a.attname)
            ),
            'collation',
            jsonb_build_array(
                a.attcollation::regcollation::text,
                format('%s alter column %I type %s', r.alter_table, a.attname, format_type(a.atttypid, a.atttypmod))
                || case when a.attcollation != 0 then ' collate ' || a.attcollation::regcollation::text else '' end
            )
        )
    from relations as r
    inner join pg_attribute as a on r.oid = a.attrelid and a.attnum > 0 and not a.attisdropped
    left join pg_attrdef as d on a.attrelid = d.adrelid and a.attnum = d.adnum
    where r.relkind in ('r', 'p', 'f')
    union all
    select
        'pg_constraint'::regclass, c.oid, 0, 'constraint', format('constraint %I on %s', c.conname, r.name),
        format('%s %s', r.kind, r.name), null, null,
        jsonb_build_object(
            'definition',
            jsonb_build_array(
                pg_get_constraintdef(c.oid), format('%s drop constraint if exists %I', r.alter_table, c.conname),
                -- an index of this name that is no constraint's would be in the way
                format('drop index if exists %I.%I', r.relnamespace::regnamespace::name, c.conname),
                format('%s add constraint %I %s', r.alter_table, c.conname, pg_get_constraintdef(c.oid))
            ),
            'triggers',
            jsonb_build_array(
                not exists (select from pg_trigger as t where t.tgconstraint = c.oid and t.tgenabled not in ('O', 'A')),
                format('%s drop constraint if exists %I', r.alter_table, c.conname),
                format('%s add constraint %I %s', r.alter_table, c.conname, pg_get_constraintdef(c.oid))
            ),
            'index',
            jsonb_build_array(
                not exists (
                    select from pg_index as i
                    where i.indexrelid = c.conindid and i.indrelid = c.conrelid and not (i.indisvalid and i.indisready)
                ),
                format('reindex index %s', c.conindid::regclass)
            )
        )
    from pg_constraint as c
    inner join relations as r on c.conrelid = r.oid
    where c.contype in ('p', 'u', 'f', 'c', 'x')
    union all
    select
        'pg_class'::regclass, i.indexrelid, 0, 'index', format('index %s', i.indexrelid::regclass),
        format('%s %s', r.kind, r.name), null, null,
        jsonb_build_object('detail', jsonb_build_object('unique', i.indisunique))
    from pg_index as i
    inner join relations as r on i.indrelid = r.oid
    where not exists (select from pg_constraint as c where c.conindid = i.indexrelid and c.conrelid = i.indrelid)
    union all
    select
        'pg_trigger'::regclass, t.oid, 0, 'trigger', format('trigger %I on %s', t.tgname, r.name),
        format('%s %s', r.kind, r.name), null, null,
        jsonb_build_object(
            'definition',
            jsonb_build_array(
                pg_get_triggerdef(t.oid), format('drop trigger if exists %I on %s', t.tgname, r.name),
                pg_get_triggerdef(t.oid)
            ),
            'state',
            jsonb_build_array(
                case t.tgenabled
                    when 'O' then 'on' when 'D' then 'off' when 'A' then 'always on' else 'on in replicas'
                end, format('%s enable trigger %I', r.alter_table, t.tgname)
            )
        )
    from pg_trigger as t
    inner join relations as r on t.tgrelid = r.oid
    where not t.tgisinternal
    union all
    select
        'pg_rewrite'::regclass, w.oid, 0, 'rule', format('rule %I on %s', w.rulename, r.name),
        format('%s %s', r.kind, r.name), null, null,
        jsonb_build_object('detail', jsonb_build_object('instead', w.is_instead and w.ev_type in ('2', '3')))
    from pg_rewrite as w
    inner join relations as r on w.ev_class = r.oid
    where r.relkind not in ('v', 'm')
    union all
    select
        'pg_policy'::regclass, p.oid, 0, 'policy', format('policy %I on %s', p.polname, r.name),
        format('%s %s', r.kind, r.name), null, null,
        jsonb_build_object(
            'definition',
            jsonb_build_array(p.definition, format('drop policy if exists %I on %s', p.polname, r.name), p.definition),
            'detail',
            jsonb_build_object(
                'permissive', p.polpermissive, 'command', p.polcmd, 'for users',
                p.polroles && array[0::oid, 'authenticated'::regrole], 'using', pg_get_expr(p.polqual, p.polrelid),
                'check', pg_get_expr(p.polwithcheck, p.polrelid)
            )
        )
    from policies as p
    inner join relations as r on p.polrelid = r.oid
    union all
    select
        'pg_proc'::regclass, p.oid, 0,
        case p.prokind when 'p' then 'procedure' when 'a' then 'aggregate' else 'function' end,
        format('function %s', p.oid::regprocedure), '', p.proowner, coalesce(p.proacl, acldefault('f', p.proowner)),
        jsonb_build_object(
            'signature',
            jsonb_build_array(
                format('%s returns %s', pg_get_function_arguments(p.oid), pg_get_function_result(p.oid)),
                format('drop function if exists %s', p.oid::regprocedure), d.definition
            ),
            'definition', jsonb_build_array(replace(d.definition, e'\r\n', e'\n'), d.definition), 'detail',
            jsonb_build_object(
                'name', format('%I.%I', n.nspname, p.proname), 'arguments',
                coalesce(to_jsonb(p.proargnames[:p.pronargs]), '[]'), 'required', p.pronargs - p.pronargdefaults
            )
        )
    from pg_proc as p
    inner join pg_namespace as n on p.pronamespace = n.oid
    inner join scope as s
        on s.names -> 'schemas' ? n.nspname or s.names -> 'functions' ? format('%I.%I', n.nspname, p.proname)
    cross join lateral (
        select case when p.prokind != 'a' then rtrim(pg_get_functiondef(p.oid), e'\n') end as definition
    ) as d
),

rights as (
    select
        o.catalog, o.oid, a.grantor, a.grantee, lower(a.privilege_type) as privilege, a.is_grantable, o.owner
    from objects as o
    cross join lateral aclexplode(o.acl) as a
    union all
    select
        'pg_class'::regclass as catalog, r.oid, a.grantor, a.grantee,
        format('%s (%I)', lower(a.privilege_type), c.attname) as privilege, a.is_grantable, r.relowner as owner
    from relations as r
    inner join pg_attribute as c on r.oid = c.attrelid and c.attnum > 0 and not c.attisdropped
    cross join lateral aclexplode(c.attacl) as a
)

select
    o.kind, o.subject, o.parent, o.aspects
    || case
        when o.owner is null then '{}'
        else jsonb_build_object(
            'owner', jsonb_build_array(o.owner::regrole, format('alter %s owner to %s', o.subject, o.owner::regrole))
        )
    end
    || case
        when o.kind in ('index', 'rule') or (o.kind = 'schema' and o.owner is null) then '{}'
        else jsonb_build_object(
            'comment', jsonb_build_array(c.comment, format('comment on %s is %L', o.subject, c.comment))
        )
    end as aspects,
    coalesce(
        (
            select
                jsonb_agg(
                    jsonb_build_array(
                        case a.grantee when 0 then 'public' else a.grantee::regrole::text end, a.privilege,
                        a.is_grantable, a.grantor = a.owner
                    )
                    order by a.grantee::regrole::text, a.privilege, a.is_grantable
                )
            from rights as a
            where
                a.catalog = o.catalog and a.oid = o.oid and o.subid = 0 and o.owner is not null and a.grantee != a.owner
        ),
        '[]'
    ) as rights
from objects as o
cross join
    lateral (
        select
            case
                when o.subid > 0 then col_description(o.oid, o.subid)
                else obj_description(o.oid, o.catalog::text::name)
            end as comment
    ) as c
order by o.kind, o.parent, o.subid, o.subject
