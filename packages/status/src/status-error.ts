export type StatusErrorCode = "OPTIONS_INVALID" | "STILL_RUNNING" | "TIMEOUT";

const brand = Symbol.for("@tidemark/status/StatusError");

/** The only error this package throws, besides the `reason` of a caller's signal and what a cache's `load` throws. */
export class StatusError extends Error {
  override readonly name = "StatusError";
  readonly code: StatusErrorCode;
  /** Whether the same call can succeed later without a change by the caller. */
  readonly retryable: boolean;
  readonly [brand] = true;

  constructor(code: StatusErrorCode, message: string, options?: ErrorOptions & { readonly retryable?: boolean }) {
    super(`[${code}] ${message}`, options);
    this.code = code;
    this.retryable = options?.retryable ?? false;
  }

  /** Like `instanceof`, but also true for another installed copy of this package. */
  static is(value: unknown): value is StatusError {
    return value instanceof Error && brand in value;
  }
}
