export type ClockErrorCode = "ALREADY_RUNNING" | "DEADLOCK" | "LIMIT_REACHED" | "OPTIONS_INVALID" | "TIMEOUT";

const brand = Symbol.for("@tidemark/clock/ClockError");

/** The only error this package throws, besides the `reason` of a caller's signal. */
export class ClockError extends Error {
  override readonly name = "ClockError";
  readonly code: ClockErrorCode;
  /** Whether the same call can succeed later without a change by the caller. */
  readonly retryable: boolean;
  readonly [brand] = true;

  constructor(code: ClockErrorCode, message: string, options?: ErrorOptions & { readonly retryable?: boolean }) {
    super(`[${code}] ${message}`, options);
    this.code = code;
    this.retryable = options?.retryable ?? false;
  }

  /** Like `instanceof`, but also true for another installed copy of this package. */
  static is(value: unknown): value is ClockError {
    return value instanceof Error && brand in value;
  }
}
