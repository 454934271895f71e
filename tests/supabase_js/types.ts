// Compiled, never run: what the generated types let a frontend write, and what they do not.
// Each @ts-expect-error is itself an error where the line below it has none.

import { createClient } from "@supabase/supabase-js";
import type { Database, Tables, UserDatabase } from "../../supabase/database.types.ts";

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function is<_T extends true>(): void {}

interface Account {
  id: string;
  user_id: string;
  account_name: string;
  is_active: boolean;
  created_at: string;
  updated_at: string;
}
type Flat<T> = { [K in keyof T]: T[K] };

const supabase = createClient<UserDatabase>("", "");
const table = supabase.from("user_accounts");

// What is returned: real types, nothing nullable and nothing `any`
is<Same<Flat<Tables<"user_accounts">>, Account>>();

const selected = await table.select().single();
if (selected.data) is<Same<Flat<typeof selected.data>, Account>>();

const named = await table.select("id, account_name");
if (named.data) is<Same<Flat<(typeof named.data)[number]>, Pick<Account, "id" | "account_name">>>();

const accountOf = await supabase.rpc("get_or_create_account");
if (accountOf.data) is<Same<Flat<(typeof accountOf.data)[number]>, Account & { created: boolean } extends infer T ? Flat<T> : never>>();

const oneMade = await supabase.rpc("get_or_create_account", { default_name: "Paper" }).single();
if (oneMade.data) is<Same<typeof oneMade.data.created, boolean>>();

const listed = await supabase.rpc("list_accounts");
if (listed.data) is<Same<Flat<(typeof listed.data)[number]>, Account>>();

const created = await supabase.rpc("create_account", { account_name: "Paper" });
if (created.data) is<Same<Flat<typeof created.data>, Account>>(); // one object, not a list

const found = await supabase.rpc("get_account", { account_id: "" });
if (found.data) is<Same<Flat<(typeof found.data)[number]>, Account>>(); // a list: of none if it is not one's own

const renamed = await supabase.rpc("rename_account", { account_id: "", account_name: "" }).single();
if (renamed.data) is<Same<Flat<typeof renamed.data>, Account>>();

// Functions: their names, and their arguments' names and types. (supabase-js lets no arguments at all, and more than
// there are, pass.)
// @ts-expect-error
supabase.rpc("get_or_create_acount");
// @ts-expect-error
supabase.rpc("active_account_ids");
// @ts-expect-error
supabase.rpc("get_or_create_account", { name: "Paper" });
// @ts-expect-error
supabase.rpc("get_or_create_account", { default_name: 1 });
// @ts-expect-error
supabase.rpc("get_account", { id: "" });
// @ts-expect-error
supabase.rpc("get_account", { account_id: 1 });
// @ts-expect-error
supabase.rpc("create_account", { account_name: null });
// @ts-expect-error
supabase.rpc("rename_account", { account_id: "" });

// Columns
// @ts-expect-error
supabase.from("accounts");
// @ts-expect-error
selected.data?.name;
// @ts-expect-error
oneMade.data?.existed;
// @ts-expect-error
named.data?.[0]?.user_id;
// @ts-expect-error
(await table.select("name").single()).data?.name;
// @ts-expect-error
table.select().eq("is_active", "yes");

// A user writes the name and nothing else
table.insert({ account_name: "Paper" });
table.update({ account_name: "Paper" });
// @ts-expect-error
table.insert({});
// @ts-expect-error
table.insert({ account_name: "Paper", is_active: false });
// @ts-expect-error
table.insert({ account_name: "Paper", user_id: "" });
// @ts-expect-error
table.insert([{ account_name: "Paper", id: "" }]);
// @ts-expect-error
table.insert({ account_name: null });
// @ts-expect-error
table.update({ is_active: false });
// @ts-expect-error
table.update({ account_name: "Paper", updated_at: "" });
// @ts-expect-error
table.upsert({ account_name: "Paper", created_at: "" });

// The service behind the frontend, as service_role, writes every column
createClient<Database>("", "").from("user_accounts").update({ is_active: false });
