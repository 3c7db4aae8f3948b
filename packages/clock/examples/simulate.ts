import assert from "node:assert/strict";
import { ClockError } from "@tidemark/clock";
import { createSimulation } from "@tidemark/clock/testing";
import { retry } from "./retry.ts";

const simulation = createSimulation({ seed: 42 });
const { clock, rng, trace } = simulation;

// A service that is down for ten seconds: ten virtual ones, a real millisecond.
const answer = await simulation.run(() =>
  retry(
    async () => {
      trace.record("call");
      if (clock.monotonic() < 10_000) throw new Error("down");
      return "up again";
    },
    { clock, rng },
  ),
);
assert.equal(answer, "up again");
console.log(trace.lines().length, "calls in", clock.monotonic(), "ms, digest", trace.digest());

// One that stays down ends in the deadline's error.
await assert.rejects(
  simulation.run(() => retry(() => Promise.reject(new Error("down")), { clock, rng })),
  (error) => ClockError.is(error) && error.code === "TIMEOUT",
);
