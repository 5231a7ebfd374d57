// The peers benchmark's processes on BullMQ: `Queue` submits, and one `Worker` handles.
//
// The protocol with the driver is described in ../README.md.

import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { Queue, Worker } from "bullmq";

const QUEUE = "peers";
// How many submissions are in flight in mode `pipelined`.
const IN_FLIGHT = 256;
// How many submissions one call of the bulk API has.
const BULK = 1000;
// The digits of a task's number at the start of its payload.
const DIGITS = 8;

const [, port, workers, slots] = process.argv.slice(2);
const connection = { host: "127.0.0.1", port: Number(port) };
const concurrency = Number(workers) * Number(slots);

const nowNs = () => Number(process.hrtime.bigint());
const reply = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const fail = (error) => {
  console.error(error);
  process.exit(1);
};

const payloads = ({ first, count, bytes }) =>
  Array.from({ length: count }, (_, at) =>
    String(first + at).padStart(DIGITS, "0").padEnd(bytes, "x"));

class Recorder {
  numbers = [];
  handledNs = [];
  completions = 0;
  startedNs = 0;
  finishedNs = 0;

  constructor({ expect, notify }) {
    this.expect = expect;
    this.notify = notify;
  }

  handled(payload) {
    this.handledNs.push(nowNs());
    this.numbers.push(Number(payload.slice(0, DIGITS)));
  }

  completed() {
    this.completions += 1;
    const all = this.completions === this.expect;
    if (all) this.finishedNs = nowNs();
    if (all || this.notify) reply({ done: this.completions });
  }

  report() {
    return {
      started_ns: this.startedNs,
      finished_ns: this.finishedNs,
      numbers: this.numbers,
      handled_ns: this.handledNs,
    };
  }
}

async function submit(queue, request) {
  const data = payloads(request);
  const sent_ns = [];
  const began = nowNs();
  if (request.mode === "single") {
    for (const payload of data) {
      sent_ns.push(nowNs());
      await queue.add("task", payload);
    }
  } else if (request.mode === "pipelined") {
    let next = 0;
    const submitter = async () => {
      while (next < data.length) await queue.add("task", data[next++]);
    };
    await Promise.all(Array.from({ length: IN_FLIGHT }, submitter));
  } else {
    for (let at = 0; at < data.length; at += BULK) {
      const chunk = data.slice(at, at + BULK);
      await queue.addBulk(chunk.map((payload) => ({ name: "task", data: payload })));
    }
  }
  return { seconds: (nowNs() - began) / 1e9, sent_ns };
}

// Submits at a constant rate, whether or not the store has acknowledged the earlier ones.
async function paced(queue, request) {
  const data = payloads(request);
  const sent_ns = [];
  const running = [];
  const began = nowNs();
  for (const [at, payload] of data.entries()) {
    const waitMs = (at * 1e3) / request.per_second - (nowNs() - began) / 1e6;
    if (waitMs > 0) await sleep(waitMs);
    sent_ns.push(nowNs());
    running.push(queue.add("task", payload));
  }
  await Promise.all(running);
  return { seconds: (nowNs() - began) / 1e9, sent_ns };
}

async function start(recorder) {
  const handle = async (job) => recorder.handled(job.data);
  const worker = new Worker(QUEUE, handle, { connection, concurrency, autorun: false });
  worker.on("completed", () => recorder.completed());
  worker.on("failed", (_, error) => fail(error));
  worker.on("error", fail);
  await worker.waitUntilReady();
  recorder.startedNs = nowNs();
  worker.run().catch(fail);
  return worker;
}

const queue = new Queue(QUEUE, { connection });
await queue.waitUntilReady();
let recorder;
let worker;
reply({ ready: true });
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  if (request.op === "submit") {
    reply(await submit(queue, request));
  } else if (request.op === "paced") {
    reply(await paced(queue, request));
  } else if (request.op === "start") {
    recorder = new Recorder(request);
    worker = await start(recorder);
    reply({ started_ns: recorder.startedNs });
  } else if (request.op === "stop") {
    await worker.close();
    reply(recorder.report());
  } else {
    fail(new Error(`unknown request ${line}`));
  }
}
await queue.close();
process.exit(0);
