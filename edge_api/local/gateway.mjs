// The embedded Supabase gateway: what `lite start --no-admin` does, but for the times in its answers. PostgREST and
// Auth write 2026-11-23T01:51:12.79+00:00; the database's own 2026-11-23 01:51:12.79+00, which `lite start` passes on,
// is not ISO 8601, and supabase-py refuses a session with it. And but for CORS: lite's Auth answers no page.
//
// Reads its configuration, a JSON object, from standard input.

import { text } from "node:stream/consumers";
import { serve } from "@hono/node-server";
import { App } from "@supabase/lite";
import { createPostgresConnection } from "@supabase/lite/postgres";

const TIMESTAMPTZ = 1184;
const { host, port, databaseUrl, ...config } = JSON.parse(await text(process.stdin));

const connection = createPostgresConnection({
  url: databaseUrl,
  postgresOptions: {
    onnotice: () => {},
    types: {
      timestamptz: {
        to: TIMESTAMPTZ,
        from: [TIMESTAMPTZ],
        serialize: (value) => (value instanceof Date ? value.toISOString() : value),
        parse: (value) => value.replace(" ", "T").replace(/([+-]\d\d)$/, "$1:00"),
      },
    },
  },
});
const app = new App({ connection, ...config, options: { server: { admin: false } } });
await app.ensureSystemSchema();

/** To a browser that asks whether a page may call: yes, with any headers, as hosted projects answer. */
function preflight(request) {
  return new Response(null, {
    status: 204,
    headers: {
      "Access-Control-Allow-Origin": "*",
      "Access-Control-Allow-Methods": "GET, HEAD, PUT, PATCH, POST, DELETE",
      "Access-Control-Allow-Headers": request.headers.get("Access-Control-Request-Headers") ?? "",
      "Access-Control-Max-Age": "3600",
      Vary: "Access-Control-Request-Headers",
    },
  });
}

// Elsewhere the package tells anyone the database's password, its configuration and the schema.
const PUBLIC_PATH = /^\/(rest|auth)\/v1(\/|$)/;

async function fetch(request, ...rest) {
  if (!PUBLIC_PATH.test(new URL(request.url).pathname)) return new Response(null, { status: 404 });
  if (request.method === "OPTIONS" && request.headers.has("Access-Control-Request-Method")) return preflight(request);
  const answer = await app.fetch(request, ...rest);
  // the page of the package's own console, in place of each path of Auth that it lacks
  if (answer.headers.get("Content-Type")?.startsWith("text/html")) return new Response(null, { status: 404 });
  answer.headers.set("Access-Control-Allow-Origin", "*");
  return answer;
}

const server = serve({ fetch, hostname: host, port });

process.on("SIGTERM", () => {
  server.close();
  process.exit(0);
});
