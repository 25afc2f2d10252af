// BullMQ: upsertJobScheduler with a pattern, then a worker. Run in the folder that `npm ci` has filled. The variables are
// those of scripts.py.

import { closeSync, openSync, writeSync } from "node:fs";
import { createRequire } from "node:module";

const { Queue, Worker } = createRequire(`${process.cwd()}/`)("bullmq");

const url = new URL(process.env.BENCH_URL);
const connection = { host: url.hostname, port: Number(url.port), maxRetriesPerRequest: null };
const schedules = Number(process.env.BENCH_SCHEDULES);
const tick = Number(process.env.BENCH_TICK);
const at = new Date(tick * 1000);
const pattern = `0 ${at.getUTCMinutes()} ${at.getUTCHours()} * * *`;
const atOnce = 100;

const queue = new Queue("bench", { connection });
for (let first = 0; first < schedules; first += atOnce) {
  const numbers = Array.from({ length: Math.min(atOnce, schedules - first) }, (_, place) => first + place);
  await Promise.all(numbers.map((n) => queue.upsertJobScheduler(`job${n}`, { pattern, tz: "UTC" }, { name: "tick" })));
}
closeSync(openSync(`${process.env.BENCH_OUT}.put`, "w"));

const file = openSync(process.env.BENCH_OUT, "a");
const handler = async () => writeSync(file, `${Date.now() - tick * 1000}\n`);
const worker = new Worker("bench", handler, { connection, concurrency: 100, removeOnComplete: { count: 0 } });
worker.on("error", (error) => console.error(error));
