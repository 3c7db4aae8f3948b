import type { TopicTransaction } from "@tidemark/topic";
import type { Columns, Partition, PartitionSession } from "./partition.ts";
import { RangeSet } from "./range-set.ts";
import { ReaderError } from "./reader-error.ts";

interface TransactionOwner<C extends Columns> {
  readonly consumer: string;
  readonly onCommitted: (partition: Partition<C>, committed: number) => void;
  /** What was read in it has to be read again. */
  readonly onNotCommitted: (why: string) => void;
}

/**
 * The batches that a program put into a transaction: these, and nothing else that was read, are committed with it (X5).
 * If one of them became somebody else's meanwhile, the transaction fails before the server hears of any (P22).
 */
export class TransactionOffsets<C extends Columns> {
  readonly #owner: TransactionOwner<C>;
  readonly #open = new WeakMap<TopicTransaction, Map<PartitionSession<C>, RangeSet>>();

  constructor(owner: TransactionOwner<C>) {
    this.#owner = owner;
  }

  /** @throws {ReaderError} `STALE_BATCH`. */
  add(transaction: TopicTransaction, session: PartitionSession<C>, start: number, end: number): void {
    checkCurrent(session);
    let offsets = this.#open.get(transaction);
    if (offsets === undefined) {
      offsets = new Map();
      this.#open.set(transaction, offsets);
      this.#join(transaction, offsets);
    }
    const ranges = offsets.get(session) ?? new RangeSet();
    offsets.set(session, ranges);
    ranges.add(start, end);
  }

  #join(transaction: TopicTransaction, offsets: ReadonlyMap<PartitionSession<C>, RangeSet>): void {
    const { consumer, onCommitted, onNotCommitted } = this.#owner;
    transaction.onBeforeCommit(async (signal) => {
      for (const session of offsets.keys()) checkCurrent(session);
      await transaction.updateOffsets(
        consumer,
        [...offsets].map(
          ([
            {
              partition: { topic, partitionId },
            },
            { ranges },
          ]) => ({ topic, partitionId, ranges }),
        ),
        signal,
      );
    });
    transaction.onEnd((outcome) => {
      if (outcome !== "committed") onNotCommitted(`a transaction is ${outcome}`);
      else {
        for (const [{ partition }, { ranges }] of offsets) {
          const last = ranges.at(-1);
          if (last !== undefined) onCommitted(partition, last.end);
        }
      }
    });
  }
}

function checkCurrent({ status, partition: { topic, partitionId } }: PartitionSession): void {
  if (status !== "over") return;
  throw new ReaderError(
    "STALE_BATCH",
    `partition ${partitionId} of ${topic} is no longer read on the stream that this batch came from; roll back`,
  );
}
