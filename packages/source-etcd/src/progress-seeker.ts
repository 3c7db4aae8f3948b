import type { Clock, Timer } from "@tidemark/clock";

export interface ProgressSeekerOptions {
  readonly clock: Clock;
  /** Whether the cursor is where it shall be. */
  isReached(): boolean;
  /** Does something that may move the cursor. */
  seek(): Promise<void> | void;
}

const firstDelayMs = 10;
const maxDelayMs = 1_000;

/** Seeks until the cursor is where somebody waits for it; the event he waits for usually comes first. */
export class ProgressSeeker {
  readonly #options: ProgressSeekerOptions;
  #timer: Timer | undefined;
  #isStopped = false;

  constructor(options: ProgressSeekerOptions) {
    this.#options = options;
  }

  /** Begins anew, quickly. */
  start(): void {
    if (this.#isStopped || this.#options.isReached()) return;
    this.#timer?.cancel();
    this.#schedule(firstDelayMs);
  }

  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
  }

  #schedule(delayMs: number): void {
    const timer = this.#options.clock.setTimer(delayMs, () => void this.#seek(delayMs, timer)).unref();
    this.#timer = timer;
  }

  async #seek(delayMs: number, timer: Timer): Promise<void> {
    if (this.#isStopped || this.#options.isReached()) return;
    try {
      await this.#options.seek();
    } catch {
      // The connection says by itself when it is broken; everything else is tried again.
    }
    if (!this.#isStopped && this.#timer === timer && !this.#options.isReached()) {
      this.#schedule(Math.min(maxDelayMs, delayMs * 3));
    }
  }
}
