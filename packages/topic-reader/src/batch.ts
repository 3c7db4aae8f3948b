import type { TopicTransaction } from "@tidemark/topic";
import type { ReaderColumns } from "./columns.ts";
import type { PartitionSession } from "./partition.ts";
import type { MessageMetadata } from "./reader-types.ts";

/** What a batch needs from its reader. */
export interface BatchOwner {
  commit(session: PartitionSession<ReaderColumns>, start: number, end: number): Promise<void>;
  commitAndForget(session: PartitionSession<ReaderColumns>, start: number, end: number): void;
  commitIn(transaction: TopicTransaction, session: PartitionSession<ReaderColumns>, start: number, end: number): void;
}

// Only a reader makes them, and how is not part of the API.
export let createBatch: (
  owner: BatchOwner,
  session: PartitionSession<ReaderColumns>,
  columns: ReaderColumns,
  from: number,
  to: number,
  anchor: number,
) => ReaderBatch;
let createMessage: (batch: ReaderBatch, index: number) => ReaderMessage;

/**
 * Messages of one partition, in order, as columns that are read on demand: `data(i)` is a view of what came from the
 * network, and an object of a message exists only when one iterates.
 */
export class ReaderBatch implements Iterable<ReaderMessage> {
  readonly #owner: BatchOwner;
  readonly #session: PartitionSession<ReaderColumns>;
  readonly #columns: ReaderColumns;
  readonly #from: number;
  readonly #anchor: number;
  /** How many messages. */
  readonly length: number;

  private constructor(
    owner: BatchOwner,
    session: PartitionSession<ReaderColumns>,
    columns: ReaderColumns,
    from: number,
    to: number,
    anchor: number,
  ) {
    this.#owner = owner;
    this.#session = session;
    this.#columns = columns;
    this.#from = from;
    this.#anchor = anchor;
    this.length = to - from;
  }

  static {
    createBatch = (...args) => new ReaderBatch(...args);
  }

  /** The topic's path as the server names it. */
  get topic(): string {
    return this.#session.partition.topic;
  }

  get partitionId(): number {
    return this.#session.partition.partitionId;
  }

  /** Whether its partition is still read on the stream that it came from. */
  get isCurrent(): boolean {
    return this.#session.status !== "over";
  }

  /** Where its commit begins: at the end of the batch before, or of what was committed when the partition started. */
  get startOffset(): bigint {
    return BigInt(this.#anchor);
  }

  /** The offset behind its last message. */
  get endOffset(): bigint {
    return BigInt(this.#end);
  }

  get #end(): number {
    return this.length === 0 ? this.#anchor : this.#columns.offset(this.#from + this.length - 1) + 1;
  }

  offset(index: number): bigint {
    return BigInt(this.#columns.offset(this.#at(index)));
  }

  seqNo(index: number): bigint {
    return this.#columns.seqNo(this.#at(index));
  }

  /**
   * The payload: a view, so copy what you change. It keeps alive what came with it, at most `maxBufferBytes`.
   *
   * @throws {ReaderError} `DECODE_FAILED` for a message that could not be decompressed; the others are fine.
   */
  data(index: number): Uint8Array {
    return this.#columns.data(this.#at(index));
  }

  /** The payload as it was sent, which is compressed when `codec` is not 1. */
  rawData(index: number): Uint8Array {
    return this.#columns.rawData(this.#at(index));
  }

  /** What the message was compressed with: 1 raw, 2 gzip, 4 zstd, or a custom number. */
  codec(index: number): number {
    return this.#columns.codec(this.#at(index));
  }

  /** When its producer says that it was made, in milliseconds since the epoch. */
  createdAtMs(index: number): number {
    return this.#columns.createdAtMs(this.#at(index));
  }

  /** When the server took it, in milliseconds since the epoch. */
  writtenAtMs(index: number): number {
    return this.#columns.writtenAtMs(this.#at(index));
  }

  producerId(index: number): string {
    return this.#columns.producerId(this.#at(index));
  }

  messageGroupId(index: number): string {
    return this.#columns.messageGroupId(this.#at(index));
  }

  metadata(index: number): readonly MessageMetadata[] {
    return this.#columns.metadata(this.#at(index));
  }

  /** What its writer said about itself when it began. */
  writeSessionMeta(index: number): Readonly<Record<string, string>> {
    return this.#columns.writeSessionMeta(this.#at(index));
  }

  /** The messages `from` up to `to`, to be committed on their own. Shares everything with this batch. */
  slice(from: number, to: number = this.length): ReaderBatch {
    const first = Math.min(Math.max(0, from), this.length);
    const last = Math.min(Math.max(first, to), this.length);
    const anchor = first === 0 ? this.#anchor : this.#columns.offset(this.#from + first - 1) + 1;
    return new ReaderBatch(this.#owner, this.#session, this.#columns, this.#from + first, this.#from + last, anchor);
  }

  /**
   * Resolves when everything up to its end is committed, which needs the batches before it to be committed as well. It
   * survives lost connections. Committing twice is the same as once.
   *
   * @throws {ReaderError} `PARTITION_LOST`, `NO_CONSUMER`, `CLOSED`, `CLOSE_TIMEOUT`, `FAILED`.
   */
  commit(): Promise<void> {
    return this.#owner.commit(this.#session, this.#anchor, this.#end);
  }

  /** The same without a promise; what comes to nothing is told as an event. */
  commitAndForget(): void {
    this.#owner.commitAndForget(this.#session, this.#anchor, this.#end);
  }

  /**
   * Commits it together with a transaction, in which all batches of a partition should be, in order. When that does not
   * commit, the reader reads again from what is committed. The transaction fails when the partition is taken away before.
   *
   * @throws {ReaderError} `STALE_BATCH` when its partition is no longer read on the stream that it came from: somebody
   * else may have it already. `NO_CONSUMER`, `CLOSED`.
   */
  commitIn(transaction: TopicTransaction): void {
    this.#owner.commitIn(transaction, this.#session, this.#anchor, this.#end);
  }

  /** Makes an object for each message as you go. */
  [Symbol.iterator](): IterableIterator<ReaderMessage, undefined> {
    return new MessageIterator(this);
  }

  #at(index: number): number {
    if (!(index >= 0 && index < this.length)) {
      throw new RangeError(`index must be in [0, ${this.length}), got ${index}`);
    }
    return this.#from + index;
  }
}

/** One message of a batch; everything in it is read on demand. */
export class ReaderMessage {
  readonly batch: ReaderBatch;
  readonly index: number;

  private constructor(batch: ReaderBatch, index: number) {
    this.batch = batch;
    this.index = index;
  }

  static {
    createMessage = (batch, index) => new ReaderMessage(batch, index);
  }

  get topic(): string {
    return this.batch.topic;
  }

  get partitionId(): number {
    return this.batch.partitionId;
  }

  get offset(): bigint {
    return this.batch.offset(this.index);
  }

  get seqNo(): bigint {
    return this.batch.seqNo(this.index);
  }

  /** @throws {ReaderError} `DECODE_FAILED`. */
  get data(): Uint8Array {
    return this.batch.data(this.index);
  }

  get createdAt(): Date {
    return new Date(this.batch.createdAtMs(this.index));
  }

  get writtenAt(): Date {
    return new Date(this.batch.writtenAtMs(this.index));
  }

  get producerId(): string {
    return this.batch.producerId(this.index);
  }

  get messageGroupId(): string {
    return this.batch.messageGroupId(this.index);
  }

  get metadata(): readonly MessageMetadata[] {
    return this.batch.metadata(this.index);
  }

  get writeSessionMeta(): Readonly<Record<string, string>> {
    return this.batch.writeSessionMeta(this.index);
  }

  /** The payload as UTF-8. @throws {ReaderError} `DECODE_FAILED`. */
  text(): string {
    return decoder.decode(this.data);
  }

  /** Resolves when it is committed, which needs everything before it to be committed as well. */
  commit(): Promise<void> {
    return this.batch.slice(this.index, this.index + 1).commit();
  }
}

/** By hand: a generator costs three times as much a message. */
class MessageIterator implements IterableIterator<ReaderMessage, undefined> {
  readonly #batch: ReaderBatch;
  #index = 0;

  constructor(batch: ReaderBatch) {
    this.#batch = batch;
  }

  next(): IteratorResult<ReaderMessage, undefined> {
    if (this.#index >= this.#batch.length) return { done: true, value: undefined };
    return { done: false, value: createMessage(this.#batch, this.#index++) };
  }

  [Symbol.iterator](): this {
    return this;
  }
}

const decoder = new TextDecoder();
