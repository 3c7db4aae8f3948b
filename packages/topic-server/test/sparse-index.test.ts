import { seededRng } from "@tidemark/clock";
import { expect, test } from "vitest";
import { SparseIndex } from "../src/storage/sparse-index.ts";

const seeds = process.env["TIDEMARK_LONG"] === "1" ? 200 : 8;

interface Entry {
  readonly offset: number;
  readonly position: number;
  readonly timeMs: number;
}

/** Records of random sizes, with gaps in their offsets, and a clock that is sometimes set back. */
function records(seed: number, count: number): Entry[] {
  const rng = seededRng(seed);
  const found: Entry[] = [];
  let offset = rng.int(0, 1000);
  let position = 0;
  let timeMs = 1_700_000_000_000;
  for (let n = 0; n < count; n++) {
    found.push({ offset, position, timeMs });
    offset += rng.int(1, 100);
    position += rng.int(50, 60_000);
    timeMs += rng.float() < 0.1 ? -rng.int(0, 5000) : rng.int(0, 1000);
  }
  return found;
}

test("an offset is found at its record or before it, and less than two steps before", () => {
  for (let seed = 0; seed < seeds; seed++) {
    const all = records(seed, 300);
    const index = new SparseIndex();
    for (const { offset, position, timeMs } of all) index.add(offset, position, timeMs);
    for (const { offset, position } of all) {
      const found = index.positionOfOffset(offset);
      expect(found).toBeLessThanOrEqual(position);
      expect(position - found).toBeLessThan(128 * 1024 + 60_000);
      expect(all.some((entry) => entry.position === found)).toBe(true);
    }
    expect(index.positionOfOffset(0)).toBe(0);
  }
});

test("nothing that is new enough lies before the position of a time, although the clock was set back", () => {
  for (let seed = 0; seed < seeds; seed++) {
    const all = records(seed, 300);
    const index = new SparseIndex();
    for (const { offset, position, timeMs } of all) index.add(offset, position, timeMs);
    // A reader looks for the first record that is new enough, and takes what follows it as it comes.
    for (const { timeMs } of all) {
      const first = all.find((entry) => entry.timeMs >= timeMs) as Entry;
      expect(index.positionOfTime(timeMs)).toBeLessThanOrEqual(first.position);
    }
    expect(index.positionOfTime(0)).toBe(0);
  }
});

test("it is small, and the same after it was written down", () => {
  const index = new SparseIndex();
  let position = 0;
  for (let n = 0; n < 100_000; n++) {
    index.add(n, position, n);
    position += 640;
  }
  const bytes = index.encode();
  // 61 MiB of records in steps of 128 KiB, three numbers each.
  expect(bytes.length).toBeLessThan(490 * 3 * 8);
  const back = SparseIndex.decode(bytes);
  for (let n = 0; n < 100_000; n += 997) {
    expect(back.positionOfOffset(n)).toBe(index.positionOfOffset(n));
    expect(back.positionOfTime(n)).toBe(index.positionOfTime(n));
  }
  expect(SparseIndex.decode(new SparseIndex().encode()).positionOfOffset(5)).toBe(0);
});
