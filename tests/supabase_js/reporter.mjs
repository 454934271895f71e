// What node's test runner says, a JSON object a line for each test.

import { inspect } from "node:util";

export default async function* report(events) {
  for await (const { type, data } of events) {
    if (type !== "test:pass" && type !== "test:fail") continue;
    const { name, skip, todo, details } = data;
    const failure = type === "test:fail" ? inspect(details.error.cause ?? details.error) : null;
    yield `${JSON.stringify({ name, failure, skipped: (skip ?? todo) !== undefined })}\n`;
  }
}
