import type { Timer } from "@tidemark/clock";
import { backoffDelayMs } from "@tidemark/stream";
import type { ReaderBatch } from "./batch.ts";
import type { ReaderColumns } from "./columns.ts";
import type { PartitionSession } from "./partition.ts";
import type { ReaderDriver } from "./reader-driver.ts";
import { ReaderError } from "./reader-error.ts";
import type { PartitionEnd } from "./reader-types.ts";

/**
 * Handles the batches of a partition, one at a time. When it throws it is given the same batch again, later and later;
 * what comes behind waits for it. `signal` aborts when the partition was taken away or the reader ends.
 */
export type ReaderListener = (batch: ReaderBatch, signal: AbortSignal) => void | Promise<void>;

/** How a listener is called. */
export interface ListenOptions {
  /**
   * The most messages of one batch, at least 1.
   * @default Infinity: what came in one response
   */
  readonly maxMessages?: number;
  /**
   * Whether a batch is committed when it was handled.
   * @default true, if there is a consumer
   */
  readonly isAutoCommit?: boolean;
}

interface Work {
  readonly session: PartitionSession<ReaderColumns>;
  readonly batch: ReaderBatch;
  readonly controller: AbortController;
  timer?: Timer;
}

/** The waits between calls that fail. */
const retryDelays = {
  initialDelayMs: 100,
  maxDelayMs: 30_000,
  slowInitialDelayMs: 100,
  slowMaxDelayMs: 30_000,
} as const;

/** Calls the listener for every partition that has something, each partition on its own (X12). */
export class ListenerRun {
  readonly #driver: ReaderDriver;
  readonly #listener: ReaderListener;
  readonly #maxMessages: number;
  readonly #isAutoCommit: boolean;
  readonly #work = new Set<Work>();
  #stallTimer: Timer | undefined;
  #idle: PromiseWithResolvers<void> | undefined;

  constructor(driver: ReaderDriver, listener: ReaderListener, options: ListenOptions) {
    this.#driver = driver;
    this.#listener = listener;
    this.#maxMessages = options.maxMessages ?? Number.POSITIVE_INFINITY;
    if (!(this.#maxMessages >= 1)) {
      throw new ReaderError("OPTIONS_INVALID", `maxMessages must be at least 1, got ${options.maxMessages}`);
    }
    this.#isAutoCommit = options.isAutoCommit ?? driver.options.consumer !== "";
  }

  start(): void {
    const driver = this.#driver;
    driver.state.listen();
    driver.onWake = () => this.#dispatch();
    driver.onEnded = (session, reason) => this.#ended(session, reason);
    this.#watch();
    this.#dispatch();
  }

  /** Resolves when no listener is at work. Nothing new is begun once the reader is closing. */
  idle(): Promise<void> {
    // What only waits to be tried again need not be waited for: it is not committed.
    for (const work of this.#work) if (work.timer !== undefined) this.#finish(work);
    if (this.#work.size === 0) return Promise.resolve();
    this.#idle ??= Promise.withResolvers<void>();
    return this.#idle.promise;
  }

  stop(reason: unknown): void {
    this.#stallTimer?.cancel();
    for (const work of this.#work) {
      work.timer?.cancel();
      work.controller.abort(reason);
    }
    this.#work.clear();
    this.#idle?.resolve();
  }

  #dispatch(): void {
    for (let taken = this.#driver.take(this.#maxMessages); taken; taken = this.#driver.take(this.#maxMessages)) {
      const work: Work = { ...taken, controller: new AbortController() };
      this.#work.add(work);
      void this.#call(work, 1);
    }
  }

  async #call(work: Work, attempt: number): Promise<void> {
    const { batch, controller } = work;
    try {
      const { signal } = controller;
      await this.#listener(batch, signal);
    } catch (error) {
      this.#failed(work, attempt, error);
      return;
    }
    if (!this.#work.has(work)) return;
    if (this.#isAutoCommit) batch.commitAndForget();
    this.#finish(work);
  }

  #failed(work: Work, attempt: number, error: unknown): void {
    if (!this.#work.has(work)) return;
    const { session, batch, controller } = work;
    // Somebody else has it now, or will be given it: the server starts from what is committed.
    if (controller.signal.aborted || session.status === "over" || this.#driver.isEnding) {
      this.#finish(work);
      return;
    }
    const { clock, rng } = this.#driver.options;
    const retryDelayMs = backoffDelayMs(retryDelays, "fast", attempt, rng);
    const { topic, partitionId } = batch;
    this.#driver.tell({ type: "listener-failed", topic, partitionId, error, attempt, retryDelayMs });
    work.timer = clock.setTimer(retryDelayMs, () => {
      delete work.timer;
      void this.#call(work, attempt + 1);
    });
  }

  #finish(work: Work): void {
    work.timer?.cancel();
    if (!this.#work.delete(work)) return;
    this.#driver.handled(work.session);
    if (this.#work.size === 0) this.#idle?.resolve();
  }

  #ended(session: PartitionSession<ReaderColumns>, reason: PartitionEnd): void {
    for (const work of this.#work) {
      if (work.session !== session) continue;
      // After a lost connection its commit still counts, so it may go on.
      if (reason !== "disconnected")
        work.controller.abort(new ReaderError("PARTITION_LOST", `the partition is ${reason}`));
      if (work.timer !== undefined) this.#finish(work);
    }
  }

  #watch(): void {
    const { clock, listenerStallMs } = this.#driver.options;
    this.#stallTimer = clock.setTimer(listenerStallMs, () => {
      this.#driver.state.checkStalled();
      this.#driver.run();
      this.#watch();
    });
    this.#stallTimer.unref();
  }
}
