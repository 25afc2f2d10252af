// BullMQ: the same verbs as the scripts of the Python peers have, see common.py.
// Run in the folder that `npm ci` has filled, since that is where the packages are looked for.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const { Queue, Worker } = createRequire(`${process.cwd()}/`)("bullmq");

const verb = process.argv[2];
const url = new URL(process.env.BENCH_URL);
const connection = { host: url.hostname, port: Number(url.port), maxRetriesPerRequest: null };
const jobs = Number(process.env.BENCH_JOBS);
const text = "x".repeat(98); // 100 bytes as JSON
const warmUp = 20;
const atOnce = 1000; // jobs in one call of addBulk
const defaultJobOptions = { removeOnComplete: true, removeOnFail: 1000 };

const now = () => Number(process.hrtime.bigint());
const say = (values) => process.stdout.write(`${JSON.stringify(values)}\n`);

async function send(queue) {
  for (let sent = 0; sent < warmUp; sent++) await queue.add("noop", text);
  const began = now();
  if (verb === "enqueue-one") {
    for (let sent = 0; sent < jobs; sent++) await queue.add("noop", text);
  } else {
    for (let sent = 0; sent < jobs; sent += atOnce) {
      const batch = Array.from({ length: Math.min(atOnce, jobs - sent) }, () => ({ name: "noop", data: text }));
      await queue.addBulk(batch);
    }
  }
  say({ seconds: (now() - began) / 1e9, jobs, enqueued: jobs + warmUp });
}

async function sendForLines(queue) {
  await queue.waitUntilReady();
  for await (const _ of createInterface({ input: process.stdin })) await queue.add("clock", String(now()));
}

function work() {
  const marks = new Set([Math.floor(jobs / 10), jobs]);
  let done = 0;
  const handler = async (job) => {
    if (job.name === "clock") say({ sent: Number(job.data), picked_up: now() });
    else if (marks.has(++done)) say({ done, at: now() });
  };
  const concurrency = Number(process.env.BENCH_CONCURRENCY);
  const worker = new Worker("bench", handler, { connection, concurrency, removeOnComplete: { count: 0 } });
  worker.on("error", (error) => console.error(error));
}

if (verb === "worker") {
  work();
} else {
  const queue = new Queue("bench", { connection, defaultJobOptions });
  await (verb === "pick-up" ? sendForLines(queue) : send(queue));
  await queue.close();
}
