-- The accounts of a user who has one.
\set user random(1, :accounts)
begin;
select
    set_config('role', 'authenticated', true),
    set_config('request.jwt.claim.sub', md5('user' || :user)::uuid::text, true),
    set_config(
        'request.jwt.claims',
        json_build_object('role', 'authenticated', 'is_anonymous', false, 'sub', md5('user' || :user)::uuid)::text,
        true
    );
select * from public.list_accounts();
commit;
