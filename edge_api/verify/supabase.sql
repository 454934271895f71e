-- What the migrations refer to and sql/local/baseline.sql leaves to the Auth server.
create table auth.users (id uuid primary key);

create function auth.uid() returns uuid language sql stable as $$
select coalesce(
    nullif(current_setting('request.jwt.claim.sub', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
)::uuid
$$;
create function auth.jwt() returns jsonb language sql stable as $$
select coalesce(
    nullif(current_setting('request.jwt.claim', true), ''), nullif(current_setting('request.jwt.claims', true), '')
)::jsonb
$$;
create function auth.role() returns text language sql stable as $$
select nullif(current_setting('request.jwt.claim.role', true), '')
$$;

grant select, references on table auth.users to postgres;
