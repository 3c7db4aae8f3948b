import { seededRng } from "@tidemark/clock";
import {
  combineSignals,
  gapAfter,
  gapInTurn,
  paceDefaults,
  retryDelayMs,
  throttleDefaults,
} from "@tidemark/migrate/internal";
import fc from "fast-check";
import { expect, test } from "vitest";

test("with nice n the share of time left to others is n of n + 1, within the bounds of a gap", () => {
  const pace = { nice: 3, minGapMs: 2, maxGapMs: 1000 };
  expect(gapAfter(20, pace)).toBe(60);
  expect(gapAfter(0.1, pace)).toBe(2);
  expect(gapAfter(10_000, pace)).toBe(1000);
});

test("a gap is never below its minimum, above its maximum, or no number", () => {
  fc.assert(
    fc.property(fc.double(), fc.double({ min: 0, max: 100, noNaN: true }), (spentMs, nice) => {
      const gap = gapAfter(spentMs, { ...paceDefaults, nice });
      expect(gap).toBeGreaterThanOrEqual(paceDefaults.minGapMs);
      expect(gap).toBeLessThanOrEqual(paceDefaults.maxGapMs);
    }),
  );
});

/** When SQLite's busy handler looks again, in milliseconds from the first look. */
const looks = [
  1,
  3,
  8,
  18,
  33,
  53,
  78,
  103,
  128,
  178,
  228,
  ...Array.from({ length: 20 }, (_, index) => 328 + 100 * index),
];

/** How long a writer waits at most that comes at any moment, where chunks hold the lock and rest in turn. */
function longestWait(seed: number, gapOf: (lockMs: number) => number): { waitMs: number; restedShare: number } {
  const rng = seededRng(seed);
  const locks: { from: number; to: number }[] = [];
  let at = 0;
  let lockedMs = 0;
  while (at < 60_000) {
    const lockMs = 8 + rng.float() * 8;
    locks.push({ from: at, to: at + lockMs });
    lockedMs += lockMs;
    at += lockMs + gapOf(lockMs);
  }
  const end = at;
  let next = 0;
  let waitMs = 0;
  for (let from = 0; from < end - 3000; from++) {
    while ((locks[next]?.to ?? end) <= from) next++;
    let lock = next;
    const isFree = (atMs: number) => {
      while ((locks[lock]?.to ?? end) <= atMs) lock++;
      return (locks[lock]?.from ?? end) > atMs;
    };
    waitMs = Math.max(waitMs, [0, ...looks].find((look) => isFree(from + look)) ?? Number.POSITIVE_INFINITY);
  }
  return { waitMs, restedShare: 1 - lockedMs / end };
}

test("rests in turn let everybody in who waits for SQLite's lock, and are no longer than others on average", () => {
  let worst = 0;
  for (let seed = 1; seed <= 10; seed++) {
    let keptMs = 0;
    const inTurn = longestWait(seed, (lockMs) => {
      const [gapMs, kept] = gapInTurn(lockMs, paceDefaults, keptMs);
      keptMs = kept;
      return gapMs;
    });
    const alike = longestWait(seed, (lockMs) => gapAfter(lockMs, paceDefaults));
    expect(inTurn.waitMs).toBeLessThanOrEqual(128);
    expect(inTurn.restedShare).toBeCloseTo(alike.restedShare, 2);
    worst = Math.max(worst, alike.waitMs);
  }
  // What they are for.
  expect(worst).toBeGreaterThan(128);
});

test("rests in turn keep to the shortest and the longest rest", () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 0, max: 5000, noNaN: true }), { maxLength: 50 }),
      fc.double({ min: 0, max: 10, noNaN: true }),
      fc.constantFrom(0, 2, 40),
      fc.constantFrom(1, 26, 1000),
      (locks, nice, minGapMs, maxGapMs) => {
        const pace = { nice, minGapMs, maxGapMs };
        let keptMs = 0;
        for (const lockMs of locks) {
          const [gapMs, kept] = gapInTurn(lockMs, pace, keptMs);
          expect(gapMs).toBeGreaterThanOrEqual(Math.min(minGapMs, gapAfter(lockMs, pace)));
          expect(gapMs).toBeLessThanOrEqual(Math.max(maxGapMs, minGapMs));
          expect(kept).toBeGreaterThanOrEqual(0);
          keptMs = kept;
        }
        // Where there is nothing to spare, they are as they would be without.
        if (nice === 0) expect(keptMs).toBe(0);
      },
    ),
  );
});

test("waits between attempts grow to two seconds and never to nothing", () => {
  fc.assert(
    fc.property(fc.nat(1000), fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }), (failures, random) => {
      const delay = retryDelayMs(failures, random);
      expect(delay).toBeGreaterThanOrEqual(5);
      expect(delay).toBeLessThanOrEqual(2000);
    }),
  );
});

const reading = (name: string, utilisation: number | undefined, atMs = 1000) => ({
  name,
  utilisation,
  atMs,
  reason: `${name} says ${utilisation}`,
});

test("any one signal above 1 stops the run, and every reason is told, the worst first", () => {
  const readings = [reading("a", 0.2), reading("b", 1.5), reading("c", 4)];
  expect(combineSignals(readings, false, 1000, throttleDefaults)).toEqual({
    isThrottled: true,
    reason: "c: c says 4; b: b says 1.5",
  });
  expect(combineSignals([reading("a", 1)], false, 1000, throttleDefaults).isThrottled).toBe(false);
});

test("a throttled run goes on only once every signal is well below its limit", () => {
  expect(combineSignals([reading("a", 0.9)], false, 1000, throttleDefaults).isThrottled).toBe(false);
  expect(combineSignals([reading("a", 0.9)], true, 1000, throttleDefaults).isThrottled).toBe(true);
  expect(combineSignals([reading("a", 0.8)], true, 1000, throttleDefaults).isThrottled).toBe(false);
});

test("a signal that cannot be read, or was not for long, stops the run and is named", () => {
  const unread = combineSignals([reading("lag", undefined)], false, 1000, throttleDefaults);
  expect(unread).toEqual({ isThrottled: true, reason: "lag cannot be read: lag says undefined" });
  const stale = combineSignals([reading("lag", 0, 0)], false, 10_001, throttleDefaults);
  expect(stale).toEqual({ isThrottled: true, reason: "lag was last read 10001 ms ago" });
  expect(combineSignals([reading("lag", Number.NaN)], false, 1000, throttleDefaults).isThrottled).toBe(true);
});

test("without a reason nothing is throttled, and with hysteresis the verdict does not flap", () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0.81, max: 1, noNaN: true }), { minLength: 2 }), (utilisations) => {
      for (const start of [true, false]) {
        let isThrottled = start;
        for (const each of utilisations) {
          ({ isThrottled } = combineSignals([reading("a", each)], isThrottled, 1000, throttleDefaults));
          expect(isThrottled).toBe(start);
        }
      }
    }),
  );
});
