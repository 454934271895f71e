-- What decides by which path a role comes to a row: roles, relations and functions with what each role may do, and what
-- runs when one is used. Reads catalogs only, which every role may. The protected tables are auth.users and the
-- relations in edge_api.scope, which the migrations create.
--
-- Runs with an empty search_path, so that PostgreSQL qualifies each name in what it returns.
--
-- The catalogs have columns named like keywords, and a row of a table of data is a line:
-- noqa: disable=AL03,RF02,RF04,ST05,ST06,layout
with recursive protected as (
    select c.oid, c.relname, n.nspname != 'auth' as is_expected
    from pg_class as c
    inner join pg_namespace as n on c.relnamespace = n.oid
    where format('%I.%I', n.nspname, c.relname) = 'auth.users'
        or current_setting('edge_api.scope')::jsonb -> 'relations' ? format('%I.%I', n.nspname, c.relname)
),

-- whoever reaches an ancestor or a descendant of a protected table, reaches rows of it
kin as (
    select p.oid, direction.up
    from protected as p
    cross join (values (true), (false)) as direction (up)
    union
    select
        case when k.up then i.inhparent else i.inhrelid end as oid, k.up
    from pg_inherits as i
    inner join kin as k on k.oid = case when k.up then i.inhrelid else i.inhparent end
),

-- The API's roles, their members but for those that may become service_role, as the API itself does, and what each of
-- these may become. A superuser is everybody's member.
actors as (
    select distinct on (r.oid)
        r.oid, a.rolname || case when a.oid = r.oid then '' else ' as ' || r.rolname end as name
    from pg_roles as a
    inner join pg_roles as r on a.oid = r.oid or (pg_has_role(a.oid, r.oid, 'member') and not a.rolsuper)
    cross join lateral (
        select array_agg(o.rolname) as names from pg_roles as o where pg_has_role(a.oid, o.oid, 'member')
    ) as becomes
    where a.rolname in ('anon', 'authenticated')
        or (becomes.names && '{anon, authenticated}' and not becomes.names && '{service_role}')
    order by r.oid, a.oid != r.oid
),

-- with whose rights something can run
roles as materialized (
    select r.oid, r.rolname as name, r.rolsuper or r.rolbypassrls as is_exempt, a.name as actor
    from pg_roles as r
    left join actors as a on r.oid = a.oid
    where a.oid is not null
        or r.rolname = 'service_role'
        or r.oid = 10 -- whoever created the cluster may everything
        or r.oid in (select relowner from pg_class where relhasrules and oid >= 16384)
        or r.oid in (select proowner from pg_proc where prosecdef and oid >= 16384)
),

relations as materialized (
    select
        c.*, format('%I.%I', n.nspname, c.relname) as name, n.nspname, p.is_expected,
        c.oid in (select k.oid from kin as k) as is_protected,
        exists (
            select from pg_options_to_table(c.reloptions) as o
            where o.option_name = 'security_invoker' and o.option_value::boolean
        ) as is_invoker,
        case when c.relkind in ('v', 'm') then pg_get_viewdef(c.oid) end as text
    from pg_class as c
    inner join pg_namespace as n on c.relnamespace = n.oid
    left join protected as p on c.oid = p.oid
    where c.relkind in ('r', 'p', 'v', 'm', 'f') and c.oid >= 16384 -- the first that is not PostgreSQL's own
        and n.nspname !~ '^pg_(toast|temp)'
),

-- What users wrote, under its own name: beside all other columns, or as "create table as" creates it beside whose it is.
copies as (
    select c.oid
    from relations as c
    inner join pg_attribute as a on c.oid = a.attrelid and a.attnum > 0 and not a.attisdropped
    cross join (
        select array_agg(t.attname) as columns
        from protected as p
        inner join pg_attribute as t on p.oid = t.attrelid and t.attnum > 0 and not t.attisdropped
        where p.is_expected
        group by p.oid
    ) as o
    where c.relkind in ('r', 'p')
    group by c.oid, o.columns
    having
        case
            when not (
                array_agg(a.attname) @> o.columns
                or (array_agg(a.attname) @> '{user_id, account_name}' and not bool_or(a.attnotnull))
            ) then false
            -- the size is read under a lock: of such a table only, and never of a protected one
            else exists (
                select from (select c.oid union all select p.relid from pg_partition_tree(c.oid) as p) as part (oid)
                where case
                        when part.oid in (select k.oid from kin as k where not k.up) then false
                        else pg_relation_size(part.oid) > 0
                    end
            )
        end
),

-- The statements that keep users from a relation that the migrations do not create; no protected table is a partition.
closing as (
    select x.oid, array_agg(distinct x.statement) as fix
    from (
        -- the owner's "revoke" leaves what others have granted, but not without their right to
        select
            c.oid, format(
                'revoke %s on table %s from %s cascade', case e.grantor when c.relowner then 'all' else 'grant option for all' end,
                c.name, coalesce(nullif((case e.grantor when c.relowner then e.grantee else e.grantor end)::regrole::text, '-'), 'public')
            ) as statement
        from relations as c
        cross join lateral aclexplode(
            c.relacl || (select array_agg(i.acl) from pg_attribute as t cross join unnest(t.attacl) as i (acl) where t.attrelid = c.oid)
        ) as e
        left join roles as r on e.grantee = r.oid
        where c.is_expected is null and e.grantee != c.relowner and (e.grantee = 0 or r.actor is not null)
        union all
        select k.oid, format('alter table %s detach partition %s', i.inhparent::regclass, i.inhrelid::regclass)
        from kin as k
        cross join pg_inherits as i
        inner join protected as p on i.inhrelid = p.oid
        inner join pg_class as c on i.inhparent = c.oid
        where k.up and c.relkind = 'p'
    ) as x
    group by x.oid
),

functions as (
    select p.*, p.oid::regprocedure::text as name, n.nspname, l.lanname
    from pg_proc as p
    inner join pg_namespace as n on p.pronamespace = n.oid
    inner join pg_language as l on p.prolang = l.oid
    where p.oid >= 16384 and (l.lanname != 'c' or p.prokind = 'a') and n.nspname !~ '^pg_temp'
),

-- What runs when something is done to a relation, or when a function is called: the role whose rights count in it, if that
-- is not whose that does it, the current user, likewise, and what takes them from it.
code (object, kind, name, verbs, checks, runs, fix, text, is_resolved) as (
    select
        c.oid, case c.relkind when 'v' then 'view' else 'materialized view' end, c.name, array['select'] || array(
            select v.verb from (values (4, 'update'), (8, 'insert'), (16, 'delete')) as v (bit, verb)
            where c.relkind = 'v' and pg_relation_is_updatable(c.oid, false) & v.bit != 0
        ),
        case when not c.is_invoker then c.relowner end, case c.relkind when 'm' then c.relowner end,
        case c.relkind when 'v' then array[format('alter view %s set (security_invoker = true)', c.name)] else coalesce(x.fix, '{}') end,
        c.text, true
    from relations as c
    left join closing as x on c.oid = x.oid
    where c.relkind in ('v', 'm')
    union all
    select
        c.oid, 'rule', format('%I on %s', w.rulename, c.name),
        array[case w.ev_type when '2' then 'update' when '3' then 'insert' else 'delete' end],
        c.relowner, null, array[format('drop rule %I on %s', w.rulename, c.name)], pg_get_ruledef(w.oid), true
    from relations as c
    inner join pg_rewrite as w on c.oid = w.ev_class
    where w.ev_type != '1' and w.ev_enabled != 'D'
    union all
    select
        c.oid, part.kind, part.name || c.name, part.verbs, null, null, '{}',
        'select ' || string_agg(distinct d.refobjid::regproc || '()', ', '), true
    from (
        select tgrelid, 'pg_trigger'::regclass, oid, 'trigger', format('%I on ', tgname), '{insert, update, delete, truncate}'::text[]
        from pg_trigger
        where not tgisinternal and tgenabled not in ('D', 'R')
        union all
        select adrelid, 'pg_attrdef'::regclass, oid, 'default', 'of a column of ', '{insert}' from pg_attrdef
        union all
        select conrelid, 'pg_constraint'::regclass, oid, 'check', 'of ', '{insert}' from pg_constraint
    ) as part (relation, catalog, oid, kind, name, verbs)
    inner join relations as c on part.relation = c.oid
    inner join pg_depend as d on part.catalog = d.classid and part.oid = d.objid and d.refclassid = 'pg_proc'::regclass
    group by c.oid, c.name, part.oid, part.kind, part.name, part.verbs
    union all
    select
        p.oid, case p.prokind when 'a' then 'aggregate' else 'function' end, p.name, '{}',
        case when p.prosecdef then p.proowner end, case when p.prosecdef then p.proowner end,
        array[format('alter routine %s security invoker', p.name)],
        case
            when p.prokind = 'a'
                then (
                    select 'select ' || string_agg(f.value || '()', ', ')
                    from pg_aggregate as a
                    cross join jsonb_each_text(to_jsonb(a)) as f
                    where a.aggfnoid = p.oid and f.key ~ 'fn$' and f.value != '-'
                )
            when p.lanname = 'internal' then format('select %s()', p.prosrc)
            else pg_get_functiondef(p.oid)
        end,
        p.prosqlbody is not null or p.prokind = 'a'
    from functions as p
),

objects as (
    select
        'table' as kind, c.oid, c.name, c.nspname as schema, c.relnamespace as namespace, array[c.relname] as names,
        c.is_protected, c.is_expected, c.oid in (select y.oid from copies as y) as is_copy, x.fix as closing,
        null::boolean as is_referenced, null::boolean as is_scalar, null::text[] as search_path
    from relations as c
    left join closing as x on c.oid = x.oid
    union all
    select
        'function', p.oid, p.name, p.nspname, p.pronamespace,
        array(select o.oprname from pg_operator as o where o.oprcode = p.oid) || p.proname, false, null, false, null,
        -- what an operator, a cast or a policy calls needs no usage on its schema; what views and defaults call is followed
        exists (
            select from pg_depend as d
            where d.refclassid = 'pg_proc'::regclass and d.refobjid = p.oid and d.classid not in ('pg_rewrite'::regclass, 'pg_attrdef'::regclass)
                and (d.classid, d.objid) not in (
                    select 'pg_trigger'::regclass, t.oid from pg_trigger as t where t.tgfoid = p.oid
                )
        ),
        not p.proretset and p.prorettype = any(
            '{void, boolean, smallint, integer, bigint, numeric, real, double precision, date, interval, timestamptz, timestamp,
            trigger, event_trigger}'::regtype[]
        ),
        (select regexp_split_to_array(substr(s, 13), '[", ]+') from unnest(p.proconfig) as s where s ~ '^search_path=')
    from functions as p
)

select 'role' as kind, to_jsonb(r) as document
from roles as r
union all
select
    'object' as kind,
    to_jsonb(o) - 'namespace' || jsonb_build_object(
        'rights', array(
            select array[r.oid::text, v.verb]
            from roles as r
            cross join unnest('{find, execute, select, insert, update, delete, truncate, give, pass}'::text[]) as v (verb)
            where case
                    when v.verb = 'find' then has_schema_privilege(r.oid, o.namespace, 'usage')
                    when v.verb = 'execute' and p.prorettype in ('trigger'::regtype, 'event_trigger'::regtype) then false
                    when (v.verb = 'execute') != (o.kind = 'function') then false
                    when v.verb = 'execute' then has_function_privilege(r.oid, o.oid, v.verb)
                    when v.verb = 'give' then has_column_privilege(r.oid, o.oid, owner.attnum, 'insert, update')
                    when v.verb = 'pass' then not c.relrowsecurity or r.is_exempt
                        or (pg_has_role(r.oid, c.relowner, 'usage') and (r.actor is not null or not c.relforcerowsecurity))
                    when v.verb in ('delete', 'truncate') then has_table_privilege(r.oid, o.oid, v.verb)
                    else has_any_column_privilege(r.oid, o.oid, v.verb)
                end
        ),
        'policies', array(
            select
                jsonb_build_object(
                    'permissive', w.polpermissive, 'command', w.polcmd, 'using', pg_get_expr(w.polqual, w.polrelid),
                    'check', pg_get_expr(coalesce(w.polwithcheck, w.polqual), w.polrelid),
                    'roles', array(
                        select r.oid
                        from roles as r
                        cross join unnest(w.polroles) as t (oid)
                        where t.oid = 0 or pg_has_role(r.oid, t.oid, 'usage')
                    )
                )
            from pg_policy as w
            where w.polrelid = o.oid
        )
    ) as document
from objects as o
left join pg_class as c on o.kind = 'table' and o.oid = c.oid
left join pg_proc as p on o.kind = 'function' and o.oid = p.oid
left join pg_attribute as owner on c.oid = owner.attrelid and owner.attname = 'user_id'
union all
select 'code' as kind, to_jsonb(c) as document
from code as c
