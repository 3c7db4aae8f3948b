import fc from "fast-check";
import { expect, test } from "vitest";
import { type GateMemo, type GateView, gateReason, memoAfter } from "../src/gate.ts";

const memo: GateMemo = { config: "c1", probe: "p1", successMs: 1_000 };
const same: GateView = { config: "c1", probe: "p1", nowMs: 2_000 };

test("R4: a phase that never succeeded runs", () => {
  expect(gateReason(undefined, same, 60_000)).toBe("first");
});

test("R4: the configuration, the probe and the age each open the gate, and nothing else does", () => {
  expect(gateReason(memo, same, 60_000)).toBeUndefined();
  expect(gateReason(memo, { ...same, config: "c2" }, 60_000)).toBe("config");
  expect(gateReason(memo, { ...same, probe: "p2" }, 60_000)).toBe("probe");
  expect(gateReason(memo, { ...same, nowMs: 61_000 }, 60_000)).toBe("age");
  expect(gateReason(memo, { ...same, nowMs: 60_999 }, 60_000)).toBeUndefined();
});

test("R5: a probe that failed forces nothing, and what it would have said is still asked for", () => {
  const failed: GateView = { config: "c1", probe: undefined, nowMs: 2_000 };
  expect(gateReason(memo, failed, 60_000)).toBeUndefined();
  const later = memoAfter(memo, { ...failed, nowMs: 61_000 });
  expect(later.probe).toBe("p1");
  expect(gateReason(later, { ...same, probe: "p2", nowMs: 61_001 }, 60_000)).toBe("probe");
});

test("a wall clock that was set back does not hold the phase for longer than its interval", () => {
  expect(gateReason(memo, { ...same, nowMs: 500 }, 60_000)).toBe("age");
  expect(gateReason(memo, { ...same, nowMs: 500 }, Number.POSITIVE_INFINITY)).toBeUndefined();
});

test("R4: after a success the same view never opens the gate before the interval", () => {
  const text = fc.option(fc.string(), { nil: undefined });
  fc.assert(
    fc.property(
      text,
      text,
      fc.nat(),
      fc.integer({ min: 1, max: 1e6 }),
      fc.nat(),
      (config, probe, nowMs, everyMs, on) => {
        const view = { config, probe, nowMs };
        const after = memoAfter(undefined, view);
        const isDue = gateReason(after, { ...view, nowMs: nowMs + on }, everyMs) !== undefined;
        expect(isDue).toBe(on >= everyMs);
      },
    ),
  );
});
