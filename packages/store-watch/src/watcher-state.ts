import type { SourceStatus } from "./contract.ts";

/** Where the reading side stands. */
export type WatcherPhase =
  /** A run was started and the source has not got anywhere yet. */
  | "starting"
  /** A snapshot was begun and its end is not committed yet. */
  | "snapshotting"
  | "live"
  /** The source lost its peer and reconnects by itself. */
  | "waiting"
  /** The run ended; what it had delivered is being committed, because the next run goes on from there. */
  | "draining"
  /** Drained; the next run starts after a delay. */
  | "backing-off"
  /** Accepted changes were lost from memory; the history is asked where to go on. */
  | "resyncing"
  | "closing"
  | "stopped"
  | "failed";

/** How the committing side does. */
export type CommitHealth =
  | "healthy"
  /** The last commit failed; the same buffer is offered again after a delay. */
  | "retrying"
  /** One commit takes longer than `stallTimeoutMs`. */
  | "stalled"
  /** Retrying was given up. The buffer is kept until `retry()`. */
  | "quarantined";

export interface WatcherMachine {
  readonly phase: WatcherPhase;
  readonly health: CommitHealth;
  /** Why the phase is what it is, for a person. */
  readonly reason: string;
  /** What is wrong with the commits, for a person. */
  readonly commitProblem: string | undefined;
  /** Runs of the source that failed since the last one that was stable. */
  readonly attempt: number;
  /** How often the stream was interrupted, for whatever cause. */
  readonly reconnects: number;
  /** When the run got live. */
  readonly liveSinceMs: number | undefined;
  /** A snapshot was begun and its end is not committed. */
  readonly isSnapshotOpen: boolean;
  /** What the next attempt waits for, in milliseconds; undefined where it does not wait. */
  readonly delayMs: number | undefined;
  readonly stableAfterMs: number;
}

/** Everything that can happen to a watcher. `atMs` is monotonic time. */
export type WatcherInput =
  | { readonly type: "source-status"; readonly atMs: number; readonly status: SourceStatus }
  | { readonly type: "snapshot-began" }
  | { readonly type: "snapshot-committed"; readonly atMs: number }
  | { readonly type: "run-ended"; readonly atMs: number; readonly error: string }
  | { readonly type: "went-silent"; readonly atMs: number; readonly silentMs: number }
  | { readonly type: "drained" }
  | { readonly type: "delay-chosen"; readonly delayMs: number }
  | { readonly type: "delay-elapsed" }
  | { readonly type: "commit-succeeded" }
  | { readonly type: "commit-failed"; readonly error: string }
  | { readonly type: "commit-stalled"; readonly forMs: number }
  | { readonly type: "commit-quarantined"; readonly error: string }
  | { readonly type: "buffer-lost"; readonly error: string; readonly changes: number }
  | { readonly type: "resynced" }
  | { readonly type: "resync-failed"; readonly error: string }
  | { readonly type: "retry" }
  /** What is here is wrong: the next run, which begins now, reads everything. */
  | { readonly type: "repair"; readonly reason: string }
  | { readonly type: "close" }
  | { readonly type: "closed"; readonly reason: string }
  | { readonly type: "destroy"; readonly reason: string }
  | { readonly type: "fatal"; readonly error: string };

/** What the input/output side must do. */
export type WatcherEffect =
  /** Start the source from the last committed position. */
  | { readonly type: "start-run" }
  /** Take no more frames of the current run and end it. */
  | { readonly type: "abort-run"; readonly reason: string }
  /** Wait until the run is gone and all it delivered is committed; then `drained`. */
  | { readonly type: "drain" }
  /** Choose a delay (`delay-chosen`), wait, then `delay-elapsed`. */
  | { readonly type: "back-off"; readonly attempt: number }
  /** Forget the delay under way; no `delay-elapsed` may come of it. */
  | { readonly type: "cancel-delay" }
  /** Throw away what is in memory, ask the history where to go on; then `resynced` or `resync-failed`. */
  | { readonly type: "resync" }
  | { readonly type: "retry-commit" }
  /** End the run, commit what was accepted; then `closed`. */
  | { readonly type: "shut-down" }
  /** End everything now. */
  | { readonly type: "cut"; readonly reason: string };

/** @param stableAfterMs how long a run must have been live for its failure to count as the first one again. */
export function initialWatcher(stableAfterMs: number): WatcherMachine {
  return {
    phase: "starting",
    health: "healthy",
    reason: "The source is being started.",
    commitProblem: undefined,
    attempt: 0,
    reconnects: 0,
    liveSinceMs: undefined,
    isSnapshotOpen: false,
    delayMs: undefined,
    stableAfterMs,
  };
}

export type WatcherStep = readonly [WatcherMachine, ...WatcherEffect[]];

/** What the machine does next. Pure: no clock, no I/O, no randomness. */
export function nextWatcher(state: WatcherMachine, input: WatcherInput): WatcherStep {
  if (state.phase === "stopped" || state.phase === "failed") return [state];
  switch (input.type) {
    case "source-status":
    case "snapshot-began":
    case "snapshot-committed":
      return isRunning(state) ? [followed(state, input)] : [state];
    case "run-ended":
      return isRunning(state) ? interrupted(state, input.atMs, input.error, { type: "drain" }) : [state];
    case "went-silent":
      return isRunning(state) ? silenced(state, input.atMs, input.silentMs) : [state];
    case "drained":
      return state.phase === "draining" ? delayed(state) : [state];
    case "delay-chosen":
      return isDelayed(state) ? [{ ...state, delayMs: input.delayMs }] : [state];
    case "delay-elapsed":
      return elapsed(state);
    case "commit-succeeded":
    case "commit-failed":
    case "commit-stalled":
    case "commit-quarantined":
      return [committed(state, input)];
    case "buffer-lost":
      return lost(state, input.error, input.changes);
    case "resynced":
      return state.phase === "resyncing" ? delayed({ ...state, health: "healthy", commitProblem: undefined }) : [state];
    case "resync-failed":
      return state.phase === "resyncing" ? resyncFailed(state, input.error) : [state];
    case "retry":
      return retried(state);
    case "repair":
      // Where nothing runs, the next run is the one.
      if (!isRunning(state)) return [state];
      return [
        { ...settled(state), phase: "draining", reason: input.reason },
        { type: "abort-run", reason: input.reason },
        { type: "drain" },
      ];
    case "close":
      if (state.phase === "closing") return [state];
      return [
        { ...settled(state), phase: "closing", reason: "Closing: what was accepted is being committed." },
        { type: "shut-down" },
      ];
    case "closed":
      if (state.phase !== "closing") return [state];
      return [
        { ...settled(state), phase: "stopped", reason: input.reason },
        { type: "cut", reason: input.reason },
      ];
    case "destroy":
      return [
        { ...settled(state), phase: "stopped", reason: input.reason },
        { type: "cut", reason: input.reason },
      ];
    case "fatal":
      return [
        { ...settled(state), phase: "failed", reason: input.error },
        { type: "cut", reason: input.error },
      ];
    default:
      return input satisfies never;
  }
}

/** A run of the source is under way. */
function isRunning({ phase }: WatcherMachine): boolean {
  return phase === "starting" || phase === "snapshotting" || phase === "live" || phase === "waiting";
}

function isDelayed({ phase }: WatcherMachine): boolean {
  return phase === "backing-off" || phase === "resyncing";
}

/** Forgets what belonged to a run. */
function settled(state: WatcherMachine): WatcherMachine {
  return { ...state, liveSinceMs: undefined, isSnapshotOpen: false, delayMs: undefined };
}

type Followed = Extract<WatcherInput, { readonly type: "source-status" | "snapshot-began" | "snapshot-committed" }>;

function followed(state: WatcherMachine, input: Followed): WatcherMachine {
  switch (input.type) {
    case "snapshot-began":
      return {
        ...state,
        phase: "snapshotting",
        isSnapshotOpen: true,
        delayMs: undefined,
        reason: reasons.snapshotting,
      };
    case "snapshot-committed":
      // A source that broke off since then keeps its own reason.
      return state.phase === "snapshotting"
        ? live({ ...state, isSnapshotOpen: false }, input.atMs)
        : { ...state, isSnapshotOpen: false };
    case "source-status":
      return toldBySource(state, input.status, input.atMs);
    default:
      return input satisfies never;
  }
}

const reasons = {
  live: "Following the source.",
  snapshotting: "The whole state is being read.",
} as const;

const connecting = (attempt: number) =>
  attempt > 1 ? `Connecting to the source, attempt ${attempt}.` : "Connecting to the source.";

function live(state: WatcherMachine, atMs: number): WatcherMachine {
  return {
    ...state,
    phase: "live",
    reason: reasons.live,
    liveSinceMs: state.liveSinceMs ?? atMs,
    delayMs: undefined,
  };
}

function toldBySource(state: WatcherMachine, status: SourceStatus, atMs: number): WatcherMachine {
  switch (status.state) {
    case "connecting": {
      const waits = state.phase !== "starting";
      const broke = state.phase === "live" || state.phase === "snapshotting";
      return {
        ...state,
        phase: waits ? "waiting" : "starting",
        // Whoever looks between two attempts wants to know why they are needed.
        reason: state.phase === "waiting" ? state.reason : connecting(status.attempt),
        reconnects: state.reconnects + (broke ? 1 : 0),
        delayMs: undefined,
      };
    }
    case "snapshotting":
      return { ...state, phase: "snapshotting", delayMs: undefined, reason: reasons.snapshotting };
    case "live":
      // Until its end is committed the replica does not show the snapshot.
      return state.isSnapshotOpen
        ? { ...state, phase: "snapshotting", delayMs: undefined, reason: reasons.snapshotting }
        : live(state, atMs);
    case "waiting":
      return {
        ...state,
        phase: "waiting",
        reason: status.error,
        delayMs: status.delayMs,
        reconnects: state.reconnects + (state.phase === "waiting" ? 0 : 1),
      };
    default:
      return status satisfies never;
  }
}

function interrupted(state: WatcherMachine, atMs: number, reason: string, ...effects: WatcherEffect[]): WatcherStep {
  const wasStable = state.liveSinceMs !== undefined && atMs - state.liveSinceMs >= state.stableAfterMs;
  return [
    {
      ...settled(state),
      phase: "draining",
      reason,
      attempt: wasStable ? 1 : state.attempt + 1,
      reconnects: state.reconnects + (state.phase === "waiting" ? 0 : 1),
    },
    ...effects,
  ];
}

function silenced(state: WatcherMachine, atMs: number, silentMs: number): WatcherStep {
  const reason =
    `The source gave no sign of life for ${Math.round(silentMs)} ms although it could have been read; its run is ended ` +
    "and started again. Check the network and the peer, or raise silenceTimeoutMs.";
  return interrupted(state, atMs, reason, { type: "abort-run", reason }, { type: "drain" });
}

function delayed(state: WatcherMachine): WatcherStep {
  return [
    { ...state, phase: "backing-off" },
    { type: "back-off", attempt: Math.max(1, state.attempt) },
  ];
}

function elapsed(state: WatcherMachine): WatcherStep {
  if (state.phase === "backing-off")
    return [{ ...state, phase: "starting", delayMs: undefined }, { type: "start-run" }];
  if (state.phase === "resyncing" && state.delayMs !== undefined) {
    return [{ ...state, delayMs: undefined }, { type: "resync" }];
  }
  return [state];
}

type Committed = Extract<
  WatcherInput,
  { readonly type: "commit-succeeded" | "commit-failed" | "commit-stalled" | "commit-quarantined" }
>;

function committed(state: WatcherMachine, input: Committed): WatcherMachine {
  switch (input.type) {
    case "commit-succeeded":
      return state.health === "healthy" ? state : { ...state, health: "healthy", commitProblem: undefined };
    case "commit-failed":
      return {
        ...state,
        health: "retrying",
        commitProblem: `The history refused a commit: ${input.error} Nothing is lost; it is tried again.`,
      };
    case "commit-stalled":
      return {
        ...state,
        health: "stalled",
        commitProblem:
          `One commit has been running for ${Math.round(input.forMs)} ms. Nothing is lost and the source is still read ` +
          "until the buffer is full; look at the disk and at other writers of the database.",
      };
    case "commit-quarantined":
      return {
        ...state,
        health: "quarantined",
        commitProblem: `Committing was given up: ${input.error} What was accepted is kept in memory; remove the cause, then call retry().`,
      };
    default:
      return input satisfies never;
  }
}

function lost(state: WatcherMachine, error: string, changes: number): WatcherStep {
  if (state.phase === "closing" || state.phase === "resyncing") return [state];
  const reason =
    `${error} ${changes} accepted changes are no longer in memory and were perhaps not committed; the source is followed ` +
    "again from the last committed position.";
  return [
    {
      ...settled(state),
      phase: "resyncing",
      health: "healthy",
      commitProblem: undefined,
      reason,
      attempt: state.attempt + 1,
      reconnects: state.reconnects + (isRunning(state) ? 1 : 0),
    },
    // A delay of an earlier interruption must not start a run in the middle of this.
    { type: "cancel-delay" },
    { type: "abort-run", reason },
    { type: "resync" },
  ];
}

function resyncFailed(state: WatcherMachine, error: string): WatcherStep {
  const attempt = state.attempt + 1;
  return [
    { ...state, attempt, reason: `The history cannot be reopened: ${error} It is tried again.` },
    { type: "back-off", attempt },
  ];
}

function retried(state: WatcherMachine): WatcherStep {
  const effects: WatcherEffect[] = [];
  let after = state;
  if (state.health === "quarantined") {
    after = { ...after, health: "retrying", commitProblem: "Committing is tried again." };
    effects.push({ type: "retry-commit" });
  }
  if (isDelayed(after) && after.delayMs !== undefined) {
    const [started, ...startEffects] = elapsed(after);
    return [started, ...effects, { type: "cancel-delay" }, ...startEffects];
  }
  return [after, ...effects];
}
