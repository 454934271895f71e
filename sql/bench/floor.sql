-- What every call costs before it does anything: a transaction, a role, the claims.
\set user random(1, :accounts)
begin;
set local role authenticated;
select set_config('request.jwt.claim.sub', md5('user' || :user)::uuid::text, true);
select 1;
commit;
