import type { Clock, Timer } from "@tidemark/clock";

/** Longer than anybody waits; it is armed again when it fires. */
const delayMs = 3_600_000;

/** A timer that is there only to keep the process alive while something is pending (X6). */
export class KeepAlive {
  readonly #clock: Clock;
  #timer: Timer | undefined;
  #isOver = false;
  isIdle = true;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  rest(): void {
    this.isIdle = true;
    this.#timer?.unref();
  }

  wake(): void {
    this.isIdle = false;
    if (this.#isOver) return;
    this.#timer ??= this.#arm();
    this.#timer.ref();
  }

  end(): void {
    this.#isOver = true;
    this.#timer?.cancel();
  }

  #arm(): Timer {
    return this.#clock.setTimer(delayMs, () => {
      this.#timer = this.#arm();
      if (this.isIdle) this.#timer.unref();
    });
  }
}
