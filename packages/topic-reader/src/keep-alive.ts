import type { Clock, Timer } from "@tidemark/clock";

/** Keeps the process alive while somebody waits for something, and only then (X6). */
export class KeepAlive {
  readonly #clock: Clock;
  #timer: Timer | undefined;
  #holds = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  hold(): void {
    if (this.#holds++ > 0) return;
    if (this.#timer === undefined) this.#timer = this.#clock.setTimer(Number.POSITIVE_INFINITY, () => {});
    else this.#timer.ref();
  }

  drop(): void {
    if (--this.#holds === 0) this.#timer?.unref();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }
}
