-- An account gets another name.
select * from public.rename_account(md5('account' || :user)::uuid, 'Name ' || :user);
