// A worker in Node 18 or newer, without dependencies.
//
//     node examples/pull-worker.mjs [QUEUE ...]
//
//     QUEUEY_URL      URL of the server (http://127.0.0.1:8000)
//     QUEUEY_API_KEY  a key with the scope work, if the server needs one
//     CONCURRENCY     maximum number of running jobs (10)
//     LEASE           duration of a lease in seconds (30); it is extended after a third of that
//
// SIGTERM and SIGINT release unfinished jobs, which spends no attempt. After SIGKILL the jobs run again when their leases
// have expired.

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

// Put your handlers here. A handler gets the payload, the job and an AbortSignal, and returns the result. What it throws
// is the error of the attempt; with `error.dead = true` there is no further attempt.
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
const MOST_BYTES = 900_000; // the largest request with outcomes: the server accepts 1 MB
const GIVE_UP_AFTER = 60_000; // ms in which an outcome is sent again
const held = new Map(); // id -> { job, abort, run }
const outcomes = { complete: [], fail: [] }; // { id, token, text }: the text is what is sent
const stopping = new AbortController();
let asked = null; // the request for leases without an answer yet: its claim id returns the same jobs again

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// Send one request. It throws if no answer comes, or if the server asks to retry. Sending it again is safe, because every
// request has a claim id or a token. The body may be JSON already.
async function post(path, given, signal) {
  const body = typeof given === "string" ? given : JSON.stringify(given);
  const reply = await fetch(`${url}/v1/leases${path}`, { method: "POST", headers, body, signal });
  const answer = await reply.json();
  if (reply.ok) return answer;
  const summary = `${reply.status} ${answer.detail}`;
  throw reply.status === 429 || reply.status >= 500 ? new Error(summary) : new Refused(reply.status, summary);
}

async function postPatiently(path, body) {
  for (const until = Date.now() + GIVE_UP_AFTER, pause = { ms: 100 }; ; pause.ms = Math.min(pause.ms * 2, 5000)) {
    try {
      return await post(path, body, AbortSignal.timeout(30_000));
    } catch (error) {
      if (error instanceof Refused || Date.now() > until) throw error;
      await sleep(pause.ms);
    }
  }
}

// Add an outcome for the next `report`. It throws if the outcome is not JSON (BigInt, circular) or too large.
function outcome(job, fields) {
  const text = JSON.stringify({ id: job.id, token: job.token, ...fields });
  const bytes = Buffer.byteLength(text);
  if (bytes > MOST_BYTES) throw new Error(`the result has ${bytes} bytes; ${MOST_BYTES} are allowed`);
  return { id: job.id, token: job.token, text };
}

function failure(job, error) {
  const message = String(error?.message ?? error).slice(0, 2000);
  const details = { message, kind: "error", detail: error?.stack?.slice(0, 2000) };
  return outcome(job, { error: details, dead: error?.dead === true });
}

// Run one job, and leave its outcome for the next `report`.
async function run(entry) {
  const { job, abort } = entry;
  try {
    const handler = handlers[job.type];
    if (!handler) throw new Error(`there is no handler for the type ${job.type}`);
    const result = (await handler(job.payload, job, abort.signal)) ?? null;
    if (held.get(job.id) === entry) outcomes.complete.push(outcome(job, { result }));
  } catch (error) {
    if (held.get(job.id) === entry) outcomes.fail.push(failure(job, error));
  }
  await report();
}

// Take as many outcomes as fit into one request.
function take(waiting) {
  let count = 0;
  for (let bytes = 0; count < Math.min(waiting.length, MOST); count += 1) {
    bytes += Buffer.byteLength(waiting[count].text) + 1;
    if (count && bytes > MOST_BYTES) break;
  }
  return waiting.splice(0, count);
}

const isRefused = (status) => [400, 413, 422].includes(status); // the request is not valid, so a retry would not help

// Report outcomes. If a batch is refused, report them one by one; a job whose result is refused has failed.
async function send(act, items) {
  let results;
  try {
    ({ results } = await postPatiently(`/${act}`, `{"jobs":[${items.map(({ text }) => text).join(",")}]}`));
  } catch (error) {
    console.error(`not reported: ${error.message}`);
    if (!isRefused(error.status)) return;
    if (items.length > 1) for (const one of items) await send(act, [one]);
    else if (act === "complete") await send("fail", [failure(items[0], error)]);
    return;
  }
  for (const [index, { status, error }] of results.entries()) {
    if (status === "lost") console.error(`${items[index].id}: the lease was lost`);
    if (!error) continue;
    console.error(`${items[index].id}: ${error.detail}`);
    if (act === "complete" && isRefused(error.status)) await send("fail", [failure(items[index], error.detail)]);
  }
}

// One report at a time: later outcomes go into the next one, so a busy worker reports many at once.
let reporting = null;
function report() {
  reporting ??= (async () => {
    await null; // `reporting` is set before the next line
    while (outcomes.complete.length + outcomes.fail.length) {
      for (const act of ["complete", "fail"]) {
        const items = take(outcomes[act]);
        if (items.length) await send(act, items);
        for (const { id } of items) held.delete(id);
      }
    }
    reporting = null;
  })();
  return reporting;
}

// Extend the leases, and stop jobs that were cancelled or lost.
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
      if (!jobs.length && Date.now() - askedAt < 1000) await sleep(1000); // a stopping server answers at once
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
