// The page of `make dev`: signs users in, shows their account, and how each call looks on both ways to it.

import { code, curl, pretty, recording, requestText, wire } from "/page/wire.js";

const ACCOUNTS = "/api/accounts";
const FIRST_RETRY_SECONDS = 2;
const LAST_RETRY_SECONDS = 30;
// as the constraints of user_accounts have it; the database decides
const LONGEST_NAME = 255;
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;
const BLANK_AT_AN_END =
  /^[ \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]|[ \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]$/;

const $ = (selector) => document.querySelector(selector);
const views = { starting: $("#starting"), "signed-out": $("#signed-out"), user: $("#user") };

/** Tells whoever listens, and does not look, what has happened. */
function say(text) {
  $("#said").textContent = text;
}

function show(view, focused) {
  for (const [name, section] of Object.entries(views)) section.hidden = name !== view;
  $("#sign-out").hidden = view !== "user";
  if (focused) $(focused).focus();
}

// Calls, and what goes over the wire ----------------------------------------------------------------------------------

/** A failure as this page shows it: the server's own text, and whether another try could help. */
class Failure extends Error {
  constructor(text, { status = 0, code = "" } = {}) {
    super(text);
    this.status = status;
    this.code = code;
  }

  get mayPass() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

const apiFetch = recording("api");

/** Calls the API with the token of the session as it is now. */
async function api(method, path, body) {
  const send = async () => {
    const { data } = await supabase.auth.getSession();
    const headers = { Authorization: `Bearer ${data.session?.access_token}` };
    if (body) headers["Content-Type"] = "application/json";
    try {
      return await apiFetch(path, { method, headers, body: body && JSON.stringify(body) });
    } catch {
      throw new Failure("The API does not respond. Does make dev still run?");
    }
  };
  let response = await send();
  if (response.status === 401 && (await supabase.auth.refreshSession()).data.session) response = await send();
  const document = await response.json();
  if (response.ok) return document;
  const details = (document.errors ?? []).map((error) => error.msg);
  throw new Failure(details.length ? `${details.join("; ")}.` : document.detail, document);
}

/** What supabase-js returns, or its error as a failure. */
async function straight(query) {
  const { data, error, status } = await query;
  if (!error) return data;
  throw new Failure(status ? error.message : "Supabase does not respond. Does make dev still run?", { status, code: error.code });
}

const calls = {
  getOrCreate: {
    title: "Get or create",
    supabase: () => supabase.rpc("get_or_create_account").single(),
    supabaseCode: () => `await supabase.rpc("get_or_create_account").single()`,
    api: () => api("POST", `${ACCOUNTS}/get-or-create`),
    apiCode: () => code("POST", `${ACCOUNTS}/get-or-create`),
  },
  list: {
    title: "List",
    supabase: () => supabase.from("user_accounts").select(),
    supabaseCode: () => `await supabase.from("user_accounts").select()`,
    api: () => api("GET", ACCOUNTS),
    apiCode: () => code("GET", ACCOUNTS),
  },
  create: {
    title: "Create",
    supabase: ({ account_name }) => supabase.rpc("create_account", { account_name }),
    supabaseCode: ({ account_name }) => `await supabase.rpc("create_account", ${JSON.stringify({ account_name })})`,
    api: ({ account_name }) => api("POST", ACCOUNTS, { account_name }),
    apiCode: ({ account_name }) => code("POST", ACCOUNTS, { account_name }),
  },
  other: {
    title: "Get another user's",
    supabase: ({ id }) => supabase.rpc("get_account", { account_id: id }),
    supabaseCode: ({ id }) => `await supabase.rpc("get_account", ${JSON.stringify({ account_id: id })})`,
    api: ({ id }) => api("GET", `${ACCOUNTS}/${id}`),
    apiCode: ({ id }) => code("GET", `${ACCOUNTS}/${id}`),
  },
  rename: {
    title: "Rename",
    supabase: ({ id, account_name }) => supabase.rpc("rename_account", { account_id: id, account_name }).single(),
    supabaseCode: ({ id, account_name }) =>
      `await supabase.rpc("rename_account", ${JSON.stringify({ account_id: id, account_name })}).single()`,
    api: ({ id, account_name }) => api("PATCH", `${ACCOUNTS}/${id}`, { account_name }),
    apiCode: ({ id, account_name }) => code("PATCH", `${ACCOUNTS}/${id}`, { account_name }),
  },
};

async function copy(button, text, what) {
  await navigator.clipboard.writeText(text);
  button.textContent = "Copied";
  say(`${what} is in the clipboard.`);
}

/** Scroll areas are tab stops where they scroll, and nowhere else. */
function judgeScroll(area) {
  if (area.scrollHeight > area.clientHeight) area.tabIndex = 0;
  else area.removeAttribute("tabindex");
}

const resized = new ResizeObserver((entries) => entries.forEach(({ target }) => judgeScroll(target)));

/** Makes a call both ways, one after the other, and shows it; returns what each gave, or how it failed. */
async function bothWays(name, values = {}) {
  const call = calls[name];
  const outcome = {};
  for (const way of ["supabase", "api"]) {
    wire[way] = null;
    try {
      outcome[way] = await (way === "api" ? call.api(values) : straight(call.supabase(values)));
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      outcome[way] = error;
    }
    showCall(way, call[`${way}Code`](values));
  }
  return outcome;
}

function showCall(way, text) {
  const card = $(`[data-way="${way}"]`);
  const shown = $("#call").content.cloneNode(true);
  const part = (name) => shown.querySelector(`[data-part="${name}"]`);
  const call = wire[way];
  part("code").textContent = text;
  const regions = shown.querySelectorAll("[role=region]");
  for (const region of regions) {
    region.setAttribute("aria-label", `${region.getAttribute("aria-label")}, ${card.querySelector("h3").textContent}`);
    resized.observe(region);
  }
  const [copyCode, copyCurl] = ["code", "curl"].map((name) => shown.querySelector(`[data-copy=${name}]`));
  copyCode.addEventListener("click", () => copy(copyCode, text, "The code"));
  copyCurl.addEventListener("click", () => copy(copyCurl, curl(call), "The curl line"));
  copyCurl.hidden = !call;
  if (call) {
    part("request").textContent = requestText(call);
    part("status").textContent = call.status ?? "none";
    part("status").toggleAttribute("data-bad", !(call.status < 400));
    part("took").textContent = `${Math.round(call.took)} ms`;
    part("response").textContent = call.failure ?? pretty(call.text);
  }
  card.querySelector(".call, .none")?.remove();
  card.append(shown);
  regions.forEach(judgeScroll);
}

// The account ---------------------------------------------------------------------------------------------------------

let account = null;
let retry = { timer: 0, seconds: FIRST_RETRY_SECONDS };
let loads = 0;

function showAccount(row, { created = false } = {}) {
  account = row;
  $("#user-title").textContent = row.account_name;
  $("#fresh").hidden = !created;
  for (const fact of document.querySelectorAll("[data-fact]")) {
    const value = row[fact.dataset.fact];
    if (value === undefined) continue;
    fact.textContent = fact.dataset.fact.endsWith("_at") ? new Date(value).toLocaleString() : String(value);
    if (typeof value === "boolean") fact.textContent = value ? "yes" : "no, a service has switched it off";
  }
  const input = $("#rename").elements.account_name;
  input.value = row.account_name;
  judgeName();
}

function accountState(state) {
  $("#account").setAttribute("aria-busy", String(state === "loading"));
  $("#loading").hidden = state !== "loading";
  $("#facts").hidden = state !== "there";
  $("#failed").hidden = state !== "failed";
  $("#rename").hidden = state !== "there";
  for (const button of document.querySelectorAll("[data-call]")) button.hidden = state !== "there";
  if (state !== "there") {
    $("#user-title").textContent = state === "loading" ? "Looking for it…" : "It cannot be shown now";
    $("#fresh").hidden = true;
  }
}

/** Gets the account of whoever is signed in, or makes it, and tries again while that may help. */
async function load(session) {
  const turn = ++loads;
  clearTimeout(retry.timer);
  accountState("loading");
  $('[data-fact="email"]').textContent = session.user.email;
  const outcome = await bothWays("getOrCreate");
  if (turn !== loads) return; // signed out, or started anew, in between
  const failure = Object.values(outcome).find((each) => each instanceof Failure);
  if (!failure) {
    retry.seconds = FIRST_RETRY_SECONDS;
    accountState("there");
    showAccount(outcome.supabase, outcome.supabase);
    say(outcome.supabase.created ? "Your account was created just now." : `Your account: ${outcome.supabase.account_name}.`);
    return;
  }
  accountState("failed");
  $("#failed-text").textContent = failure.message;
  $("#failed-next").textContent = failure.mayPass ? `Trying again in ${retry.seconds} seconds.` : "Sign out, and in again.";
  if (failure.mayPass) {
    retry.timer = setTimeout(() => load(session), retry.seconds * 1000);
    retry.seconds = Math.min(retry.seconds * 2, LAST_RETRY_SECONDS);
  }
}

/** Says about a name, before it is sent, which rule it breaks; the empty text if it breaks none. */
function wrongWith(name) {
  const length = [...name].length; // characters as PostgreSQL counts them
  if (length === 0) return "A name has at least one character.";
  if (length > LONGEST_NAME) return `${length - LONGEST_NAME} characters too many: ${LONGEST_NAME} at most.`;
  if (CONTROL.test(name)) return "No control characters, such as tabs and line breaks.";
  if (BLANK_AT_AN_END.test(name)) return "No spaces at the start or the end.";
  return "";
}

function judgeName() {
  const input = $("#rename").elements.account_name;
  const wrong = wrongWith(input.value);
  input.setAttribute("aria-invalid", String(Boolean(wrong)));
  $("#name-hint").textContent = wrong || `${[...input.value].length} of ${LONGEST_NAME} characters`;
  $("#rename button").textContent = wrong ? "Send it all the same" : "Save";
  $("#name-error").textContent = "";
}

/** Runs what a button or form asks for, once at a time. */
async function busy(button, work) {
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true"); // and not "disabled", which would take the focus away
  try {
    await work();
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

$("#rename").addEventListener("input", judgeName);
$("#rename").addEventListener("submit", (event) => {
  event.preventDefault();
  busy(event.submitter ?? $("#rename button"), async () => {
    const account_name = $("#rename").elements.account_name.value;
    const outcome = await bothWays("rename", { id: account.id, account_name });
    if (outcome.api instanceof Failure) {
      $("#name-error").textContent = outcome.api.message;
      $("#rename").elements.account_name.focus();
      return;
    }
    showAccount(outcome.api);
    say(`Saved: ${outcome.api.account_name}.`);
  });
});

let othersId = null;

/** The id of an account that is not this user's: that of one who is created for it. */
async function anothersAccount() {
  const { error } = await other.auth.signUp(throwAway());
  if (error) throw new Failure(authMessage(error));
  return (await straight(other.rpc("get_or_create_account").single())).id;
}

for (const button of document.querySelectorAll("[data-call]")) {
  button.addEventListener("click", () =>
    busy(button, async () => {
      $("#calls-error").textContent = "";
      const name = button.dataset.call;
      try {
        if (name === "other") othersId ??= await anothersAccount();
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        $("#calls-error").textContent = error.message;
        return;
      }
      const outcome = await bothWays(name, { account_name: "A second one", id: othersId });
      const responses = Object.entries(wire).map(([way, call]) => `${way === "api" ? "the API" : "supabase-js"}: ${call?.status ?? "no response"}`);
      say(`${calls[name].title}. ${responses.join(", ")}.`);
      if (name === "getOrCreate" && !(outcome.api instanceof Failure)) showAccount(outcome.api.account);
    }),
  );
}

$("#copy-token").addEventListener("click", async (event) => {
  const { data } = await supabase.auth.getSession();
  await copy(event.target, data.session.access_token, "The access token");
});

// Sessions ------------------------------------------------------------------------------------------------------------

const throwAway = () => ({ email: `throw-away-${crypto.randomUUID().slice(0, 8)}@example.com`, password: crypto.randomUUID() });
const authMessage = (error) => (error.status ? error.message : "Supabase does not respond. Does make dev still run?");

function judgeSign() {
  const signsUp = $("#sign").elements.way.value === "up";
  $("#sign button").textContent = signsUp ? "Sign up" : "Sign in";
  $("#sign").elements.password.autocomplete = signsUp ? "new-password" : "current-password";
  $("#password-hint").hidden = !signsUp;
}

$("#sign").addEventListener("change", judgeSign);
$("#sign").addEventListener("submit", (event) => {
  event.preventDefault();
  busy($("#sign button"), async () => {
    const { way, email, password } = $("#sign").elements;
    $("#sign-error").textContent = "";
    for (const input of [email, password]) {
      input.setAttribute("aria-invalid", String(!input.validity.valid));
      if (!input.validity.valid) {
        $("#sign-error").textContent = input === email ? "An address such as ada@example.com." : "A password of 6 characters or more.";
        input.focus();
        return;
      }
    }
    const credentials = { email: email.value, password: password.value };
    const { error } = await (way.value === "up" ? supabase.auth.signUp(credentials) : supabase.auth.signInWithPassword(credentials));
    if (error) {
      $("#sign-error").textContent = authMessage(error);
      email.focus();
      return;
    }
    $("#sign").reset();
    judgeSign();
  });
});

$("#throw-away").addEventListener("click", () =>
  busy($("#throw-away"), async () => {
    const { error } = await supabase.auth.signUp(throwAway());
    $("#sign-error").textContent = error ? authMessage(error) : "";
  }),
);
$("#sign-out").addEventListener("click", () => busy($("#sign-out"), () => supabase.auth.signOut({ scope: "local" })));
$("#retry").addEventListener("click", async () => {
  retry.seconds = FIRST_RETRY_SECONDS;
  const { data } = await supabase.auth.getSession();
  if (data.session) await load(data.session);
});

function connection() {
  $("#offline").hidden = navigator.onLine;
  if (navigator.onLine && !$("#failed").hidden) $("#retry").click();
}
addEventListener("online", connection);
addEventListener("offline", connection);

let signedInAs;
function onSession(event, session) {
  const user = session?.user.id ?? null;
  if (user === signedInAs) return; // refreshed, or back from another tab
  const first = signedInAs === undefined;
  signedInAs = user;
  $("#copy-token").textContent = "Copy";
  for (const card of document.querySelectorAll(".way")) {
    card.querySelector(".call, .none")?.remove();
    const none = document.createElement("p");
    none.className = "none";
    none.textContent = "No call yet.";
    card.append(none);
  }
  if (session) {
    show("user", first ? null : "#user-title");
    load(session);
  } else {
    loads += 1;
    clearTimeout(retry.timer);
    account = null;
    show("signed-out", first ? null : "#signed-out-title");
    if (!first) say("You are signed out.");
  }
}

const { url, key, database } = await (await fetch("/page/config.json")).json();
$("#database").textContent = $("#database").href = database;
const supabase = globalThis.supabase.createClient(url, key, { global: { fetch: recording("supabase") } });
const other = globalThis.supabase.createClient(url, key, {
  auth: { persistSession: false, autoRefreshToken: false, storageKey: "other" },
});
// not within the callback: supabase-js holds its lock while that runs
supabase.auth.onAuthStateChange((event, session) => setTimeout(onSession, 0, event, session));
connection();
