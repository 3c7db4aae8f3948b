/** Offsets of a partition that were read: from `start` up to, not including, `end`. */
export interface OffsetRange {
  readonly start: number | bigint;
  readonly end: number | bigint;
}

export interface TransactionOffsets {
  readonly topic: string;
  readonly partitionId: number | bigint;
  readonly ranges: readonly OffsetRange[];
}

/** `unknown`: the commit was sent, and no answer came. */
export type TransactionOutcome = "committed" | "rolled-back" | "unknown";

/** A transaction that is open. Everything in it goes to one node. */
export interface TopicTransaction {
  readonly id: string;
  /** The id of its session. */
  readonly session: string;
  readonly nodeId: number;
  /** Aborts when the transaction is over, whichever way. */
  readonly signal: AbortSignal;
  /**
   * Called before the commit, all at once; the commit waits for them, and does not happen when one rejects. For writers,
   * which flush, and readers, which add the offsets that they gave out.
   */
  onBeforeCommit(hook: (signal: AbortSignal) => Promise<void> | void): void;
  /** Called once when the outcome is known, or known to be unknown. What it throws is ignored. */
  onEnd(hook: (outcome: TransactionOutcome) => void): void;
  /**
   * Commits these offsets together with the transaction. A range has to begin where the last one ended, or at the
   * committed offset.
   *
   * @throws {TopicError} `STATUS`, `TRANSPORT`, `TRANSACTION_FAILED`
   */
  updateOffsets(consumer: string, offsets: readonly TransactionOffsets[], signal?: AbortSignal): Promise<void>;
}

export interface TransactionOptions {
  /** Of everything together, in milliseconds. @default 60_000 */
  readonly timeoutMs?: number;
  /** How often `work` is run at most when the server aborts the transaction, at least 1. @default 5 */
  readonly maxAttempts?: number;
  readonly signal?: AbortSignal;
}
