import { writeAckEncoder } from "@tidemark/topic/internal";
import type { PendingWrite } from "../storage/partition.ts";

interface Waiting {
  readonly write: PendingWrite;
  readonly isInTx: boolean;
  readonly quotaMs: number;
}

/** Acks of one response, in bytes, before the next begins. */
const responseBytes = 32 * 1024;

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
   * The acks of the oldest request, once all of it is done, and of those after it that the disk took together with it:
   * the time that took is said once for all messages of a response. Undefined as long as the oldest is not done. Requests
   * that were all duplicates are done at once, and wait here for those before them.
   */
  next(partition: number): Uint8Array | undefined {
    let waiting = this.#oldestDone();
    if (waiting === undefined) return undefined;
    const { persistingMs, queueMs } = waiting.write;
    let minQueueWaitMs = queueMs;
    let maxQueueWaitMs = queueMs;
    let partitionQuotaWaitMs = 0;
    writeAckEncoder.begin();
    while (waiting !== undefined && waiting.write.persistingMs === persistingMs) {
      add(waiting);
      minQueueWaitMs = Math.min(minQueueWaitMs, waiting.write.queueMs);
      maxQueueWaitMs = Math.max(maxQueueWaitMs, waiting.write.queueMs);
      partitionQuotaWaitMs = Math.max(partitionQuotaWaitMs, waiting.quotaMs);
      this.#head++;
      if (writeAckEncoder.bytes >= responseBytes) break;
      waiting = this.#oldestDone();
    }
    this.#forget();
    // A topic has no quota of its own.
    const times = { persistingMs, minQueueWaitMs, maxQueueWaitMs, partitionQuotaWaitMs, topicQuotaWaitMs: 0 };
    return writeAckEncoder.end(partition, times);
  }

  #oldestDone(): Waiting | undefined {
    const waiting = this.#waiting[this.#head];
    return waiting?.write.isDone === true ? waiting : undefined;
  }

  #forget(): void {
    if (this.isEmpty) {
      this.#waiting = [];
      this.#head = 0;
    } else if (this.#head > 1024) {
      this.#waiting = this.#waiting.slice(this.#head);
      this.#head = 0;
    }
  }
}

function add({ write, isInTx }: Waiting): void {
  const { columns, skipped, firstOffset } = write;
  writeAckEncoder.add(columns, 0, skipped, "skipped");
  writeAckEncoder.add(columns, skipped, columns.length, isInTx ? "writtenInTx" : "written", firstOffset);
}
