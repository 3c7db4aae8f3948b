import { MigrateError, type RunState } from "@tidemark/migrate";
import { isActive, isStalled, nextRunState, type RunEvent } from "@tidemark/migrate/internal";
import { expect, test } from "vitest";

const events = {
  claim: { type: "claim", phase: "copy" },
  counted: { type: "counted" },
  throttle: { type: "throttle" },
  unthrottle: { type: "unthrottle" },
  exhaust: { type: "exhaust" },
  verified: { type: "verified" },
  fail: { type: "fail" },
  release: { type: "release" },
  pause: { type: "pause" },
  resume: { type: "resume" },
  cancel: { type: "cancel" },
  retry: { type: "retry" },
} as const satisfies Record<RunEvent["type"], RunEvent>;

const no = "refused";

// Written out a second time on purpose: a change of the table has to be meant twice.
const expected: Record<RunState, Record<RunEvent["type"], RunState | typeof no>> = {
  registered: {
    claim: "running",
    counted: no,
    throttle: no,
    unthrottle: no,
    exhaust: no,
    verified: no,
    fail: "failed",
    release: "registered",
    pause: "paused",
    resume: "registered",
    cancel: "cancelled",
    retry: "registered",
  },
  counting: {
    claim: "running",
    counted: "running",
    throttle: no,
    unthrottle: no,
    exhaust: no,
    verified: no,
    fail: "failed",
    release: "registered",
    pause: "paused",
    resume: "counting",
    cancel: "cancelled",
    retry: "counting",
  },
  running: {
    claim: "running",
    counted: no,
    throttle: "throttled",
    unthrottle: "running",
    exhaust: "verifying",
    verified: no,
    fail: "failed",
    release: "registered",
    pause: "paused",
    resume: "running",
    cancel: "cancelled",
    retry: "running",
  },
  throttled: {
    claim: "running",
    counted: no,
    throttle: "throttled",
    unthrottle: "running",
    exhaust: no,
    verified: no,
    fail: "failed",
    release: "registered",
    pause: "paused",
    resume: "throttled",
    cancel: "cancelled",
    retry: "throttled",
  },
  paused: {
    claim: no,
    counted: no,
    throttle: no,
    unthrottle: no,
    exhaust: no,
    verified: no,
    fail: no,
    release: "paused",
    pause: "paused",
    resume: "registered",
    cancel: "cancelled",
    retry: no,
  },
  verifying: {
    claim: "running",
    counted: no,
    throttle: no,
    unthrottle: no,
    exhaust: no,
    verified: "done",
    fail: "failed",
    release: "registered",
    pause: "paused",
    resume: "verifying",
    cancel: "cancelled",
    retry: "verifying",
  },
  done: {
    claim: no,
    counted: no,
    throttle: no,
    unthrottle: no,
    exhaust: no,
    verified: no,
    fail: no,
    release: "done",
    pause: no,
    resume: no,
    cancel: no,
    retry: no,
  },
  failed: {
    claim: no,
    counted: no,
    throttle: no,
    unthrottle: no,
    exhaust: no,
    verified: no,
    fail: no,
    release: "failed",
    pause: no,
    resume: no,
    cancel: "cancelled",
    retry: "registered",
  },
  cancelled: {
    claim: no,
    counted: no,
    throttle: no,
    unthrottle: no,
    exhaust: no,
    verified: no,
    fail: no,
    release: "cancelled",
    pause: no,
    resume: no,
    cancel: "cancelled",
    retry: "registered",
  },
};

function outcome(state: RunState, event: RunEvent): RunState | typeof no {
  try {
    return nextRunState(state, event);
  } catch (error) {
    if (MigrateError.is(error) && error.code === "STATE_REFUSED") return no;
    throw error;
  }
}

for (const [state, row] of Object.entries(expected) as [RunState, (typeof expected)[RunState]][]) {
  test(`a run that is ${state} takes exactly the events of the table`, () => {
    const actual = Object.fromEntries(Object.entries(events).map(([name, event]) => [name, outcome(state, event)]));
    expect(actual).toEqual(row);
  });
}

test("a claim goes on in the phase where the work stands", () => {
  expect(nextRunState("registered", { type: "claim", phase: "count" })).toBe("counting");
  expect(nextRunState("throttled", { type: "claim", phase: "copy" })).toBe("running");
  expect(nextRunState("running", { type: "claim", phase: "verify" })).toBe("verifying");
});

test("only verification leads to done", () => {
  const ways = (Object.keys(expected) as RunState[]).flatMap((state) =>
    Object.values(events)
      .filter((event) => state !== "done" && outcome(state, event) === "done")
      .map((event) => `${state} ${event.type}`),
  );
  expect(ways).toEqual(["verifying verified"]);
});

test("D13: a run without a sign of life for two heartbeats is stalled, and only one that somebody should work on", () => {
  expect(isStalled("running", 10_001, 5000)).toBe(true);
  expect(isStalled("running", 10_000, 5000)).toBe(false);
  for (const state of Object.keys(expected) as RunState[]) {
    expect(isStalled(state, Number.POSITIVE_INFINITY, 5000)).toBe(isActive(state));
  }
});
