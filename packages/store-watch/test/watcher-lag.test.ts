import { seededRng } from "@tidemark/clock";
import fc from "fast-check";
import { expect, test } from "vitest";
import { AcceptTimes, LagWindow, RateWindow } from "../src/watcher-lag.ts";

test("percentiles of lag are at most nine percent too high, and never too low", () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0.1, max: 1e7, noNaN: true }), { minLength: 1, maxLength: 200 }), (lags) => {
      const window = new LagWindow();
      for (const lag of lags) window.record(1_000, lag, 1);
      const sorted = [...lags].sort((a, b) => a - b);
      const { p50Ms, p99Ms, maxMs } = window.summary(1_000) as { p50Ms: number; p99Ms: number; maxMs: number };
      const exact = (share: number) => sorted[Math.ceil(sorted.length * share) - 1] as number;
      expect(maxMs).toBe(sorted.at(-1));
      for (const [got, want] of [
        [p50Ms, exact(0.5)],
        [p99Ms, exact(0.99)],
      ] as const) {
        expect(got).toBeGreaterThanOrEqual(want * 0.999_999);
        expect(got).toBeLessThanOrEqual(want * 1.091);
      }
    }),
  );
});

test("lag is forgotten after a minute", () => {
  const window = new LagWindow();
  window.record(1_000, 500, 3);
  expect(window.summary(50_000)?.maxMs).toBe(500);
  expect(window.summary(65_000)).toBe(undefined);
});

test("times of acceptance keep their number and their oldest, however many they are", () => {
  const rng = seededRng(1);
  const times = new AcceptTimes();
  let atMs = 100;
  let total = 0;
  for (let group = 0; group < 50_000; group++) {
    times.add(atMs);
    total++;
    atMs += rng.float() * 5;
  }
  let counted = 0;
  let entries = 0;
  let lastMs = 0;
  times.forEach((each, count) => {
    expect(each).toBeGreaterThanOrEqual(lastMs);
    lastMs = each;
    counted += count;
    entries++;
  });
  expect(counted).toBe(total);
  expect(times.firstMs).toBe(100);
  expect(entries).toBeLessThanOrEqual(256);
});

test("changes a second are those of the last ten", () => {
  const rate = new RateWindow();
  expect(rate.perSecond(0)).toBe(0);
  for (let second = 0; second < 30; second++) rate.record(second * 1_000, 50);
  expect(rate.perSecond(29_999)).toBeCloseTo(50, -1);
  expect(rate.perSecond(36_000)).toBeLessThan(40);
  expect(rate.perSecond(60_000)).toBe(0);
});
