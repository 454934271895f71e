-- A user's first call: it creates the account.
select * from public.get_or_create_account();
