// What the benchmarks of the history share: the frames, and how fast they become committed history.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { FrameBuffer, type History, openHistory, sortableInteger } from "@tidemark/store-watch";

export const capabilities = {
  resumable: true,
  transactional: true,
  tombstones: true,
  snapshotMarker: true,
  tooOldSignal: true,
  ordered: true,
  versioned: true,
};

export const repetitions = Number(process.env["REPETITIONS"] ?? 5);
export const value = Buffer.alloc(200, "v");

export interface Case {
  readonly name: string;
  readonly changesPerGroup: number;
  readonly changes: number;
  /** Keys are drawn from so many at random; 0: every change makes a new key. */
  readonly keys: number;
  readonly framesPerBuffer: number;
}

export function keyOf(number: number): Buffer {
  return Buffer.from(`/config/services/${String(number).padStart(9, "0")}`, "latin1");
}

/** A fixed sequence, so that every run does the same. */
export function* numbers(below: number): Generator<number> {
  for (let state = 12_345; ; ) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    yield (state >>> 0) % below;
  }
}

export function fill(buffer: FrameBuffer, revision: number, entry: Case, random: Generator<number>): number {
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

export const median = (values: number[]) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;

/** From a full FrameBuffer to committed, one buffer written while the other one is committed, as the watcher does it. */
export async function ingest(
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

export const cases: Case[] = [
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

export const rateText = (number: number) => Math.round(number).toLocaleString("en").padStart(9);
