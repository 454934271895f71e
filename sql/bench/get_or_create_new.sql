-- A first call: each transaction has a user of its own, who has no account yet.
\set new :new + 1
begin;
select
    set_config('role', 'authenticated', true),
    set_config('request.jwt.claim.sub', md5('user' || :new)::uuid::text, true),
    set_config(
        'request.jwt.claims',
        json_build_object('role', 'authenticated', 'is_anonymous', false, 'sub', md5('user' || :new)::uuid)::text,
        true
    );
select * from public.get_or_create_account();
commit;
