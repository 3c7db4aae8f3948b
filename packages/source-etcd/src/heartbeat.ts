import type { Clock, Timer } from "@tidemark/clock";

export interface HeartbeatOptions {
  readonly clock: Clock;
  readonly intervalMs: number;
  readonly silenceMs: number;
  /** Asks the peer for a sign of life. */
  ask(): void;
  /** There was none for `silenceMs`. Called once; the heart stands still then. */
  onSilent(): void;
}

/** Asks when nothing comes, and notices when asking does not help. Does not keep the process alive. */
export class Heartbeat {
  readonly #options: HeartbeatOptions;
  #timer: Timer | undefined;
  #dueAtMs = 0;
  #seenAtMs: number;
  #isHeld = false;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
    this.#seenAtMs = options.clock.monotonic();
    this.#schedule(options.intervalMs);
  }

  /** The peer lives. */
  seen(): void {
    this.#seenAtMs = this.#options.clock.monotonic();
  }

  /** We do not listen: silence means nothing until `release`. */
  hold(): void {
    this.#isHeld = true;
  }

  release(): void {
    this.#isHeld = false;
    this.seen();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #schedule(delayMs: number): void {
    this.#dueAtMs = this.#options.clock.monotonic() + delayMs;
    this.#timer = this.#options.clock.setTimer(delayMs, () => this.#beat()).unref();
  }

  #beat(): void {
    const { clock, intervalMs, silenceMs } = this.#options;
    const now = clock.monotonic();
    // A timer this late means that this process stood still; what the peer said meanwhile is not read yet.
    if (this.#isHeld || now - this.#dueAtMs > intervalMs) this.#seenAtMs = now;
    const silentMs = now - this.#seenAtMs;
    if (silentMs >= silenceMs) {
      this.stop();
      this.#options.onSilent();
      return;
    }
    if (silentMs >= intervalMs) this.#options.ask();
    // Right when it would be due, neither a beat late nor in a busy loop.
    this.#schedule(silentMs < intervalMs ? intervalMs - silentMs : Math.min(intervalMs, silenceMs - silentMs));
  }
}
