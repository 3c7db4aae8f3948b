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

/**
 * A bounded queue from synchronous producers to one consumer, in order. A producer that waits for `ready()` whenever
 * `push` returned false keeps it at most one item above `highWaterMark`.
 */
export declare class AsyncQueue<T> implements AsyncIterable<T> {
  constructor(options?: AsyncQueueOptions<T>);
  /** Items waiting. */
  get length(): number;
  /** Sum of `sizeOf` over the items waiting. */
  get size(): number;
  /** Neither closed nor failed. */
  get isOpen(): boolean;
  /** Whether a push would be below `highWaterMark`. */
  get isReady(): boolean;
  /** Adds an item. False: wait for `ready()` before the next one; or the queue is over and the item went nowhere. */
  push(item: T): boolean;
  /**
   * Resolves when there is room.
   *
   * @throws {StreamError} `CLOSED` when the queue is over, or the error it failed with.
   * @throws `signal.reason`.
   */
  ready(signal?: AbortSignal): Promise<void>;
  /** Everything that waits, at once; the queue is empty then. */
  takeAll(): T[];
  /**
   * Resolves with true when there is something to take, with false at the end.
   *
   * @throws the error the queue failed with; `signal.reason`.
   */
  readable(signal?: AbortSignal): Promise<boolean>;
  /** Ends after the items that wait. Idempotent. */
  close(): void;
  /** Ends now: what waits is discarded and the consumer gets the error. The first of `close` and `fail` wins. */
  fail(error: unknown): void;
  /** One consumer. Leaving its loop closes the queue and discards what waits. */
  [Symbol.asyncIterator](): AsyncIterator<T, undefined>;
}
