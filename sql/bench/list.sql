-- The accounts of a user who has one.
\set user random(1, :accounts)
begin;
set local role authenticated;
select set_config('request.jwt.claim.sub', md5('user' || :user)::uuid::text, true);
select * from public.list_accounts();
commit;
