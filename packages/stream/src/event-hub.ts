/** Added by the hub itself, in front of the first event that a slow reader still gets. */
export interface SkippedEvent {
  readonly type: "skipped";
  readonly count: number;
}

/**
 * Tells everybody who listens what happened, without waiting for anybody. Each reader has a bounded buffer; when it is
 * full the oldest events make room and their number is told.
 */
export class EventHub<E extends { readonly type: string }> {
  readonly #readers = new Set<Reader<E>>();
  readonly #maxBuffered: number;
  #isOver = false;

  constructor(maxBuffered = 1024) {
    this.#maxBuffered = maxBuffered;
  }

  /** Whether anybody would notice, so that an event need not be made. */
  get hasReaders(): boolean {
    return this.#readers.size > 0;
  }

  emit(event: E): void {
    for (const reader of this.#readers) reader.push(event);
  }

  /** Ends every reader after what it has yet to read. */
  close(): void {
    this.#isOver = true;
    for (const reader of this.#readers) reader.end();
    this.#readers.clear();
  }

  /** What happens from now on. Leaving the loop lets go of the hub. */
  subscribe(): AsyncIterableIterator<E | SkippedEvent, undefined> {
    const reader = new Reader<E>(this.#maxBuffered, () => this.#readers.delete(reader));
    if (this.#isOver) reader.end();
    else this.#readers.add(reader);
    return reader;
  }
}

type Next<E> = IteratorResult<E | SkippedEvent, undefined>;

class Reader<E> implements AsyncIterableIterator<E | SkippedEvent, undefined> {
  readonly #maxBuffered: number;
  readonly #letGo: () => void;
  #buffer: E[] = [];
  #skipped = 0;
  #isOver = false;
  #asking: ((next: Next<E>) => void)[] = [];

  constructor(maxBuffered: number, letGo: () => void) {
    this.#maxBuffered = maxBuffered;
    this.#letGo = letGo;
  }

  push(event: E): void {
    const ask = this.#asking.shift();
    if (ask !== undefined) {
      ask({ done: false, value: event });
      return;
    }
    if (this.#buffer.length === this.#maxBuffered) {
      this.#buffer.shift();
      this.#skipped++;
    }
    this.#buffer.push(event);
  }

  end(): void {
    this.#isOver = true;
    for (const ask of this.#asking.splice(0)) ask({ done: true, value: undefined });
  }

  next(): Promise<Next<E>> {
    if (this.#skipped > 0) {
      const count = this.#skipped;
      this.#skipped = 0;
      return Promise.resolve({ done: false, value: { type: "skipped", count } });
    }
    const event = this.#buffer.shift();
    if (event !== undefined) return Promise.resolve({ done: false, value: event });
    if (this.#isOver) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve) => this.#asking.push(resolve));
  }

  return(): Promise<Next<E>> {
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
