import { MigrateError } from "./migrate-error.ts";

/** What is stored about a run. */
export type RunState =
  /** Known, and waiting for somebody to work on it; it may have begun. */
  | "registered"
  /** Its end is fixed and its rows are being counted. */
  | "counting"
  | "running"
  /** It would run, but a signal says that it hurts. */
  | "throttled"
  /** An operator stopped it for now. */
  | "paused"
  /** All rows were visited; what was written is being checked. */
  | "verifying"
  | "done"
  | "failed"
  /** An operator stopped it for good. */
  | "cancelled";

/** What can happen to a run. */
export type RunEvent =
  /** A worker took the lease, from nobody or from one that died; `phase` is where the work stands. */
  | { readonly type: "claim"; readonly phase: RunPhase }
  | { readonly type: "counted" }
  | { readonly type: "throttle" }
  | { readonly type: "unthrottle" }
  /** The cursor reached the bound. */
  | { readonly type: "exhaust" }
  | { readonly type: "verified" }
  | { readonly type: "fail" }
  /** The worker gives back the lease in good order. */
  | { readonly type: "release" }
  | { readonly type: "pause" }
  | { readonly type: "resume" }
  | { readonly type: "cancel" }
  | { readonly type: "retry" };

/** Where the work of a run stands. */
export type RunPhase = "count" | "copy" | "verify";

/** Each state in which a worker holds, or held, the lease. */
export const activeStates = ["counting", "running", "throttled", "verifying"] as const satisfies readonly RunState[];

/** `stay`: nothing changes and nobody is wrong. `refuse`: the caller is. `phase`: decided by the phase of a claim. */
type Target = RunState | "stay" | "refuse" | "phase";

// The one place that says what may follow what. A missing pair does not compile.
const transitions = {
  registered: {
    claim: "phase",
    counted: "refuse",
    throttle: "refuse",
    unthrottle: "refuse",
    exhaust: "refuse",
    verified: "refuse",
    // A definition that drifted, or whose table is not what it says, never starts.
    fail: "failed",
    release: "stay",
    pause: "paused",
    resume: "stay",
    cancel: "cancelled",
    retry: "stay",
  },
  counting: {
    claim: "phase",
    counted: "running",
    throttle: "refuse",
    unthrottle: "refuse",
    exhaust: "refuse",
    verified: "refuse",
    fail: "failed",
    release: "registered",
    pause: "paused",
    resume: "stay",
    cancel: "cancelled",
    retry: "stay",
  },
  running: {
    claim: "phase",
    counted: "refuse",
    throttle: "throttled",
    unthrottle: "stay",
    exhaust: "verifying",
    verified: "refuse",
    fail: "failed",
    release: "registered",
    pause: "paused",
    resume: "stay",
    cancel: "cancelled",
    retry: "stay",
  },
  throttled: {
    claim: "phase",
    counted: "refuse",
    throttle: "stay",
    unthrottle: "running",
    exhaust: "refuse",
    verified: "refuse",
    fail: "failed",
    release: "registered",
    pause: "paused",
    resume: "stay",
    cancel: "cancelled",
    retry: "stay",
  },
  paused: {
    claim: "refuse",
    counted: "refuse",
    throttle: "refuse",
    unthrottle: "refuse",
    exhaust: "refuse",
    verified: "refuse",
    fail: "refuse",
    release: "stay",
    pause: "stay",
    resume: "registered",
    cancel: "cancelled",
    retry: "refuse",
  },
  verifying: {
    claim: "phase",
    counted: "refuse",
    throttle: "refuse",
    unthrottle: "refuse",
    exhaust: "refuse",
    verified: "done",
    fail: "failed",
    release: "registered",
    pause: "paused",
    resume: "stay",
    cancel: "cancelled",
    retry: "stay",
  },
  done: {
    claim: "refuse",
    counted: "refuse",
    throttle: "refuse",
    unthrottle: "refuse",
    exhaust: "refuse",
    verified: "refuse",
    fail: "refuse",
    release: "stay",
    pause: "refuse",
    resume: "refuse",
    cancel: "refuse",
    retry: "refuse",
  },
  failed: {
    claim: "refuse",
    counted: "refuse",
    throttle: "refuse",
    unthrottle: "refuse",
    exhaust: "refuse",
    verified: "refuse",
    fail: "refuse",
    release: "stay",
    pause: "refuse",
    resume: "refuse",
    cancel: "cancelled",
    retry: "registered",
  },
  cancelled: {
    claim: "refuse",
    counted: "refuse",
    throttle: "refuse",
    unthrottle: "refuse",
    exhaust: "refuse",
    verified: "refuse",
    fail: "refuse",
    release: "stay",
    pause: "refuse",
    resume: "refuse",
    cancel: "stay",
    retry: "registered",
  },
} as const satisfies Record<RunState, Record<RunEvent["type"], Target>>;

const statesOfPhase = {
  count: "counting",
  copy: "running",
  verify: "verifying",
} as const satisfies Record<RunPhase, RunState>;

/**
 * The state after an event.
 *
 * @throws {MigrateError} `STATE_REFUSED`
 */
export function nextRunState(state: RunState, event: RunEvent): RunState {
  const target: Target = transitions[state][event.type];
  if (target === "stay") return state;
  if (target === "refuse") {
    throw new MigrateError("STATE_REFUSED", `a run that is ${state} takes no ${event.type}; ${adviceFor(state)}`);
  }
  if (target !== "phase") return target;
  if (event.type !== "claim") throw new Error(`${event.type} has no phase`);
  return statesOfPhase[event.phase];
}

/** Whether a worker may hold the lease of a run in this state. */
export function isActive(state: RunState): boolean {
  return (activeStates as readonly RunState[]).includes(state);
}

function adviceFor(state: RunState): string {
  switch (state) {
    case "paused":
      return "resume or cancel it";
    case "failed":
      return "retry or cancel it";
    case "cancelled":
      return "retry starts it again where it stopped";
    case "done":
      return "nothing is left to do; a new name makes a new migration";
    default:
      return "somebody works on it";
  }
}

/**
 * Whether nobody has given a sign of life for two heartbeats although the state says that somebody works. The stored
 * state cannot tell: who died does not write.
 */
export function isStalled(state: RunState, heartbeatAgeMs: number, heartbeatIntervalMs: number): boolean {
  return isActive(state) && heartbeatAgeMs > 2 * heartbeatIntervalMs;
}
