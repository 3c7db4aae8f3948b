export type StoreWatchErrorCode =
  /** The history, its stream or the watcher was closed. */
  | "CLOSED"
  /** An option or argument is outside its bounds. */
  | "OPTIONS_INVALID"
  /** The folder or file cannot be opened, or what is there is not a Tidemark history. */
  | "DATABASE_UNREADABLE"
  /** Another process, or another open history of this one, writes this file. */
  | "DATABASE_LOCKED"
  /** A newer Tidemark wrote this file. */
  | "SCHEMA_NEWER"
  /** The SQL transaction failed; nothing of it is in the database. */
  | "COMMIT_FAILED"
  /** The history at this point is below the retention floor or before the first state that is known. */
  | "TOO_OLD"
  /** The history has not come this far yet. */
  | "NOT_REACHED"
  /** There is no such stream or quarantined change. */
  | "NOT_FOUND"
  /** The stream has a newer writer, or an append is in flight already. */
  | "STREAM_BUSY"
  /** The frames break the contract: they come from a defective source. */
  | "PROTOCOL"
  /** This source cannot name a position that covers what was written to it until now. */
  | "NO_BARRIER"
  /** The source was wiped, restored or replaced while somebody waited for a position of it. */
  | "EPOCH_CHANGED"
  /** A watcher stopped before everything it had accepted was committed; the rest comes again from the source. */
  | "NOT_COMMITTED"
  /** Other sites have changes of this history that it does not have itself: it was restored from a backup. */
  | "REWOUND"
  /** A thread of the history ended by itself. */
  | "WORKER_DIED"
  /** A defect of this package. */
  | "INTERNAL";

export interface StoreWatchErrorOptions extends ErrorOptions {
  readonly retryable?: boolean;
  readonly buffer?: { readonly bytes: number; clear(): void };
}

const brand = Symbol.for("@tidemark/store-watch/StoreWatchError");

/** The only error this package throws, besides the `reason` of a caller's signal. */
export class StoreWatchError extends Error {
  override readonly name = "StoreWatchError";
  readonly code: StoreWatchErrorCode;
  /** Whether the same call can succeed later without a change by the caller. */
  readonly retryable: boolean;
  /** Of a failed append: the frame buffer, whole again. */
  readonly buffer: { readonly bytes: number; clear(): void } | undefined;
  readonly [brand] = true;

  constructor(code: StoreWatchErrorCode, message: string, options?: StoreWatchErrorOptions) {
    super(`[${code}] ${message}`, options);
    this.code = code;
    this.retryable = options?.retryable ?? false;
    this.buffer = options?.buffer;
  }

  /** Like `instanceof`, but also true for another installed copy of this package. */
  static is(value: unknown): value is StoreWatchError {
    return value instanceof Error && brand in value;
  }
}
