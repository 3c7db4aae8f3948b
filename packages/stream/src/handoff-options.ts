import { type Clock, type Rng, systemClock, systemRng } from "@tidemark/clock";
import { type BackoffOptions, resolveBackoff } from "./backoff.ts";
import type { HandoffBuffer } from "./handoff-buffer.ts";
import { requireAbove, requireAtLeast } from "./options.ts";
import { StreamError } from "./stream-error.ts";

/** What the committer gets beside its batch. */
export interface HandoffBatch {
  /** Groups that end in this buffer. */
  readonly groups: number;
  /** The last group goes on in the next buffer, so this part of it must be staged. Never without `maxGroupBytes`. */
  readonly isOpen: boolean;
  /** Which try this is, from 1. */
  readonly attempt: number;
}

/** How long a failed commit waits for its next try, and how often it gets one. */
export interface HandoffRetryOptions extends BackoffOptions {
  /**
   * After how many failures of one batch in a row the hand-off is quarantined, at least 1.
   * @default Infinity
   */
  readonly maxAttempts?: number;
}

/** The committer, the bounds and the patience of a hand-off. */
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

/** `retrying`: a failed batch waits. `quarantined`: it was given up for now, and everything is kept. */
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
  /** Batches that were committed. */
  readonly commits: number;
  /** Commits that failed. */
  readonly failures: number;
  /** Since when the batch in flight has not been committed, on `clock.monotonic()`; undefined: none is in flight. */
  readonly inFlightSinceMs: number | undefined;
  /** The error of the last failed commit, until one succeeds. */
  readonly lastError: unknown;
}

/** What happens to batches. */
export type HandoffEvent =
  | { readonly type: "committed"; readonly groups: number; readonly bytes: number; readonly durationMs: number }
  | { readonly type: "commit-failed"; readonly error: unknown; readonly attempt: number; readonly delayMs: number }
  | { readonly type: "quarantined"; readonly error: unknown; readonly attempt: number }
  | { readonly type: "resumed" }
  | { readonly type: "closed"; readonly pendingGroups: number }
  /** This reader was too slow and so many events before this one are missing. */
  | { readonly type: "skipped"; readonly count: number };

/** How a hand-off ends. */
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

/** The defaults of `HandoffOptions`, `HandoffRetryOptions` and `HandoffCloseOptions`. */
export const handoffDefaults = {
  maxBytes: 64 * 1024 * 1024,
  maxGroupBytes: Number.POSITIVE_INFINITY,
  flushIntervalMs: 0,
  maxAttempts: Number.POSITIVE_INFINITY,
  closeTimeoutMs: 30_000,
} as const;

/** Applies the defaults and checks the numbers; the functions stay where they are. */
export interface ResolvedHandoff {
  readonly maxBytes: number;
  readonly maxGroupBytes: number;
  readonly flushIntervalMs: number;
  readonly retry: Required<HandoffRetryOptions>;
  readonly clock: Clock;
  readonly rng: Rng;
}

/** @throws {StreamError} `OPTIONS_INVALID`. */
export function resolveHandoff<B extends HandoffBuffer>(options: HandoffOptions<B>): ResolvedHandoff {
  const resolved = {
    maxBytes: options.maxBytes ?? handoffDefaults.maxBytes,
    maxGroupBytes: options.maxGroupBytes ?? handoffDefaults.maxGroupBytes,
    flushIntervalMs: options.flushIntervalMs ?? handoffDefaults.flushIntervalMs,
    retry: {
      ...resolveBackoff(options.retry ?? {}),
      maxAttempts: options.retry?.maxAttempts ?? handoffDefaults.maxAttempts,
    },
    clock: options.clock ?? systemClock,
    rng: options.rng ?? systemRng,
  };
  const { maxBytes, maxGroupBytes } = resolved;
  requireAbove("maxBytes", maxBytes, 0);
  requireAbove("maxGroupBytes", maxGroupBytes, 0);
  requireAtLeast("flushIntervalMs", resolved.flushIntervalMs, 0);
  requireAtLeast("retry.maxAttempts", resolved.retry.maxAttempts, 1);
  if (maxGroupBytes > maxBytes && maxGroupBytes !== Number.POSITIVE_INFINITY) {
    // An open group would wait for room that only handing it over can make.
    throw new StreamError(
      "OPTIONS_INVALID",
      `maxGroupBytes must be at most maxBytes (${maxBytes}) or Infinity, got ${maxGroupBytes}`,
    );
  }
  return resolved;
}
