import type { Clock, Timer } from "@tidemark/clock";

/** Beats until it is stopped; a beat that takes long delays the next one and is never doubled. */
export class Heart {
  readonly #clock: Clock;
  readonly #intervalMs: () => number;
  readonly #beat: () => Promise<void>;
  #timer: Timer | undefined;
  #isStopped = false;

  /** `intervalMs` is asked for each time, because it may change; `beat` must not reject. */
  constructor(clock: Clock, intervalMs: () => number, beat: () => Promise<void>) {
    this.#clock = clock;
    this.#intervalMs = intervalMs;
    this.#beat = beat;
    this.#arm();
  }

  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
  }

  #arm(): void {
    if (this.#isStopped) return;
    this.#timer = this.#clock.setTimer(this.#intervalMs(), () => void this.#beat().then(() => this.#arm())).unref();
  }
}
