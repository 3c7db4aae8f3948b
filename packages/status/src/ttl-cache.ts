import { type Clock, systemClock } from "@tidemark/clock";
import { StatusError } from "./status-error.ts";

export interface TtlCacheOptions<T> {
  /** What is cached, as it appears in errors. */
  readonly name: string;
  /** Gets the value. Runs at most once at a time. The signal aborts when the time is up. */
  readonly load: (signal: AbortSignal) => T | Promise<T>;
  /**
   * How long a value is served without asking again, in milliseconds from when its load began, at least 0.
   * @default 1_000
   */
  readonly ttlMs?: number;
  /**
   * How long a load may take before its callers get `TIMEOUT`, in milliseconds, above 0.
   * @default 2_000
   */
  readonly timeoutMs?: number;
  /**
   * Whether a value may be served again. Values that tell of a failure should not.
   * @default every value
   */
  readonly isCacheable?: (value: T) => boolean;
  /** @default systemClock */
  readonly clock?: Clock;
}

/** The defaults of {@link TtlCacheOptions}. */
export const ttlCacheDefaults = { ttlMs: 1_000, timeoutMs: 2_000 } as const;

interface Flight<T> {
  readonly startedMs: number;
  readonly result: Promise<T>;
  isOverdue: boolean;
}

/**
 * Remembers the last good value for a while.
 *
 * - An error is never cached, nor a value that was being loaded when `invalidate` was called.
 * - Nothing is locked while a load runs: it is shared by whoever asks meanwhile, `peek` answers, and each caller can
 *   leave by its own signal.
 * - A load that hangs costs every caller at most `timeoutMs`, and there is never a second one beside it.
 */
export class TtlCache<T> {
  readonly #name: string;
  readonly #load: (signal: AbortSignal) => T | Promise<T>;
  readonly #ttlMs: number;
  readonly #timeoutMs: number;
  readonly #isCacheable: (value: T) => boolean;
  readonly #clock: Clock;
  #entry: { readonly value: T; readonly untilMs: number } | undefined;
  #flight: Flight<T> | undefined;
  #generation = 0;

  /** @throws {StatusError} `OPTIONS_INVALID`. */
  constructor(options: TtlCacheOptions<T>) {
    this.#name = options.name;
    this.#load = options.load;
    this.#ttlMs = options.ttlMs ?? ttlCacheDefaults.ttlMs;
    this.#timeoutMs = options.timeoutMs ?? ttlCacheDefaults.timeoutMs;
    this.#isCacheable = options.isCacheable ?? (() => true);
    this.#clock = options.clock ?? systemClock;
    if (!(this.#ttlMs >= 0)) throw new StatusError("OPTIONS_INVALID", `ttlMs must be at least 0, got ${this.#ttlMs}`);
    if (!(this.#timeoutMs > 0)) {
      throw new StatusError("OPTIONS_INVALID", `timeoutMs must be above 0, got ${this.#timeoutMs}`);
    }
  }

  /** The value if one is remembered, without waiting for anything. */
  peek(): T | undefined {
    const entry = this.#entry;
    return entry !== undefined && this.#clock.monotonic() < entry.untilMs ? entry.value : undefined;
  }

  /**
   * The remembered value, or a new one.
   *
   * @throws What `load` threw, unchanged; `signal.reason`; {StatusError} `TIMEOUT` when the load took too long, and
   * `STILL_RUNNING` at once as long as such a load goes on.
   */
  async get(signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    const entry = this.#entry;
    if (entry !== undefined && this.#clock.monotonic() < entry.untilMs) return entry.value;
    this.#flight ??= this.#start();
    if (this.#flight.isOverdue) {
      const sinceMs = Math.round(this.#clock.monotonic() - this.#flight.startedMs);
      throw new StatusError("STILL_RUNNING", `${this.#name} has not answered for ${sinceMs} ms`, { retryable: true });
    }
    return signal === undefined ? this.#flight.result : await untilAborted(this.#flight.result, signal);
  }

  /** Forgets the value, and the one that is being loaded too: who asks from now on sees nothing older than this call. */
  invalidate(): void {
    this.#generation++;
    this.#entry = undefined;
    if (this.#flight?.isOverdue === false) this.#flight = undefined;
  }

  #start(): Flight<T> {
    const generation = this.#generation;
    const startedMs = this.#clock.monotonic();
    const controller = new AbortController();
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const flight: Flight<T> = { startedMs, result: promise, isOverdue: false };
    const timer = this.#clock.setTimer(this.#timeoutMs, () => {
      flight.isOverdue = true;
      const error = new StatusError("TIMEOUT", `${this.#name} gave no answer within ${this.#timeoutMs} ms`, {
        retryable: true,
      });
      reject(error);
      controller.abort(error);
    });
    timer.unref();
    const ended = () => {
      timer.cancel();
      if (this.#flight === flight) this.#flight = undefined;
    };
    // Also a synchronous throw of `load` becomes a rejection here.
    new Promise<T>((run) => run(this.#load(controller.signal))).then(
      (value) => {
        ended();
        if (!flight.isOverdue && generation === this.#generation && this.#isCacheable(value)) {
          this.#entry = { value, untilMs: startedMs + this.#ttlMs };
        }
        resolve(value);
      },
      (error: unknown) => {
        ended();
        reject(error);
      },
    );
    // Every caller may have left by its signal before the load fails.
    promise.catch(() => {});
    return flight;
  }
}

/** The promise, or the signal's reason if it aborts first; leaves no listener behind. */
function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
