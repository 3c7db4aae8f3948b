import { type Clock, deadline, type Timer } from "@tidemark/clock";
import { StreamError } from "./stream-error.ts";
import { judged } from "./verdict.ts";

/** Asks the peer for a sign of life again and again, below the level of messages (X11). */
export class Pinger {
  readonly #ping: (signal: AbortSignal) => Promise<void>;
  readonly #clock: Clock;
  readonly #intervalMs: number;
  readonly #timeoutMs: number;
  readonly #signal: AbortSignal;
  readonly #onFailed: (error: unknown) => void;
  #timer: Timer | undefined;
  #isStopped = false;

  constructor(
    transport: { ping(signal: AbortSignal): Promise<void> },
    clock: Clock,
    options: { readonly pingIntervalMs: number; readonly pingTimeoutMs: number },
    owner: { readonly signal: AbortSignal; onFailed(error: unknown): void },
  ) {
    this.#ping = (signal) => transport.ping(signal);
    this.#clock = clock;
    this.#intervalMs = options.pingIntervalMs;
    this.#timeoutMs = options.pingTimeoutMs;
    this.#signal = owner.signal;
    this.#onFailed = (error) => owner.onFailed(error);
    this.#wait();
  }

  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
  }

  #wait(): void {
    if (this.#isStopped || this.#intervalMs === Number.POSITIVE_INFINITY) return;
    this.#timer = this.#clock.setTimer(this.#intervalMs, () => void this.#once());
    this.#timer.unref();
  }

  async #once(): Promise<void> {
    using limit = deadline(this.#clock, this.#timeoutMs, this.#signal);
    const { signal } = limit;
    try {
      await new Promise<void>((resolve, reject) => {
        // A transport need not heed the signal for the time to be up.
        signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
        Promise.resolve(this.#ping(signal)).then(resolve, reject);
      });
    } catch (error) {
      if (!this.#isStopped) this.#onFailed(signal.aborted ? this.#unanswered(error) : error);
      return;
    }
    this.#wait();
  }

  #unanswered(cause: unknown): StreamError {
    const message = `The peer did not answer a ping within ${this.#timeoutMs} ms`;
    return judged(new StreamError("PING_TIMEOUT", message, { cause, retryable: true }), "fast");
  }
}
