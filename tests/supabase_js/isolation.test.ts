// Two users, each signed in. What the one reports who reaches for the other's account, and that it stays as it was.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { api, accountOf, sessionOf, signedUp, type Account, type Client, type User } from "./surroundings.ts";

let owner: User;
let intruder: User;
let theirs: Account;
let mine: Account;

async function asStored(client: Client): Promise<Account[]> {
  const { data, error } = await client.from("user_accounts").select();
  assert.equal(error, null);
  return data ?? [];
}

before(async () => {
  [owner, intruder] = await Promise.all([signedUp(), signedUp()]);
  await Promise.all([accountOf(owner.client), accountOf(intruder.client)]);
  [[theirs], [mine]] = (await Promise.all([asStored(owner.client), asStored(intruder.client)])) as [[Account], [Account]];
});

after(async () => {
  assert.deepEqual(await asStored(owner.client), [theirs]);
  assert.deepEqual(await asStored(intruder.client), [mine]);
});

/** The client of the intruder's, as code without types has it: it can try what the types refuse. */
function untyped(): Client<any> {
  return intruder.client as Client<any>;
}

test("a select has one's own rows only", async () => {
  const { data, error, status } = await intruder.client.from("user_accounts").select();
  assert.deepEqual([status, error, data], [200, null, [mine]]);
});

for (const column of ["id", "user_id"] as const) {
  test(`a select by the other's ${column} returns no row and no error`, async () => {
    const { data, error, status } = await intruder.client.from("user_accounts").select().eq(column, theirs[column]);
    assert.deepEqual([status, error, data], [200, null, []]);
  });
}

test("get_account of the other's id returns no row and no error", async () => {
  const { data, error, status } = await intruder.client.rpc("get_account", { account_id: theirs.id });
  assert.deepEqual([status, error, data], [200, null, []]);
});

test("rename_account of the other's id returns no row and no error", async () => {
  const attempt = { account_id: theirs.id, account_name: "Taken over" };
  const { data, error, status } = await intruder.client.rpc("rename_account", attempt);
  assert.deepEqual([status, error, data], [200, null, []]);
  const single = await intruder.client.rpc("rename_account", attempt).single();
  assert.deepEqual([single.status, single.error?.code, single.data], [406, "PGRST116", null]);
});

test("an update of the other's row changes none and reports no error", async () => {
  const update = () => intruder.client.from("user_accounts").update({ account_name: "Taken over" }).eq("id", theirs.id);
  const { data, error, status } = await update().select();
  assert.deepEqual([status, error, data], [200, null, []]);
  const silent = await update();
  assert.deepEqual([silent.status, silent.error, silent.data], [204, null, null]);
});

test("an update without a filter changes one's own row only", async () => {
  const everything = intruder.client.from("user_accounts").update({ account_name: mine.account_name });
  const { data, error } = await everything.not("id", "is", null).select();
  assert.equal(error, null);
  assert.deepEqual(data?.map((account) => account.id), [mine.id]);
  mine = data?.[0] ?? mine; // updated_at has moved on
});

const REFUSED = {
  "an insert with the other's user_id": () =>
    untyped().from("user_accounts").insert({ account_name: "Planted", user_id: owner.id }),
  "an update of one's own row to the other's user_id": () =>
    untyped().from("user_accounts").update({ user_id: owner.id }).eq("id", mine.id),
  "an upsert over the other's id": () =>
    untyped().from("user_accounts").upsert({ id: theirs.id, account_name: "Taken over" }),
  "a delete of the other's row": () => intruder.client.from("user_accounts").delete().eq("id", theirs.id),
  "a delete of one's own row": () => intruder.client.from("user_accounts").delete().eq("id", mine.id),
  "an insert that sets is_active": () =>
    untyped().from("user_accounts").insert({ account_name: "Mine", is_active: false }),
  "an update of is_active": () => untyped().from("user_accounts").update({ is_active: false }).eq("id", mine.id),
};

for (const [attempt, tried] of Object.entries(REFUSED)) {
  test(`${attempt} is refused: 403, 42501`, async () => {
    const { status, error, data } = await tried();
    assert.deepEqual([status, error?.code, data], [403, "42501", null]);
  });
}

test("the API says of the other's id what it says of no one's", async () => {
  const { access_token } = await sessionOf(intruder.client);
  for (const [method, body] of [["GET"], ["PATCH", { account_name: "Taken over" }]] as const) {
    const response = await api(access_token, method, `/api/accounts/${theirs.id}`, body);
    assert.deepEqual([response.status, (await response.json()).code], [404, "account_not_found"]);
  }
});

test("two clients in one process are two users", async () => {
  const turns = Array.from({ length: 10 }, () => [accountOf(owner.client), accountOf(intruder.client)]).flat();
  const ids = (await Promise.all(turns)).map((account) => account.id);
  assert.deepEqual(ids, turns.map((_, turn) => (turn % 2 === 0 ? theirs.id : mine.id)));
});
