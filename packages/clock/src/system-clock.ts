import type { Clock, Timer } from "./clock.ts";
import { checkedDelay, sleepWith } from "./sleep.ts";

/** Node's timers fire at once above this. */
const maxChunkMs = 2 ** 31 - 1;

/** A browser's timer is a number instead, which keeps nothing alive. */
type Handle = Partial<Pick<NodeJS.Timeout, "ref" | "unref">>;

function hold(handle: Handle | undefined, isRef: boolean): void {
  if (isRef) handle?.ref?.();
  else handle?.unref?.();
}

class SystemTimer implements Timer {
  readonly #callback: () => void;
  readonly #dueMs: number;
  #handle: ReturnType<typeof setTimeout> | undefined;
  #isRef = true;

  constructor(delayMs: number, callback: () => void) {
    this.#callback = callback;
    this.#dueMs = performance.now() + delayMs;
    this.#arm(delayMs);
  }

  cancel(): void {
    clearTimeout(this.#handle);
    this.#handle = undefined;
  }

  ref(): this {
    this.#isRef = true;
    hold(this.#handle, true);
    return this;
  }

  unref(): this {
    this.#isRef = false;
    hold(this.#handle, false);
    return this;
  }

  #arm(delayMs: number): void {
    this.#handle = setTimeout(this.#fire, Math.min(Math.ceil(delayMs), maxChunkMs));
    if (!this.#isRef) hold(this.#handle, false);
  }

  readonly #fire = (): void => {
    // Besides the chunks of a long delay: libuv counts from the start of its turn in whole milliseconds, so it can be
    // up to one early.
    const leftMs = this.#dueMs - performance.now();
    if (leftMs > 0) {
      this.#arm(leftMs);
      return;
    }
    this.#handle = undefined;
    this.#callback();
  };
}

class SystemImmediate implements Timer {
  readonly #handle: NodeJS.Immediate;

  constructor(callback: () => void) {
    this.#handle = setImmediate(callback);
  }

  cancel(): void {
    clearImmediate(this.#handle);
  }

  ref(): this {
    this.#handle.ref();
    return this;
  }

  unref(): this {
    this.#handle.unref();
    return this;
  }
}

const setTimer: Clock["setTimer"] = (delayMs, callback) => new SystemTimer(checkedDelay(delayMs), callback);

/** The machine's own time. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimer,
  setImmediate: (callback) => new SystemImmediate(callback),
  sleep: (delayMs, options) => sleepWith(setTimer, delayMs, options),
};
