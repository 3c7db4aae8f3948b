export type ReconcileErrorCode =
  /** The cycle or the tasks were closed. */
  | "CLOSED"
  /** A definition or an option is outside its bounds. */
  | "OPTIONS_INVALID"
  /** The state database refused a statement; nothing of it is in there. */
  | "STATE_FAILED"
  /** An item or a phase did not end within its time. */
  | "TIMEOUT"
  /** A phase broke its contract, for example changes that do not ascend. */
  | "PROTOCOL"
  /** There is no such phase, item or task. */
  | "NOT_FOUND";

const brand = Symbol.for("@tidemark/reconcile/ReconcileError");

/** The only error this package throws, besides the `reason` of a caller's signal. */
export class ReconcileError extends Error {
  override readonly name = "ReconcileError";
  readonly code: ReconcileErrorCode;
  /** Whether the same call can succeed later without a change by the caller. */
  readonly retryable: boolean;
  readonly [brand] = true;

  constructor(code: ReconcileErrorCode, message: string, options?: ErrorOptions & { readonly retryable?: boolean }) {
    super(`[${code}] ${message}`, options);
    this.code = code;
    this.retryable = options?.retryable ?? false;
  }

  /** Like `instanceof`, but also true for another installed copy of this package. */
  static is(value: unknown): value is ReconcileError {
    return value instanceof Error && brand in value;
  }
}

/** What an error says, for status and books. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
