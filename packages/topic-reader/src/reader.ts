import type { ReaderBatch } from "./batch.ts";
import type { ReaderColumns } from "./columns.ts";
import { type ListenOptions, ListenerRun, type ReaderListener } from "./listener.ts";
import type { PartitionSession } from "./partition.ts";
import { ReaderDriver, type ReaderEvent } from "./reader-driver.ts";
import { ReaderError } from "./reader-error.ts";
import { type ReaderOptions, resolveReader } from "./reader-options.ts";
import type { UncommittedRange } from "./reader-types.ts";

/** How batches are read. */
export interface ReadOptions {
  /**
   * The most messages of one batch, at least 1.
   * @default Infinity: what came in one response
   */
  readonly maxMessages?: number;
  /** Ends the wait; the reader lives on. */
  readonly signal?: AbortSignal;
}

let createReader: (driver: ReaderDriver) => Reader;

/**
 * Reads topics, over any number of connections, until it is closed. Messages of a partition come in order and at least
 * once; what is committed does not come again.
 */
export class Reader implements AsyncIterable<ReaderBatch> {
  readonly #driver: ReaderDriver;
  #listener: ListenerRun | undefined;
  #closing: Promise<void> | undefined;

  private constructor(driver: ReaderDriver) {
    this.#driver = driver;
  }

  static {
    createReader = (driver) => new Reader(driver);
  }

  /** The server's name for the stream that is live; undefined while there is none. */
  get sessionId(): string | undefined {
    return this.#driver.reconnector.current?.session.sessionId;
  }

  /** What was asked to be committed and is not known to be. */
  get uncommitted(): readonly UncommittedRange[] {
    return this.#driver.state.uncommitted();
  }

  /**
   * Batches as they come, of one partition each; partitions take turns. Asking for the next one says that the one before
   * is handled, which a partition that is to be given back waits for. Leaving the loop ends the iteration, not the reader.
   * After `close()` and `destroy()` it ends.
   *
   * @throws {ReaderError} `FAILED`. @throws `options.signal.reason`.
   */
  read(options: ReadOptions = {}): AsyncIterableIterator<ReaderBatch, undefined> {
    this.#checkRead(options);
    return new BatchIterator(this.#driver, options);
  }

  /** `read()` with its defaults. */
  [Symbol.asyncIterator](): AsyncIterableIterator<ReaderBatch, undefined> {
    return this.read();
  }

  /**
   * The next batch.
   *
   * @throws {ReaderError} `CLOSED`, `FAILED`. @throws `options.signal.reason`.
   */
  async receive(options: ReadOptions = {}): Promise<ReaderBatch> {
    this.#checkRead(options);
    const taken = await takeNext(this.#driver, options);
    if (taken === undefined) throw this.#driver.overError ?? new ReaderError("CLOSED", "the reader is closing");
    this.#driver.handled(taken.session);
    return taken.batch;
  }

  /** The next batch if there is one here already, else null; also without a connection and after the end (P20). */
  receiveNowait(options: Pick<ReadOptions, "maxMessages"> = {}): ReaderBatch | null {
    this.#checkRead(options);
    const taken = this.#driver.take(options.maxMessages ?? Number.POSITIVE_INFINITY);
    if (taken === undefined) return null;
    this.#driver.handled(taken.session);
    return taken.batch;
  }

  /**
   * Calls back with every batch: one at a time for a partition, all partitions at once. Resolves when the reader was
   * closed or destroyed. Instead of `read` and `receive`, and once.
   *
   * @throws {ReaderError} `FAILED`; `OPTIONS_INVALID` when there is a listener already.
   */
  async listen(listener: ReaderListener, options: ListenOptions = {}): Promise<void> {
    if (this.#listener !== undefined) throw new ReaderError("OPTIONS_INVALID", "a reader has at most one listener");
    const driver = this.#driver;
    const over = Promise.withResolvers<void>();
    const run = new ListenerRun(driver, listener, options);
    if (driver.overError === undefined) {
      this.#listener = run;
      driver.keepAlive.hold();
      driver.onOver = (error) => {
        run.stop(error);
        over.resolve();
      };
      run.start();
      await over.promise;
      driver.keepAlive.drop();
    }
    if (driver.overError?.code === "FAILED") throw driver.overError;
  }

  /** What happens from now on. Ends with the reader; leaving the loop lets go. */
  events(): AsyncIterable<ReaderEvent> {
    return this.#driver.hub.subscribe();
  }

  /**
   * Delivers nothing more, lets listeners at work finish, commits what was asked to be committed, over new connections
   * if need be, and ends. Bounded by `closeTimeoutMs` (X3). Every caller gets the same outcome.
   *
   * @throws {ReaderError} `CLOSE_TIMEOUT`, `UNCOMMITTED`, `FAILED` or `CLOSED`, with `uncommitted`, when something that
   * was to be committed is not known to be. The reader is gone in every case.
   */
  close(): Promise<void> {
    this.#closing ??= this.#driver.close(() => this.#listener?.idle() ?? Promise.resolve());
    return this.#closing;
  }

  /** Cuts everything now. Who waits for a commit is rejected with `CLOSED`. Idempotent. */
  destroy(reason?: unknown): void {
    this.#driver.reconnector.destroy(reason);
  }

  /** `close()`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #checkRead({ maxMessages }: ReadOptions): void {
    if (maxMessages !== undefined && !(maxMessages >= 1)) {
      throw new ReaderError("OPTIONS_INVALID", `maxMessages must be at least 1, got ${maxMessages}`);
    }
    if (this.#listener !== undefined) {
      throw new ReaderError("OPTIONS_INVALID", "a reader with a listener is read by nobody else");
    }
  }
}

/**
 * Opens a reader and waits for its first connection.
 *
 * @throws {ReaderError} `OPTIONS_INVALID`; `FAILED` when the server says no for good. @throws `options.signal.reason`.
 */
export async function openReader(options: ReaderOptions): Promise<Reader> {
  options.signal?.throwIfAborted();
  const driver = new ReaderDriver(resolveReader(options));
  const reader = createReader(driver);
  driver.keepAlive.hold();
  driver.reconnector.start();
  try {
    await driver.reconnector.connected(options.signal === undefined ? {} : { signal: options.signal });
  } catch (error) {
    reader.destroy(error);
    await driver.reconnector.done;
    if (options.signal?.aborted) throw options.signal.reason;
    throw driver.overError ?? error;
  } finally {
    driver.keepAlive.drop();
  }
  return reader;
}

type Taken = NonNullable<ReturnType<ReaderDriver["take"]>>;

/** Undefined at the end. */
async function takeNext(driver: ReaderDriver, { maxMessages, signal }: ReadOptions): Promise<Taken | undefined> {
  for (;;) {
    if (signal?.aborted) {
      // It may have been woken for something. That is the next one's now, who would not be woken for it again.
      if (driver.state.hasReady) driver.takers.resolveFirst();
      throw signal.reason;
    }
    const taken = driver.take(maxMessages ?? Number.POSITIVE_INFINITY);
    if (taken !== undefined || driver.isEnding) return taken;
    driver.keepAlive.hold();
    try {
      await driver.takers.wait(signal);
    } finally {
      driver.keepAlive.drop();
    }
  }
}

class BatchIterator implements AsyncIterableIterator<ReaderBatch, undefined> {
  readonly #driver: ReaderDriver;
  readonly #options: ReadOptions;
  readonly #maxMessages: number;
  /** Whose batch is in the loop's body. */
  #current: PartitionSession<ReaderColumns> | undefined;
  #isDone = false;

  constructor(driver: ReaderDriver, options: ReadOptions) {
    this.#driver = driver;
    this.#options = options;
    this.#maxMessages = options.maxMessages ?? Number.POSITIVE_INFINITY;
  }

  next(): Promise<IteratorResult<ReaderBatch, undefined>> {
    this.#letGo();
    if (!this.#isDone && !this.#options.signal?.aborted) {
      const taken = this.#driver.take(this.#maxMessages);
      if (taken !== undefined) return Promise.resolve(this.#give(taken));
    }
    return this.#wait();
  }

  return(): Promise<IteratorResult<ReaderBatch, undefined>> {
    this.#letGo();
    this.#isDone = true;
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async #wait(): Promise<IteratorResult<ReaderBatch, undefined>> {
    if (this.#isDone) return { done: true, value: undefined };
    const taken = await takeNext(this.#driver, this.#options);
    if (taken !== undefined) return this.#give(taken);
    this.#isDone = true;
    const { overError } = this.#driver;
    if (overError?.code === "FAILED") throw overError;
    return { done: true, value: undefined };
  }

  #give({ session, batch }: Taken): IteratorResult<ReaderBatch, undefined> {
    // Of two that were asked for at once.
    this.#letGo();
    this.#current = session;
    return { done: false, value: batch };
  }

  #letGo(): void {
    if (this.#current !== undefined) this.#driver.handled(this.#current);
    this.#current = undefined;
  }
}
