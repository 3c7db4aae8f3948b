import { type AckRun, encodeWriteAcks } from "@tidemark/topic/internal";
import type { PendingWrite } from "../storage/partition.ts";

interface Waiting {
  readonly write: PendingWrite;
  readonly isInTx: boolean;
  readonly quotaMs: number;
}

/** The requests of one session that are not acknowledged, and their acks in the order of the requests. */
export class AckQueue {
  /** Oldest first, from `#head` on. */
  #waiting: Waiting[] = [];
  #head = 0;

  get isEmpty(): boolean {
    return this.#head === this.#waiting.length;
  }

  /** A request that waited `quotaMs` milliseconds for the partition's quota. */
  push(write: PendingWrite, isInTx: boolean, quotaMs: number): void {
    this.#waiting.push({ write, isInTx, quotaMs });
  }

  /**
   * The acks of the oldest request, once all of it is done; undefined as long as it is not. Requests that were all
   * duplicates are done at once, and wait here for those before them.
   */
  next(partition: number): Uint8Array | undefined {
    const it = this.#waiting[this.#head];
    if (it === undefined || !it.write.isDone) return undefined;
    this.#head++;
    if (this.isEmpty) {
      this.#waiting = [];
      this.#head = 0;
    } else if (this.#head > 1024) {
      this.#waiting = this.#waiting.slice(this.#head);
      this.#head = 0;
    }
    return encode(it, partition);
  }
}

function encode({ write, isInTx, quotaMs }: Waiting, partition: number): Uint8Array {
  const { columns, skipped, firstOffset, queueMs, persistingMs } = write;
  const runs: AckRun[] = skipped > 0 ? [{ kind: "skipped", count: skipped }] : [];
  const count = columns.length - skipped;
  if (count > 0) runs.push(isInTx ? { kind: "writtenInTx", count } : { kind: "written", count, firstOffset });
  // All messages of a request are stored together, so the least and the most time in the queue are the same. A topic has
  // no quota of its own.
  return encodeWriteAcks(columns, runs, partition, {
    persistingMs,
    minQueueWaitMs: queueMs,
    maxQueueWaitMs: queueMs,
    partitionQuotaWaitMs: quotaMs,
    topicQuotaWaitMs: 0,
  });
}
