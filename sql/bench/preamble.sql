-- Before each statement: a transaction with the role and the claims that PostgREST sets. pgbench cannot include a file,
-- so bench/database.py joins this, one of the other files and "commit". A new user is one without an account.
\set user case when :new then :user + 1 else random(1, :accounts) end
begin;
select
    set_config('role', 'authenticated', true),
    set_config('request.jwt.claim.sub', md5('user' || :user)::uuid::text, true),
    set_config(
        'request.jwt.claims',
        json_build_object('role', 'authenticated', 'is_anonymous', false, 'sub', md5('user' || :user)::uuid)::text,
        true
    );
