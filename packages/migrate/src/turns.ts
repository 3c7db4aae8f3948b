import { MigrateError } from "./migrate-error.ts";

/** Lets one work at a time, or a few, in the order they came. */
export class Turns {
  #width: number;
  readonly #waiting: (() => void)[] = [];
  #free: number;
  #isClosed = false;

  /** `width`: how many work at a time. */
  constructor(width = 1) {
    this.#width = width;
    this.#free = width;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Changes how many work at a time; whoever works now goes on. */
  widen(width: number): void {
    this.#free += width - this.#width;
    this.#width = width;
    while (this.#free > 0 && this.#waiting.length > 0) {
      this.#free--;
      this.#waiting.shift()?.();
    }
  }

  /** @throws {MigrateError} `CLOSED` */
  async alone<T>(work: () => T | Promise<T>): Promise<T> {
    await this.#enter();
    try {
      this.requireOpen();
      return await work();
    } finally {
      this.#leave();
    }
  }

  /** Ends with the turns that were asked for before; `work` is the last one. */
  async close(work: () => void | Promise<void>): Promise<void> {
    const seats = Array.from({ length: this.#width }, () => this.#enter());
    await Promise.all(seats);
    try {
      if (this.#isClosed) return;
      this.#isClosed = true;
      await work();
    } finally {
      for (const _ of seats) this.#leave();
    }
  }

  /** @throws {MigrateError} `CLOSED` */
  requireOpen(): void {
    if (this.#isClosed) throw new MigrateError("CLOSED", "the connection of the engine is closed");
  }

  async #enter(): Promise<void> {
    if (this.#free > 0) {
      this.#free--;
      return;
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push(resolve);
    await promise;
  }

  /** Hands the seat to whoever waits longest, so that nobody can come in between. */
  #leave(): void {
    // Fewer are let in than before.
    const next = this.#free < 0 ? undefined : this.#waiting.shift();
    if (next === undefined) this.#free++;
    else next();
  }
}
