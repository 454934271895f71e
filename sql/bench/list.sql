-- The accounts of a user who has one.
select * from public.list_accounts();
