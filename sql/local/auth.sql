-- What the Auth server of a hosted project creates and the migrations refer to, as it is there. Runs after
-- baseline.sql, also on a database of the embedded stack, whose functions read fewer claims.
create table if not exists auth.users (id uuid primary key);

create or replace function auth.uid() returns uuid language sql stable as $$
select coalesce(
    nullif(current_setting('request.jwt.claim.sub', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
)::uuid
$$;
create or replace function auth.jwt() returns jsonb language sql stable as $$
select coalesce(
    nullif(current_setting('request.jwt.claim', true), ''), nullif(current_setting('request.jwt.claims', true), '')
)::jsonb
$$;
create or replace function auth.role() returns text language sql stable as $$
select nullif(current_setting('request.jwt.claim.role', true), '')
$$;

grant select, references on table auth.users to postgres;
