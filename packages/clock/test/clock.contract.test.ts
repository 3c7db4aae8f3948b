// What every Clock promises, asked of each.

import { getEventListeners } from "node:events";
import { type Clock, ClockError, systemClock } from "@tidemark/clock";
import { createSimulation } from "@tidemark/clock/testing";
import { expect, test } from "vitest";

const clocks: Record<string, (main: (clock: Clock) => Promise<void>) => Promise<void>> = {
  systemClock: (main) => main(systemClock),
  simulation: (main) => {
    const simulation = createSimulation({ seed: 7 });
    return simulation.run(() => main(simulation.clock));
  },
};

for (const [name, on] of Object.entries(clocks)) {
  test(`${name}: a timer never fires before its delay has passed`, () =>
    on(async (clock) => {
      const delaysMs = Array.from({ length: 100 }, (_, index) => index / 5);
      await Promise.all(
        delaysMs.map(async (delayMs) => {
          const startedMs = clock.monotonic();
          await new Promise<void>((resolve) => clock.setTimer(delayMs, resolve));
          expect(clock.monotonic() - startedMs).toBeGreaterThanOrEqual(delayMs);
        }),
      );
    }));

  test(`${name}: now is an integer and moves with monotonic`, () =>
    on(async (clock) => {
      // A busy machine may stop us between two readings, so one of them is taken on both sides of the other.
      const reading = () => [clock.monotonic(), clock.now(), clock.monotonic()] as const;
      const [earliestMs, startMs, startedMs] = reading();
      await clock.sleep(20.5);
      const [endMs, nowMs, latestMs] = reading();
      expect(Number.isInteger(nowMs)).toBe(true);
      expect(nowMs - startMs).toBeGreaterThan(endMs - startedMs - 10);
      expect(nowMs - startMs).toBeLessThan(latestMs - earliestMs + 10);
    }));

  test(`${name}: a cancelled timer or immediate never fires`, () =>
    on(async (clock) => {
      const fired: string[] = [];
      const timer = clock.setTimer(1, () => fired.push("timer"));
      const immediate = clock.setImmediate(() => fired.push("immediate"));
      immediate.cancel();
      timer.cancel();
      timer.cancel();
      await clock.sleep(10);
      timer.cancel();
      expect(fired).toEqual([]);
    }));

  test(`${name}: an immediate runs after promise reactions and ticks that are due`, () =>
    on(async (clock) => {
      const order: string[] = [];
      const done = new Promise<void>((resolve) => {
        clock.setImmediate(() => {
          order.push("immediate");
          resolve();
        });
      });
      process.nextTick(() => order.push("tick"));
      void Promise.resolve()
        .then(() => Promise.resolve())
        .then(() => order.push("reaction"));
      await done;
      expect(order.at(-1)).toBe("immediate");
      expect(order).toHaveLength(3);
    }));

  test(`${name}: a delay below 0 counts as 0 and NaN is refused`, () =>
    on(async (clock) => {
      await clock.sleep(-1);
      expect(() => clock.setTimer(Number.NaN, () => {})).toThrow(ClockError);
      await expect(clock.sleep(Number.NaN)).rejects.toMatchObject({ code: "OPTIONS_INVALID" });
    }));

  test(`${name}: sleep rejects with the reason of a signal and leaves no listener`, () =>
    on(async (clock) => {
      const { signal } = new AbortController();
      await clock.sleep(1, { signal });
      expect(getEventListeners(signal, "abort")).toHaveLength(0);

      const later = new AbortController();
      const reason = { not: "even an error" };
      clock.setTimer(1, () => later.abort(reason));
      await expect(clock.sleep(Number.POSITIVE_INFINITY, { signal: later.signal })).rejects.toBe(reason);
      expect(getEventListeners(later.signal, "abort")).toHaveLength(0);

      await expect(clock.sleep(1, { signal: later.signal })).rejects.toBe(reason);
      expect(getEventListeners(later.signal, "abort")).toHaveLength(0);
    }));
}
