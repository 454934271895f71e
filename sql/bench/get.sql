-- An account by its id.
\set user random(1, :accounts)
begin;
set local role authenticated;
select set_config('request.jwt.claim.sub', md5('user' || :user)::uuid::text, true);
select * from public.get_account(md5('account' || :user)::uuid);
commit;
