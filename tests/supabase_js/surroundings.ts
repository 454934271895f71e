// The stack, as pytest hands it in, and users who really sign up on it.

import assert from "node:assert/strict";
import { createClient, type Session, type SupabaseClient } from "@supabase/supabase-js";
import type { Tables, UserDatabase } from "../../supabase/database.types.ts";

export type Client<Database = UserDatabase> = SupabaseClient<Database>;
export type Account = Tables<"user_accounts">;
export const UNKNOWN_ID = "00000000-0000-4000-8000-000000000000";

export function given(name: string): string {
  const value = process.env[name];
  assert.ok(value, `${name} is not set`);
  return value;
}

/** supabase-js, signed out. */
export function signedOut(): Client {
  return createClient<UserDatabase>(given("SUPABASE_URL"), given("SUPABASE_PUBLISHABLE_KEY"));
}

/** supabase-js with a token of which it knows nothing more. */
export function bearing(token: string, url = given("SUPABASE_URL")): Client {
  return createClient<UserDatabase>(url, given("SUPABASE_PUBLISHABLE_KEY"), { accessToken: async () => token });
}

export interface User {
  client: Client;
  id: string;
  email: string;
  password: string;
}

/** A new user, with a client that is signed in. */
export async function signedUp(): Promise<User> {
  const client = signedOut();
  const [email, password] = [`user-${crypto.randomUUID()}@example.com`, crypto.randomUUID()];
  const { data } = await client.auth.signUp({ email, password });
  assert.ok(data.user);
  return { client, id: data.user.id, email, password };
}

export async function sessionOf(client: Client): Promise<Session> {
  const { data } = await client.auth.getSession();
  assert.ok(data.session);
  return data.session;
}

/** The API, with a token. */
export function api(token: string | null, method: string, path: string, body?: object): Promise<Response> {
  const headers = new Headers(body && { "Content-Type": "application/json" });
  if (token !== null) headers.set("Authorization", `Bearer ${token}`);
  return fetch(given("EDGE_API_URL") + path, { method, headers, ...(body && { body: JSON.stringify(body) }) });
}

/** The API, with the token of a client's session; returns the body. */
export async function apiOf<T>(client: Client, method: string, path: string, body?: object): Promise<T> {
  const response = await api((await sessionOf(client)).access_token, method, path, body);
  assert.ok(response.ok, await response.clone().text());
  return response.json() as Promise<T>;
}

export async function accountOf(client: Client): Promise<Account & { created: boolean }> {
  const { data, error } = await client.rpc("get_or_create_account").single();
  assert.equal(error, null);
  assert.ok(data);
  return data;
}

/** An account with its times in one form: each server writes them in its own. */
export function normal({ created_at, updated_at, ...rest }: Account): Account {
  return { ...rest, created_at: new Date(created_at).toISOString(), updated_at: new Date(updated_at).toISOString() };
}
