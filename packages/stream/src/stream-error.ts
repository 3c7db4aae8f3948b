/** What went wrong, for code. The README says what to do about each. */
export type StreamErrorCode =
  /** The thing was closed or destroyed, by this side. */
  | "CLOSED"
  /** `close()` ran out of time before its flush was done. */
  | "CLOSE_TIMEOUT"
  /** The stream ended without this side asking for it. */
  | "CONNECTION_LOST"
  /** The reconnector met an error that the protocol calls fatal; it is the `cause`. */
  | "FAILED"
  /** The `flush` given to `close()` rejected; its error is the `cause`. */
  | "FLUSH_FAILED"
  /** `maxAttempts` in a row failed; the last error is the `cause`. */
  | "GAVE_UP"
  /** The handshake took longer than `handshakeTimeoutMs`. */
  | "HANDSHAKE_TIMEOUT"
  /** A hook, `classify`, or another function of the protocol threw or hung. What it threw is the `cause`. */
  | "HOOK_FAILED"
  /** The connection's session was asked for before its handshake was done. */
  | "NOT_LIVE"
  /** A hand-off was closed in the middle of a group, so its last groups could not be cut and were not committed. */
  | "OPEN_GROUP"
  | "OPTIONS_INVALID"
  /** The peer did not answer a ping within `pingTimeoutMs`. */
  | "PING_TIMEOUT"
  /** The peer, or this side's protocol code, broke the rules of a stream. */
  | "PROTOCOL"
  /** A commit was given up for now; its batch is kept and `retry()` goes on. The last error is the `cause`. */
  | "QUARANTINED"
  /** No message came for `silenceTimeoutMs`. */
  | "SILENT";

const brand = Symbol.for("@tidemark/stream/StreamError");

/** The only error this package throws, besides the `reason` of a caller's signal. */
export class StreamError extends Error {
  override readonly name = "StreamError";
  /** What went wrong. */
  readonly code: StreamErrorCode;
  /** Whether the same call can succeed later without a change by the caller. */
  readonly retryable: boolean;
  readonly [brand] = true;

  constructor(code: StreamErrorCode, message: string, options?: ErrorOptions & { readonly retryable?: boolean }) {
    super(`[${code}] ${message}`, options);
    this.code = code;
    this.retryable = options?.retryable ?? false;
  }

  /** Like `instanceof`, but also true for another installed copy of this package. */
  static is(value: unknown): value is StreamError {
    return value instanceof Error && brand in value;
  }
}
