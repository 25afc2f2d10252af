// A worker in Node 18 or newer, without dependencies.
//
//     node examples/pull-worker.mjs [QUEUE ...]
//
//     QUEUEY_URL      where the server is (http://127.0.0.1:8000)
//     QUEUEY_API_KEY  a key with the scope work, where the server wants one
//     CONCURRENCY     how many jobs at a time (10)
//     LEASE           seconds for which a job is ours at a time (30): renewed three times as often
//
// SIGTERM and SIGINT give back what is not done, with no attempt spent. After SIGKILL the jobs run again somewhere once
// their leases are over.

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

// Put your own here: a function gets the payload, the job and an AbortSignal, and returns the result. What it throws is
// the attempt's error; with `error.dead = true` no other attempt is made.
const handlers = {
  "text.reverse": async ({ text }) => [...text].reverse().join(""),
  "math.square": async ({ n }) => n * n,
  "sleep": async ({ seconds }, job, signal) => sleep(seconds * 1000, "rested", { signal }),
};

const url = process.env.QUEUEY_URL ?? "http://127.0.0.1:8000";
const key = process.env.QUEUEY_API_KEY;
const concurrency = Number(process.env.CONCURRENCY ?? 10);
const lease = Number(process.env.LEASE ?? 30);
const renewal = Math.max(1, Math.round((lease * 1000) / 3)); // ms
const queues = process.argv.length > 2 ? process.argv.slice(2) : ["default"];
const headers = { "content-type": "application/json", ...(key && { "x-api-key": key }) };

const MOST = 500; // jobs in one request
const MOST_BYTES = 900_000; // of outcomes in one request: the server takes a body of 1 MB
const PATIENCE = 60_000; // ms for which an outcome is sent again
const held = new Map(); // id -> { job, abort, run }
const outcomes = { complete: [], fail: [] }; // { id, token, text }: the text is what is sent
const stopping = new AbortController();
let asked = null; // the request for leases that has no answer yet: what it brings comes again with its claim id

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// One request. What gets no answer, or one that says to come again, throws and may be sent again: every request bears a
// claim id or a token. The body may be JSON already.
async function post(path, given, signal) {
  const body = typeof given === "string" ? given : JSON.stringify(given);
  const reply = await fetch(`${url}/v1/leases${path}`, { method: "POST", headers, body, signal });
  const answer = await reply.json();
  if (reply.ok) return answer;
  const told = `${reply.status} ${answer.detail}`;
  throw reply.status === 429 || reply.status >= 500 ? new Error(told) : new Refused(reply.status, told);
}

async function postPatiently(path, body) {
  for (const until = Date.now() + PATIENCE, pause = { ms: 100 }; ; pause.ms = Math.min(pause.ms * 2, 5000)) {
    try {
      return await post(path, body, AbortSignal.timeout(30_000));
    } catch (error) {
      if (error instanceof Refused || Date.now() > until) throw error;
      await sleep(pause.ms);
    }
  }
}

// An outcome for the next `report`. Throws when it is no JSON (BigInt, circular) or too large, so that it alone fails.
function outcome(job, fields) {
  const text = JSON.stringify({ id: job.id, token: job.token, ...fields });
  const bytes = Buffer.byteLength(text);
  if (bytes > MOST_BYTES) throw new Error(`the result has ${bytes} bytes, and ${MOST_BYTES} are the most`);
  return { id: job.id, token: job.token, text };
}

function failure(job, error) {
  const message = String(error?.message ?? error).slice(0, 2000);
  const told = { message, kind: "error", detail: error?.stack?.slice(0, 2000) };
  return outcome(job, { error: told, dead: error?.dead === true });
}

// Runs one job, and leaves what came of it for the next `report`.
async function run(entry) {
  const { job, abort } = entry;
  try {
    const handler = handlers[job.type];
    if (!handler) throw new Error(`there is no handler for the type ${job.type} here`);
    const result = (await handler(job.payload, job, abort.signal)) ?? null;
    if (held.get(job.id) === entry) outcomes.complete.push(outcome(job, { result }));
  } catch (error) {
    if (held.get(job.id) === entry) outcomes.fail.push(failure(job, error));
  }
  await report();
}

// Takes as many outcomes as one request may bear.
function take(waiting) {
  let count = 0;
  for (let bytes = 0; count < Math.min(waiting.length, MOST); count += 1) {
    bytes += Buffer.byteLength(waiting[count].text) + 1;
    if (count && bytes > MOST_BYTES) break;
  }
  return waiting.splice(0, count);
}

const isRefused = (status) => [400, 413, 422].includes(status); // what is sent is no good, and will never be

// Tells outcomes. What is refused together is told one by one, and a job whose result is refused has failed.
async function tell(act, told) {
  let results;
  try {
    ({ results } = await postPatiently(`/${act}`, `{"jobs":[${told.map(({ text }) => text).join(",")}]}`));
  } catch (error) {
    console.error(`not told: ${error.message}`);
    if (!isRefused(error.status)) return;
    if (told.length > 1) for (const one of told) await tell(act, [one]);
    else if (act === "complete") await tell("fail", [failure(told[0], error)]);
    return;
  }
  for (const [place, { status, error }] of results.entries()) {
    if (status === "lost") console.error(`${told[place].id}: the lease was lost`);
    if (!error) continue;
    console.error(`${told[place].id}: ${error.detail}`);
    if (act === "complete" && isRefused(error.status)) await tell("fail", [failure(told[place], error.detail)]);
  }
}

// One report at a time; what comes meanwhile goes out with the next, so a busy worker tells many at once.
let reporting = null;
function report() {
  reporting ??= (async () => {
    await null; // from here on `reporting` is set
    while (outcomes.complete.length + outcomes.fail.length) {
      for (const act of ["complete", "fail"]) {
        const told = take(outcomes[act]);
        if (told.length) await tell(act, told);
        for (const { id } of told) held.delete(id);
      }
    }
    reporting = null;
  })();
  return reporting;
}

// Keeps the leases, and stops what was cancelled or is another's by now.
async function renew() {
  for (;;) {
    await sleep(renewal, undefined, { ref: false });
    const entries = [...held.values()];
    for (let first = 0; first < entries.length; first += MOST) {
      const jobs = entries.slice(first, first + MOST).map(({ job }) => ({ id: job.id, token: job.token, lease }));
      try {
        const { results } = await post("/extend", { jobs }, AbortSignal.timeout(renewal));
        for (const { id, status } of results) {
          if (status === "cancelled" || status === "lost") held.get(id)?.abort.abort(new Error(status));
          if (status === "lost") held.delete(id);
        }
      } catch (error) {
        console.error(`not renewed: ${error.message}`);
      }
    }
  }
}

function begin(job) {
  const entry = { job, abort: new AbortController(), run: null };
  held.set(job.id, entry);
  entry.run = run(entry);
}

async function work() {
  while (!stopping.signal.aborted) {
    const free = Math.min(concurrency - held.size, MOST);
    if (free <= 0) {
      await Promise.race([...held.values()].map((entry) => entry.run));
      continue;
    }
    try {
      const askedAt = Date.now();
      asked ??= { queues, max: free, lease, wait: held.size ? 1 : 30, claim_id: randomUUID() };
      const { jobs } = await post("", asked, stopping.signal);
      asked = null;
      if (!jobs.length && Date.now() - askedAt < 1000) await sleep(1000); // a server that stops answers at once
      jobs.forEach(begin);
    } catch (error) {
      if (stopping.signal.aborted) break;
      console.error(`no lease: ${error.message}`);
      await sleep(1000);
    }
  }
}

async function leave() {
  if (stopping.signal.aborted) return;
  stopping.abort();
  await reporting;
  const late = asked ? (await postPatiently("", { ...asked, wait: 0 }).catch(() => ({ jobs: [] }))).jobs : [];
  const jobs = [...[...held.values()].map(({ job }) => job), ...late].map(({ id, token }) => ({ id, token }));
  for (const { abort } of held.values()) abort.abort(new Error("the worker stops"));
  held.clear();
  while (jobs.length) {
    await postPatiently("/release", { jobs: jobs.splice(0, MOST) }).catch((error) => console.error(error.message));
  }
  process.exit(0);
}

process.on("SIGTERM", leave);
process.on("SIGINT", leave);
renew();
await work();
