import { type Clock, systemClock, type Timer } from "@tidemark/clock";
import { requireAbove, requireAtLeast } from "./options.ts";
import { Waiters } from "./waiters.ts";

/** How fast connecting may be. */
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

/** The defaults of `ReconnectLimiterOptions`. */
export const limiterDefaults = { ratePerSecond: 20, burst: 50 } as const satisfies Required<
  Omit<ReconnectLimiterOptions, "clock">
>;

/** A token bucket over everything that connects, first come first served, so that a fleet of streams is no storm. */
export class ReconnectLimiter {
  readonly #clock: Clock;
  readonly #ratePerMs: number;
  readonly #burst: number;
  readonly #queue = new Waiters();
  #tokens: number;
  #countedMs: number;
  #timer: Timer | undefined;

  /** @throws {StreamError} `OPTIONS_INVALID`. */
  constructor(options: ReconnectLimiterOptions = {}) {
    const ratePerSecond = options.ratePerSecond ?? limiterDefaults.ratePerSecond;
    this.#burst = options.burst ?? limiterDefaults.burst;
    requireAbove("ratePerSecond", ratePerSecond, 0);
    requireAtLeast("burst", this.#burst, 1);
    this.#clock = options.clock ?? systemClock;
    this.#ratePerMs = ratePerSecond / 1000;
    this.#tokens = this.#burst;
    this.#countedMs = this.#clock.monotonic();
  }

  /** How many are waiting for their turn. */
  get waiting(): number {
    return this.#queue.size;
  }

  /**
   * Resolves when the caller may connect.
   *
   * @throws `signal.reason`; then the place in the queue is given up and no token is spent.
   */
  acquire(signal?: AbortSignal): Promise<void> {
    const turn = this.#queue.wait(signal, undefined);
    this.#serve();
    // The last to leave puts out the light: the timer would keep the process alive.
    if (signal !== undefined) turn.catch(() => this.#rest());
    return turn;
  }

  #rest(): void {
    if (this.#queue.size > 0) return;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #serve(): void {
    const nowMs = this.#clock.monotonic();
    this.#tokens = Math.min(this.#burst, this.#tokens + (nowMs - this.#countedMs) * this.#ratePerMs);
    this.#countedMs = nowMs;
    // Fractions of milliseconds may leave a hair less than the whole token that was waited for.
    while (this.#queue.size > 0 && this.#tokens >= 1 - 1e-6) {
      this.#tokens--;
      this.#queue.resolveFirst();
    }
    if (this.#queue.size === 0 || this.#timer !== undefined) return;
    this.#timer = this.#clock.setTimer((1 - this.#tokens) / this.#ratePerMs, () => {
      this.#timer = undefined;
      this.#serve();
    });
  }
}

const shared = new WeakMap<Clock, ReconnectLimiter>();

/** The limiter of all reconnectors of the process that run on this clock. */
export function sharedLimiter(clock: Clock): ReconnectLimiter {
  let limiter = shared.get(clock);
  if (limiter === undefined) {
    limiter = new ReconnectLimiter({ clock });
    shared.set(clock, limiter);
  }
  return limiter;
}
