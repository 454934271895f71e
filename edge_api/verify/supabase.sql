-- What the migrations refer to and sql/local/baseline.sql leaves to the Auth server. The names matter here, not what
-- is in them: nobody signs in.
create table auth.users (id uuid primary key);

create function auth.uid() returns uuid language sql stable as 'select null::uuid';
create function auth.jwt() returns jsonb language sql stable as 'select null::jsonb';
create function auth.role() returns text language sql stable as 'select null::text';

grant select, references on table auth.users to postgres;
