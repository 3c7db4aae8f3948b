import { getEventListeners } from "node:events";
import { ClockError, deadline } from "@tidemark/clock";
import { createSimulation } from "@tidemark/clock/testing";
import { expect, test } from "vitest";

test("aborts with a retryable TIMEOUT when time is up, and not before", async () => {
  const { clock, advance } = bound();
  const limit = deadline(clock, 1_000);
  await advance(999);
  expect(limit.signal.aborted).toBe(false);
  await advance(1);
  expect(limit.signal.reason).toMatchObject({ code: "TIMEOUT", retryable: true });
  expect(ClockError.is(limit.signal.reason)).toBe(true);
});

test("aborts with the parent's reason when that comes first", async () => {
  const { clock, pending } = bound();
  const parent = new AbortController();
  const limit = deadline(clock, 1_000, parent.signal);
  const reason = new Error("the caller left");
  parent.abort(reason);
  expect(limit.signal.reason).toBe(reason);
  expect(pending()).toEqual([]);
  expect(deadline(clock, 1_000, parent.signal).signal.reason).toBe(reason);
  expect(pending()).toEqual([]);
});

test("leaves neither a timer nor a listener, whichever way it ends", async () => {
  const { clock, advance, pending } = bound();
  const parent = new AbortController();
  {
    using limit = deadline(clock, 1_000, parent.signal);
    expect(pending().map((timer) => timer.isRef)).toEqual([false]);
    expect(limit.signal.aborted).toBe(false);
  }
  expect(pending()).toEqual([]);
  expect(getEventListeners(parent.signal, "abort")).toHaveLength(0);

  deadline(clock, 1_000, parent.signal);
  await advance(1_000);
  expect(getEventListeners(parent.signal, "abort")).toHaveLength(0);
});

test("once disposed the signal no longer changes", async () => {
  const { clock, advance } = bound();
  const parent = new AbortController();
  const limit = deadline(clock, 1_000, parent.signal);
  limit[Symbol.dispose]();
  parent.abort();
  await advance(2_000);
  expect(limit.signal.aborted).toBe(false);
});

function bound() {
  const simulation = createSimulation({ seed: 1 });
  return {
    clock: simulation.clock,
    advance: (ms: number) => simulation.advance(ms),
    pending: () => simulation.pending(),
  };
}
