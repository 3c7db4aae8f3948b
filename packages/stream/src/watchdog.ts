import type { Clock, Timer } from "@tidemark/clock";

/**
 * Calls back once when `delayMs` pass without a `touch()`. A touch costs one reading of the clock and no timer, so it can
 * be called for every message. Does not keep the process alive.
 */
export class Watchdog {
  readonly #clock: Clock;
  readonly #delayMs: number;
  readonly #onExpired: (elapsedMs: number) => void;
  #timer: Timer | undefined;
  /** Since when it counts; undefined while it is paused or stopped. */
  #sinceMs: number | undefined;

  /** Starts paused. */
  constructor(clock: Clock, delayMs: number, onExpired: (elapsedMs: number) => void) {
    this.#clock = clock;
    this.#delayMs = delayMs;
    this.#onExpired = onExpired;
  }

  /** Counts from now on. */
  touch(): void {
    if (this.#delayMs === Number.POSITIVE_INFINITY) return;
    this.#sinceMs = this.#clock.monotonic();
    if (this.#timer === undefined) this.#arm(this.#delayMs);
  }

  /** Stops counting until the next `touch()`, without giving up a timer that may soon be of use again. */
  pause(): void {
    this.#sinceMs = undefined;
  }

  stop(): void {
    this.#sinceMs = undefined;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #arm(delayMs: number): void {
    this.#timer = this.#clock.setTimer(delayMs, () => {
      this.#timer = undefined;
      if (this.#sinceMs === undefined) return;
      const elapsedMs = this.#clock.monotonic() - this.#sinceMs;
      // Less than that may be nothing but rounding, and waiting for it would move no clock.
      if (this.#delayMs - elapsedMs > 1e-3) {
        this.#arm(this.#delayMs - elapsedMs);
        return;
      }
      this.#sinceMs = undefined;
      this.#onExpired(elapsedMs);
    });
    this.#timer.unref();
  }
}
