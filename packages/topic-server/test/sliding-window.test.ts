import { seededRng } from "@tidemark/clock";
import { expect, test } from "vitest";
import { SlidingWindow } from "../src/storage/sliding-window.ts";

test("sums and highest values are those of the last sixty buckets, whenever it is asked", () => {
  for (let seed = 1; seed <= 100; seed++) {
    const rng = seededRng(seed);
    const sums = new SlidingWindow(60_000);
    const tops = new SlidingWindow(60_000);
    const known: { readonly bucket: number; readonly value: number }[] = [];
    let nowMs = 1_700_000_000_000;
    for (let step = 0; step < 100; step++) {
      // Mostly small steps, sometimes none, and sometimes past everything.
      nowMs += rng.pick([0, rng.int(0, 500), rng.int(0, 5000), rng.int(0, 90_000)]);
      if (rng.float() < 0.7) {
        const value = rng.int(1, 1000);
        sums.add(nowMs, value);
        tops.raise(nowMs, value);
        known.push({ bucket: Math.floor(nowMs / 1000), value });
      }
      const since = Math.floor(nowMs / 1000) - 59;
      const values = known.filter(({ bucket }) => bucket >= since).map(({ value }) => value);
      expect(sums.sum(nowMs), `seed ${seed}, step ${step}`).toBe(values.reduce((sum, value) => sum + value, 0));
      expect(tops.highest(nowMs), `seed ${seed}, step ${step}`).toBe(Math.max(0, ...values));
    }
  }
});

test("a clock that goes back counts what happens as new, and an empty window is 0", () => {
  const window = new SlidingWindow(60_000);
  expect([window.sum(5), window.highest(5)]).toEqual([0, 0]);
  window.add(100_000, 1);
  window.add(40_000, 2);
  expect(window.sum(100_000)).toBe(3);
});
