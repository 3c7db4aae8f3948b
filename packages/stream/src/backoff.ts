import type { Rng } from "@tidemark/clock";
import { requireAbove, requireAtLeast } from "./options.ts";
import type { RetryClass } from "./protocol.ts";

/** How long to wait before trying again. The wait is uniform over [0, bound], and the bound doubles with each failure. */
export interface BackoffOptions {
  /**
   * Bound of the first wait after a `fast` failure, in milliseconds, above 0.
   * @default 50
   */
  readonly initialDelayMs?: number;
  /**
   * Highest bound after `fast` failures, in milliseconds, at least `initialDelayMs`.
   * @default 30_000
   */
  readonly maxDelayMs?: number;
  /**
   * Bound of the first wait after a `slow` failure (the peer is overloaded), in milliseconds, above 0.
   * @default 1_000
   */
  readonly slowInitialDelayMs?: number;
  /**
   * Highest bound after `slow` failures, in milliseconds, at least `slowInitialDelayMs`.
   * @default 60_000
   */
  readonly slowMaxDelayMs?: number;
}

/** The defaults of `BackoffOptions`. */
export const backoffDefaults = {
  initialDelayMs: 50,
  maxDelayMs: 30_000,
  slowInitialDelayMs: 1_000,
  slowMaxDelayMs: 60_000,
} as const satisfies Required<BackoffOptions>;

/**
 * Applies the defaults and checks the bounds.
 *
 * @throws {StreamError} `OPTIONS_INVALID`.
 */
export function resolveBackoff(options: BackoffOptions): Required<BackoffOptions> {
  const resolved = {
    initialDelayMs: options.initialDelayMs ?? backoffDefaults.initialDelayMs,
    maxDelayMs: options.maxDelayMs ?? backoffDefaults.maxDelayMs,
    slowInitialDelayMs: options.slowInitialDelayMs ?? backoffDefaults.slowInitialDelayMs,
    slowMaxDelayMs: options.slowMaxDelayMs ?? backoffDefaults.slowMaxDelayMs,
  };
  requireAbove("initialDelayMs", resolved.initialDelayMs, 0);
  requireAtLeast("maxDelayMs", resolved.maxDelayMs, resolved.initialDelayMs);
  requireAbove("slowInitialDelayMs", resolved.slowInitialDelayMs, 0);
  requireAtLeast("slowMaxDelayMs", resolved.slowMaxDelayMs, resolved.slowInitialDelayMs);
  return resolved;
}

/** The longest that the wait after the `attempt`-th failure in a row (from 1) can be, in milliseconds. */
export function backoffBoundMs(
  options: Required<BackoffOptions>,
  retryClass: Exclude<RetryClass, "fatal">,
  attempt: number,
): number {
  const [initial, max] =
    retryClass === "slow"
      ? [options.slowInitialDelayMs, options.slowMaxDelayMs]
      : [options.initialDelayMs, options.maxDelayMs];
  return Math.min(max, initial * 2 ** (attempt - 1));
}

/** Draws the wait after the `attempt`-th failure in a row (from 1), in milliseconds: full jitter. */
export function backoffDelayMs(
  options: Required<BackoffOptions>,
  retryClass: Exclude<RetryClass, "fatal">,
  attempt: number,
  rng: Pick<Rng, "float">,
): number {
  return rng.float() * backoffBoundMs(options, retryClass, attempt);
}
