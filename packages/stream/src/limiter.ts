import type { Clock } from "@tidemark/clock";

export interface ReconnectLimiterOptions {
  /** @default the machine's clock */
  readonly clock?: Clock;
  /**
   * Attempts a second in the long run, above 0.
   * @default 20
   */
  readonly ratePerSecond?: number;
  /**
   * Attempts that may happen at once after a quiet time, at least 1.
   * @default 50
   */
  readonly burst?: number;
}

/** A token bucket over everything that connects, first come first served, so that a fleet of streams is no storm. */
export declare class ReconnectLimiter {
  constructor(options?: ReconnectLimiterOptions);
  /** How many are waiting for their turn. */
  get waiting(): number;
  /**
   * Resolves when the caller may connect.
   *
   * @throws `signal.reason`; then the place in the queue is given up and no token is spent.
   */
  acquire(signal?: AbortSignal): Promise<void>;
}
