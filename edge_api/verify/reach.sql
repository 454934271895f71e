-- What decides by which path a role comes to a row: a document for each role, relation and function, and for what
-- connects them. Reads catalogs only, which every role may. The protected tables are the relations in edge_api.scope.
--
-- Runs with an empty search_path, so that PostgreSQL qualifies each name in what it returns.
--
-- The catalogs have columns named like keywords, and a row of a table of data is a line:
-- noqa: disable=RF02,RF04,ST05,layout
with recursive schemas as (
    select *
    from pg_namespace
    where nspname !~ '^pg_(toast|temp)'
),

-- whoever reaches an ancestor or a descendant of a protected table, reaches rows of it
kin as (
    select
        c.oid, up
    from pg_class as c
    inner join pg_namespace as n on c.relnamespace = n.oid
    cross join (values (true), (false)) as direction (up)
    where format('%I.%I', n.nspname, c.relname) = 'auth.users'
        or current_setting('edge_api.scope')::jsonb -> 'relations' ? format('%I.%I', n.nspname, c.relname)
    union
    select
        case when k.up then i.inhparent else i.inhrelid end as oid, k.up
    from pg_inherits as i
    inner join kin as k on k.oid = case when k.up then i.inhrelid else i.inhparent end
),

original as (
    select array_agg(a.attname) as columns, array_agg(a.attname) filter (where a.atttypid = 'text'::regtype) as texts
    from pg_class as c
    inner join pg_namespace as n on c.relnamespace = n.oid
    inner join pg_attribute as a on c.oid = a.attrelid and a.attnum > 0 and not a.attisdropped
    where current_setting('edge_api.scope')::jsonb -> 'relations' ? format('%I.%I', n.nspname, c.relname)
    group by c.oid
),

keys as materialized (
    select c.*
    from pg_constraint as c
    where c.conrelid in (select k.oid from kin as k)
        and c.contype = 'f' and (c.confdeltype in ('c', 'n', 'd') or c.confupdtype in ('c', 'n', 'd'))
)

select
    'role' as kind, to_jsonb(r) as document
from (
    select
        oid::bigint, rolname as name, format('%I', rolname) as quoted, rolsuper as superuser, rolbypassrls as bypasses
    from pg_roles
) as r
union all
select
    'membership' as kind, to_jsonb(m)
    || jsonb_build_object(
        'inherits', coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, r.rolinherit),
        -- who may pass it on, gives it to himself
        'sets', m.admin_option or coalesce((to_jsonb(m) ->> 'set_option')::boolean, true)
    ) as document
from pg_auth_members as m
inner join pg_roles as r on m.member = r.oid
union all
select
    'schema' as kind,
    jsonb_build_object(
        'oid', n.oid::bigint, 'name', n.nspname, 'owner', n.nspowner::bigint,
        'users', (
            select jsonb_agg(distinct a.grantee::bigint)
            from aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) as a
            where a.privilege_type = 'USAGE'
        )
    ) as document
from schemas as n
union all
select
    'relation' as kind,
    jsonb_build_object(
        'oid', c.oid::bigint, 'name', format('%I.%I', n.nspname, c.relname), 'bare', c.relname, 'schema', n.oid::bigint,
        'kind', c.relkind, 'owner', c.relowner::bigint, 'protected', c.oid in (select k.oid from kin as k),
        'above', c.oid in (select k.oid from kin as k where k.up),
        'invoker', settings.invoker, 'barrier', settings.barrier,
        'row_security', c.relrowsecurity, 'forced', c.relforcerowsecurity, 'options',
        (
            select jsonb_agg(o.option_value) from pg_foreign_table as f, pg_options_to_table(f.ftoptions) as o
            where f.ftrelid = c.oid
        ),
        'text', case when c.relkind in ('v', 'm') then pg_get_viewdef(c.oid) end,
        'rights', (
            select jsonb_agg(distinct jsonb_build_array(a.grantee::bigint, lower(a.privilege_type), a.grantor::bigint, t.attname))
            from (
                select null as attname, coalesce(c.relacl, acldefault('r', c.relowner)) as acl
                union all
                select attname, attacl from pg_attribute where attrelid = c.oid
            ) as t
            cross join lateral aclexplode(t.acl) as a
        ),
        'rules', (
            select
                jsonb_agg(
                    jsonb_build_array(
                        format('%I', w.rulename),
                        case w.ev_type when '2' then 'update' when '3' then 'insert' else 'delete' end,
                        pg_get_ruledef(w.oid)
                    )
                )
            from pg_rewrite as w
            where w.ev_class = c.oid and w.ev_type != '1' and w.ev_enabled != 'D'
        ),
        'triggers', (
            select jsonb_agg(jsonb_build_array(format('%I', t.tgname), t.tgfoid::bigint))
            from pg_trigger as t
            where t.tgrelid = c.oid and not t.tgisinternal and t.tgenabled not in ('D', 'R')
        ),
        'policies', (
            select
                jsonb_agg(
                    jsonb_build_object(
                        'permissive', p.polpermissive, 'command', p.polcmd, 'roles', p.polroles::bigint[],
                        'using', pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid)
                    )
                )
            from pg_policy as p
            where p.polrelid = c.oid
        ),
        -- the functions that an insert calls
        'defaults', (
            select jsonb_agg(distinct d.refobjid::bigint)
            from (
                select 'pg_attrdef'::regclass, a.oid from pg_attrdef as a where a.adrelid = c.oid
                union all
                select 'pg_constraint'::regclass, k.oid from pg_constraint as k where k.conrelid = c.oid
            ) as part (catalog, oid)
            inner join pg_depend as d
                on part.catalog = d.classid and part.oid = d.objid and d.refclassid = 'pg_proc'::regclass
        ),
        -- What users wrote, under its own name: certain beside all other columns, or in a table as "create table as"
        -- creates it beside whose it is.
        'copy', case
            when c.relkind not in ('r', 'p') or copied.whole is null then null
            -- the size is read under a lock: of such a table only, and never of a protected one
            when not exists (
                select
                from (select c.oid union all select p.relid from pg_partition_tree(c.oid) as p) as part (oid)
                where case
                        when part.oid in (select k.oid from kin as k where not k.up) then false
                        else pg_relation_size(part.oid) > 0
                    end
            ) then null
            when copied.whole or (shape.owned and shape.bare) then 'certain'
            when shape.owned or shape.bare then 'undecided'
        end,
        'parents', (select jsonb_agg(i.inhparent::bigint) from pg_inherits as i where i.inhrelid = c.oid),
        'keys', (
            select jsonb_agg(jsonb_build_array(k.conrelid::regclass, format('%I', k.conname)))
            from keys as k
            where k.confrelid = c.oid
        )
    ) as document
from pg_class as c
inner join schemas as n on c.relnamespace = n.oid
cross join lateral (
    select
        coalesce(bool_or(t.option_value::boolean) filter (where t.option_name = 'security_invoker'), false) as invoker,
        coalesce(bool_or(t.option_value::boolean) filter (where t.option_name = 'security_barrier'), false) as barrier
    from pg_options_to_table(c.reloptions) as t
) as settings
cross join lateral (
    select
        array_agg(a.attname) as columns, bool_or(a.attname = 'user_id') as owned, not bool_or(a.attnotnull) as bare
    from pg_attribute as a
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
) as shape
cross join lateral (
    select bool_or(o.columns <@ shape.columns) as whole from original as o where o.texts <@ shape.columns
) as copied
where c.relkind in ('r', 'p', 'v', 'm', 'f') and c.oid >= 16384 -- the first that is not PostgreSQL's own
union all
select
    'function' as kind,
    jsonb_build_object(
        'oid', p.oid::bigint, 'name', p.oid::regprocedure, 'bare', p.proname, 'schema', n.oid::bigint,
        'owner', p.proowner::bigint, 'kind', p.prokind, 'definer', p.prosecdef, 'parsed', p.prosqlbody is not null,
        'text', case
            -- what runs in an aggregate runs without a right to execute it
            when p.prokind = 'a'
                then (
                    select 'select ' || string_agg(f.value || '()', ', ')
                    from pg_aggregate as a
                    cross join jsonb_each_text(to_jsonb(a)) as f
                    where a.aggfnoid = p.oid and f.key ~ 'fn$' and f.value != '-'
                )
            else pg_get_functiondef(p.oid)
        end, 'returns', p.prorettype::regtype, 'set', p.proretset,
        'users', (
            select jsonb_agg(distinct a.grantee::bigint)
            from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as a
        ),
        'settings', (
            select jsonb_object_agg(split_part(c.setting, '=', 1), substr(c.setting, strpos(c.setting, '=') + 1))
            from unnest(p.proconfig) as c (setting)
        ),
        'extension', exists (
            select from pg_depend as d
            where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'
        ), 'leakproof', p.proleakproof, 'operators', o.names,
        -- what an operator, a cast, a default or a policy calls needs no usage on its schema
        'referenced', exists (
            select from pg_depend as d
            where d.refclassid = 'pg_proc'::regclass and d.refobjid = p.oid
                and (d.classid, d.objid) not in (
                    select 'pg_trigger'::regclass, t.oid from pg_trigger as t where t.tgfoid = p.oid
                )
        )
    ) as document
from pg_proc as p
inner join schemas as n on p.pronamespace = n.oid
inner join pg_language as l on p.prolang = l.oid
left join (select oprcode, jsonb_agg(distinct oprname) as names from pg_operator group by oprcode) as o on p.oid = o.oprcode
where p.oid >= 16384 and (l.lanname != 'c' or p.prokind = 'a')
