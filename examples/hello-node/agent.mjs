// Greets, from a sandbox. Its job is one JSON line; it prints events, one JSON object a line.
// Errand has checked the input against `inputSchema` before there was a run, and checks the result against `outputSchema`.
import { createInterface } from "node:readline";

const say = (kind, data) => console.log(JSON.stringify({ kind, data }));

for await (const line of createInterface({ input: process.stdin })) {
  const { name, times = 1 } = JSON.parse(line).input;
  const greeting = `Hello, ${name}!`;
  for (let i = 0; i < times; i++) say("assistant_text", { text: greeting + "\n" });
  say("runtime_terminal", { status: "success", result: { greeting, times } });
  break;
}
