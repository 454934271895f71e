-- An account gets another name.
\set user random(1, :accounts)
begin;
set local role authenticated;
select set_config('request.jwt.claim.sub', md5('user' || :user)::uuid::text, true);
select * from public.rename_account(md5('account' || :user)::uuid, 'Name ' || :user);
commit;
