import type { Timer } from "@tidemark/clock";
import { type StreamConnection, StreamError, type StreamEvent, StreamReconnector } from "@tidemark/stream";
import { EventHub, Waiters } from "@tidemark/stream/internal";
import type { TopicTransaction } from "@tidemark/topic";
import { type BatchOwner, createBatch, type ReaderBatch } from "./batch.ts";
import type { ReaderColumns } from "./columns.ts";
import { DecodePump } from "./decode-pump.ts";
import { channels } from "./diagnostics.ts";
import { KeepAlive } from "./keep-alive.ts";
import type { Partition, PartitionSession } from "./partition.ts";
import type { ReaderEffect } from "./reader-effect.ts";
import { ReaderError, type ReaderErrorCode } from "./reader-error.ts";
import type { ResolvedReader } from "./reader-options.ts";
import { ReaderState } from "./reader-state.ts";
import { type ReaderSession, readerProtocol } from "./reader-transport.ts";
import type { PartitionEnd, ReaderOwnEvent, UncommittedRange } from "./reader-types.ts";
import { encodeRequest } from "./reader-wire.ts";
import { StartHooks } from "./start-hooks.ts";
import { TransactionOffsets } from "./transaction-offsets.ts";

type Connection = StreamConnection<Uint8Array, Uint8Array, ReaderSession>;
type Session = PartitionSession<ReaderColumns>;

/** What happens to a reader and its stream. */
export type ReaderEvent = ReaderOwnEvent | StreamEvent;

/** Does what the state wants done: owns the stream, the timers, the hooks and everybody who waits. */
export class ReaderDriver implements BatchOwner {
  readonly options: ResolvedReader;
  readonly state: ReaderState<ReaderColumns>;
  readonly reconnector: StreamReconnector<Uint8Array, Uint8Array, ReaderSession>;
  readonly hub = new EventHub<Exclude<ReaderEvent, { readonly type: "skipped" }>>();
  readonly keepAlive: KeepAlive;
  /** Those who wait for something to be delivered. */
  readonly takers = new Waiters();
  /** Called after something became deliverable, instead of waking who waits. */
  onWake: (() => void) | undefined;
  /** Called when a partition was taken away, for whoever works on it. */
  onEnded: ((session: Session, reason: PartitionEnd) => void) | undefined;
  /** Called when it is over for good. */
  onOver: ((error: ReaderError) => void) | undefined;
  #over:
    | { readonly error: ReaderError; readonly isFailed: boolean; readonly uncommitted: readonly UncommittedRange[] }
    | undefined;
  readonly #pump: DecodePump<ReaderColumns>;
  readonly #hooks: StartHooks<ReaderColumns> | undefined;
  readonly #transactions: TransactionOffsets<ReaderColumns>;
  readonly #stopTimers = new Map<Session, Timer>();
  readonly #lossTimers = new Map<Partition<ReaderColumns>, Timer>();
  #connection: Connection | undefined;
  #flushTimer: Timer | undefined;
  #isRunning = false;
  #flushed: PromiseWithResolvers<void> | undefined;
  #commitWaiters = 0;

  constructor(options: ResolvedReader) {
    this.options = options;
    const { clock, consumer, maxBufferBytes } = options;
    this.state = new ReaderState<ReaderColumns>({
      maxBufferBytes,
      hasConsumer: consumer !== "",
      initialOffset: (topic, partitionId) => initialOffset(options, topic, partitionId),
    });
    this.keepAlive = new KeepAlive(clock);
    this.#pump = new DecodePump(maxBufferBytes, (chunk) => {
      this.state.decoded(chunk);
      this.run();
    });
    if (options.onPartitionStart !== undefined) {
      this.#hooks = new StartHooks({
        clock,
        hook: options.onPartitionStart,
        timeoutMs: options.startHookTimeoutMs,
        retryDelayMs: options.startHookRetryMs,
        onAnswer: (session, readOffset, commitOffset) => {
          this.state.answerStart(session, readOffset, commitOffset);
          this.run();
        },
        onFailed: ({ partition: { topic, partitionId } }, error) => {
          const retryDelayMs = options.startHookRetryMs;
          this.tell({ type: "start-failed", topic, partitionId, error, retryDelayMs });
        },
      });
    }
    this.#transactions = new TransactionOffsets({
      consumer,
      onCommitted: (partition, committed) => {
        this.state.transactionCommitted(partition, committed);
        this.run();
      },
      onNotCommitted: (why) => this.reconnect(why),
    });
    this.reconnector = new StreamReconnector(
      readerProtocol(options, {
        state: this.state,
        run: () => this.run(),
        onUnknown: () => this.tell({ type: "unknown-message" }),
      }),
      {
        ...options,
        onConnected: (connection) => {
          this.#connection = connection;
          this.state.connected();
          this.run();
        },
        onDisconnected: () => {
          this.#connection = undefined;
          this.state.disconnected();
          this.run();
        },
      },
    );
    void this.#relay();
    void this.reconnector.done.then(({ error }) => this.#end(error));
  }

  tell(event: Exclude<ReaderEvent, { readonly type: "skipped" }>): void {
    if (this.hub.hasReaders) this.hub.emit(event);
    try {
      this.options.onEvent?.(event);
    } catch (error) {
      // Not in the middle of what it was told of.
      queueMicrotask(() => {
        throw error;
      });
    }
  }

  /** Does what is to be done. What that causes is done in the same turn, behind it (X12). */
  run(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    const { state } = this;
    while (state.effects.length > 0) {
      const { effects } = state;
      state.effects = [];
      for (const effect of effects) this.#do(effect);
    }
    this.#isRunning = false;
  }

  /** The next batch, if there is one. It is in somebody's hands until `handled`. */
  take(maxMessages: number): { readonly session: Session; readonly batch: ReaderBatch } | undefined {
    const taken = this.state.take(maxMessages);
    if (taken === undefined) return undefined;
    const { chunk, from, to, anchor } = taken;
    const { session, columns } = chunk;
    this.run();
    this.#pump.pump();
    if (channels.batchDelivered.hasSubscribers) {
      const { topic, partitionId } = session.partition;
      channels.batchDelivered.publish({ topic, partitionId, messages: to - from });
    }
    return { session, batch: createBatch(this, session, columns, from, to, anchor) };
  }

  handled(session: Session): void {
    this.state.handled(session);
    this.run();
  }

  commit(session: Session, start: number, end: number): Promise<void> {
    const error = this.#commitError(session);
    if (error !== undefined) return Promise.reject(error);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter = {
      end,
      resolve: () => {
        this.#waitsLess();
        resolve();
      },
      reject: (reason: unknown) => {
        this.#waitsLess();
        reject(reason as Error);
      },
    };
    const outcome = this.state.commit(session.partition, start, end, waiter);
    if (outcome === "pending") {
      if (this.#commitWaiters++ === 0) this.keepAlive.hold();
    } else if (outcome === "done") resolve();
    else reject(lostError(session.partition));
    this.run();
    return promise;
  }

  commitAndForget(session: Session, start: number, end: number): void {
    const { partition } = session;
    const isLost = this.#commitError(session) !== undefined || this.state.commit(partition, start, end) === "lost";
    if (isLost) {
      const { topic, partitionId } = partition;
      this.tell({ type: "commit-lost", topic, partitionId, start: BigInt(start), end: BigInt(end) });
    }
    this.run();
  }

  commitIn(transaction: TopicTransaction, session: Session, start: number, end: number): void {
    const error = this.#commitError(session);
    if (error !== undefined) throw error;
    this.#transactions.add(transaction, session, start, end);
  }

  /** Drops the stream and reads again from what is committed. */
  reconnect(why: string): void {
    this.#connection?.fail(new ReaderError("RESTARTED", why, { retryable: true }));
  }

  /**
   * Delivers nothing more, finishes commits over any number of connections, and ends (X3).
   *
   * @param settled what has to happen first, for example that listeners at work are done.
   */
  async close(settled?: () => Promise<void>): Promise<void> {
    this.state.close();
    this.run();
    this.takers.resolve();
    this.keepAlive.hold();
    let failure: unknown;
    try {
      await this.reconnector.close({ flush: () => this.#flush(settled) });
    } catch (error) {
      failure = error;
    }
    await this.reconnector.done;
    this.keepAlive.drop();
    const uncommitted = this.#over?.uncommitted ?? [];
    if (failure !== undefined) throw closeError(codeOf(failure), failure, uncommitted);
    if (this.#over?.isFailed && uncommitted.length > 0) throw closeError("FAILED", this.#over.error, uncommitted);
    const why = "what was to be committed lies behind messages that nobody committed";
    if (uncommitted.length > 0) throw closeError("UNCOMMITTED", why, uncommitted);
  }

  /** Why nothing can be had from it any more; undefined while it can. */
  get overError(): ReaderError | undefined {
    return this.#over?.error;
  }

  /** Over, or about to be: iterators end. */
  get isEnding(): boolean {
    return this.#over !== undefined || this.state.isClosing;
  }

  async #flush(settled?: () => Promise<void>): Promise<void> {
    await settled?.();
    if (this.state.isFlushed) return;
    this.#flushed = Promise.withResolvers<void>();
    await this.#flushed.promise;
  }

  #do(effect: ReaderEffect<ReaderColumns>): void {
    const { clock, gracefulStopTimeoutMs, reassignTimeoutMs } = this.options;
    switch (effect.type) {
      case "request":
        if (channels.creditGranted.hasSubscribers) {
          channels.creditGranted.publish({ bytes: effect.bytes, available: this.state.credit.available });
        }
        this.#connection?.send(encodeRequest(effect));
        return;
      case "commit":
      case "answer-start":
      case "answer-stop":
        this.#connection?.send(encodeRequest(effect));
        return;
      case "ask-start":
        // Who is closing comes back for commits alone.
        if (this.#hooks === undefined || this.state.isClosing) this.state.answerStart(effect.session);
        else void this.#hooks.ask(effect.session);
        return;
      case "flush-soon":
        this.#flushTimer ??= clock.setImmediate(() => {
          this.#flushTimer = undefined;
          this.state.flushCommits();
          this.run();
        });
        return;
      case "settle":
        for (const waiter of effect.waiters) {
          if (effect.lost === undefined) waiter.resolve();
          else waiter.reject(lostError(effect.lost));
        }
        return;
      case "wake":
        if (this.onWake !== undefined) this.onWake();
        else if (this.takers.size > 0) this.takers.resolveFirst();
        return;
      case "decode":
        this.#pump.add(effect.chunk);
        return;
      case "arm-stop": {
        const { session } = effect;
        const timer = clock.setTimer(gracefulStopTimeoutMs, () => {
          this.#stopTimers.delete(session);
          this.state.stopOverdue(session);
          this.run();
        });
        this.#stopTimers.set(session, timer.unref());
        return;
      }
      case "arm-loss": {
        const { partition } = effect;
        if (this.#lossTimers.has(partition)) return;
        const timer = clock.setTimer(reassignTimeoutMs, () => {
          this.#lossTimers.delete(partition);
          this.state.lossOverdue(partition);
          this.run();
        });
        this.#lossTimers.set(partition, timer.unref());
        return;
      }
      case "disarm-loss":
        this.#lossTimers.get(effect.partition)?.cancel();
        this.#lossTimers.delete(effect.partition);
        return;
      case "ended":
        this.#ended(effect.session, effect.reason);
        return;
      case "committed":
        if (channels.commitAcknowledged.hasSubscribers) {
          const { topic, partitionId } = effect.partition;
          channels.commitAcknowledged.publish({ topic, partitionId, committedOffset: BigInt(effect.committed) });
        }
        return;
      case "flushed":
        this.#flushed?.resolve();
        return;
      case "reconnect":
        this.reconnect(effect.why);
        return;
      case "tell":
        if (effect.event.type === "partition-started" && channels.partitionStarted.hasSubscribers) {
          const { topic, partitionId } = effect.event;
          channels.partitionStarted.publish({ topic, partitionId });
        }
        this.tell(effect.event);
    }
  }

  #ended(session: Session, reason: PartitionEnd): void {
    const { topic, partitionId } = session.partition;
    this.#stopTimers.get(session)?.cancel();
    this.#stopTimers.delete(session);
    this.#hooks?.end(session, new ReaderError("PARTITION_LOST", `partition ${partitionId} of ${topic}: ${reason}`));
    this.#pump.pump();
    this.onEnded?.(session, reason);
    if (channels.partitionStopped.hasSubscribers) {
      channels.partitionStopped.publish({ topic, partitionId, reason });
    }
  }

  #commitError({ partition }: Session): ReaderError | undefined {
    if (this.options.consumer === "") {
      const what = `partition ${partition.partitionId} of ${partition.topic}`;
      return new ReaderError("NO_CONSUMER", `${what} is read without a consumer, so there is nothing to commit to`);
    }
    return this.#over?.error;
  }

  #waitsLess(): void {
    if (--this.#commitWaiters === 0) this.keepAlive.drop();
  }

  /** The stream is over for good: whoever waits for anything is told (P9). */
  #end(cause: unknown): void {
    const { reconnector, state } = this;
    const isFailed = reconnector.state === "failed";
    const uncommitted = state.uncommitted();
    const error = new ReaderError(
      isFailed ? "FAILED" : "CLOSED",
      isFailed ? `the reader failed for good: ${messageOf(cause)}` : "the reader is closed",
      { cause, uncommitted },
    );
    this.#over = { error, isFailed, uncommitted };
    this.#connection = undefined;
    state.close();
    state.disconnected();
    const waiters = state.abandonAll();
    this.run();
    for (const waiter of waiters) waiter.reject(error);
    this.#flushed?.resolve();
    this.#flushTimer?.cancel();
    for (const timer of [...this.#stopTimers.values(), ...this.#lossTimers.values()]) timer.cancel();
    this.#hooks?.stop(error);
    this.#pump.stop(error);
    this.takers.resolve();
    this.onOver?.(error);
    this.keepAlive.stop();
  }

  /** The stream's events among our own; their end is the end of both. */
  async #relay(): Promise<void> {
    for await (const event of this.reconnector.events()) {
      if (event.type !== "skipped") this.tell(event);
    }
    this.hub.close();
  }
}

function lostError({ topic, partitionId }: Partition<ReaderColumns>): ReaderError {
  const message = `partition ${partitionId} of ${topic} went to another reader, which may read its messages again`;
  return new ReaderError("PARTITION_LOST", message);
}

function codeOf(cause: unknown): ReaderErrorCode {
  const code = StreamError.is(cause) ? cause.code : undefined;
  return code === "CLOSE_TIMEOUT" || code === "CLOSED" ? code : "FAILED";
}

function closeError(code: ReaderErrorCode, cause: unknown, uncommitted: readonly UncommittedRange[]): ReaderError {
  const ranges = uncommitted.map(
    ({ topic, partitionId, start, end }) => `[${start}, ${end}) of ${partitionId} of ${topic}`,
  );
  const left = ranges.length === 0 ? "" : `; not known to be committed: ${ranges.slice(0, 5).join(", ")}`;
  return new ReaderError(code, `close(): ${messageOf(cause)}${left}`, { cause, uncommitted });
}

const messageOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));

function initialOffset(
  { topics, client: { database } }: ResolvedReader,
  path: string,
  partitionId: number,
): number | undefined {
  // A server may echo a relative path or make it absolute.
  const absolute = (each: string) => (each.startsWith("/") ? each : `${database}/${each}`);
  const topic = topics.find((each) => absolute(each.path) === absolute(path));
  const offset = topic?.partitions.find(({ id }) => id === partitionId)?.offset;
  return offset === undefined ? undefined : Number(offset);
}
