import type { Clock, Rng } from "@tidemark/clock";
import type { BackoffOptions, HandoffRetryOptions } from "@tidemark/stream";
import type { ChangeFrame, GapReason, ResumePoint, Source } from "./contract.ts";
import { StoreWatchError } from "./errors.ts";
import type { History } from "./history-types.ts";

/** What `openWatcher` needs, and what may be set. */
export interface WatcherOptions {
  /** What to follow. It belongs to the watcher until that is closed. */
  readonly source: Source;
  /** Where to keep it. Stays open when the watcher closes. */
  readonly history: Pick<History, "openStream">;
  /** Stable name of the stream in the history: the same name goes on where it stopped. */
  readonly name: string;
  /**
   * Looks at every change before it is kept. When it throws, the change goes to quarantine with that error, visible and
   * retryable, and the stream goes on. Runs for every change, so it must be quick; it must not keep the frame.
   * @default no check
   */
  readonly check?: (change: ChangeFrame) => void;
  /**
   * How long complete groups are collected before they are committed, in milliseconds, at least 0. 0: as soon as the
   * commit before is done, so it is only the commits that set the pace.
   * @default 0
   */
  readonly flushIntervalMs?: number;
  /**
   * What may be held in memory, uncommitted, in bytes, above 0. Above it the source is held back, down to the wire.
   * @default 8_388_608, 8 MiB
   */
  readonly maxBufferBytes?: number;
  /**
   * From what size on the part of a group that is there is staged on disk, before its end has come, in bytes, above 0
   * and at most `maxBufferBytes`.
   * @default 4_194_304, 4 MiB, or `maxBufferBytes` where that is less
   */
  readonly maxGroupBytes?: number;
  /**
   * How long the source may give no sign of life, in milliseconds, above 0. Then its run is ended and started again. Time
   * in which the source is held back by us does not count. `Infinity` turns it off: for a source without heartbeats.
   * @default 300_000
   */
  readonly silenceTimeoutMs?: number;
  /**
   * How long one commit may take before the status says so, in milliseconds, above 0.
   * @default 30_000
   */
  readonly stallTimeoutMs?: number;
  /**
   * How long a run must have been live so that its failure counts as a first one, in milliseconds, at least 0.
   * @default 60_000
   */
  readonly stableAfterMs?: number;
  /**
   * How long a run that was told to end may take before the next one starts without it, in milliseconds, at least 0. What
   * a run delivers after it was told to end is never accepted.
   * @default 5_000
   */
  readonly stopTimeoutMs?: number;
  /** Waits between runs of the source that failed. Its own reconnecting is its own affair. */
  readonly restart?: BackoffOptions;
  /** Waits between failed commits; with `maxAttempts`, when to give up and wait for `retry()`. */
  readonly commitRetry?: HandoffRetryOptions;
  /** @default the machine's clock */
  readonly clock?: Clock;
  /** @default the machine's randomness */
  readonly rng?: Rng;
}

/** The limits that hold where none are given. */
export const watcherDefaults = {
  flushIntervalMs: 0,
  maxBufferBytes: 8 * 1024 * 1024,
  maxGroupBytes: 4 * 1024 * 1024,
  silenceTimeoutMs: 300_000,
  stallTimeoutMs: 30_000,
  stableAfterMs: 60_000,
  stopTimeoutMs: 5_000,
} as const;

export type WatcherLimits = { readonly [Name in keyof typeof watcherDefaults]: number };

/** @throws {StoreWatchError} `OPTIONS_INVALID`. */
export function resolveLimits(options: Partial<WatcherLimits>): WatcherLimits {
  const maxBufferBytes = options.maxBufferBytes ?? watcherDefaults.maxBufferBytes;
  const limits: WatcherLimits = {
    flushIntervalMs: options.flushIntervalMs ?? watcherDefaults.flushIntervalMs,
    maxBufferBytes,
    maxGroupBytes: options.maxGroupBytes ?? Math.min(watcherDefaults.maxGroupBytes, maxBufferBytes),
    silenceTimeoutMs: options.silenceTimeoutMs ?? watcherDefaults.silenceTimeoutMs,
    stallTimeoutMs: options.stallTimeoutMs ?? watcherDefaults.stallTimeoutMs,
    stableAfterMs: options.stableAfterMs ?? watcherDefaults.stableAfterMs,
    stopTimeoutMs: options.stopTimeoutMs ?? watcherDefaults.stopTimeoutMs,
  };
  for (const name of ["maxBufferBytes", "maxGroupBytes", "silenceTimeoutMs", "stallTimeoutMs"] as const) {
    if (!(limits[name] > 0)) throw invalid(`${name} must be above 0, got ${limits[name]}`);
  }
  for (const name of ["flushIntervalMs", "stableAfterMs", "stopTimeoutMs"] as const) {
    if (!(limits[name] >= 0)) throw invalid(`${name} must be at least 0, got ${limits[name]}`);
  }
  if (limits.maxGroupBytes > maxBufferBytes) {
    throw invalid(`maxGroupBytes must be at most maxBufferBytes (${maxBufferBytes}), got ${limits.maxGroupBytes}`);
  }
  return limits;
}

function invalid(message: string): StoreWatchError {
  return new StoreWatchError("OPTIONS_INVALID", message);
}

/** What a watcher does, for people and for readiness probes. */
export type WatcherState =
  /** The source was started and has not got anywhere yet. */
  | "starting"
  /** The whole state is being read; until its end is committed the history shows the state before. */
  | "snapshotting"
  | "live"
  /** The stream is interrupted: the source reconnects, or is started again. */
  | "reconnecting"
  /** Commits were given up. Everything accepted is kept in memory until `retry()`. */
  | "quarantined"
  /** Closed or destroyed by its owner. */
  | "stopped"
  /** Over for a reason that waiting does not mend; open a new watcher. */
  | "failed";

/** From when a change was accepted to when it was committed, over the last minute, in milliseconds. */
export interface WatcherLag {
  /** Undefined: nothing was committed within the last minute. */
  readonly p50Ms: number | undefined;
  readonly p99Ms: number | undefined;
  readonly maxMs: number | undefined;
  /** Age of the oldest group that is accepted and not committed; 0: there is none. */
  readonly currentMs: number;
  /** Groups (transactions of the source) accepted and not committed. */
  readonly pendingGroups: number;
  /** Changes accepted and not committed, those of an open group included. */
  readonly pendingChanges: number;
}

/** Everything about a watcher at one moment; plain data. Times are in milliseconds since the Unix epoch. */
export interface WatcherStatus {
  readonly name: string;
  readonly kind: string;
  readonly description: string;
  readonly state: WatcherState;
  /** Why it is in this state. */
  readonly reason: string;
  /** Since when it is in this state. */
  readonly sinceMs: number;
  /** What is wrong and what to do about it; undefined: nothing. */
  readonly problem: string | undefined;
  /** The source waits because our buffer is full. */
  readonly isHeldBack: boolean;
  /** One commit takes longer than `stallTimeoutMs`. */
  readonly isStalled: boolean;
  /** When the next attempt is due, while reconnecting. */
  readonly nextAttemptAtMs: number | undefined;
  /** How far the history is behind. */
  readonly lag: WatcherLag;
  /** The last sign of life of the source. */
  readonly lastFrameAtMs: number | undefined;
  readonly lastCommitAtMs: number | undefined;
  /** Being committed. */
  readonly inflightBytes: number;
  /** Accepted, not yet being committed. */
  readonly bufferedBytes: number;
  /** Committed, over the last ten seconds. */
  readonly changesPerSecond: number;
  /** What was last committed: the next run goes on from here. */
  readonly resume: ResumePoint | undefined;
  /**
   * Changes that left memory without a known commit since the watcher was opened. Must be 0; each time the source is
   * followed again from the last committed position.
   */
  readonly drops: number;
  /** Changes that the history knew already. */
  readonly duplicates: number;
  /** Losses put on record since the watcher was opened. */
  readonly gaps: number;
  /** Interruptions of the stream, for whatever cause. */
  readonly reconnects: number;
  /** Changes set aside. */
  readonly quarantined: number;
  /** New versions made. */
  readonly versions: number;
}

/** What happens to a watcher. */
export type WatcherEvent =
  | { readonly type: "state-changed"; readonly from: WatcherState; readonly to: WatcherState; readonly reason: string }
  | {
      readonly type: "committed";
      readonly resume: ResumePoint | undefined;
      readonly groups: number;
      readonly versions: number;
      readonly duplicates: number;
      readonly quarantined: number;
      readonly gaps: number;
      /** SQL time, in milliseconds. */
      readonly commitMs: number;
      /** From when its oldest group was accepted to the commit, in milliseconds. Undefined: it completed none. */
      readonly lagMs: number | undefined;
    }
  | { readonly type: "commit-failed"; readonly error: string; readonly attempt: number; readonly delayMs: number }
  | { readonly type: "commit-stalled"; readonly forMs: number }
  /** The source said, or the watcher concluded, that changes were lost; it goes into the history. */
  | { readonly type: "gap-accepted"; readonly reason: GapReason; readonly detail: string }
  /** A change could not be decoded, or `check` refused it. */
  | { readonly type: "change-refused"; readonly key: Uint8Array; readonly error: string }
  | { readonly type: "source-silent"; readonly silentMs: number }
  /** The source is held back because the buffer is full, or no longer. */
  | { readonly type: "held-back"; readonly isHeldBack: boolean }
  /** Accepted changes left memory without a known commit; the source is followed again from the last commit. */
  | { readonly type: "dropped"; readonly changes: number; readonly error: string }
  /** This reader was too slow: so many events before this one are missing. */
  | { readonly type: "skipped"; readonly count: number };

/** How a watcher ends. */
export interface WatcherCloseOptions {
  /**
   * Whether what was accepted is committed first. Otherwise it is let go; the cursor stands before it, so it comes again
   * (H13).
   * @default true
   */
  readonly flush?: boolean;
  /**
   * Time for all of it, in milliseconds, at least 0.
   * @default 30_000
   */
  readonly closeTimeoutMs?: number;
}

/** Follows one source into one stream of a history. */
export interface Watcher {
  /** The stream in the history. */
  readonly name: string;
  /** How things stand now. */
  status(): WatcherStatus;
  /** What happens from now on. Ends when the watcher does; leaving the loop lets go. A slow reader gets `skipped`. */
  events(): AsyncIterable<WatcherEvent>;
  /**
   * Resolves when the history contains everything up to a point. `"now"`: everything that the source had accepted before
   * the call, also where nothing happens afterwards, so this is how to wait for one's own write.
   *
   * @throws {StoreWatchError} `NO_BARRIER` for `"now"` where the source cannot tell, `EPOCH_CHANGED` when the source was
   * wiped or restored meanwhile, `CLOSED` when the watcher ended; what the source's barrier threw; `signal.reason`.
   */
  waitFor(target: "now" | ResumePoint, options?: { readonly signal?: AbortSignal }): Promise<ResumePoint>;
  /** Tries again at once: a commit that was given up, or the wait before the next run. */
  retry(): void;
  /**
   * Reads the source's whole state again, beginning at once, and corrects what the history has otherwise, also under a
   * version that it knows. The gap `replica-differed` puts the reason on record. Resolves when it is committed; what
   * fails on the way is tried again, also after the signal aborted.
   *
   * @throws {StoreWatchError} `CLOSED` when the watcher ended; `signal.reason`.
   */
  repair(reason: string, options?: { readonly signal?: AbortSignal }): Promise<void>;
  /**
   * Ends the source, commits what was accepted, and stops. Idempotent: every caller gets the first call's outcome.
   *
   * @throws {StoreWatchError} `NOT_COMMITTED` when time ran out or commits are given up; it has stopped all the same.
   */
  close(options?: WatcherCloseOptions): Promise<void>;
  /** Stops now. As after a crash, what was not committed comes again. */
  destroy(reason?: unknown): void;
  /** `close()`. */
  [Symbol.asyncDispose](): Promise<void>;
}
