// The table of errors in docs/frontend.md: what supabase-js and the API report of the same refusal.

import assert from "node:assert/strict";
import { test } from "node:test";
import { api, bearing, given, accountOf, UNKNOWN_ID, sessionOf, signedUp, signedOut } from "./surroundings.ts";

/** A row of the table: what supabase-js reports, and the API's status and code. */
interface Row {
  supabase: { status: number; code: string };
  api: { status: number; code: string };
}
interface Refused {
  supabase: { status: number; error: { code: string } | null };
  api?: Response;
}

const ACCOUNTS = "/api/accounts";
const GET_OR_CREATE = `${ACCOUNTS}/get-or-create`;

async function refusedFor(token: string): Promise<Refused> {
  return {
    supabase: await bearing(token).rpc("get_or_create_account"),
    api: await api(token, "POST", GET_OR_CREATE),
  };
}

const REFUSED: Record<string, () => Promise<Refused>> = {
  "missing_token: 401 42501": async () => ({
    supabase: await signedOut().rpc("get_or_create_account"),
    api: await api(null, "POST", GET_OR_CREATE),
  }),
  "invalid_token: 401 PGRST303": () => refusedFor(given("EXPIRED_TOKEN")),
  "invalid_token: 401 PGRST301": () => refusedFor(given("FORGED_TOKEN")),
  "invalid_token: 409 23503": () => refusedFor(given("DELETED_TOKEN")),
  "permission_denied: 403 42501": () => refusedFor(given("ANONYMOUS_TOKEN")),
  "account_not_found: 406 PGRST116": async () => {
    const { client } = await signedUp();
    return {
      supabase: await client.rpc("get_account", { account_id: UNKNOWN_ID }).single(),
      api: await api((await sessionOf(client)).access_token, "GET", `${ACCOUNTS}/${UNKNOWN_ID}`),
    };
  },
  "account_exists: 409 23505": async () => {
    const { client } = await signedUp();
    await accountOf(client);
    const second = { account_name: "A second one" };
    return {
      supabase: await client.rpc("create_account", second),
      api: await api((await sessionOf(client)).access_token, "POST", ACCOUNTS, second),
    };
  },
  "invalid_request: 400 23514": async () => {
    const { client } = await signedUp();
    const nameless = { account_name: "" };
    return {
      supabase: await client.rpc("create_account", nameless),
      api: await api((await sessionOf(client)).access_token, "POST", ACCOUNTS, nameless),
    };
  },
  "invalid_request: 400 22P02": async () => {
    const { client } = await signedUp();
    return {
      supabase: await client.rpc("get_account", { account_id: "no-uuid" }),
      api: await api((await sessionOf(client)).access_token, "GET", `${ACCOUNTS}/no-uuid`),
    };
  },
  "upstream_unavailable: 0": async () => ({
    supabase: await bearing("any", given("SILENT_URL")).rpc("get_or_create_account"),
  }),
};
// The embedded gateway reports a constraint's refusal otherwise than PostgREST does.
const REFUSED_SOMEHOW = ["invalid_request: 400 23514"];

const rows = JSON.parse(given("REFUSALS")) as Record<string, Row>;

test("the table has these refusals and no others", () => {
  assert.deepEqual(Object.keys(rows).sort(), Object.keys(REFUSED).sort());
});

for (const [name, row] of Object.entries(rows)) {
  test(`${row.api.code} is with supabase-js ${row.supabase.status} ${row.supabase.code}`, async () => {
    const refused = await REFUSED[name]?.();
    assert.ok(refused?.supabase.error);
    if (!REFUSED_SOMEHOW.includes(name)) {
      const { status, error } = refused.supabase;
      assert.deepEqual({ status, code: error.code }, row.supabase);
    }
    if (refused.api) {
      const { code } = (await refused.api.json()) as { code: string };
      assert.deepEqual({ status: refused.api.status, code }, row.api);
    }
  });
}
