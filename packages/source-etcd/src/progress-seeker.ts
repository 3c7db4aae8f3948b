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
  /** Of the timer that runs or ran last; 0: the next one is to be quick. */
  #delayMs = 0;
  #isSeeking = false;
  #isStopped = false;

  constructor(options: ProgressSeekerOptions) {
    this.#options = options;
  }

  /** Begins anew, quickly. Calling it often does not put off what is due. */
  start(): void {
    if (this.#isStopped || this.#options.isReached()) return;
    if (this.#isSeeking) this.#delayMs = 0;
    else if (this.#timer === undefined || this.#delayMs > firstDelayMs) this.#schedule(firstDelayMs);
  }

  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
  }

  #schedule(delayMs: number): void {
    this.#timer?.cancel();
    this.#delayMs = delayMs;
    this.#timer = this.#options.clock.setTimer(delayMs, () => void this.#seek()).unref();
  }

  async #seek(): Promise<void> {
    this.#timer = undefined;
    if (this.#isStopped || this.#options.isReached()) return;
    this.#isSeeking = true;
    try {
      await this.#options.seek();
    } catch {
      // The connection says by itself when it is broken; everything else is tried again.
    }
    this.#isSeeking = false;
    if (this.#isStopped || this.#options.isReached()) return;
    this.#schedule(this.#delayMs === 0 ? firstDelayMs : Math.min(maxDelayMs, this.#delayMs * 3));
  }
}
