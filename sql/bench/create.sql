-- An account is created under a given name.
select * from public.create_account('Paper trading');
