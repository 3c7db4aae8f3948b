import { requireAbove } from "./options.ts";
import { StreamError } from "./stream-error.ts";
import { Waiters } from "./waiters.ts";

/** How much a queue holds. */
export interface AsyncQueueOptions<T> {
  /**
   * From which size on `push` returns false, above 0.
   * @default 1_024
   */
  readonly highWaterMark?: number;
  /**
   * What an item adds to the size.
   * @default 1
   */
  readonly sizeOf?: (item: T) => number;
}

type QueueEnd = { readonly type: "closed" } | { readonly type: "failed"; readonly error: unknown };

/**
 * A bounded queue from synchronous producers to one consumer, in order. A producer that waits for `ready()` whenever
 * `push` returned false keeps it at most one item above `highWaterMark`.
 */
export class AsyncQueue<T> implements AsyncIterable<T> {
  readonly #highWaterMark: number;
  readonly #sizeOf: ((item: T) => number) | undefined;
  readonly #producers = new Waiters();
  readonly #consumer = new Waiters();
  #items: T[] = [];
  /** What of `#items` was taken one by one. */
  #head = 0;
  #size = 0;
  #end: QueueEnd | undefined;
  #producerError: unknown;

  /** @throws {StreamError} `OPTIONS_INVALID`. */
  constructor(options: AsyncQueueOptions<T> = {}) {
    this.#highWaterMark = options.highWaterMark ?? 1024;
    requireAbove("highWaterMark", this.#highWaterMark, 0);
    this.#sizeOf = options.sizeOf;
  }

  /** Items waiting. */
  get length(): number {
    return this.#items.length - this.#head;
  }

  /** Sum of `sizeOf` over the items waiting. */
  get size(): number {
    return this.#size;
  }

  /** Neither closed, failed nor cancelled. */
  get isOpen(): boolean {
    return this.#end === undefined;
  }

  /** Whether it is open and below `highWaterMark`. */
  get isReady(): boolean {
    return this.#end === undefined && this.#size < this.#highWaterMark;
  }

  /** Adds an item. False: wait for `ready()` before the next one; or the queue is over and the item went nowhere. */
  push(item: T): boolean {
    if (this.#end !== undefined) return false;
    this.#items.push(item);
    this.#size += this.#sizeOf === undefined ? 1 : this.#sizeOf(item);
    if (this.#consumer.size > 0) this.#consumer.resolve();
    return this.#size < this.#highWaterMark;
  }

  /**
   * Resolves when there is room.
   *
   * @throws {StreamError} `CLOSED` when the queue is over, or the error it ended with.
   * @throws `signal.reason`.
   */
  ready(signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.reject(signal.reason as Error);
    if (this.#end !== undefined) return Promise.reject(this.#producerError as Error);
    if (this.isReady) return Promise.resolve();
    return this.#producers.wait(signal);
  }

  /** Everything that waits, at once; the queue is empty then. */
  takeAll(): T[] {
    const items = this.#head === 0 ? this.#items : this.#items.slice(this.#head);
    this.#items = [];
    this.#head = 0;
    this.#setSize(0);
    return items;
  }

  /**
   * Resolves with true when there is something to take, with false at the end.
   *
   * @throws the error the queue failed with; `signal.reason`.
   */
  async readable(signal?: AbortSignal): Promise<boolean> {
    for (;;) {
      if (this.length > 0) return true;
      if (this.#end?.type === "failed") throw this.#end.error;
      if (this.#end !== undefined) return false;
      await this.#consumer.wait(signal);
    }
  }

  /** Ends after the items that wait. Idempotent. */
  close(): void {
    this.#over({ type: "closed" }, new StreamError("CLOSED", "The queue is closed"));
  }

  /** Ends now: what waits is discarded and both sides get the error. The first end wins. */
  fail(error: unknown): void {
    if (this.#over({ type: "failed", error }, error)) this.takeAll();
  }

  /** Ends now: what waits is discarded, the consumer's loop ends and producers get the error. Also after `close`. */
  cancel(error: unknown = new StreamError("CLOSED", "The queue is closed")): void {
    this.#over({ type: "closed" }, error);
    this.takeAll();
  }

  /** One consumer. Leaving its loop cancels the queue. */
  [Symbol.asyncIterator](): AsyncIterator<T, undefined> {
    return {
      next: () => {
        if (this.length > 0) return Promise.resolve({ done: false, value: this.#shift() });
        return this.#next();
      },
      return: () => {
        this.cancel();
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }

  async #next(): Promise<IteratorResult<T, undefined>> {
    while (await this.readable()) {
      // While this woke up, `cancel` or `takeAll` may have emptied it.
      if (this.length > 0) return { done: false, value: this.#shift() };
    }
    return { done: true, value: undefined };
  }

  #shift(): T {
    const item = this.#items[this.#head] as T;
    this.#items[this.#head++] = undefined as T;
    if (this.#head === this.#items.length) {
      this.#items = [];
      this.#head = 0;
    } else if (this.#head >= 1024 && this.#head * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    this.#setSize(this.#size - (this.#sizeOf === undefined ? 1 : this.#sizeOf(item)));
    return item;
  }

  #setSize(size: number): void {
    this.#size = size;
    if (this.#producers.size > 0 && this.isReady) this.#producers.resolve();
  }

  #over(end: QueueEnd, producerError: unknown): boolean {
    if (this.#end !== undefined) return false;
    this.#end = end;
    this.#producerError = producerError;
    this.#producers.reject(producerError);
    this.#consumer.resolve();
    return true;
  }
}
