export type SourceWatchErrorCode = "OPTIONS_INVALID" | "PROTOCOL";

const brand = Symbol.for("@tidemark/source-watch/SourceWatchError");

/** The only error this package throws, besides the `reason` of a caller's signal. */
export class SourceWatchError extends Error {
  override readonly name = "SourceWatchError";
  readonly code: SourceWatchErrorCode;
  /** Whether the same call can succeed later without a change by the caller. */
  readonly retryable: boolean;
  readonly [brand] = true;

  constructor(code: SourceWatchErrorCode, message: string, options?: ErrorOptions & { readonly retryable?: boolean }) {
    super(`[${code}] ${message}`, options);
    this.code = code;
    this.retryable = options?.retryable ?? false;
  }

  /** Like `instanceof`, but also true for another installed copy of this package. */
  static is(value: unknown): value is SourceWatchError {
    return value instanceof Error && brand in value;
  }
}
