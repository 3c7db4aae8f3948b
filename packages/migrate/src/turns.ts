import { MigrateError } from "./migrate-error.ts";

/** Lets one work at a time, in the order they came. */
export class Turns {
  /** Settles when whoever came last is done. */
  #tail: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** @throws {MigrateError} `CLOSED` */
  alone<T>(work: () => T | Promise<T>): Promise<T> {
    const turn = this.#tail.then(() => {
      this.requireOpen();
      return work();
    });
    this.#tail = turn.catch(() => undefined);
    return turn;
  }

  /** Ends with the turns that were asked for before; `work` is the last one. */
  close(work: () => void | Promise<void>): Promise<void> {
    if (this.#isClosed) return this.#tail.then(() => undefined);
    return this.alone(() => {
      this.#isClosed = true;
      return work();
    });
  }

  /** @throws {MigrateError} `CLOSED` */
  requireOpen(): void {
    if (this.#isClosed) throw new MigrateError("CLOSED", "the connection of the engine is closed");
  }
}
