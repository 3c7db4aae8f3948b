import { type Timer } from "@tidemark/clock";
import { backoffDelayMs, resolveBackoff } from "@tidemark/stream";
import type { EventHub } from "@tidemark/stream/internal";
import type { Compression, PartitionDescription } from "@tidemark/topic";
import { AckGroup, AckPromise, type AckWaiter, type WriteAck } from "./acks.ts";
import type { Budget } from "./budget.ts";
import { Fifo } from "./fifo.ts";
import { KeyMoves } from "./key-moves.ts";
import { isBody, isList, type MessageLimits, type PreparedMessage, prepareMessage, type Writable } from "./message.ts";
import { type KeyPartitioning, keyPartitioningDefaults, type ResolvedWriterOptions } from "./options.ts";
import { type Key, PartitionMap } from "./partition-map.ts";
import { PartitionWatch } from "./partition-watch.ts";
import { messageOverheadBytes, PartitionWriter } from "./partition-writer.ts";
import type { SeqNo } from "./seq-no.ts";
import { unframedIn } from "./unacknowledged.ts";
import type { UnacknowledgedMessage, Writer, WriterCloseOptions, WriterEvent } from "./writer.ts";
import type { Leftovers } from "./writer-driver.ts";
import { closedError, closeTimeout, endError, withUnacknowledged } from "./writer-end.ts";
import { WriterError } from "./writer-error.ts";

export interface KeyedWriterSetup {
  readonly options: ResolvedWriterOptions;
  readonly partitioning: KeyPartitioning;
  readonly budget: Budget;
  readonly compression: Compression;
  readonly hub: EventHub<Exclude<WriterEvent, { type: "skipped" }>>;
  readonly onEnd: (error: WriterError | undefined) => void;
}

/** The writer of one partition, and the keys of what it has not settled, by which a successor is found for it. */
interface Lane {
  readonly writer: PartitionWriter;
  readonly keys: Fifo<Key>;
}

interface Waiting {
  readonly key: Key;
  readonly message: PreparedMessage;
  readonly waiter: AckWaiter | undefined;
}

/** Writes each message to the partition of its key, with a stream and a producer for each partition. */
export class KeyedWriter implements Writer {
  readonly producerId: string;
  readonly #setup: KeyedWriterSetup;
  readonly #limits: MessageLimits;
  readonly #lanes = new Map<bigint, Lane>();
  /** What came before the partitions were known. */
  readonly #waiting = new Fifo<Waiting>();
  readonly #opened = Promise.withResolvers<void>();
  readonly #stopped = new AbortController();
  readonly #moves: KeyMoves<Waiting>;
  readonly #watch: PartitionWatch;
  #map: PartitionMap | undefined;
  /** What no partition is known for: the end of the writer. */
  #orphans: Pick<Leftovers, "messages" | "isCompressed"> | undefined;
  #lastManual: SeqNo = 0;
  #refusal: WriterError | undefined;
  #closing: Promise<void> | undefined;
  #isOver = false;

  constructor(setup: KeyedWriterSetup) {
    const { options } = setup;
    this.#setup = setup;
    this.producerId = options.producerId;
    this.#limits = { isManual: options.seqNo === "manual", maxMessageBytes: options.maxMessageBytes };
    this.#opened.promise.catch(() => {});
    this.#moves = new KeyMoves((held) => this.#unhold(held), this.#limits.isManual);
    const { client, topic, clock } = options;
    const intervalMs = setup.partitioning.refreshIntervalMs ?? keyPartitioningDefaults.refreshIntervalMs;
    this.#watch = new PartitionWatch({
      client,
      topic,
      clock,
      intervalMs,
      onPartitions: (partitions) => this.#onPartitions(partitions),
    });
  }

  /** Begins to look for the partitions. */
  start(): void {
    void this.#open();
  }

  get bufferedBytes(): number {
    return this.#setup.budget.bytes;
  }

  get bufferedMessages(): number {
    return this.#setup.budget.messages;
  }

  write(messages: Writable | readonly Writable[]): boolean {
    if (this.#refusal !== undefined) throw this.#refusal;
    for (const each of this.#prepare(messages)) this.#take(each, undefined);
    return this.#setup.budget.hasRoom;
  }

  writeAcked(message: Writable): Promise<WriteAck>;
  writeAcked(messages: readonly Writable[]): Promise<readonly WriteAck[]>;
  writeAcked(messages: Writable | readonly Writable[]): Promise<WriteAck | readonly WriteAck[]> {
    let prepared: readonly Keyed[];
    try {
      if (this.#refusal !== undefined) throw this.#refusal;
      prepared = this.#prepare(messages);
    } catch (error) {
      return Promise.reject(error as Error);
    }
    if (!isList(messages)) {
      const waiter = new AckPromise<WriteAck>(0);
      this.#take(prepared[0] as Keyed, waiter);
      return waiter.promise;
    }
    const group = new AckGroup(prepared.length);
    for (const [place, each] of prepared.entries()) this.#take(each, group.member(place, 0));
    return group.promise;
  }

  ready(signal?: AbortSignal): Promise<void> {
    return this.#refusal === undefined ? this.#setup.budget.ready(signal) : Promise.reject(this.#refusal);
  }

  async flush(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    if (this.#waiting.length > 0) await untilAborted(this.#opened.promise, signal);
    if (this.#moves.isUnderWay) await untilAborted(this.#moves.settled(), signal);
    // A partition that is split meanwhile resolves its part when its successors have all of it.
    await Promise.all([...this.#lanes.values()].map(({ writer }) => writer.flush(signal)));
  }

  async connected(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    await untilAborted(this.#opened.promise, signal);
  }

  close(options: WriterCloseOptions = {}): Promise<void> {
    if (this.#closing !== undefined) return this.#closing;
    if (this.#isOver)
      return this.#refusal?.code === "CLOSED" ? Promise.resolve() : Promise.reject(this.#refusal as Error);
    this.#refusal = closedError(this.#name);
    this.#closing = this.#close(options.closeTimeoutMs ?? this.#setup.options.closeTimeoutMs);
    this.#closing.catch(() => {});
    return this.#closing;
  }

  destroy(reason?: unknown): void {
    this.#end(closedError(this.#name, reason));
  }

  *unacknowledged(): IterableIterator<UnacknowledgedMessage> {
    if (this.#orphans !== undefined) yield* unframedIn(this.#orphans.messages, this.#orphans.isCompressed);
    for (const { writer } of this.#lanes.values()) yield* writer.unacknowledged();
    for (const { message } of this.#held()) {
      yield* unframedIn([{ ...message, isEncoded: false, createdAtMs: message.createdAtMs ?? 0 }], false);
    }
  }

  events(): AsyncIterable<WriterEvent> {
    return this.#setup.hub.subscribe();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #prepare(messages: Writable | readonly Writable[]): readonly Keyed[] {
    let last = this.#lastManual;
    const one = (message: Writable): Keyed => {
      const key = isBody(message) ? undefined : message.key;
      if (key === undefined) throw new WriterError("MESSAGE_INVALID", "a writer with partitioning needs a key");
      const prepared = prepareMessage(message, this.#limits, last);
      last = prepared.seqNo;
      return { key: typeof key === "string" ? key : new Uint8Array(key), message: prepared };
    };
    const prepared = isList(messages) ? messages.map(one) : [one(messages)];
    this.#lastManual = last;
    return prepared;
  }

  #take({ key, message }: Keyed, waiter: AckWaiter | undefined): void {
    const map = this.#map;
    if (map === undefined) this.#waiting.push(this.#hold(key, message, waiter));
    else if (
      !this.#moves.isUnderWay ||
      !this.#moves.hold(key, map.partitionOf(key), () => this.#hold(key, message, waiter))
    ) {
      this.#route(key, message, waiter);
    }
  }

  /** A copy that counts in the buffer. */
  #hold(key: Key, message: PreparedMessage, waiter: AckWaiter | undefined): Waiting {
    const { data } = message;
    const copy = {
      ...message,
      data: typeof data === "string" ? data : new Uint8Array(data),
      createdAtMs: message.createdAtMs ?? this.#setup.options.clock.now(),
    };
    this.#setup.budget.take(sizeOf(copy));
    return { key, message: copy, waiter };
  }

  #unhold({ key, message, waiter }: Waiting): void {
    if (this.#isOver) return;
    // It is counted again where it goes.
    this.#setup.budget.give(sizeOf(message), 1);
    this.#take({ key, message }, waiter);
  }

  *#held(): IterableIterator<Waiting> {
    for (let n = 0; n < this.#waiting.length; n++) yield this.#waiting.at(n) as Waiting;
    yield* this.#moves.held();
  }

  #route(key: Key, message: PreparedMessage, waiter: AckWaiter | undefined): void {
    const lane = this.#laneOf(key);
    lane.keys.push(key);
    lane.writer.take(message, waiter);
  }

  #laneOf(key: Key): Lane {
    const partitionId = (this.#map as PartitionMap).partitionOf(key);
    const known = this.#lanes.get(partitionId);
    if (known !== undefined) return known;
    const { options, budget, compression, hub } = this.#setup;
    const keys = new Fifo<Key>();
    const writer = new PartitionWriter({
      options,
      producerId: `${options.producerId}-${partitionId}`,
      partitionId,
      budget,
      compression,
      hub,
      onSettled: (count) => {
        for (let n = 0; n < count; n++) keys.shift();
      },
      onRetired: (leftovers) => this.#retire(partitionId, leftovers),
      onEnd: (error) => {
        if (error !== undefined && error.code !== "CLOSED") this.#end(error);
      },
    });
    const lane = { writer, keys };
    this.#lanes.set(partitionId, lane);
    writer.start();
    return lane;
  }

  /** Finds the partitions, however long that takes. */
  async #open(): Promise<void> {
    const { options, partitioning } = this.#setup;
    const { signal } = this.#stopped;
    const backoff = resolveBackoff(options.reconnect);
    for (let attempt = 1; ; attempt++) {
      try {
        const { partitions } = await options.client.describeTopic(options.topic, { signal });
        if (!this.#isOver) this.#openWith(partitions, partitioning);
        return;
      } catch (error) {
        if (this.#isOver) return;
        const retryClass = WriterError.is(error) ? "fatal" : options.client.classify(error);
        if (retryClass === "fatal") {
          const what = error instanceof Error ? error.message : String(error);
          const text = `the writer to ${options.topic} does not know its partitions: ${what}`;
          this.#end(WriterError.is(error) ? error : new WriterError("FAILED", text, { cause: error }));
          return;
        }
        const delayMs = backoffDelayMs(backoff, retryClass, attempt, options.rng);
        this.#setup.hub.emit({ type: "disconnected", partitionId: undefined, error, delayMs });
        await options.clock.sleep(delayMs, { signal }).catch(() => {});
        if (this.#isOver) return;
      }
    }
  }

  #openWith(partitions: readonly PartitionDescription[], { strategy }: KeyPartitioning): void {
    this.#map = new PartitionMap(partitions, strategy);
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) this.#unhold(next);
    this.#opened.resolve();
    // Ranges change by splits alone, and those a partition's own writer notices.
    if (this.#map.strategy === "kafka") this.#watch.start();
  }

  /** The topic may have more partitions than before: then keys move. One move at a time. */
  #onPartitions(partitions: readonly PartitionDescription[]): void {
    const before = this.#map as PartitionMap;
    const active = partitions.filter(({ isActive }) => isActive).length;
    if (this.#isOver || this.#moves.isUnderWay || active <= before.size) return;
    this.#map = new PartitionMap(partitions, before.strategy);
    this.#moves.begin(before, new Map([...this.#lanes].map(([id, { writer }]) => [id, writer.flush()])));
  }

  /**
   * A partition was split or merged: what it had left goes to its successors, before anything newer of the same keys,
   * since until now all of that went to the partition itself.
   */
  #retire(partitionId: bigint, leftovers: Leftovers): void {
    const { messages, waiters, flushes, partitions } = leftovers;
    const { keys } = this.#lanes.get(partitionId) as Lane;
    this.#lanes.delete(partitionId);
    if (!(this.#map as PartitionMap).retire(partitionId, partitions)) {
      const text = `partition ${partitionId} was split or merged, and nothing tells which successor has which keys`;
      this.#orphans = leftovers;
      const error = new WriterError("PARTITION_INACTIVE", text);
      for (const waiter of [...waiters, ...flushes]) waiter.reject(error);
      this.#end(error);
      return;
    }
    const byPlace = new Map(waiters.map((waiter) => [waiter.index, waiter]));
    const touched = new Map<Lane, { messages: (typeof messages)[number][]; waiters: (AckWaiter | undefined)[] }>();
    for (const [place, message] of messages.entries()) {
      const key = keys.shift() as Key;
      const lane = this.#laneOf(key);
      lane.keys.push(key);
      let part = touched.get(lane);
      if (part === undefined) touched.set(lane, (part = { messages: [], waiters: [] }));
      part.messages.push(message);
      part.waiters.push(byPlace.get(place));
    }
    for (const [{ writer }, part] of touched) writer.adopt(part.messages, part.waiters);
    if (flushes.length === 0) return;
    Promise.all([...touched.keys()].map(({ writer }) => writer.flush())).then(
      () => {
        for (const flush of flushes) flush.resolve(undefined);
      },
      (error: unknown) => {
        for (const flush of flushes) flush.reject(error);
      },
    );
  }

  async #close(closeTimeoutMs: number): Promise<void> {
    const late = Promise.withResolvers<never>();
    const timer: Timer = this.#setup.options.clock.setTimer(closeTimeoutMs, () => {
      late.reject(closeTimeout(this.#name));
    });
    try {
      await Promise.race([this.flush(), late.promise]);
      await Promise.race([Promise.all([...this.#lanes.values()].map(({ writer }) => writer.close())), late.promise]);
    } catch (error) {
      this.#end(endError(this.#name, error, this.#refusal));
      if (this.#setup.budget.messages > 0 || this.#refusal?.code !== "CLOSED") throw this.#refusal;
    } finally {
      timer.cancel();
    }
    this.#end(undefined);
  }

  #end(error: WriterError | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const { messages } = this.#setup.budget;
    const refusal =
      error === undefined
        ? closedError(this.#name)
        : withUnacknowledged(error, { messages, firstSeqNo: undefined, lastSeqNo: undefined });
    this.#refusal = refusal;
    this.#stopped.abort(refusal);
    this.#watch.stop();
    this.#moves.stop(refusal);
    this.#opened.reject(refusal);
    for (const { waiter } of this.#held()) waiter?.reject(refusal);
    for (const { writer } of this.#lanes.values()) writer.end(refusal);
    this.#setup.onEnd(error === undefined ? undefined : refusal);
  }

  get #name(): string {
    return `the writer to ${this.#setup.options.topic}`;
  }
}

interface Keyed {
  readonly key: Key;
  readonly message: PreparedMessage;
}

function sizeOf({ bytes, metadata }: PreparedMessage): number {
  return bytes + (metadata?.length ?? 0) + messageOverheadBytes;
}

/** Like the promise, but no longer than the signal lets it. No listener stays. */
async function untilAborted(promise: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined) return promise;
  const aborted = Promise.withResolvers<never>();
  const onAbort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
