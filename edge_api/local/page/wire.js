// What goes over the wire: requests as they were sent, and as code, curl line and text.

const REQUEST_SECONDS = 15;

/** What the last call of each way was: a request, and a response or a failure. */
export const wire = { supabase: null, api: null };

/** fetch, with an end to it, that keeps what was sent and what came back. */
export function recording(way) {
  return async (url, options = {}) => {
    const request = new Request(new URL(url, location.href), options);
    const call = { method: request.method, url: request.url, headers: new Headers(request.headers), body: options.body };
    const since = performance.now();
    if (!request.url.includes("/auth/v1/")) wire[way] = call;
    try {
      const response = await fetch(request, { signal: AbortSignal.any([request.signal, AbortSignal.timeout(REQUEST_SECONDS * 1000)]) });
      Object.assign(call, { status: response.status, text: await response.clone().text() });
      return response;
    } catch (error) {
      call.failure = "No response: the connection failed.";
      throw error;
    } finally {
      call.took = performance.now() - since;
    }
  };
}

/** The request as a line for a shell, with the token in full. */
export function curl({ method, url, headers, body }) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const lines = [`curl -sS -X ${method} ${quoted(url)}`, ...[...headers].map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`)];
  if (body) lines.push(`--data-raw ${quoted(body)}`);
  return lines.join(" \\\n  ");
}

export function code(method, path, body) {
  const headers = ["Authorization: `Bearer ${token}`", ...(body ? ['"Content-Type": "application/json"'] : [])];
  const lines = [`  method: "${method}",`, `  headers: { ${headers.join(", ")} },`];
  if (body) lines.push(`  body: JSON.stringify(${JSON.stringify(body)}),`);
  return `await fetch("${path}", {\n${lines.join("\n")}\n})`;
}

export function requestText({ method, url, headers, body }) {
  const { pathname, search, origin } = new URL(url);
  const shortened = [...headers].map(([name, value]) => {
    const bearer = /^Bearer (.{6}).*(.{4})$/s.exec(value);
    return `${name}: ${bearer ? `Bearer ${bearer[1]}…${bearer[2]}` : value}`;
  });
  const lines = [`${method} ${pathname}${search}`, `host: ${origin.replace(/^\w+:\/\//, "")}`, ...shortened];
  return [...lines, ...(body && body !== "{}" ? ["", pretty(body)] : [])].join("\n");
}

export function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
