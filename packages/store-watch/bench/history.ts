// How fast frames become committed history, and what the event loop feels of it: `pnpm bench` (after `pnpm build` it
// measures what users install: `TIDEMARK_DIST=1 pnpm bench`). `pnpm bench postgres` compares SQLite and PostgreSQL.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { Handoff } from "@tidemark/stream";
import { FrameBuffer, openHistory, sortableInteger } from "@tidemark/store-watch";
import {
  capabilities,
  type Case,
  cases,
  fill,
  ingest,
  keyOf,
  median,
  numbers,
  rateText,
  repetitions,
  value,
} from "./ingest.ts";
import { besidePostgres } from "./postgres.ts";

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

const only = process.argv[2];
if (only === "postgres") await besidePostgres(process.argv[3] ?? "");
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
