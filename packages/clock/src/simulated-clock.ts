import type { Clock, Timer } from "./clock.ts";
import { EventQueue, type Queued } from "./event-queue.ts";
import type { Rng } from "./rng.ts";
import { checkedDelay, sleepWith } from "./sleep.ts";

export type TimerKind = "immediate" | "sleep" | "timer";

/** Something the simulation still has to run. */
export interface PendingTimer {
  readonly kind: TimerKind;
  /** On the monotonic clock; `Infinity` when it never comes. */
  readonly dueMs: number;
  readonly isRef: boolean;
  /** Where it was set: a stack when the simulation keeps origins, or when it never comes due. */
  readonly origin: string | undefined;
}

/** What `Error.captureStackTrace` fills; the text is only made when it is read. */
interface Stack {
  readonly stack?: string;
}

class SimulatedTimer implements Timer, Queued, PendingTimer {
  readonly #clock: SimulatedClock;
  readonly #stack: Stack | undefined;
  readonly kind: TimerKind;
  readonly dueMs: number;
  readonly rank: number;
  readonly id: number;
  readonly callback: () => void;
  isCancelled = false;
  isDone = false;
  isRef = true;

  constructor(clock: SimulatedClock, id: number, kind: TimerKind, dueMs: number, callback: () => void, stack?: Stack) {
    this.#clock = clock;
    this.#stack = stack;
    this.id = id;
    this.kind = kind;
    this.dueMs = dueMs;
    this.rank = clock.order.uint32();
    this.callback = callback;
  }

  get origin(): string | undefined {
    return this.#stack?.stack?.split("\n").slice(1).join("\n");
  }

  cancel(): void {
    if (!this.isCancelled && !this.isDone) this.#clock.queue.cancel(this);
  }

  ref(): this {
    this.isRef = true;
    return this;
  }

  unref(): this {
    this.isRef = false;
    return this;
  }
}

/** Virtual time: it moves only when the simulation moves it. */
export class SimulatedClock implements Clock {
  readonly queue = new EventQueue<SimulatedTimer>();
  /** Draws the order among events due together. */
  readonly order: Rng;
  readonly #keepOrigins: boolean;
  #nextId = 0;
  #elapsedMs = 0;
  #wallOffsetMs: number;

  constructor(order: Rng, startMs: number, keepOrigins: boolean) {
    this.order = order;
    this.#wallOffsetMs = startMs;
    this.#keepOrigins = keepOrigins;
  }

  now(): number {
    return Math.floor(this.#wallOffsetMs + this.#elapsedMs);
  }

  monotonic(): number {
    return this.#elapsedMs;
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    return this.#schedule("timer", checkedDelay(delayMs), callback, this.setTimer);
  }

  setImmediate(callback: () => void): Timer {
    return this.#schedule("immediate", 0, callback, this.setImmediate);
  }

  sleep(...[delayMs, options]: Parameters<Clock["sleep"]>): Promise<void> {
    return sleepWith(
      (ms, callback) => this.#schedule("sleep", checkedDelay(ms), callback, this.sleep),
      delayMs,
      options,
    );
  }

  moveTo(elapsedMs: number): void {
    this.#elapsedMs = Math.max(this.#elapsedMs, elapsedMs);
  }

  jumpWall(byMs: number): void {
    this.#wallOffsetMs += byMs;
  }

  /** `entry` is the method that was called: the origin begins above it. */
  #schedule(kind: TimerKind, delayMs: number, callback: () => void, entry: (...args: never[]) => unknown): Timer {
    let origin: Stack | undefined;
    if (this.#keepOrigins || delayMs === Number.POSITIVE_INFINITY) {
      origin = {};
      Error.captureStackTrace(origin, entry);
    }
    const timer = new SimulatedTimer(this, this.#nextId++, kind, this.#elapsedMs + delayMs, callback, origin);
    this.queue.push(timer);
    return timer;
  }
}
