import { expect, test } from "vitest";
import {
  initialReconnectorState,
  nextReconnectorState,
  type ReconnectorEffect,
  type ReconnectorEvent,
  type ReconnectorState,
} from "../src/reconnector-state.ts";

const failure = new Error("lost");
const flushFailure = new Error("flush");
const reason = new Error("reason");
const running = { attempt: 3, isClosing: false, maxAttempts: 10 };
const closing = { ...running, isClosing: true };

// A running state is two rows: whether it is being closed changes what it does.
const states = {
  idle: { type: "idle", ...running },
  "closing idle": { type: "idle", ...closing },
  connecting: { type: "connecting", ...running },
  "closing connecting": { type: "connecting", ...closing },
  live: { type: "live", ...running },
  "closing live": { type: "live", ...closing },
  waiting: { type: "waiting", ...running },
  "closing waiting": { type: "waiting", ...closing },
  ending: { type: "ending", closeError: flushFailure },
  closed: { type: "closed", error: undefined },
  failed: { type: "failed", error: failure },
} as const satisfies Record<string, ReconnectorState>;

// Every type of state has a row.
type Named = (typeof states)[keyof typeof states]["type"];
const _covered: Named extends ReconnectorState["type"]
  ? ReconnectorState["type"] extends Named
    ? true
    : never
  : never = true;
void _covered;

const events = {
  start: { type: "start" },
  connected: { type: "connected" },
  lost: { type: "lost", error: failure, retryClass: "slow" },
  "lost for good": { type: "lost", error: failure, retryClass: "fatal" },
  proven: { type: "proven" },
  "retry-due": { type: "retry-due" },
  close: { type: "close", hasFlush: false },
  "close with a flush": { type: "close", hasFlush: true },
  flushed: { type: "flushed", error: flushFailure },
  "close-timeout": { type: "close-timeout" },
  destroy: { type: "destroy", reason },
  broken: { type: "broken", error: failure },
} as const satisfies Record<ReconnectorEvent["type"], ReconnectorEvent> & Record<string, ReconnectorEvent>;

type Step = readonly [ReconnectorState, ...ReconnectorEffect[]];
const stay = "stay";

const report = (attempt: number, isRetried: boolean, retryClass: "slow" | "fatal" = "slow"): ReconnectorEffect => ({
  type: "report",
  error: failure,
  retryClass,
  attempt,
  isRetried,
});
const finish = (error: unknown, closeError: unknown = error): ReconnectorEffect => ({
  type: "finish",
  error,
  closeError,
});
const cut = (why: unknown): ReconnectorEffect => ({ type: "cut", reason: why });
const timedOut = expect.objectContaining({ code: "CLOSE_TIMEOUT" }) as unknown;
const cutShort = expect.objectContaining({ code: "CLOSED", cause: reason }) as unknown;

const closedBy = (error: unknown, closeError: unknown = error): Step => [
  { type: "closed", error },
  cut(error),
  finish(error, closeError),
];
const brokenBy: Step = [{ type: "failed", error: failure }, cut(failure), finish(failure)];
const lostForGood: Step = [{ type: "failed", error: failure }, report(4, false, "fatal"), finish(failure)];
const lostThen = (base: typeof running | typeof closing): Step => [
  { ...base, type: "waiting", attempt: 4 },
  report(4, true),
];

const ignored = {
  start: stay,
  connected: stay,
  lost: stay,
  "lost for good": stay,
  proven: stay,
  "retry-due": stay,
  close: stay,
  "close with a flush": stay,
  flushed: stay,
  "close-timeout": stay,
  destroy: stay,
  broken: stay,
} as const;

const whileRunning = {
  ...ignored,
  destroy: closedBy(reason),
  broken: brokenBy,
};

const whileClosing = {
  ...whileRunning,
  flushed: closedBy(flushFailure),
  "close-timeout": closedBy(timedOut),
  destroy: closedBy(reason, cutShort),
};

const table: Record<keyof typeof states, Record<keyof typeof events, Step | typeof stay>> = {
  idle: {
    ...whileRunning,
    start: [{ type: "connecting", ...running }, { type: "connect" }],
    close: closedBy(undefined),
    "close with a flush": [{ type: "idle", ...closing }, { type: "flush" }],
  },
  "closing idle": {
    ...whileClosing,
    start: [{ type: "connecting", ...closing }, { type: "connect" }],
  },
  connecting: {
    ...whileRunning,
    connected: [{ type: "live", ...running }, { type: "publish" }],
    lost: lostThen(running),
    "lost for good": lostForGood,
    close: closedBy(undefined),
    "close with a flush": [{ type: "connecting", ...closing }, { type: "flush" }],
  },
  "closing connecting": {
    ...whileClosing,
    connected: [{ type: "live", ...closing }, { type: "publish" }],
    lost: lostThen(closing),
    "lost for good": lostForGood,
  },
  live: {
    ...whileRunning,
    lost: lostThen(running),
    "lost for good": lostForGood,
    proven: [{ type: "live", ...running, attempt: 0 }],
    close: [{ type: "ending", closeError: undefined }, { type: "close-connection" }],
    "close with a flush": [{ type: "live", ...closing }, { type: "flush" }],
  },
  "closing live": {
    ...whileClosing,
    lost: lostThen(closing),
    "lost for good": lostForGood,
    proven: [{ type: "live", ...closing, attempt: 0 }],
    flushed: [{ type: "ending", closeError: flushFailure }, { type: "close-connection" }],
  },
  waiting: {
    ...whileRunning,
    "retry-due": [{ type: "connecting", ...running }, { type: "connect" }],
    close: closedBy(undefined),
    "close with a flush": [{ type: "waiting", ...closing }, { type: "flush" }],
  },
  "closing waiting": {
    ...whileClosing,
    "retry-due": [{ type: "connecting", ...closing }, { type: "connect" }],
  },
  ending: {
    ...ignored,
    lost: [{ type: "closed", error: flushFailure }, finish(flushFailure)],
    "lost for good": [{ type: "closed", error: flushFailure }, finish(flushFailure)],
    "close-timeout": closedBy(flushFailure),
    destroy: closedBy(flushFailure),
    broken: brokenBy,
  },
  closed: ignored,
  failed: ignored,
};

for (const [from, row] of Object.entries(table)) {
  for (const [on, expected] of Object.entries(row)) {
    const state: ReconnectorState = states[from as keyof typeof states];
    const event: ReconnectorEvent = events[on as keyof typeof events];
    test(`a ${from} reconnector ${expected === stay ? "ignores" : "follows"} ${on}`, () => {
      expect(nextReconnectorState(state, event)).toEqual(expected === stay ? [state] : expected);
    });
  }
}

test("P13: a fatal error ends it once, from wherever it was", () => {
  const [state, ...effects] = nextReconnectorState(states.live, events["lost for good"]);
  expect(effects.filter((effect) => effect.type === "connect")).toEqual([]);
  expect(nextReconnectorState(state, events.start)).toEqual([state]);
  expect(nextReconnectorState(state, events["lost for good"])).toEqual([state]);
});

test("gives up after maxAttempts failures in a row, with the last error as the cause", () => {
  const state: ReconnectorState = { ...initialReconnectorState(2), type: "connecting" } as ReconnectorState;
  const [waiting] = nextReconnectorState(state, events.lost);
  const [connecting] = nextReconnectorState(waiting, events["retry-due"]);
  const gaveUp = expect.objectContaining({ code: "GAVE_UP", retryable: true, cause: failure }) as unknown;
  expect(nextReconnectorState(connecting, events.lost)).toEqual([
    { type: "failed", error: gaveUp },
    report(2, false),
    finish(gaveUp, gaveUp),
  ]);
});
