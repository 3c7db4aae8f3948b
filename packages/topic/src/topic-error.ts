import type { RetryClass } from "@tidemark/stream";

/** What went wrong, for code. The README says what to do about each. */
export type TopicErrorCode =
  /** The client, or a transaction, was closed. */
  | "CLOSED"
  /** A message names a codec that this side has no implementation of. */
  | "CODEC_UNKNOWN"
  /** What should have been compressed data is not. */
  | "DATA_CORRUPT"
  /** Decompressed data would be larger than `maxOutputBytes`. */
  | "DATA_TOO_LARGE"
  /** The call did not end within its `timeoutMs`; the last error is the `cause`. */
  | "DEADLINE_EXCEEDED"
  /** Bytes that are not the message they should be. */
  | "FRAME_INVALID"
  /** Discovery gave no endpoint, or not the node that was asked for. */
  | "NO_ENDPOINT"
  | "OPTIONS_INVALID"
  /** The server answered with a status; `status` names it. */
  | "STATUS"
  /** The call broke below the level of statuses: connection, TLS, gRPC. The `cause` is connect's error. */
  | "TRANSPORT"
  /** The transaction is over, or its outcome is not known: then `retryable` is false and the `cause` says why. */
  | "TRANSACTION_FAILED"
  /** The server accepts no codec that this side has. */
  | "UNSUPPORTED_CODECS";

const brand = Symbol.for("@tidemark/topic/TopicError");

export interface TopicErrorOptions extends ErrorOptions {
  /** The name of a YDB status, such as `SCHEME_ERROR`. */
  readonly status?: string;
  /** @default "fatal" */
  readonly retryClass?: RetryClass;
}

/** The only error this package throws, besides the `reason` of a caller's signal. */
export class TopicError extends Error {
  override readonly name = "TopicError";
  /** What went wrong. */
  readonly code: TopicErrorCode;
  /** The name of the YDB status, where `code` is `STATUS`. */
  readonly status: string | undefined;
  /** How soon the same can be tried again; `fatal`: not without a change by the caller. */
  readonly retryClass: RetryClass;
  readonly [brand] = true;

  constructor(code: TopicErrorCode, message: string, options: TopicErrorOptions = {}) {
    super(`[${code}] ${message}`, options);
    this.code = code;
    this.status = options.status;
    this.retryClass = options.retryClass ?? "fatal";
  }

  /** Whether the same call can succeed later without a change by the caller. */
  get retryable(): boolean {
    return this.retryClass !== "fatal";
  }

  /** Like `instanceof`, but also true for another installed copy of this package. */
  static is(value: unknown): value is TopicError {
    return value instanceof Error && brand in value;
  }
}
