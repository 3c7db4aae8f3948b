import type { Rng } from "@tidemark/clock";
import {
  type Int64,
  scanWriteRequest,
  StatusCode,
  type TransactionRef,
  type WriteColumns,
} from "@tidemark/topic/internal";
import type { OffsetRow, TxWrite, TxWriteRow } from "../storage/catalog.ts";
import { duplicates, type Partition, PendingWrite, type Producer, type WriteListener } from "../storage/partition.ts";
import type { Topic } from "../storage/topic.ts";
import type { TopicStore } from "../storage/topic-store.ts";
import type { Range } from "./partition-session-state.ts";
import { QuerySessions } from "./query-sessions.ts";
import { Refusal } from "./refusal.ts";

export interface TxWriteRequest {
  readonly topic: Topic;
  readonly partition: Partition;
  readonly producer: Producer | undefined;
  readonly meta: Uint8Array;
  readonly columns: WriteColumns;
  readonly listener: WriteListener;
}

/** … and the first number of it that was not skipped. */
interface TakenWrite extends TxWriteRequest {
  readonly firstSeqNo: Int64;
}

export interface TxOffsets {
  readonly topic: Topic;
  readonly consumer: string;
  readonly partition: number;
  readonly ranges: readonly Range[];
}

interface Transaction {
  readonly id: string;
  readonly session: string;
  readonly writes: TakenWrite[];
  readonly offsets: TxOffsets[];
  bytes: number;
}

/** What one transaction may hold until it is committed. */
const maxTransactionBytes = 128 * 1024 * 1024;
const text = new TextDecoder();

/**
 * Sessions and the transactions in them. What a transaction writes is kept here until it is committed, then decided in one
 * transaction of the catalogue together with its offsets, then appended to the logs; after a crash in between, the rest
 * is appended at the next start.
 */
export class Transactions {
  readonly #store: TopicStore;
  readonly #rng: Rng;
  readonly sessions: QuerySessions;
  readonly #transactions = new Map<string, Transaction>();
  /** Decided, and not in the logs for want of room. */
  #unapplied: TxWriteRow[] = [];
  /** In the logs, and not deleted from the catalogue yet: writes by their id. */
  #applied: number[] = [];
  readonly onOffsets: ((row: OffsetRow, topic: Topic) => void)[] = [];

  constructor(store: TopicStore, rng: Rng) {
    this.#store = store;
    this.#rng = rng;
    this.sessions = new QuerySessions(store.clock, rng, (ended) => {
      for (const id of ended) this.#transactions.delete(id);
    });
    store.addChore(() => this.sessions.endIdle());
    store.addChore(() => this.#applyRest());
  }

  /** Finishes what a crash left decided. Call before anybody writes. */
  async recover(): Promise<void> {
    for (const row of this.#store.catalog.txWrites()) {
      const partition = this.#store.topicById(row.topicId)?.partitions[row.partition];
      if (partition !== undefined && !(await isApplied(partition, row))) this.#unapplied.push(row);
      else this.#store.catalog.deleteTxWrites([row.id]);
    }
    await this.#applyRest();
  }

  /** @throws {Refusal} `BAD_SESSION` */
  begin(session: string): string {
    const open = this.sessions.use(session);
    if (open === undefined) throw new Refusal(StatusCode.BAD_SESSION, "The session is unknown or over");
    const id = this.#rng.uuid();
    open.add(id);
    this.#transactions.set(id, { id, session, writes: [], offsets: [], bytes: 0 });
    return id;
  }

  /**
   * Whether what a producer wrote to a partition in a transaction is decided and not in the log yet. What it writes next has
   * higher numbers, behind which the log would take that for duplicates.
   */
  isOwed({ id: topicId }: Topic, partition: Partition, producer: Producer): boolean {
    return this.#unapplied.some(
      (row) => row.topicId === topicId && row.partition === partition.id && row.producer === producer.name,
    );
  }

  /** Takes a request into a transaction. @throws {Refusal} `NOT_FOUND`, `OVERLOADED` */
  write(ref: TransactionRef, request: TxWriteRequest): PendingWrite {
    const tx = this.#find(ref.session, ref.id);
    const { columns, producer, partition, listener } = request;
    tx.bytes += columns.frame.length;
    if (tx.bytes > maxTransactionBytes) {
      throw new Refusal(StatusCode.OVERLOADED, `A transaction can hold at most ${maxTransactionBytes} bytes`);
    }
    const earlier = tx.writes.findLast((each) => each.partition === partition && each.producer === producer);
    const last = earlier?.columns.seqNo(earlier.columns.length - 1) ?? producer?.lastSeqNo ?? 0;
    const skipped = producer === undefined ? 0 : duplicates(columns, last);
    if (skipped < columns.length) tx.writes.push({ ...request, firstSeqNo: columns.seqNo(skipped) });
    const write = new PendingWrite(columns, skipped, producer, this.#store.clock.now(), listener);
    queueMicrotask(() => write.onSkipped());
    return write;
  }

  /** Offsets that are committed with the transaction. @throws {Refusal} `NOT_FOUND` */
  addOffsets(session: string, id: string, offsets: readonly TxOffsets[]): void {
    this.#find(session, id).offsets.push(...offsets);
  }

  rollback(session: string, id: string): void {
    this.#end(this.#find(session, id));
  }

  /** All of it or nothing, on the disk and visible when it resolves. @throws {Refusal} with the reason that nothing was. */
  async commit(session: string, id: string): Promise<void> {
    const tx = this.#find(session, id);
    this.#end(tx);
    const offsets = this.#offsetsOf(tx);
    const writes: TxWrite[] = tx.writes.map(({ topic, partition, producer: writer, meta, columns, firstSeqNo }) => {
      if (topic.isDropped) throw new Refusal(StatusCode.ABORTED, `The topic ${topic.path} was dropped`);
      if (!partition.definition.isActive) {
        throw new Refusal(StatusCode.ABORTED, `Partition ${partition.id} of ${topic.path} was split`);
      }
      // Not as its session knew it: that may have ended, and it been forgotten.
      const producer = writer && partition.producer(writer.name);
      // The log would take it for a duplicate, and the transaction would be committed without it. So does YDB ("MinSeqNo
      // violation" of TPartition in core/persqueue).
      if (producer !== undefined && firstSeqNo <= producer.lastSeqNo) {
        const text = `producer ${producer.name} is at number ${producer.lastSeqNo}, and has ${firstSeqNo} in the transaction`;
        throw new Refusal(StatusCode.ABORTED, text);
      }
      if (producer !== undefined && this.isOwed(topic, partition, producer)) {
        const text = `what ${producer.name} wrote in another transaction waits for room on the server's disk`;
        throw new Refusal(StatusCode.ABORTED, text);
      }
      return {
        topicId: topic.id,
        partition: partition.id,
        fromOffset: partition.log.endOffset,
        producer: producer?.name ?? "",
        meta,
        frame: columns.frame,
      };
    });
    const ids = this.#store.catalog.commitTransaction(
      offsets.map(({ row }) => row),
      writes,
    );
    // Whoever commits or writes next comes after it, and the disk is waited for off this thread.
    const decided = this.#store.catalog.sync();
    for (const { row, topic } of offsets) topic.setCommittedOffset(row.consumer, row.partition, row.offset);
    const rows = writes.map((write, index) => ({ ...write, id: ids[index] as number }));
    const [isDecided, lost] = await Promise.all([
      decided.then(
        () => true,
        () => false,
      ),
      this.#apply(rows, decided),
    ]);
    this.#unapplied.push(...lost);
    if (!isDecided) {
      throw new Refusal(
        StatusCode.UNDETERMINED,
        "The disk failed while it took the transaction: it may come or be gone",
      );
    }
    for (const { row, topic } of offsets) for (const told of this.onOffsets) told(row, topic);
    if (lost.length > 0) {
      throw new Refusal(StatusCode.UNDETERMINED, "The transaction is committed, and appears once the disk has room");
    }
  }

  #offsetsOf(tx: Transaction): { readonly row: OffsetRow; readonly topic: Topic }[] {
    const rows = new Map<string, { row: OffsetRow; topic: Topic }>();
    for (const { topic, consumer, partition, ranges } of tx.offsets) {
      const key = `${topic.id}/${consumer}/${partition}`;
      if (topic.isDropped || !topic.hasConsumer(consumer)) {
        throw new Refusal(StatusCode.ABORTED, `${topic.path} has no consumer ${consumer} any more`);
      }
      let offset = rows.get(key)?.row.offset ?? topic.committedOffset(consumer, partition);
      for (const range of ranges) {
        if (range.start !== offset) {
          const where = `${topic.path}, partition ${partition}`;
          throw new Refusal(StatusCode.ABORTED, `Gap: ${where} is committed to ${offset}, got ${range.start}`);
        }
        offset = range.end;
      }
      rows.set(key, { row: { topicId: topic.id, consumer, partition, offset }, topic });
    }
    return [...rows.values()];
  }

  #find(session: string, id: string): Transaction {
    const tx = this.#transactions.get(id);
    if (tx === undefined || tx.session !== session) {
      throw new Refusal(StatusCode.NOT_FOUND, "The transaction is unknown or over");
    }
    this.sessions.use(session);
    return tx;
  }

  #end(tx: Transaction): void {
    this.#transactions.delete(tx.id);
    this.sessions.use(tx.session)?.delete(tx.id);
  }

  async #applyRest(): Promise<void> {
    this.#forgetApplied();
    if (this.#unapplied.length === 0) return;
    // First, and not in the log: as long as the disk is not well, whoever writes there would lose what waits behind it.
    const decided = this.#store.catalog.sync();
    await decided;
    const rows = this.#unapplied;
    this.#unapplied = [];
    this.#unapplied = [...(await this.#apply(rows, decided)), ...this.#unapplied];
  }

  /** Appends in this turn; nothing is written before it is `decided`. @returns what could not be stored. */
  async #apply(rows: readonly TxWriteRow[], decided: Promise<void>): Promise<TxWriteRow[]> {
    const waits = rows.map((row) => {
      const partition = this.#store.topicById(row.topicId)?.partitions[row.partition];
      const columns = scanWriteRequest(row.frame);
      if (partition === undefined || columns === undefined) return Promise.resolve(true);
      const producer = row.producer === "" ? undefined : partition.producer(row.producer);
      return new Promise<boolean>((resolve) => {
        const listener = { onWritten: () => resolve(true), onWriteFailed: () => resolve(false) };
        partition.write(columns, producer, row.meta, this.#store.clock.now(), listener, {
          id: row.id,
          decided,
        });
      });
    });
    const stored = await Promise.all(waits);
    for (const [index, { id }] of rows.entries()) if (stored[index] === true) this.#applied.push(id);
    try {
      this.#forgetApplied();
    } catch {
      // They are committed all the same. It is tried again, and the next start finds them in the logs.
    }
    return rows.filter((_, index) => stored[index] !== true);
  }

  /** @throws {TopicServerError} and they still have to be. */
  #forgetApplied(): void {
    if (this.#applied.length === 0) return;
    this.#store.catalog.deleteTxWrites(this.#applied);
    this.#applied = [];
  }
}

async function isApplied(partition: Partition, row: TxWriteRow): Promise<boolean> {
  const { log } = partition;
  const producer = row.producer;
  let offset = Math.max(row.fromOffset, log.startOffset);
  while (offset < log.endOffset) {
    for (const record of await log.read(offset, 1024 * 1024)) {
      if (record.txId === row.id && text.decode(record.producer) === producer) return true;
      offset = record.baseOffset + record.count;
    }
  }
  return false;
}
