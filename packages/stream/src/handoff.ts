import type { Clock, Rng } from "@tidemark/clock";
import type { BackoffOptions } from "./backoff.ts";
import type { HandoffBuffer } from "./handoff-buffer.ts";

/** What the committer gets beside its batch. */
export interface HandoffBatch {
  /** Groups that end in this buffer. */
  readonly groups: number;
  /** The last group goes on in the next buffer, so this part of it must be staged. Never without `maxGroupBytes`. */
  readonly isOpen: boolean;
  /** Which try this is, from 1. */
  readonly attempt: number;
}

export interface HandoffRetryOptions extends BackoffOptions {
  /**
   * After how many failures of one batch in a row the hand-off is quarantined, at least 1.
   * @default Infinity
   */
  readonly maxAttempts?: number;
}

export interface HandoffOptions<B extends HandoffBuffer> {
  /** Makes an empty buffer. Two are made at once; more only when `commit` keeps one. */
  createBuffer(): B;
  /**
   * Commits one batch, atomically. It owns the buffer until it settles; never called twice at once (H4), and in order
   * (H5). Resolves with nothing, and the same buffer is used again, or with the buffer to use instead (a transfer to a
   * worker and back makes a new object). When it rejects, the same buffer is offered again (H9).
   */
  commit(buffer: B, signal: AbortSignal, batch: HandoffBatch): Promise<B | void>;
  /** The buffer to offer again after a rejection, where the one given was transferred and its content came back. */
  recover?(error: unknown): B | undefined;
  /**
   * Bound of what is held, `bytes` of the accumulator and of the batch in flight, above 0. Above it the producer waits.
   * A single open group larger than this is let through whole unless `maxGroupBytes` cuts it.
   * @default 67_108_864, 64 MiB
   */
  readonly maxBytes?: number;
  /**
   * Says that the committer can stage a part of a group, `batch.isOpen`: an unsealed accumulator above this size is
   * handed over open, and sealed groups do not wait for the end of an open group behind them. Above 0, at most
   * `maxBytes`.
   * @default Infinity: a batch always ends with a group (H7)
   */
  readonly maxGroupBytes?: number;
  /**
   * How long sealed groups are collected before they are handed over, in milliseconds. 0: as soon as the committer is
   * idle, once per turn of the event loop. More than `maxBytes` goes at once.
   * @default 0
   */
  readonly flushIntervalMs?: number;
  /** Waits between failed commits of a batch. */
  readonly retry?: HandoffRetryOptions;
  /**
   * Whether a failed commit is tried again or stopped until `retry()`. A throw here stops it.
   * @default always "retry"
   */
  classify?(error: unknown): "retry" | "quarantine";
  /** @default the machine's clock */
  readonly clock?: Clock;
  /** @default the machine's randomness */
  readonly rng?: Rng;
}

export type HandoffState = "idle" | "committing" | "retrying" | "quarantined" | "closed";

/** Counters since the start; sizes now. */
export interface HandoffStats {
  /** Groups that the producer sealed. */
  readonly sealedGroups: number;
  /** Groups that are committed. */
  readonly committedGroups: number;
  /** Groups sealed and not committed. */
  readonly pendingGroups: number;
  /** In the accumulator. */
  readonly bufferedBytes: number;
  /** In the batch that is being committed or waits for its retry. */
  readonly inFlightBytes: number;
  /** Highest sum of both so far. */
  readonly peakBytes: number;
  readonly commits: number;
  readonly failures: number;
  /** Since when the batch in flight has not been committed, on `clock.monotonic()`; undefined: none is in flight. */
  readonly inFlightSinceMs: number | undefined;
  /** The error of the last failed commit, until one succeeds. */
  readonly lastError: unknown;
}

export type HandoffEvent =
  | { readonly type: "committed"; readonly groups: number; readonly bytes: number; readonly durationMs: number }
  | { readonly type: "commit-failed"; readonly error: unknown; readonly attempt: number; readonly delayMs: number }
  | { readonly type: "quarantined"; readonly error: unknown; readonly attempt: number }
  | { readonly type: "resumed" }
  | { readonly type: "closed"; readonly pendingGroups: number }
  /** This reader was too slow and so many events before this one are missing. */
  | { readonly type: "skipped"; readonly count: number };

export interface HandoffCloseOptions {
  /**
   * Whether what is sealed is committed first. Otherwise it is discarded; the position behind it was never committed,
   * so it comes again (H13).
   * @default true
   */
  readonly flush?: boolean;
  /**
   * Time for it, in milliseconds, at least 0.
   * @default 30_000
   */
  readonly closeTimeoutMs?: number;
}

export declare class Handoff<B extends HandoffBuffer> {
  constructor(options: HandoffOptions<B>);
  /** The accumulator. Write into it, then call `wrote()` or `sealed()`, and ask for it again: it is exchanged (H3). */
  get buffer(): B;
  /** A part of a group was written. False: above `maxBytes`, so wait for `ready()`. @throws {StreamError} `CLOSED`. */
  wrote(): boolean;
  /** A group was written to its end: here a batch may be cut. Returns and throws like `wrote()`. */
  sealed(): boolean;
  get isReady(): boolean;
  /**
   * Resolves when the producer may go on. Waits through retries and quarantine.
   *
   * @throws {StreamError} `CLOSED`. @throws `signal.reason`.
   */
  ready(signal?: AbortSignal): Promise<void>;
  /**
   * Resolves when every group that was sealed before the call is committed, also while more are written.
   *
   * @throws {StreamError} `QUARANTINED` when a commit is given up, `CLOSED`. @throws `signal.reason`.
   */
  flush(signal?: AbortSignal): Promise<void>;
  get state(): HandoffState;
  get stats(): HandoffStats;
  /** Tries again now, from `quarantined` or before the wait of `retrying` is over. */
  retry(): void;
  /**
   * Takes nothing more, commits what is sealed, and ends. Every caller gets the outcome of the first call.
   *
   * @throws {StreamError} `CLOSE_TIMEOUT`, `QUARANTINED`, or `OPEN_GROUP` when groups are left that were not committed.
   */
  close(options?: HandoffCloseOptions): Promise<void>;
  /**
   * Ends now and aborts the signal of a commit in flight. Returns what is not known to be committed, oldest first; a
   * committer that ignores its signal may still be at work on the first.
   */
  destroy(reason?: unknown): B[];
  /** What happens from now on. Ends with `closed`; leaving the loop lets go. */
  events(): AsyncIterable<HandoffEvent>;
  [Symbol.asyncDispose](): Promise<void>;
}
