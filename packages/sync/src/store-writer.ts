import type { HistoryGraph, StoreResult, StoreTransaction } from "@tidemark/store-watch";
import type { Level } from "./level.ts";
import { packWrites } from "./pack-writes.ts";
import type { Sink } from "./sink.ts";
import type { PartSigns } from "./supervisor.ts";
import { isRetryable, SyncError, toSyncError } from "./sync-error.ts";
import type { Turns } from "./turns.ts";

export interface StoreWriterParts {
  readonly graph: HistoryGraph;
  readonly sink: Sink;
  readonly turns: Turns;
  /** Something else may be shown than in the store. */
  readonly moved: Level;
  readonly counters: { stored: number; refused: number };
  /** Takes over what the store's stream has. */
  readonly ingest: () => Promise<void>;
}

/** Brings the store to what is shown here. */
export async function writeStore(
  { graph, sink, turns, moved, counters, ingest }: StoreWriterParts,
  signal: AbortSignal,
  { onProgress, onHealthy }: PartSigns,
): Promise<void> {
  const failed = (error: unknown): never => {
    if (signal.aborted || isRetryable(error)) throw error;
    // The rest of the site goes on: what is wrong with the store is for its owner to mend.
    const { message } = toSyncError(error);
    throw new SyncError("SINK_FAILED", message.replace(/^\[\w+\] /, ""), { cause: error, retryable: true });
  };
  let results: StoreResult[] = [];
  /** One transaction of the store. Whether it came to a result: a refusal is none where `isTrial`. */
  const store = async (transactions: readonly StoreTransaction[], isTrial: boolean): Promise<boolean> => {
    const writes = transactions.flatMap((each) => each.writes);
    const result = await sink.apply(writes, signal).catch(failed);
    if (!result.isApplied && isTrial) return false;
    for (const [index, { object, want, known }] of writes.entries()) {
      const version = result.isApplied ? (result.versions[index] as string) : undefined;
      results.push({ object, want, known, version });
    }
    if (result.isApplied) counters.stored += writes.length;
    else counters.refused += writes.length;
    return true;
  };
  // Of an earlier run, or of an earlier process.
  if (await turns.take(() => graph.unsettled())) {
    const position = await sink.position?.(signal).catch(failed);
    await turns.take(() => graph.lose(position));
    // The stream may be there already, and then nothing more comes that would tell.
    await ingest();
  }
  for (;;) {
    // A sink need not look at the signal, and what it said after the end is not settled: it would be asked for ever.
    signal.throwIfAborted();
    const seen = moved.count;
    const transactions = await turns.take(() => graph.storeWrites());
    results = [];
    try {
      for (const together of packWrites(transactions, sink.maxWrites ?? 0)) {
        // One of them was refused: each of the others may still be made.
        const isMade = await store(together, together.length > 1);
        if (!isMade) for (const one of together) await store([one], false);
        onProgress();
      }
    } finally {
      // Together: each call is on the disk when it returns. What is not reported the store's stream tells.
      const reported = results;
      if (reported.length > 0 && !signal.aborted) await turns.take(() => graph.settle(reported));
    }
    if (transactions.length > 0) continue;
    onHealthy();
    await moved.after(seen, signal);
  }
}
