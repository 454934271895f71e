-- An account is made: each transaction has a user of its own, who has none yet.
\set new :new + 1
begin;
set local role authenticated;
select set_config('request.jwt.claim.sub', md5('user' || :new)::uuid::text, true);
select * from public.create_account('Paper trading');
commit;
