/** Something that will happen once, unless it is cancelled first. */
export interface Timer {
  /** Stops the callback from running. Does nothing once it ran or was cancelled. */
  cancel(): void;
  /** Keeps the process alive until the callback ran. This is how every timer starts. */
  ref(): this;
  /** Lets the process end although the callback did not run. */
  unref(): this;
}

export interface SleepOptions {
  /** Ends the sleep early: it rejects with `signal.reason`, and no listener stays on the signal. */
  readonly signal?: AbortSignal;
  /**
   * Whether the sleep keeps the process alive.
   * @default true
   */
  readonly isRef?: boolean;
}

/** Time as a port: what runs on a `Clock` runs on the real one and in a simulation. */
export interface Clock {
  /** The wall clock in integer milliseconds since the Unix epoch. Can jump either way; never measure with it. */
  now(): number;
  /** Fractional milliseconds since an arbitrary start. Never goes back. */
  monotonic(): number;
  /**
   * Calls back once, not before `delayMs` have passed by `monotonic()`. Negative delays count as 0, and any length is
   * exact, also above the 2^31-1 ms at which Node's own timers overflow; `Infinity` never fires.
   *
   * @throws {ClockError} `OPTIONS_INVALID` when `delayMs` is NaN.
   */
  setTimer(delayMs: number, callback: () => void): Timer;
  /** Calls back after the current turn: once every promise reaction and `nextTick` that is already due has run. */
  setImmediate(callback: () => void): Timer;
  /**
   * Resolves after `delayMs`, as `setTimer` counts them.
   *
   * @throws `options.signal.reason`, unchanged, when the signal aborts first.
   */
  sleep(delayMs: number, options?: SleepOptions): Promise<void>;
}
