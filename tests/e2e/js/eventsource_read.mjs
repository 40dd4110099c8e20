// Reads a run's stream with the npm package `eventsource`, closing it once in the middle; prints one JSON line: what it got.
import { EventSource } from "eventsource";

const [, , url, dropAfter] = process.argv;
const kinds = ["runtime_started", "assistant_text", "tool_request", "tool_response", "notification", "stream_error", "runtime_terminal"];
const got = [];
let opens = 0, done = null, dropped = false, after;

// What a browser does by itself when the connection breaks, `eventsource` does too; here it is made to break by asking fetch for less.
const limitedFetch = async (input, init) => {
  const answer = await fetch(input, init);
  after = init.headers["Last-Event-ID"];
  if (answer.status === 204) console.error("204");
  if (dropped || !answer.body) return answer;
  dropped = true;
  let left = Number(dropAfter);
  const cut = answer.body.pipeThrough(new TransformStream({
    transform(chunk, controller) {
      if (left <= 0) { controller.terminate(); return; }
      left -= chunk.length;
      controller.enqueue(chunk);
    },
  }));
  return new Response(cut, { status: answer.status, headers: answer.headers });
};

const source = new EventSource(url, { fetch: limitedFetch });
source.onopen = () => { opens++; };
for (const kind of kinds) source.addEventListener(kind, (e) => got.push([Number(e.lastEventId), kind, e.data]));
source.addEventListener("done", (e) => { done = JSON.parse(e.data); });
source.onerror = () => {
  if (source.readyState === EventSource.CLOSED) {
    console.log(JSON.stringify({ opens, done, got, resumedAfter: after }));
    process.exit(0);
  }
};
setTimeout(() => { console.log(JSON.stringify({ opens, done, got, resumedAfter: after, timeout: true })); process.exit(1); }, 30000);
