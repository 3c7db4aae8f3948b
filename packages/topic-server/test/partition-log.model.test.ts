import { isDeepStrictEqual } from "node:util";
import { type Rng, seededRng } from "@tidemark/clock";
import { createSimulation } from "@tidemark/clock/testing";
import { expect, test } from "vitest";
import { PartitionLog, type RecordOwner } from "../src/internal.ts";
import type { SegmentMeta } from "../src/storage/segment.ts";
import { TailBudget } from "../src/storage/tail-cache.ts";
import { TopicServerError } from "../src/index.ts";
import { CrashingFiles } from "./crashing-files.ts";

const seeds = process.env["TIDEMARK_LONG"] === "1" ? 2000 : 100;
const none = new Uint8Array(0);

/** One partition's log with everything around it that survives a crash. */
class World {
  files = new CrashingFiles();
  sealed: SegmentMeta[] = [];
  startOffset = 0;
  readonly clock: ReturnType<typeof createSimulation>["clock"];
  log: PartitionLog | undefined;

  constructor(clock: World["clock"], pace?: Rng) {
    this.clock = clock;
    this.files.pace = pace;
  }

  async open(): Promise<PartitionLog> {
    const { files } = this;
    this.log = await PartitionLog.open({
      files,
      folder: "1/0",
      clock: this.clock,
      sync: "always",
      segmentBytes: 4096,
      startBytes: 1000,
      tail: new TailBudget(2000),
      sealed: this.sealed,
      startOffset: this.startOffset,
      checkpointOffset: this.sealed.at(-1)?.endOffset ?? 0,
      onRecovered: () => {},
      onSealed: (meta) => {
        // What was under way when the power failed goes on here, and has no effect.
        if (this.files === files) this.sealed = [...this.sealed, meta];
      },
      onTrim: async (offset) => {
        this.startOffset = offset;
        this.sealed = this.sealed.filter((meta) => meta.endOffset > offset);
      },
      onVisible: () => {},
    });
    return this.log;
  }
}

function head(count: number, nowMs: number) {
  const seqNo = { firstSeqNo: 1n, lastSeqNo: BigInt(count) };
  return { count, skip: 0, codec: 1, ...seqNo, writtenAtMs: nowMs, txId: 0, producer: none, meta: none };
}

async function readAll(log: PartitionLog): Promise<{ readonly base: number; readonly text: string }[]> {
  const found = [];
  let offset = log.startOffset;
  while (offset < log.endOffset) {
    for (const record of await log.read(offset, 3000)) {
      found.push({ base: record.baseOffset, text: Buffer.from(record.payload).toString("latin1") });
      offset = record.baseOffset + record.count;
    }
  }
  return found;
}

async function walk(seed: number, rng: Rng, world: World): Promise<void> {
  let log = await world.open();
  /** Acknowledged, in order. */
  let known: { base: number; count: number; text: string }[] = [];
  const now = () => world.clock.now();
  for (let step = 0; step < 60; step++) {
    const lost: string[] = [];
    const action = rng.int(0, 10);
    if (action < 6) {
      const writes = rng.int(1, 6);
      let stored = 0;
      for (let n = 0; n < writes; n++) {
        const text = String.fromCharCode(33 + rng.int(0, 90)).repeat(rng.int(1, 1500));
        const count = rng.int(1, 5);
        const owner: RecordOwner = {
          onStored: (base) => {
            stored++;
            known.push({ base, count, text });
          },
          onLost: () => lost.push(text),
        };
        log.append(head(count, now()), Buffer.from(text, "latin1"), owner);
      }
      if (rng.float() < 0.2) world.files.roomBytes = rng.int(0, 3000);
      await log.flush();
      expect(stored + lost.length, `seed ${seed}`).toBe(writes);
      if (lost.length > 0) expect(world.files.roomBytes, `seed ${seed}`).toBeLessThan(3000);
      world.files.roomBytes = Number.POSITIVE_INFINITY;
    } else if (action < 8) {
      // Power fails while something is on its way.
      let isOver = false;
      for (let n = rng.int(0, 4); n > 0; n--) {
        const text = "~".repeat(rng.int(1, 3000));
        const owner: RecordOwner = {
          onStored: (base) => {
            if (!isOver) known.push({ base, count: 1, text });
          },
          onLost: () => {},
        };
        log.append(head(1, now()), Buffer.from(text), owner);
      }
      // Time stands still here, and with it the end of the turn that would begin to write.
      void log.flush();
      for (let n = rng.int(0, 12); n > 0; n--) await Promise.resolve();
      isOver = true;
      world.files = world.files.crash(rng);
      log = await world.open();
      // What was on its way may be there, in order and whole.
      for (const { base, text } of await readAll(log)) {
        if (base >= (known.at(-1)?.base ?? 0) + (known.at(-1)?.count ?? 0)) known.push({ base, count: 1, text });
      }
    } else if (action < 9) {
      await log.retain(Number.POSITIVE_INFINITY, rng.int(1, 20_000), Number.POSITIVE_INFINITY);
    } else {
      await log.close();
      log = await world.open();
    }
    known = known.filter(({ base, count }) => base + count > log.startOffset);
    const found = await readAll(log);
    const expected = known.map(({ base, text }) => ({ base, text }));
    // The words of a comparison that fails cost more than the rest of the test.
    if (!isDeepStrictEqual(found, expected)) expect(found, `seed ${seed}, step ${step}`).toEqual(expected);
    const last = known.at(-1);
    if (last !== undefined) expect(log.endOffset).toBe(last.base + last.count);
  }
}

test(`a log is what was acknowledged, whatever crashes, fills up and expires, for ${seeds} seeds`, {
  timeout: 600_000,
}, async () => {
  let overlaps = 0;
  for (let seed = 1; seed <= seeds; seed++) {
    const { clock } = createSimulation({ seed });
    const world = new World(clock, seededRng(seed + 1_000_000));
    await walk(seed, seededRng(seed), world);
    overlaps += world.files.overlaps;
    expect(world.files.earlyCuts, `seed ${seed}`).toBe(0);
  }
  expect(overlaps).toBeGreaterThan(seeds);
});

async function filled(world: World, records: number): Promise<PartitionLog> {
  const log = await world.open();
  const owner: RecordOwner = { onStored: () => {}, onLost: (_head, error) => expect.unreachable(String(error)) };
  for (let n = 0; n < records; n++) {
    log.append(head(1, world.clock.now()), Buffer.from(`record ${n}`), owner);
    await log.flush();
  }
  return log;
}

test("damage before what was synced later is reported, and nothing is changed", async () => {
  const world = new World(createSimulation({ seed: 1 }).clock);
  await filled(world, 10);
  world.files.damage("1/0/0000000000000000.log", 100);
  const before = world.files.paths();
  const error = await world.open().catch((thrown: unknown) => thrown);
  expect(TopicServerError.is(error) && error.code).toBe("CORRUPT");
  expect(String(error)).toContain("at byte 92 (offset 1)");
  expect(world.files.paths()).toEqual(before);
});

test("damage to the last record looks like a torn write, and only that record goes", async () => {
  const world = new World(createSimulation({ seed: 1 }).clock);
  const log = await filled(world, 3);
  const position = log.storedBytes - 1;
  world.files.damage("1/0/0000000000000000.log", position);
  expect((await readAll(await world.open())).map(({ text }) => text)).toEqual(["record 0", "record 1"]);
});

test("a reader of damaged messages is told, and is not given them", async () => {
  const world = new World(createSimulation({ seed: 1 }).clock);
  const log = await filled(world, 200);
  expect(world.sealed.length).toBeGreaterThan(1);
  world.files.damage("1/0/0000000000000000.log", 90);
  const error = await Promise.resolve(log.read(0, 1000)).catch((thrown: unknown) => thrown);
  expect(TopicServerError.is(error) && error.code).toBe("CORRUPT");
});
