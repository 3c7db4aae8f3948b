import type { CommitWaiter } from "./commit-ledger.ts";
import type { Chunk, Columns, Partition, PartitionSession } from "./partition.ts";
import type { OffsetRange } from "./range-set.ts";
import type { PartitionEnd, ReaderOwnEvent } from "./reader-types.ts";

/** What the state wants done. The order among them counts. */
export type ReaderEffect<C extends Columns = Columns> =
  /** Grant the server bytes. */
  | { readonly type: "request"; readonly bytes: number }
  | { readonly type: "commit"; readonly commits: readonly SessionCommit[] }
  | { readonly type: "answer-start"; readonly sessionId: number; readonly readOffset: number | undefined }
  | { readonly type: "answer-stop"; readonly sessionId: number }
  /** Find out where the session is to start, then `answerStart`. */
  | { readonly type: "ask-start"; readonly session: PartitionSession<C> }
  /** Call `flushCommits` at the end of the turn. */
  | { readonly type: "flush-soon" }
  | { readonly type: "settle"; readonly waiters: readonly CommitWaiter[]; readonly lost?: Partition<C> }
  /** Something can be delivered. */
  | { readonly type: "wake" }
  /** Something waits for its decompression. */
  | { readonly type: "decode"; readonly chunk: Chunk<C> }
  /** Call `stopOverdue` after the patience with graceful stops. */
  | { readonly type: "arm-stop"; readonly session: PartitionSession<C> }
  /** Call `lossOverdue` after the patience with partitions that do not come back. */
  | { readonly type: "arm-loss"; readonly partition: Partition<C> }
  | { readonly type: "disarm-loss"; readonly partition: Partition<C> }
  /** Whoever works on the session's batches should stop: its timers and signals are of no more use. */
  | { readonly type: "ended"; readonly session: PartitionSession<C>; readonly reason: PartitionEnd }
  | { readonly type: "committed"; readonly partition: Partition<C>; readonly committed: number }
  /** Nothing that can be committed is left. */
  | { readonly type: "flushed" }
  | { readonly type: "reconnect"; readonly why: string }
  | { readonly type: "tell"; readonly event: ReaderOwnEvent };

/** Ranges to commit in one session. */
export interface SessionCommit {
  readonly sessionId: number;
  readonly ranges: readonly OffsetRange[];
}
