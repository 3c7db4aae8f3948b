import type { UncommittedRange } from "./reader-types.ts";

/** What went wrong, for code. The README says what to do about each. */
export type ReaderErrorCode =
  /** The reader was closed or destroyed, by this side. */
  | "CLOSED"
  /** `close()` ran out of time; `uncommitted` says what is not known to be committed. */
  | "CLOSE_TIMEOUT"
  /** A message could not be decompressed. Its batch, its neighbours and its partition are fine. */
  | "DECODE_FAILED"
  /** The stream met an error that cannot pass; it is the `cause`. */
  | "FAILED"
  /** A reader without a consumer was asked to commit. */
  | "NO_CONSUMER"
  | "OPTIONS_INVALID"
  /** The partition went to another reader before the commit was done, so its messages may be read again there. */
  | "PARTITION_LOST"
  /** The server said something that the protocol does not allow. */
  | "PROTOCOL"
  /** This side dropped the stream, to read again from what is committed. Seen in events only. */
  | "RESTARTED"
  /** A batch of a session that is over was to be committed in a transaction. */
  | "STALE_BATCH"
  /** `close()` is done, but a part of what was to be committed lies behind messages that nobody committed. */
  | "UNCOMMITTED";

const brand = Symbol.for("@tidemark/topic-reader/ReaderError");

/** What an error of a reader carries beside its code. */
export interface ReaderErrorOptions extends ErrorOptions {
  readonly retryable?: boolean;
  readonly uncommitted?: readonly UncommittedRange[];
}

/** The only error this package throws, besides the `reason` of a caller's signal. */
export class ReaderError extends Error {
  override readonly name = "ReaderError";
  /** What went wrong. */
  readonly code: ReaderErrorCode;
  /** Whether the same call can succeed later without a change by the caller. */
  readonly retryable: boolean;
  /** What was asked to be committed and is not known to be. */
  readonly uncommitted: readonly UncommittedRange[];
  readonly [brand] = true;

  constructor(code: ReaderErrorCode, message: string, options: ReaderErrorOptions = {}) {
    super(`[${code}] ${message}`, options);
    this.code = code;
    this.retryable = options.retryable ?? false;
    this.uncommitted = options.uncommitted ?? [];
  }

  /** Like `instanceof`, but also true for another installed copy of this package. */
  static is(value: unknown): value is ReaderError {
    return value instanceof Error && brand in value;
  }
}
