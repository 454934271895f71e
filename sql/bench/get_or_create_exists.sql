-- The common case: the account exists.
select * from public.get_or_create_account();
