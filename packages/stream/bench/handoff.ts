// Rows H1 and H2 (without SQLite) of the performance goals: what a hand-off drops, holds and costs under load.
//
//   pnpm bench [--reps 5] [--seconds 5] [--json]

import { monitorEventLoopDelay } from "node:perf_hooks";
import { parseArgs } from "node:util";
import { seededRng } from "@tidemark/clock";
import { Handoff } from "@tidemark/stream";
import { type BenchBuffer, designs, keyCount, LastBuffer } from "./buffers.ts";

const { values: args } = parseArgs({
  options: {
    reps: { type: "string", default: "5" },
    seconds: { type: "string", default: "5" },
    json: { type: "boolean", default: false },
  },
});
const reps = Number(args.reps);
const seconds = Number(args.seconds);

const median = (numbers: readonly number[]): number => {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
};
const wait = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** Latencies in steps of 0.1 ms up to 10 s. */
class Histogram {
  readonly #counts = new Int32Array(100_001);
  #total = 0;

  add(ms: number): void {
    const step = Math.min(100_000, Math.max(0, Math.ceil(ms * 10)));
    this.#counts[step] = (this.#counts[step] as number) + 1;
    this.#total++;
  }

  quantile(q: number): number {
    let left = this.#total * q;
    for (let step = 0; step < this.#counts.length; step++) {
      left -= this.#counts[step] as number;
      if (left <= 0) return step / 10;
    }
    return Number.NaN;
  }
}

interface Measured {
  readonly drops: number;
  readonly maxBuffered: number;
  /** The longest commit: timers are late when the machine is busy, and then nobody can be quicker. */
  readonly commitMs: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly loopP99Ms: number;
  readonly rate: number;
  readonly cpu: number;
  readonly heapMB: number;
}

const random = seededRng(1);
const keys = Int32Array.from({ length: 1 << 16 }, () => random.int(0, keyCount));

/** Pushes at a rate paced by the wall clock, in front of a committer that takes its time. */
async function underLoad(createBuffer: () => BenchBuffer, perSecond: number, commitMs: number): Promise<Measured> {
  const latencies = new Histogram();
  let committed = 0;
  let maxBuffered = 0;
  let longestMs = 0;
  const handoff = new Handoff<BenchBuffer>({
    createBuffer,
    async commit(buffer) {
      maxBuffered = Math.max(maxBuffered, buffer.count);
      const begunMs = performance.now();
      await wait(commitMs);
      const nowMs = performance.now();
      longestMs = Math.max(longestMs, nowMs - begunMs);
      buffer.forEachTime((atMs) => latencies.add(nowMs - atMs));
      committed += buffer.count + (buffer instanceof LastBuffer ? buffer.duplicates : 0);
    },
  });
  globalThis.gc?.();
  const heapBefore = process.memoryUsage().heapUsed;
  const cpuBefore = process.cpuUsage();
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const startMs = performance.now();
  let pushed = 0;
  let heapPeak = heapBefore;
  for (;;) {
    const nowMs = performance.now();
    if (nowMs - startMs >= seconds * 1_000) break;
    const due = Math.floor(((nowMs - startMs) / 1_000) * perSecond);
    for (; pushed < due; pushed++) {
      handoff.buffer.add(keys[pushed & 0xffff] as number, pushed, nowMs);
      handoff.sealed();
    }
    if ((pushed & 15) === 0) heapPeak = Math.max(heapPeak, process.memoryUsage().heapUsed);
    await wait(1);
  }
  const elapsedMs = performance.now() - startMs;
  const { user, system } = process.cpuUsage(cpuBefore);
  delay.disable();
  await handoff.close();
  return {
    drops: pushed - committed,
    maxBuffered,
    commitMs: longestMs,
    p50Ms: latencies.quantile(0.5),
    p99Ms: latencies.quantile(0.99),
    // The histogram counts its own period in.
    loopP99Ms: Math.max(0, delay.percentile(99) / 1e6 - 1),
    rate: pushed / (elapsedMs / 1_000),
    cpu: (user + system) / 1_000 / elapsedMs,
    heapMB: (heapPeak - heapBefore) / 1e6,
  };
}

/** Nanoseconds a push, with the hand-off and into the bare buffer. Commits are not in it. */
async function pushCost(
  createBuffer: () => BenchBuffer,
): Promise<{ readonly withNs: number; readonly bareNs: number }> {
  const batch = 50_000;
  const rounds = 40;
  const handoff = new Handoff<BenchBuffer>({ createBuffer, commit: async () => {} });
  let withMs = 0;
  let n = 0;
  for (let round = 0; round < rounds; round++) {
    const startMs = performance.now();
    for (let index = 0; index < batch; index++, n++) {
      handoff.buffer.add(keys[n & 0xffff] as number, n, startMs);
      handoff.sealed();
    }
    // The first rounds are the compiler's.
    if (round >= rounds / 4) withMs += performance.now() - startMs;
    await handoff.flush();
  }
  const buffer = createBuffer();
  let bareMs = 0;
  for (let round = 0; round < rounds; round++) {
    const startMs = performance.now();
    for (let index = 0; index < batch; index++, n++) buffer.add(keys[n & 0xffff] as number, n, startMs);
    if (round >= rounds / 4) bareMs += performance.now() - startMs;
    buffer.clear();
    await wait(0);
  }
  const measured = batch * rounds * 0.75;
  return { withNs: (withMs * 1e6) / measured, bareNs: (bareMs * 1e6) / measured };
}

const rows: Record<string, string | number>[] = [];
const costs: Record<string, string | number>[] = [];
const round = (value: number, digits = 1) => Number(value.toFixed(digits));

const loads = [
  { perSecond: 100_000, commitMs: 500 },
  { perSecond: 100_000, commitMs: 50 },
  { perSecond: 1_000_000, commitMs: 50 },
];

for (const { perSecond, commitMs } of loads) {
  const results = new Map(Object.keys(designs).map((name) => [name, [] as Measured[]]));
  // Interleaved, so that whatever else the machine does meets all of them.
  for (let rep = 0; rep < reps; rep++) {
    for (const [name, createBuffer] of Object.entries(designs)) {
      results.get(name)?.push(await underLoad(createBuffer, perSecond, commitMs));
    }
  }
  for (const [name, measured] of results) {
    const of = (pick: (each: Measured) => number) => median(measured.map(pick));
    const bound = (forMs: number) => {
      const items = (perSecond * forMs) / 1_000;
      return name.startsWith("keyed") ? Math.min(keyCount, items) : items;
    };
    rows.push({
      "items/s": perSecond,
      "commit ms": commitMs,
      buffer: name,
      "reached/s": Math.round(of((each) => each.rate)),
      drops: measured.reduce((sum, each) => sum + each.drops, 0),
      "longest commit ms": round(of((each) => each.commitMs)),
      "max buffered": of((each) => each.maxBuffered),
      "x bound": round(
        of((each) => each.maxBuffered / bound(each.commitMs)),
        2,
      ),
      "p50 ms": of((each) => each.p50Ms),
      "p99 ms": of((each) => each.p99Ms),
      "p99 x commit": round(
        of((each) => each.p99Ms / each.commitMs),
        2,
      ),
      "loop p99 ms": round(of((each) => each.loopP99Ms)),
      CPU: round(
        of((each) => each.cpu),
        2,
      ),
      "heap MB": round(of((each) => each.heapMB)),
    });
  }
}

for (const [name, createBuffer] of Object.entries(designs)) {
  const runs: { readonly withNs: number; readonly bareNs: number }[] = [];
  for (let rep = 0; rep < reps; rep++) runs.push(await pushCost(createBuffer));
  costs.push({
    buffer: name,
    "ns a push": round(median(runs.map((each) => each.withNs))),
    "bare buffer": round(median(runs.map((each) => each.bareNs))),
    "the hand-off's share": round(median(runs.map((each) => each.withNs - each.bareNs))),
  });
}

if (args.json) console.log(JSON.stringify({ node: process.version, reps, seconds, rows, costs }));
else {
  console.log(`Node ${process.version}, medians of ${reps} repetitions of ${seconds} s, ${keyCount} keys`);
  console.table(rows);
  console.table(costs);
  console.log("Goals (100,000/s, 500 ms): 0 drops, at most 1.05 x bound, p99 at most 2.05 x commit.");
  console.log("bound: items that come during the longest commit, or the number of keys; commit: the longest one.");
}
