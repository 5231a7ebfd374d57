// A worker over HTTP: node worker.mjs URL LANE. FF_TOKEN holds its token, if one is needed.
import { setTimeout as sleep } from "node:timers/promises";

const [URL, LANE] = process.argv.slice(2);
const { request } = await import(URL.startsWith("https:") ? "node:https" : "node:http");
const [INSTANCE, TTL_MS] = [`node-${process.pid}`, Number(process.env.LEASE_TTL_MS ?? 30000)];
let stopping = false;
process.on("SIGTERM", () => (stopping = true));

// Returns the status and the text of an answer.
const post = (path, body) => new Promise((resolve, reject) => {
  const headers = { "content-type": "application/json" };
  if (process.env.FF_TOKEN) headers.authorization = `Bearer ${process.env.FF_TOKEN}`;
  const sent = request(URL + path, { method: "POST", headers, timeout: 60000 }, (answer) => {
    let text = "";
    answer.setEncoding("utf8").on("error", reject).on("data", (part) => (text += part));
    answer.on("end", () => resolve([answer.statusCode, text]));
  });
  sent.on("error", reject).on("timeout", () => sent.destroy(new Error("no answer")));
  sent.end(JSON.stringify(body));
});

// Returns the answer. Repeats the call while the service is unavailable; errors are final.
async function call(path, body) {
  for (let attempt = 0; attempt < 10; attempt++) {
    // If the answer is lost, it is safe to repeat each of these calls.
    const [status, text] = await post(path, body).catch(() => [503, ""]);
    if (status < 300) return text === "" ? null : JSON.parse(text);
    if (![429, 502, 503, 504].includes(status)) throw new Error(`${path}: ${status} ${text}`);
    await sleep(Math.min(5000, 100 * 2 ** attempt));
  }
  throw new Error(`${path}: the service does not answer`);
}

// Runs the handler, and renews the lease beside it until the handler ends.
async function run({ execution_id, lease_epoch, attempt_id, lease_id: id, payload }, handler) {
  const fence = { execution_id, lease_epoch, attempt_id };
  const send = (action, fields) => call(`/v1/leases/${id}/${action}`, { ...fence, ...fields });
  // Gives it back. The next claim gets the same attempt.
  if (stopping) return send("delay", { delay_ms: 0, keeps_resumption: true });
  const refused = (error) => console.error("refused:", error.message);
  const renew = () => send("renew", { lease_ttl_ms: TTL_MS }).catch(refused);
  const renewing = setInterval(renew, TTL_MS / 3);
  const succeeded = (result) => ["complete", { result }];
  const failed = (error) => ["fail", { reason: String(error) }];
  const outcome = await handler(payload).then(succeeded, failed);
  clearInterval(renewing);
  await send(...outcome).catch(refused); // For example: another worker has the lease.
}

async function handle({ a, b, seconds = 0 }) {
  await sleep(seconds * 1000);
  if (b === undefined) throw new Error("b is missing");
  return { sum: a + b };
}

while (!stopping) {
  const wanted = { instance: INSTANCE, lanes: [LANE], lease_ttl_ms: TTL_MS, wait_ms: 5000 };
  for (const task of (await call("/v1/workers/node/claims", wanted)).tasks) await run(task, handle);
}
