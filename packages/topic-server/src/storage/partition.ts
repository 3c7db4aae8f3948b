import type { Int64, WriteColumns } from "@tidemark/topic/internal";
import type { TopicServerError } from "../topic-server-error.ts";
import type { ProducerRow } from "./catalog.ts";
import type { PartitionDefinition } from "./definition.ts";
import type { RecordOwner } from "./log-options.ts";
import type { PartitionLog } from "./partition-log.ts";
import type { NewRecord, StoredRecord } from "./record.ts";
import { Traffic } from "./traffic.ts";
import { WriteQuota } from "./write-quota.ts";

/** What a partition knows about who writes to it. */
export class Producer {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** The last sequence number that was taken; what is not above it is a duplicate. */
  lastSeqNo: Int64;
  /** … that was stored. */
  storedSeqNo: Int64;
  lastWrittenAtMs: number;
  /** Changed since the last checkpoint. */
  isDirty = false;
  /** Sessions that write as it. */
  sessions = 0;

  constructor(name: string, bytes: Uint8Array, lastSeqNo: Int64, lastWrittenAtMs: number) {
    this.name = name;
    this.bytes = bytes;
    this.lastSeqNo = lastSeqNo;
    this.storedSeqNo = lastSeqNo;
    this.lastWrittenAtMs = lastWrittenAtMs;
  }
}

/** Who wrote a request, and hears what became of it. Must not throw. */
export interface WriteListener {
  onWritten(write: PendingWrite): void;
  onWriteFailed(write: PendingWrite, error: TopicServerError): void;
}

/** One write request on its way to the log. */
export class PendingWrite implements RecordOwner {
  readonly columns: WriteColumns;
  /** Messages at the front that had been written before. */
  readonly skipped: number;
  readonly producer: Producer | undefined;
  /** Of the first message that was not skipped. */
  firstOffset = 0;
  isDone = false;
  /** How long it waited for others, and how long the disk took, in milliseconds. */
  queueMs = 0;
  persistingMs = 0;
  readonly #writtenAtMs: number;
  readonly #listener: WriteListener;
  readonly #traffic: Traffic | undefined;

  /** `traffic`: where it counts once it is stored. */
  constructor(
    columns: WriteColumns,
    skipped: number,
    producer: Producer | undefined,
    writtenAtMs: number,
    listener: WriteListener,
    traffic?: Traffic,
  ) {
    this.#writtenAtMs = writtenAtMs;
    this.#traffic = traffic;
    this.columns = columns;
    this.skipped = skipped;
    this.producer = producer;
    this.#listener = listener;
  }

  onStored(_baseOffset: number, queueMs: number, persistingMs: number): void {
    const { producer, columns } = this;
    const writtenAtMs = this.#writtenAtMs;
    this.queueMs = queueMs;
    this.persistingMs = persistingMs;
    if (producer !== undefined) {
      producer.storedSeqNo = columns.seqNo(columns.length - 1);
      producer.lastWrittenAtMs = writtenAtMs;
      producer.isDirty = true;
    }
    // The first message of a request is the one that waited longest for it.
    this.#traffic?.add(writtenAtMs, columns.frame.length, writtenAtMs - columns.createdAtMs(this.skipped));
    this.isDone = true;
    this.#listener.onWritten(this);
  }

  onLost(_record: NewRecord, error: TopicServerError): void {
    // Everything after what was stored is lost with it, so this is where the producer stands.
    if (this.producer !== undefined) this.producer.lastSeqNo = this.producer.storedSeqNo;
    this.#listener.onWriteFailed(this, error);
  }

  /** All of it had been written before. */
  onSkipped(): void {
    this.isDone = true;
    this.#listener.onWritten(this);
  }
}

const nothing = new Uint8Array(0);
const utf8 = new TextEncoder();
const text = new TextDecoder();

/** Messages in order, and the rule that a producer's message is there once. */
export class Partition {
  definition: PartitionDefinition;
  readonly log: PartitionLog;
  readonly quota = new WriteQuota();
  readonly traffic = new Traffic();
  readonly #producers: Map<string, Producer>;
  readonly #parents: readonly Partition[];
  /** Bytes of messages since the server started. */
  writtenBytes = 0;

  constructor(
    definition: PartitionDefinition,
    log: PartitionLog,
    producers: Map<string, Producer>,
    parents: readonly Partition[],
  ) {
    this.definition = definition;
    this.log = log;
    this.#producers = producers;
    this.#parents = parents;
  }

  get id(): number {
    return this.definition.id;
  }

  /** What a producer is known by here. One that is new here may have written to the partition this one was split from. */
  producer(name: string): Producer {
    let producer = this.#producers.get(name);
    if (producer === undefined) {
      producer = new Producer(name, utf8.encode(name), this.#inherited(name), 0);
      this.#producers.set(name, producer);
    }
    return producer;
  }

  /** Whether it knows a sequence number of a producer, its own or one of its parents'. */
  hasWritten(name: string): boolean {
    return (this.#producers.get(name)?.lastSeqNo ?? this.#inherited(name)) > 0;
  }

  /**
   * Takes a request. The numbers in it must increase. The listener is told later, never within the call. Nothing of a
   * transaction is written before it is decided.
   */
  write(
    columns: WriteColumns,
    producer: Producer | undefined,
    meta: Uint8Array,
    writtenAtMs: number,
    listener: WriteListener,
    tx?: { readonly id: number; readonly decided: Promise<void> },
  ): PendingWrite {
    const { length } = columns;
    const last = columns.seqNo(length - 1);
    const skip = producer === undefined ? 0 : duplicates(columns, producer.lastSeqNo);
    const write = new PendingWrite(columns, skip, producer, writtenAtMs, listener, this.traffic);
    if (skip === length) {
      void this.log.flush().then(() => write.onSkipped());
      return write;
    }
    if (producer !== undefined) producer.lastSeqNo = last;
    this.writtenBytes += columns.frame.length;
    const record = {
      count: length - skip,
      skip,
      codec: columns.codec,
      firstSeqNo: columns.seqNo(skip),
      lastSeqNo: last,
      writtenAtMs,
      txId: tx?.id ?? 0,
      producer: producer?.bytes ?? nothing,
      meta,
    };
    write.firstOffset = this.log.append(record, columns.frame, write, tx?.decided);
    return write;
  }

  /** Writes down what changed about producers since the last time. Where `save` throws, it still has to be. */
  checkpoint(save: (changed: readonly ProducerRow[]) => void): void {
    const changed = [...this.#producers.values()].filter((producer) => producer.isDirty);
    save(
      changed.map(({ name, storedSeqNo, lastWrittenAtMs }) => ({
        producer: name,
        lastSeqNo: BigInt(storedSeqNo),
        lastWrittenAtMs,
      })),
    );
    for (const producer of changed) producer.isDirty = false;
  }

  /** Lets go of who wrote nothing since then, and is not about to. */
  forgetProducers(beforeMs: number): void {
    for (const [name, { lastWrittenAtMs, lastSeqNo, storedSeqNo, sessions }] of this.#producers) {
      if (lastWrittenAtMs < beforeMs && lastSeqNo === storedSeqNo && sessions === 0) this.#producers.delete(name);
    }
  }

  /** The partition is a child that readers get once their parents are read. */
  get parents(): readonly Partition[] {
    return this.#parents;
  }

  #inherited(name: string): Int64 {
    let last: Int64 = 0;
    for (const parent of this.#parents) {
      const known = parent.#producers.get(name)?.lastSeqNo ?? parent.#inherited(name);
      if (known > last) last = known;
    }
    return last;
  }
}

/** How many messages at the front of a request are not above `lastSeqNo`. */
export function duplicates(columns: WriteColumns, lastSeqNo: Int64): number {
  if (columns.seqNo(0) > lastSeqNo) return 0;
  let low = 1;
  let high = columns.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (columns.seqNo(middle) <= lastSeqNo) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** What a record says about its producer, while a log is read at the start. */
export function recover(producers: Map<string, Producer>, record: StoredRecord): void {
  if (record.producer.length === 0) return;
  const name = text.decode(record.producer);
  const last = record.lastSeqNo;
  const seqNo = last <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(last) : last;
  const producer = producers.get(name);
  if (producer === undefined) {
    const made = new Producer(name, record.producer.slice(), seqNo, record.writtenAtMs);
    made.isDirty = true;
    producers.set(name, made);
    return;
  }
  producer.lastSeqNo = producer.storedSeqNo = seqNo;
  producer.lastWrittenAtMs = record.writtenAtMs;
  producer.isDirty = true;
}
