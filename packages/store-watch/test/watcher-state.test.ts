import fc from "fast-check";
import { expect, test } from "vitest";
import {
  type CommitHealth,
  initialWatcher,
  nextWatcher,
  type WatcherEffect,
  type WatcherInput,
  type WatcherMachine,
  type WatcherPhase,
} from "../src/watcher-state.ts";
import { problemOf, stateOf } from "../src/watcher-status.ts";
import type { WatcherState } from "../src/watcher-types.ts";

type InputType = WatcherInput["type"];

const inputs: { readonly [Type in InputType]: Extract<WatcherInput, { readonly type: Type }> } = {
  "source-status": {
    type: "source-status",
    atMs: 5,
    status: { state: "waiting", attempt: 2, delayMs: 9, error: "Refused." },
  },
  "snapshot-began": { type: "snapshot-began" },
  "snapshot-committed": { type: "snapshot-committed", atMs: 5 },
  "run-ended": { type: "run-ended", atMs: 5, error: "The source failed." },
  "went-silent": { type: "went-silent", atMs: 5, silentMs: 300_000 },
  drained: { type: "drained" },
  "delay-chosen": { type: "delay-chosen", delayMs: 70 },
  "delay-elapsed": { type: "delay-elapsed" },
  "commit-succeeded": { type: "commit-succeeded" },
  "commit-failed": { type: "commit-failed", error: "Busy." },
  "commit-stalled": { type: "commit-stalled", forMs: 30_000 },
  "commit-quarantined": { type: "commit-quarantined", error: "Full." },
  "buffer-lost": { type: "buffer-lost", error: "The thread died.", changes: 7 },
  resynced: { type: "resynced" },
  "resync-failed": { type: "resync-failed", error: "Locked." },
  retry: { type: "retry" },
  repair: { type: "repair", reason: "It differs." },
  close: { type: "close" },
  closed: { type: "closed", reason: "Closed." },
  destroy: { type: "destroy", reason: "Destroyed." },
  fatal: { type: "fatal", error: "Over." },
};

type Outcome = readonly [WatcherPhase, ...WatcherEffect["type"][]];

/** Inputs that mean the same wherever something is still going on. */
const always = {
  close: ["closing", "shut-down"],
  destroy: ["stopped", "cut"],
  fatal: ["failed", "cut"],
} as const satisfies Partial<Record<InputType, Outcome>>;

const staysIn = <Phase extends WatcherPhase>(phase: Phase) =>
  ({
    "source-status": [phase],
    "snapshot-began": [phase],
    "snapshot-committed": [phase],
    "run-ended": [phase],
    "went-silent": [phase],
    drained: [phase],
    "delay-chosen": [phase],
    "delay-elapsed": [phase],
    "commit-succeeded": [phase],
    "commit-failed": [phase],
    "commit-stalled": [phase],
    "commit-quarantined": [phase],
    resynced: [phase],
    "resync-failed": [phase],
    retry: [phase],
    repair: [phase],
    closed: [phase],
  }) as const satisfies Partial<Record<InputType, Outcome>>;

const lost = ["resyncing", "cancel-delay", "abort-run", "resync"] as const satisfies Outcome;

const running = <Phase extends WatcherPhase>(phase: Phase) =>
  ({
    ...staysIn(phase),
    ...always,
    "source-status": ["waiting"],
    "snapshot-began": ["snapshotting"],
    "run-ended": ["draining", "drain"],
    "went-silent": ["draining", "abort-run", "drain"],
    repair: ["draining", "abort-run", "drain"],
    "buffer-lost": lost,
  }) as const satisfies Record<InputType, Outcome>;

/** Every phase and every input; a pair that is missing does not compile. */
const table: Record<WatcherPhase, Record<InputType, Outcome>> = {
  starting: running("starting"),
  snapshotting: { ...running("snapshotting"), "snapshot-committed": ["live"] },
  live: running("live"),
  waiting: running("waiting"),
  draining: { ...staysIn("draining"), ...always, drained: ["backing-off", "back-off"], "buffer-lost": lost },
  "backing-off": {
    ...staysIn("backing-off"),
    ...always,
    "delay-elapsed": ["starting", "start-run"],
    retry: ["starting", "cancel-delay", "start-run"],
    "buffer-lost": lost,
  },
  resyncing: {
    ...staysIn("resyncing"),
    ...always,
    "delay-elapsed": ["resyncing", "resync"],
    retry: ["resyncing", "cancel-delay", "resync"],
    resynced: ["backing-off", "back-off"],
    "resync-failed": ["resyncing", "back-off"],
    "buffer-lost": ["resyncing"],
  },
  closing: {
    ...staysIn("closing"),
    ...always,
    close: ["closing"],
    closed: ["stopped", "cut"],
    "buffer-lost": ["closing"],
  },
  stopped: {
    ...staysIn("stopped"),
    close: ["stopped"],
    destroy: ["stopped"],
    fatal: ["stopped"],
    "buffer-lost": ["stopped"],
  },
  failed: {
    ...staysIn("failed"),
    close: ["failed"],
    destroy: ["failed"],
    fatal: ["failed"],
    "buffer-lost": ["failed"],
  },
};

/** A machine in a phase, as it gets there. */
function inPhase(phase: WatcherPhase): WatcherMachine {
  const delayMs = phase === "backing-off" || phase === "resyncing" ? 40 : undefined;
  const isSnapshotOpen = phase === "snapshotting";
  return { ...initialWatcher(60_000), phase, delayMs, isSnapshotOpen, liveSinceMs: phase === "live" ? 1 : undefined };
}

for (const [phase, row] of Object.entries(table) as [WatcherPhase, Record<InputType, Outcome>][]) {
  test(`${phase} answers every input`, () => {
    for (const [type, expected] of Object.entries(row) as [InputType, Outcome][]) {
      const [after, ...effects] = nextWatcher(inPhase(phase), inputs[type]);
      expect([after.phase, ...effects.map((effect) => effect.type)], `${phase} on ${type}`).toEqual(expected);
    }
  });
}

test("every commit outcome has a health, and each but success a problem that says what to do", () => {
  const outcomes: Record<Extract<InputType, `commit-${string}`>, CommitHealth> = {
    "commit-succeeded": "healthy",
    "commit-failed": "retrying",
    "commit-stalled": "stalled",
    "commit-quarantined": "quarantined",
  };
  for (const [type, health] of Object.entries(outcomes)) {
    const [after] = nextWatcher({ ...inPhase("live"), health: "stalled" }, inputs[type as InputType]);
    expect(after.health).toBe(health);
    expect(problemOf(after, false, 0) === undefined).toBe(health === "healthy");
  }
});

test("H12: every phase is a visible state, and whatever interrupts the stream is not `live`", () => {
  const visible: Record<WatcherPhase, WatcherState> = {
    starting: "starting",
    snapshotting: "snapshotting",
    live: "live",
    waiting: "reconnecting",
    draining: "reconnecting",
    "backing-off": "reconnecting",
    resyncing: "reconnecting",
    closing: "stopped",
    stopped: "stopped",
    failed: "failed",
  };
  for (const [phase, state] of Object.entries(visible) as [WatcherPhase, WatcherState][]) {
    expect(stateOf(inPhase(phase))).toBe(state);
    const isOver = state === "stopped" || state === "failed";
    expect(stateOf({ ...inPhase(phase), health: "quarantined" })).toBe(isOver ? state : "quarantined");
  }
  const running: WatcherPhase[] = ["starting", "snapshotting", "live", "waiting"];
  for (const phase of running) {
    for (const type of ["run-ended", "went-silent", "buffer-lost"] as const) {
      const [after] = nextWatcher(inPhase(phase), inputs[type]);
      expect(stateOf(after)).toBe("reconnecting");
      expect(problemOf(after, false, 0)).not.toBe(undefined);
    }
  }
});

test("failures in a row count up, and start again after a run that was stable", () => {
  let machine = inPhase("live");
  const fail = (atMs: number) => {
    [machine] = nextWatcher(machine, { type: "run-ended", atMs, error: "x" });
    const { attempt } = machine;
    [machine] = nextWatcher(machine, { type: "drained" });
    [machine] = nextWatcher(machine, { type: "delay-elapsed" });
    return attempt;
  };
  const goLive = (atMs: number) => {
    [machine] = nextWatcher(machine, { type: "source-status", atMs, status: { state: "live" } });
  };
  expect(fail(10)).toBe(1);
  expect(fail(20)).toBe(2);
  goLive(30);
  expect(fail(40)).toBe(3);
  goLive(100);
  expect(fail(100 + 60_000)).toBe(1);
});

test("a reconnect of the source itself is counted once, however often it tries", () => {
  let machine = inPhase("live");
  for (let attempt = 1; attempt <= 5; attempt++) {
    const status = { state: "waiting", attempt, delayMs: 10, error: "Refused." } as const;
    [machine] = nextWatcher(machine, { type: "source-status", atMs: 1, status });
    [machine] = nextWatcher(machine, { type: "source-status", atMs: 1, status: { state: "connecting", attempt } });
    expect(machine.phase).toBe("waiting");
  }
  expect(machine.reconnects).toBe(1);
});

test("a snapshot shows as live only when its end is committed", () => {
  let machine = inPhase("starting");
  [machine] = nextWatcher(machine, { type: "snapshot-began" });
  [machine] = nextWatcher(machine, { type: "source-status", atMs: 1, status: { state: "live" } });
  expect(machine.phase).toBe("snapshotting");
  [machine] = nextWatcher(machine, { type: "snapshot-committed", atMs: 2 });
  expect(machine.phase).toBe("live");
});

test("a stale end of a delay starts nothing", () => {
  for (const phase of ["live", "draining", "closing"] as const) {
    const [after, ...effects] = nextWatcher(inPhase(phase), inputs["delay-elapsed"]);
    expect([after.phase, effects]).toEqual([phase, []]);
  }
  const [after, ...effects] = nextWatcher({ ...inPhase("resyncing"), delayMs: undefined }, inputs["delay-elapsed"]);
  expect([after.phase, effects]).toEqual(["resyncing", []]);
});

/** What a perfect input/output side has under way. */
interface UnderWay {
  run: boolean;
  drain: boolean;
  delay: boolean;
  resync: boolean;
  shutDown: boolean;
}

/** Inputs come only from what is under way, as the input/output side sends them. */
function isPossible(type: InputType, { run, drain, delay, resync, shutDown }: UnderWay): boolean {
  switch (type) {
    case "source-status":
    case "snapshot-began":
    case "snapshot-committed":
    case "run-ended":
    case "went-silent":
      return run;
    case "drained":
      return drain;
    case "delay-elapsed":
      return delay;
    case "resynced":
    case "resync-failed":
      return resync;
    case "closed":
      return shutDown;
    // It is the answer to an effect.
    case "delay-chosen":
      return false;
    default:
      return true;
  }
}

test("H12: whatever happens, something is under way that will lead on, until it is over; and never two runs at once", () => {
  const types = Object.keys(inputs) as InputType[];
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...types), { maxLength: 200 }), (walk) => {
      let machine = initialWatcher(60_000);
      const underWay: UnderWay = { run: true, drain: false, delay: false, resync: false, shutDown: false };
      const carryOut = (effect: WatcherEffect) => {
        switch (effect.type) {
          case "start-run":
            expect(underWay.run || underWay.drain || underWay.resync, "two runs at once").toBe(false);
            underWay.run = true;
            break;
          case "abort-run":
            underWay.run = false;
            break;
          case "drain":
            underWay.drain = true;
            break;
          case "back-off":
            underWay.delay = true;
            step({ type: "delay-chosen", delayMs: 10 });
            break;
          case "cancel-delay":
            underWay.delay = false;
            break;
          case "resync":
            expect(underWay.run, "a resync under a run").toBe(false);
            underWay.resync = true;
            // The hand-off that was being drained is gone.
            underWay.drain = false;
            break;
          case "shut-down":
            Object.assign(underWay, { run: false, delay: false, drain: false, resync: false, shutDown: true });
            break;
          case "cut":
            Object.assign(underWay, { run: false, delay: false, drain: false, resync: false, shutDown: false });
            break;
          case "retry-commit":
            break;
        }
      };
      const step = (input: WatcherInput) => {
        const [after, ...effects] = nextWatcher(machine, input);
        machine = after;
        for (const effect of effects) carryOut(effect);
      };
      for (const type of walk) {
        if (!isPossible(type, underWay)) continue;
        if (type === "run-ended") underWay.run = false;
        if (type === "drained") underWay.drain = false;
        if (type === "delay-elapsed") underWay.delay = false;
        if (type === "resynced" || type === "resync-failed") underWay.resync = false;
        if (type === "closed") underWay.shutDown = false;
        step(inputs[type]);
        const isOver = machine.phase === "stopped" || machine.phase === "failed";
        expect(Object.values(underWay).some(Boolean), `${machine.phase} after ${type}`).toBe(!isOver);
      }
    }),
    { numRuns: 1_000 },
  );
});

test("while a source connects again, the reason stays what went wrong, until it gets on", () => {
  let [machine] = nextWatcher(initialWatcher(1000), {
    type: "source-status",
    atMs: 1,
    status: { state: "waiting", attempt: 1, delayMs: 10, error: "127.0.0.1:1 refused the connection" },
  });
  [machine] = nextWatcher(machine, { type: "source-status", atMs: 2, status: { state: "connecting", attempt: 2 } });
  expect(machine.reason).toBe("127.0.0.1:1 refused the connection");
  [machine] = nextWatcher(machine, { type: "source-status", atMs: 3, status: { state: "live" } });
  expect(machine.reason).toBe("Following the source.");
});
