/** What went wrong, for code. The README says what to do about each. */
export type WriterErrorCode =
  /** The writer was closed or destroyed by this side. */
  | "CLOSED"
  /** `close()` ran out of time; `unacknowledged` says what may not be written. */
  | "CLOSE_TIMEOUT"
  /** The topic does not take the codec, or this process does not have it. */
  | "CODEC_UNSUPPORTED"
  /** The writer ended for good; the reason is the `cause`. */
  | "FAILED"
  /** A message has too much metadata, a key is missing, or the like. The writer goes on. */
  | "MESSAGE_INVALID"
  /** A message is above `maxMessageBytes`. The writer goes on. */
  | "MESSAGE_TOO_LARGE"
  | "OPTIONS_INVALID"
  /** The partition that the writer is bound to was split or merged. */
  | "PARTITION_INACTIVE"
  /** Somebody else writes with the same `producerId`, so nobody can tell whose messages were deduplicated. */
  | "PRODUCER_CONFLICT"
  /** The server broke a rule of the protocol. */
  | "PROTOCOL"
  /** A manual sequence number is missing, not above the one before, or not allowed. The writer goes on. */
  | "SEQ_NO_INVALID";

/** Messages that were taken and of which nobody knows whether they are written. */
export interface Unacknowledged {
  /** How many. */
  readonly messages: number;
  /** Sequence number of the first; undefined where they have none yet. */
  readonly firstSeqNo: bigint | undefined;
  /** Sequence number of the last; undefined where it has none yet. */
  readonly lastSeqNo: bigint | undefined;
}

const brand = Symbol.for("@tidemark/topic-writer/WriterError");

/** The only error this package throws, besides the `reason` of a caller's signal. */
export class WriterError extends Error {
  override readonly name = "WriterError";
  /** What went wrong. */
  readonly code: WriterErrorCode;
  /** Whether the same call can succeed later without a change by the caller. */
  readonly retryable: boolean;
  /** What was not acknowledged when the writer ended; `writer.unacknowledged()` has the messages. */
  readonly unacknowledged: Unacknowledged | undefined;
  readonly [brand] = true;

  constructor(
    code: WriterErrorCode,
    message: string,
    options?: ErrorOptions & { readonly retryable?: boolean; readonly unacknowledged?: Unacknowledged | undefined },
  ) {
    super(`[${code}] ${message}`, options);
    this.code = code;
    this.retryable = options?.retryable ?? false;
    this.unacknowledged = options?.unacknowledged;
  }

  /** Like `instanceof`, but also true for another installed copy of this package. */
  static is(value: unknown): value is WriterError {
    return value instanceof Error && brand in value;
  }
}
