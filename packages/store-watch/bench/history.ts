// How fast frames become committed history, and what the event loop feels of it: `pnpm bench` (after `pnpm build` it
// measures what users install: `TIDEMARK_DIST=1 pnpm bench`). `pnpm bench postgres` measures the same on a PostgreSQL of
// its own with the server's usual settings, so every commit is on the disk before it counts.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { Handoff } from "@tidemark/stream";
import { FrameBuffer, type History, openHistory, sortableInteger } from "@tidemark/store-watch";
import { scratchFolder, startPostgres, stop } from "@tidemark/tooling/servers";

const capabilities = {
  resumable: true,
  transactional: true,
  tombstones: true,
  snapshotMarker: true,
  tooOldSignal: true,
  ordered: true,
  versioned: true,
};

const repetitions = Number(process.env["REPETITIONS"] ?? 5);
const value = Buffer.alloc(200, "v");

interface Case {
  readonly name: string;
  readonly changesPerGroup: number;
  readonly changes: number;
  /** Keys are drawn from so many at random; 0: every change makes a new key. */
  readonly keys: number;
  readonly framesPerBuffer: number;
}

function keyOf(number: number): Buffer {
  return Buffer.from(`/config/services/${String(number).padStart(9, "0")}`, "latin1");
}

/** A fixed sequence, so that every run does the same. */
function* numbers(below: number): Generator<number> {
  for (let state = 12_345; ; ) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    yield (state >>> 0) % below;
  }
}

function fill(buffer: FrameBuffer, revision: number, entry: Case, random: Generator<number>): number {
  let next = revision;
  for (let written = 0; written < entry.framesPerBuffer; ) {
    next++;
    for (let change = 0; change < entry.changesPerGroup; change++, written++) {
      const key = entry.keys === 0 ? next * entry.changesPerGroup + change : (random.next().value as number);
      buffer.write({ type: "change", key: keyOf(key), value, version: sortableInteger(next * 1000 + change) });
    }
    buffer.write({ type: "commit", cursor: sortableInteger(next * 1000 + 999) });
  }
  return next;
}

/** CPU seconds of everything but the main thread. On a busy machine they say more than what the clock on the wall says. */
function writerCpu(): number {
  const [all, main] = [process.cpuUsage(), process.threadCpuUsage()];
  return (all.user + all.system - main.user - main.system) / 1e6;
}

const median = (values: number[]) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;

/** From a full FrameBuffer to committed, one buffer written while the other one is committed, as the watcher does it. */
async function ingest(
  entry: Case,
  open: (folder: string) => Promise<History> = (folder) => openHistory({ file: join(folder, "h.db") }),
): Promise<{ rate: number; perCpuSecond: number; p99: number; max: number }> {
  const folder = mkdtempSync(join(tmpdir(), "tidemark-bench-"));
  const history = await open(folder);
  const stream = await history.openStream({ name: "s", kind: "bench", description: "", scope: "", capabilities });
  const start = new FrameBuffer();
  start.write({ type: "reset", epoch: "e" });
  await stream.append(start);
  const random = numbers(Math.max(1, entry.keys));
  let [filling, committing] = [new FrameBuffer(), new FrameBuffer()];
  let revision = fill(filling, 0, entry, random);
  let done = 0;
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const cpu = writerCpu();
  const startedMs = performance.now();
  while (done < entry.changes) {
    [filling, committing] = [committing, filling];
    const commit = stream.append(committing);
    filling.clear();
    // In slices, as frames arrive from a socket.
    for (let slice = 0; slice < 16; slice++) {
      const part = { ...entry, framesPerBuffer: Math.max(entry.changesPerGroup, entry.framesPerBuffer / 16) };
      if (filling.frames < entry.framesPerBuffer) revision = fill(filling, revision, part, random);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const result = await commit;
    done += result.versions;
  }
  const elapsedMs = performance.now() - startedMs;
  const cpuSeconds = writerCpu() - cpu;
  delay.disable();
  await history.close();
  rmSync(folder, { recursive: true, force: true });
  return {
    rate: (done / elapsedMs) * 1000,
    perCpuSecond: done / cpuSeconds,
    p99: delay.percentile(99) / 1e6,
    max: delay.max / 1e6,
  };
}

async function open(versions: number): Promise<{ openMs: number; readMs: number; mb: number }> {
  const folder = mkdtempSync(join(tmpdir(), "tidemark-bench-"));
  const file = join(folder, "h.db");
  const entry: Case = { name: "", changesPerGroup: 10, changes: versions, keys: 100_000, framesPerBuffer: 20_000 };
  const history = await openHistory({ file });
  const stream = await history.openStream({ name: "s", kind: "bench", description: "", scope: "", capabilities });
  const buffer = new FrameBuffer();
  buffer.write({ type: "reset", epoch: "e" });
  const random = numbers(entry.keys);
  for (let done = 0, revision = 0; done < versions; done += entry.framesPerBuffer) {
    revision = fill(buffer, revision, entry, random);
    await stream.append(buffer);
    buffer.clear();
  }
  await history.close();
  const startedMs = performance.now();
  const again = await openHistory({ file });
  await again.openStream({ name: "s", kind: "bench", description: "", scope: "", capabilities });
  await again.streams();
  const openMs = performance.now() - startedMs;
  const readMs = performance.now();
  await again.list({ stream: "s" }, { limit: 1000 });
  const result = { openMs, readMs: performance.now() - readMs, mb: statSync(file).size / 2 ** 20 };
  await again.close();
  rmSync(folder, { recursive: true, force: true });
  return result;
}

/**
 * facts H2: a producer on the main thread offers a million changes a second to a hand-off whose committer is the
 * history. It takes what back-pressure lets it, loses nothing, and the event loop goes on turning.
 */
async function handOff(): Promise<{ rate: number; pushNs: number; p99: number; max: number }> {
  const folder = mkdtempSync(join(tmpdir(), "tidemark-bench-"));
  const history = await openHistory({ file: join(folder, "h.db") });
  const stream = await history.openStream({ name: "s", kind: "bench", description: "", scope: "", capabilities });
  let committed = 0;
  const handoff = new Handoff<FrameBuffer>({
    createBuffer: () => new FrameBuffer(),
    async commit(buffer) {
      committed += (await stream.append(buffer)).versions;
    },
    maxBytes: 32 * 2 ** 20,
  });
  handoff.buffer.write({ type: "reset", epoch: "e" });
  handoff.sealed();
  await handoff.flush();
  const keys = Array.from({ length: 10_000 }, (_, number) => keyOf(number));
  const random = numbers(keys.length);
  const changesPerGroup = 100;
  const durationMs = 4000;
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const startedMs = performance.now();
  let [offered, group, pushMs] = [0, 0, 0];
  for (;;) {
    const elapsedMs = performance.now() - startedMs;
    if (elapsedMs > durationMs) break;
    const pushStartedMs = performance.now();
    // At most what a millionth of a second each allows, and one millisecond's worth at a time.
    for (let turn = 0; turn < 10 && offered < elapsedMs * 1000 && handoff.isReady; turn++) {
      group++;
      const { buffer } = handoff;
      for (let change = 0; change < changesPerGroup; change++) {
        const key = keys[random.next().value as number] as Buffer;
        buffer.write({ type: "change", key, value, version: sortableInteger(group * 1000 + change) });
      }
      buffer.write({ type: "commit", cursor: sortableInteger(group * 1000 + 999) });
      handoff.sealed();
      offered += changesPerGroup;
    }
    pushMs += performance.now() - pushStartedMs;
    await new Promise((resolve) => setImmediate(resolve));
  }
  await handoff.flush();
  const elapsedMs = performance.now() - startedMs;
  delay.disable();
  if (committed !== offered) throw new Error(`${offered} were taken and ${committed} committed`);
  await handoff.close();
  await history.close();
  rmSync(folder, { recursive: true, force: true });
  const pushNs = (pushMs / offered) * 1e6;
  return { rate: (committed / elapsedMs) * 1000, pushNs, p99: delay.percentile(99) / 1e6, max: delay.max / 1e6 };
}

/** The most memory that the whole process ever had while it took a gigabyte in: as groups, or as one snapshot. */
async function backlog(kind: "groups" | "one snapshot"): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "tidemark-bench-"));
  const file = join(folder, "h.db");
  const history = await openHistory({ file });
  const stream = await history.openStream({ name: "s", kind: "bench", description: "", scope: "", capabilities });
  const large = Buffer.alloc(1000, "v");
  const buffers = [new FrameBuffer(), new FrameBuffer()];
  let key = 0;
  let walBytes = 0;
  let committing: Promise<unknown> = Promise.resolve();
  const startedMs = performance.now();
  for (let round = 0; key * 1024 < 2 ** 30; round++) {
    const buffer = buffers[round % 2] as FrameBuffer;
    buffer.clear();
    if (round === 0)
      buffer.write(kind === "groups" ? { type: "reset", epoch: "e" } : { type: "begin-snapshot", epoch: "e" });
    while (buffer.bytes < 8 * 2 ** 20) {
      key++;
      buffer.write({ type: "change", key: keyOf(key), value: large, version: sortableInteger(key) });
      if (kind === "groups" && key % 100 === 0) buffer.write({ type: "commit", cursor: sortableInteger(key) });
    }
    await committing;
    committing = stream.append(buffer);
    walBytes = Math.max(walBytes, statSync(`${file}-wal`).size);
  }
  await committing;
  const last = new FrameBuffer();
  last.write({ type: kind === "groups" ? "commit" : "snapshot-end", cursor: sortableInteger(key) });
  await stream.append(last);
  const seconds = (performance.now() - startedMs) / 1000;
  walBytes = Math.max(walBytes, statSync(`${file}-wal`).size);
  const { maxRSS } = process.resourceUsage();
  await history.close();
  rmSync(folder, { recursive: true, force: true });
  const mib = (bytes: number) => `${Math.round(bytes / 2 ** 20)} MiB`;
  return `1 GiB backlog as ${kind}: at most ${mib(maxRSS * 1024)} resident, WAL ${mib(walBytes)}, ${seconds.toFixed(1)} s`;
}

const cases: Case[] = [
  { name: "1 change a group, new keys", changesPerGroup: 1, changes: 400_000, keys: 0, framesPerBuffer: 16_384 },
  {
    name: "1 change a group, 100,000 keys at random",
    changesPerGroup: 1,
    changes: 400_000,
    keys: 100_000,
    framesPerBuffer: 16_384,
  },
  {
    name: "1 change a group, 1,000 keys at random",
    changesPerGroup: 1,
    changes: 400_000,
    keys: 1000,
    framesPerBuffer: 16_384,
  },
  { name: "100 changes a group, new keys", changesPerGroup: 100, changes: 400_000, keys: 0, framesPerBuffer: 16_384 },
  {
    name: "100 changes a group, 100,000 keys at random",
    changesPerGroup: 100,
    changes: 400_000,
    keys: 100_000,
    framesPerBuffer: 16_384,
  },
  {
    name: "100 changes a group, 1,000 keys at random",
    changesPerGroup: 100,
    changes: 400_000,
    keys: 1000,
    framesPerBuffer: 16_384,
  },
];

const rateText = (number: number) => Math.round(number).toLocaleString("en").padStart(9);

/** The same frames into SQLite and into PostgreSQL, one after the other, and what one commit of one change takes. */
async function besidePostgres(): Promise<void> {
  const folder = scratchFolder("bench-postgres");
  const server = await startPostgres(folder, []);
  const database = `postgres://localhost/postgres?host=${folder}&user=postgres`;
  let schemas = 0;
  const onPostgres = () => openHistory({ database, schema: `bench_${++schemas}` });
  try {
    for (const entry of cases) {
      const some = { ...entry, changes: 100_000 };
      for (const [name, open] of [
        ["SQLite", undefined],
        ["PostgreSQL", onPostgres],
      ] as const) {
        const results: Awaited<ReturnType<typeof ingest>>[] = [];
        for (let round = 0; round < repetitions; round++) results.push(await ingest(some, open));
        const pick = (field: keyof (typeof results)[number]) => median(results.map((result) => result[field]));
        console.log(
          `${entry.name.padEnd(46)} ${name.padEnd(10)} ${rateText(pick("rate"))} changes/s, loop p99 ${pick("p99").toFixed(1)} ms, max ${pick("max").toFixed(1)} ms`,
        );
      }
    }
    for (const [name, open] of [
      ["SQLite", (at: string) => openHistory({ file: join(at, "h.db"), synchronous: "full" })],
      ["PostgreSQL", onPostgres],
    ] as const) {
      console.log(`one change a commit, on the disk, ${name}: ${await commitTimes(open)}`);
    }
  } finally {
    await stop(server, "SIGINT");
    rmSync(folder, { recursive: true, force: true });
  }
}

async function commitTimes(open: (folder: string) => Promise<History>): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "tidemark-bench-"));
  const history = await open(folder);
  const stream = await history.openStream({ name: "s", kind: "bench", description: "", scope: "", capabilities });
  const buffer = new FrameBuffer();
  const times: number[] = [];
  for (let revision = 1; revision <= 2000; revision++) {
    buffer.clear();
    if (revision === 1) buffer.write({ type: "reset", epoch: "e" });
    buffer.write({ type: "change", key: keyOf(revision % 1000), value, version: sortableInteger(revision) });
    buffer.write({ type: "commit", cursor: sortableInteger(revision) });
    const startedMs = performance.now();
    await stream.append(buffer);
    times.push(performance.now() - startedMs);
  }
  await history.close();
  rmSync(folder, { recursive: true, force: true });
  times.sort((a, b) => a - b);
  const at = (share: number) => (times[Math.floor(times.length * share)] as number).toFixed(2);
  return `median ${at(0.5)} ms, p99 ${at(0.99)} ms`;
}

const only = process.argv[2];
if (only === "postgres") {
  console.log(`200-byte values, 100,000 changes, ${repetitions} repetitions, medians; loop: the event loop's delay`);
  await besidePostgres();
}
if (only === undefined)
  console.log(`200-byte values, ${repetitions} repetitions, medians; loop: the main thread's event loop delay`);
for (const entry of cases) {
  if (only !== undefined && !entry.name.includes(only)) continue;
  const results: Awaited<ReturnType<typeof ingest>>[] = [];
  for (let round = 0; round < repetitions; round++) results.push(await ingest(entry));
  const pick = (field: keyof (typeof results)[number]) => median(results.map((result) => result[field]));
  console.log(
    `${entry.name.padEnd(46)} ${rateText(pick("rate"))} changes/s, ${rateText(pick("perCpuSecond"))} per CPU second of the writer, loop p99 ${pick("p99").toFixed(1)} ms, max ${pick("max").toFixed(1)} ms`,
  );
}
if (only === undefined || only === "handoff") {
  const results: Awaited<ReturnType<typeof handOff>>[] = [];
  for (let round = 0; round < repetitions; round++) results.push(await handOff());
  const pick = (field: keyof (typeof results)[number]) => median(results.map((result) => result[field]));
  console.log(
    `hand-off at 1,000,000 changes/s, 10,000 keys: ${Math.round(pick("rate")).toLocaleString("en")} changes/s into history, ${pick("pushNs").toFixed(0)} ns a push, loop p99 ${pick("p99").toFixed(1)} ms, max ${pick("max").toFixed(1)} ms`,
  );
}
// One process for each: what counts is the most that it ever had.
if (only === "groups" || only === "one snapshot") console.log(await backlog(only));
if (only === undefined) {
  for (const kind of ["groups", "one snapshot"]) {
    spawnSync(process.execPath, [...process.execArgv, import.meta.filename, kind], { stdio: "inherit" });
  }
}
if (only === undefined || only === "open") {
  const { openMs, readMs, mb } = await open(1_000_000);
  console.log(
    `open 1,000,000 versions (${mb.toFixed(0)} MiB): ${openMs.toFixed(0)} ms until streams are known, then 1,000 keys in ${readMs.toFixed(0)} ms`,
  );
}
