-- An account by its id.
select * from public.get_account(md5('account' || :user)::uuid);
