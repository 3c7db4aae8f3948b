import { expect, test } from "vitest";
import {
  type HandoffEffect,
  type HandoffPhase,
  type HandoffPhaseEvent,
  nextHandoffPhase,
} from "../src/handoff-state.ts";

const failure = new Error("failed");
const older = new Error("older");
const at = { attempt: 3, isDue: false };

// A phase that can be closed is three rows.
const phases = {
  idle: { type: "idle", isDue: false, closing: undefined },
  "flushing idle": { type: "idle", isDue: false, closing: "flush" },
  committing: { type: "committing", ...at, closing: undefined },
  "due committing": { type: "committing", attempt: 3, isDue: true, closing: undefined },
  "flushing committing": { type: "committing", ...at, closing: "flush" },
  "discarding committing": { type: "committing", ...at, closing: "discard" },
  retrying: { type: "retrying", ...at, closing: undefined },
  "flushing retrying": { type: "retrying", ...at, closing: "flush" },
  quarantined: { type: "quarantined", error: older, hasHead: true },
  "headless quarantined": { type: "quarantined", error: older, hasHead: false },
  closed: { type: "closed" },
} as const satisfies Record<string, HandoffPhase>;

type Named = (typeof phases)[keyof typeof phases]["type"];
const _covered: HandoffPhase["type"] extends Named ? true : never = true;
void _covered;

const events = {
  due: { type: "due", canCut: true },
  "due in a group": { type: "due", canCut: false },
  committed: { type: "committed", canCut: true },
  "committed with nothing to cut": { type: "committed", canCut: false },
  failed: { type: "failed", error: failure, isGivenUp: false },
  "failed for good": { type: "failed", error: failure, isGivenUp: true },
  "retry-due": { type: "retry-due" },
  retry: { type: "retry" },
  broken: { type: "broken", error: failure },
  close: { type: "close", mode: "flush", canCut: true },
  "close with nothing to cut": { type: "close", mode: "flush", canCut: false },
  "close and discard": { type: "close", mode: "discard", canCut: true },
  "close-timeout": { type: "close-timeout" },
  destroy: { type: "destroy" },
} as const satisfies Record<HandoffPhaseEvent["type"], HandoffPhaseEvent> & Record<string, HandoffPhaseEvent>;

type Step = readonly [HandoffPhase, ...HandoffEffect[]];
const stay = "stay";
const closed = { type: "closed" } as const;
const first = (closing: "flush" | undefined, ...before: HandoffEffect[]): Step => [
  { type: "committing", attempt: 1, isDue: false, closing },
  ...before,
  { type: "exchange" },
  { type: "commit", attempt: 1 },
];
const release = { type: "release" } as const;
const done = { type: "finish", why: "done" } as const;
const destroyed = { type: "finish", why: "destroyed" } as const;
const timeout = { type: "finish", why: "timeout" } as const;
const abort = { type: "abort" } as const;
const cancelWait = { type: "cancel-wait" } as const;
const again = (phase: HandoffPhase, ...before: HandoffEffect[]): Step => [
  { ...phase, type: "committing", attempt: 4 } as HandoffPhase,
  ...before,
  { type: "commit", attempt: 4 },
];
const quarantine = (attempt: number): HandoffEffect => ({ type: "quarantine", attempt, error: failure });
const wait: HandoffEffect = { type: "wait", attempt: 3, error: failure };

const ignored = {
  due: stay,
  "due in a group": stay,
  committed: stay,
  "committed with nothing to cut": stay,
  failed: stay,
  "failed for good": stay,
  "retry-due": stay,
  retry: stay,
  broken: stay,
  close: stay,
  "close with nothing to cut": stay,
  "close and discard": stay,
  "close-timeout": stay,
  destroy: stay,
} as const;

const table: Record<keyof typeof phases, Record<keyof typeof events, Step | typeof stay>> = {
  idle: {
    ...ignored,
    due: first(undefined),
    "due in a group": [{ ...phases.idle, isDue: true }],
    broken: [{ type: "quarantined", error: failure, hasHead: false }, quarantine(0)],
    close: first("flush"),
    "close with nothing to cut": [closed, done],
    "close and discard": [closed, done],
    destroy: [closed, destroyed],
  },
  "flushing idle": {
    ...ignored,
    due: first("flush"),
    "due in a group": [{ ...phases["flushing idle"], isDue: true }],
    broken: [closed, { type: "finish", why: "quarantined", error: failure }],
    "close-timeout": [closed, timeout],
    destroy: [closed, destroyed],
  },
  committing: {
    ...ignored,
    due: [phases["due committing"]],
    "due in a group": [phases["due committing"]],
    committed: [phases.idle, release],
    "committed with nothing to cut": [phases.idle, release],
    failed: [phases.retrying, wait],
    "failed for good": [{ type: "quarantined", error: failure, hasHead: true }, quarantine(3)],
    close: [phases["flushing committing"]],
    "close with nothing to cut": [phases["flushing committing"]],
    "close and discard": [phases["discarding committing"]],
    destroy: [closed, abort, destroyed],
  },
  "due committing": {
    ...ignored,
    due: [phases["due committing"]],
    "due in a group": [phases["due committing"]],
    committed: first(undefined, release),
    "committed with nothing to cut": [{ ...phases.idle, isDue: true }, release],
    failed: [{ ...phases.retrying, isDue: true }, wait],
    "failed for good": [{ type: "quarantined", error: failure, hasHead: true }, quarantine(3)],
    close: [{ ...phases["due committing"], closing: "flush" }],
    "close with nothing to cut": [{ ...phases["due committing"], closing: "flush" }],
    "close and discard": [{ ...phases["due committing"], closing: "discard" }],
    destroy: [closed, abort, destroyed],
  },
  "flushing committing": {
    ...ignored,
    due: [{ ...phases["flushing committing"], isDue: true }],
    "due in a group": [{ ...phases["flushing committing"], isDue: true }],
    committed: first("flush", release),
    "committed with nothing to cut": [closed, release, done],
    failed: [phases["flushing retrying"], wait],
    "failed for good": [closed, quarantine(3), { type: "finish", why: "quarantined", error: failure }],
    "close-timeout": [closed, abort, timeout],
    destroy: [closed, abort, destroyed],
  },
  "discarding committing": {
    ...ignored,
    due: [{ ...phases["discarding committing"], isDue: true }],
    "due in a group": [{ ...phases["discarding committing"], isDue: true }],
    committed: [closed, release, done],
    "committed with nothing to cut": [closed, release, done],
    failed: [closed, done],
    "failed for good": [closed, done],
    "close-timeout": [closed, abort, timeout],
    destroy: [closed, abort, destroyed],
  },
  retrying: {
    ...ignored,
    due: [{ ...phases.retrying, isDue: true }],
    "due in a group": [{ ...phases.retrying, isDue: true }],
    "retry-due": again(phases.retrying),
    retry: again(phases.retrying, cancelWait),
    close: [phases["flushing retrying"]],
    "close with nothing to cut": [phases["flushing retrying"]],
    "close and discard": [closed, cancelWait, done],
    destroy: [closed, cancelWait, destroyed],
  },
  "flushing retrying": {
    ...ignored,
    due: [{ ...phases["flushing retrying"], isDue: true }],
    "due in a group": [{ ...phases["flushing retrying"], isDue: true }],
    "retry-due": again(phases["flushing retrying"]),
    retry: again(phases["flushing retrying"], cancelWait),
    "close-timeout": [closed, cancelWait, timeout],
    destroy: [closed, cancelWait, destroyed],
  },
  quarantined: {
    ...ignored,
    retry: [
      { type: "committing", attempt: 1, isDue: true, closing: undefined },
      { type: "resume" },
      { type: "commit", attempt: 1 },
    ],
    close: [closed, { type: "finish", why: "quarantined", error: older }],
    "close with nothing to cut": [closed, { type: "finish", why: "quarantined", error: older }],
    "close and discard": [closed, done],
    destroy: [closed, destroyed],
  },
  "headless quarantined": {
    ...ignored,
    retry: [{ ...phases.idle, isDue: true }, { type: "resume" }],
    close: [closed, { type: "finish", why: "quarantined", error: older }],
    "close with nothing to cut": [closed, { type: "finish", why: "quarantined", error: older }],
    "close and discard": [closed, done],
    destroy: [closed, destroyed],
  },
  closed: ignored,
};

for (const [from, row] of Object.entries(table)) {
  for (const [on, expected] of Object.entries(row)) {
    const phase: HandoffPhase = phases[from as keyof typeof phases];
    const event: HandoffPhaseEvent = events[on as keyof typeof events];
    test(`a ${from} hand-off ${expected === stay ? "ignores" : "follows"} ${on}`, () => {
      expect(nextHandoffPhase(phase, event)).toEqual(expected === stay ? [phase] : expected);
    });
  }
}

test("H4: no event begins a commit while one is in flight", () => {
  for (const from of ["committing", "due committing", "flushing committing", "discarding committing"] as const) {
    for (const event of Object.values(events)) {
      if (event.type === "committed" || event.type === "failed") continue;
      const effects = nextHandoffPhase(phases[from], event).slice(1) as HandoffEffect[];
      expect(effects.map((effect) => effect.type)).not.toContain("commit");
    }
  }
});
