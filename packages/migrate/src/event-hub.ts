import type { MigrationEvent } from "./migration-event.ts";

/** Events a reader may be behind. */
const maxBuffered = 1024;

type Next = IteratorResult<MigrationEvent, undefined>;

/** Tells every reader what happened and waits for none of them. */
export class EventHub {
  readonly #readers = new Set<Reader>();
  #isClosed = false;

  readonly emit = (event: MigrationEvent): void => {
    for (const reader of this.#readers) reader.push(event);
  };

  close(): void {
    this.#isClosed = true;
    for (const reader of this.#readers) reader.end();
    this.#readers.clear();
  }

  /** What happens from now on. Leaving the loop lets go. */
  subscribe(): AsyncIterableIterator<MigrationEvent, undefined> {
    const reader = new Reader(() => this.#readers.delete(reader));
    if (this.#isClosed) reader.end();
    else this.#readers.add(reader);
    return reader;
  }
}

class Reader implements AsyncIterableIterator<MigrationEvent, undefined> {
  readonly #letGo: () => void;
  readonly #waiting: ((next: Next) => void)[] = [];
  #buffer: MigrationEvent[] = [];
  #skipped = 0;
  #isOver = false;

  constructor(letGo: () => void) {
    this.#letGo = letGo;
  }

  push(event: MigrationEvent): void {
    const waiting = this.#waiting.shift();
    if (waiting !== undefined) return waiting({ done: false, value: event });
    if (this.#buffer.length >= maxBuffered) {
      this.#buffer.shift();
      this.#skipped++;
    }
    this.#buffer.push(event);
  }

  end(): void {
    this.#isOver = true;
    for (const waiting of this.#waiting.splice(0)) waiting({ done: true, value: undefined });
  }

  next(): Promise<Next> {
    if (this.#skipped > 0) {
      const value = { type: "skipped", count: this.#skipped } as const;
      this.#skipped = 0;
      return Promise.resolve({ done: false, value });
    }
    const value = this.#buffer.shift();
    if (value !== undefined) return Promise.resolve({ done: false, value });
    if (this.#isOver) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  return(): Promise<Next> {
    this.#buffer = [];
    this.#skipped = 0;
    this.#letGo();
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
