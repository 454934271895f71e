// Signing up, in and out, and what becomes of a session.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { AuthChangeEvent } from "@supabase/supabase-js";
import { api, apiOf, bearing, given, accountOf, sessionOf, signedUp, signedOut, type Account } from "./surroundings.ts";

const ACCOUNTS = "/api/accounts";

test("a new user is signed in at once and has no account", async () => {
  const { client, id } = await signedUp();
  assert.equal((await sessionOf(client)).user.id, id);
  assert.deepEqual((await client.from("user_accounts").select()).data, []);
  assert.equal((await apiOf<{ count: number }>(client, "GET", ACCOUNTS)).count, 0);
});

test("a user who signs in elsewhere finds the same account", async () => {
  const { client, email, password } = await signedUp();
  const { created, ...account } = await accountOf(client);
  assert.equal(created, true);

  const elsewhere = signedOut();
  const { error } = await elsewhere.auth.signInWithPassword({ email, password });
  assert.equal(error, null);
  assert.deepEqual(await accountOf(elsewhere), { ...account, created: false });
});

test("a wrong password gives no session", async () => {
  const { email } = await signedUp();
  const client = signedOut();
  const { data, error } = await client.auth.signInWithPassword({ email, password: "not this one" });
  assert.deepEqual([error?.status, error?.code, data.session], [400, "invalid_credentials", null]);
  assert.equal((await client.rpc("list_accounts")).status, 401);
});

test("an address can be signed up once", async () => {
  const { email, password } = await signedUp();
  const { data, error } = await signedOut().auth.signUp({ email, password });
  assert.deepEqual([error?.status, error?.code, data.session], [422, "user_already_exists", null]);
});

test("a refreshed session goes on where the old one was", async () => {
  const { client } = await signedUp();
  const { id } = await accountOf(client);
  const before = await sessionOf(client);

  const { data, error } = await client.auth.refreshSession();
  assert.equal(error, null);
  assert.notEqual(data.session?.refresh_token, before.refresh_token);
  assert.equal((await accountOf(client)).id, id);
  assert.equal((await apiOf<{ accounts: Account[] }>(client, "GET", ACCOUNTS)).accounts[0]?.id, id);
});

test("an expired session is refreshed before its first call", async () => {
  const client = signedOut();
  const events: AuthChangeEvent[] = [];
  client.auth.onAuthStateChange((event) => void events.push(event));
  const { refresh_token } = await sessionOf((await signedUp()).client);
  const expired = { access_token: given("EXPIRED_TOKEN"), refresh_token };

  assert.equal((await client.auth.setSession(expired)).error, null);
  assert.ok(events.includes("TOKEN_REFRESHED"));
  assert.notEqual((await sessionOf(client)).access_token, expired.access_token);
  const { id } = await accountOf(client);
  assert.equal((await apiOf<{ accounts: Account[] }>(client, "GET", ACCOUNTS)).accounts[0]?.id, id);
});

test("an expired token is refused by both", async () => {
  const { status, error } = await bearing(given("EXPIRED_TOKEN")).rpc("list_accounts");
  assert.deepEqual([status, error?.code], [401, "PGRST303"]);
  const response = await api(given("EXPIRED_TOKEN"), "GET", ACCOUNTS);
  assert.deepEqual([response.status, (await response.json()).code], [401, "invalid_token"]);
});

test("signed out, a client has no rights and its refresh token is worth nothing", async () => {
  const { client } = await signedUp();
  await accountOf(client);
  const { refresh_token } = await sessionOf(client);
  const events: AuthChangeEvent[] = [];
  client.auth.onAuthStateChange((event) => void events.push(event));

  assert.equal((await client.auth.signOut()).error, null);
  assert.ok(events.includes("SIGNED_OUT"));
  assert.equal((await client.auth.getSession()).data.session, null);
  const { status, error } = await client.rpc("get_or_create_account");
  assert.deepEqual([status, error?.code], [401, "42501"]);
  const refreshed = await signedOut().auth.refreshSession({ refresh_token });
  assert.deepEqual([refreshed.error?.code, refreshed.data.session], ["refresh_token_not_found", null]);
});

test("an access token outlives the signing out, until it expires", async () => {
  const { client } = await signedUp();
  const { id } = await accountOf(client);
  const { access_token } = await sessionOf(client);
  await client.auth.signOut();

  assert.deepEqual((await bearing(access_token).rpc("list_accounts")).data?.map((account) => account.id), [id]);
  assert.equal((await api(access_token, "GET", ACCOUNTS)).status, 200);
});
