-- The common case: the account is there.
\set user random(1, :accounts)
begin;
set local role authenticated;
select set_config('request.jwt.claim.sub', md5('user' || :user)::uuid::text, true);
select * from public.get_or_create_account();
commit;
