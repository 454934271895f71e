// What a frontend does with accounts, while other services do it through /api/accounts.

import assert from "node:assert/strict";
import { test } from "node:test";
import { apiOf, accountOf, normal, sessionOf, signedUp, signedOut, type Account } from "./surroundings.ts";

interface GetOrCreate {
  account: Account;
  created: boolean;
}
interface List {
  accounts: Account[];
  count: number;
}

test("the account that supabase-js makes is the one that the API gives", async () => {
  const { client, id: user_id } = await signedUp();
  const { created, ...account } = await accountOf(client);
  assert.deepEqual(
    { ...account, created },
    { ...account, user_id, account_name: "Default Alpaca Account", is_active: true, created: true },
  );

  const again = await apiOf<GetOrCreate>(client, "POST", "/api/accounts/get-or-create");
  assert.equal(again.created, false);
  const { accounts } = await apiOf<List>(client, "GET", "/api/accounts");
  const one = await apiOf<Account>(client, "GET", `/api/accounts/${account.id}`);
  const selected = await client.from("user_accounts").select();
  const listed = await client.rpc("list_accounts");
  const found = await client.rpc("get_account", { account_id: account.id });
  for (const seen of [[again.account], accounts, [one], selected.data, listed.data, found.data]) {
    assert.deepEqual(seen?.map(normal), [normal(account)]);
  }
});

test("the account that the API makes is the one that supabase-js gives", async () => {
  const { client } = await signedUp();
  const { account, created } = await apiOf<GetOrCreate>(client, "POST", "/api/accounts/get-or-create");
  assert.equal(created, true);
  const { created: createdAgain, ...same } = await accountOf(client);
  assert.equal(createdAgain, false);
  assert.deepEqual(normal(same), normal(account));
});

test("the first call names the account, the next ones do not", async () => {
  const { client } = await signedUp();
  const first = await client.rpc("get_or_create_account", { default_name: "Paper" }).single();
  const second = await client.rpc("get_or_create_account", { default_name: "Live" }).single();
  assert.deepEqual([first.data?.account_name, first.data?.created], ["Paper", true]);
  assert.deepEqual([second.data?.account_name, second.data?.created], ["Paper", false]);
});

test("create_account returns one object", async () => {
  const { client, id } = await signedUp();
  const { data, status } = await client.rpc("create_account", { account_name: "Paper" });
  assert.deepEqual([status, data?.user_id, data?.account_name], [200, id, "Paper"]);
});

test("a new name is seen on every way in", async () => {
  const { client } = await signedUp();
  const { id: account_id, updated_at } = await accountOf(client);
  const path = `/api/accounts/${account_id}`;

  const renamed = await client.rpc("rename_account", { account_id, account_name: "Paper" }).single();
  assert.deepEqual([renamed.status, renamed.data?.account_name], [200, "Paper"]);
  assert.ok(Date.parse(renamed.data?.updated_at ?? "") > Date.parse(updated_at));
  assert.equal((await apiOf<Account>(client, "GET", path)).account_name, "Paper");

  await apiOf(client, "PATCH", path, { account_name: "Live" });
  assert.equal((await client.from("user_accounts").select("account_name").single()).data?.account_name, "Live");

  const updated = await client.from("user_accounts").update({ account_name: "Both" }).eq("id", account_id).select();
  assert.deepEqual(updated.data?.map((account) => account.account_name), ["Both"]);
  assert.equal((await apiOf<Account>(client, "GET", path)).account_name, "Both");
});

test("a plain insert of the name belongs to the user", async () => {
  const { client, id } = await signedUp();
  const { data, status } = await client.from("user_accounts").insert({ account_name: "Paper" }).select().single();
  assert.deepEqual([status, data?.user_id, data?.account_name], [201, id, "Paper"]);
});

test("of two tabs and the API calling at once exactly one makes the account", async () => {
  const { client: tab } = await signedUp();
  const otherTab = signedOut();
  assert.equal((await otherTab.auth.setSession(await sessionOf(tab))).error, null);

  const calls = Array.from({ length: 10 }, () => [
    accountOf(tab),
    accountOf(otherTab),
    apiOf<GetOrCreate>(tab, "POST", "/api/accounts/get-or-create").then(({ account, created }) => ({
      ...account,
      created,
    })),
  ]);
  const responses = await Promise.all(calls.flat());

  assert.equal(responses.length, 30);
  assert.equal(responses.filter((response) => response.created).length, 1);
  assert.equal(new Set(responses.map((response) => response.id)).size, 1);
  assert.equal((await otherTab.from("user_accounts").select()).data?.length, 1);
});
