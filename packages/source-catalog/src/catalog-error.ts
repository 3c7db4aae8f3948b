export type CatalogErrorCode =
  /** An option is outside its bounds. */
  | "OPTIONS_INVALID"
  /** The state file cannot be used, or another process does. */
  | "STATE_UNUSABLE"
  /** No answer, or one with another status than 200 and 304. */
  | "UNREACHABLE"
  /** The answer is larger than `maxBytes`. */
  | "TOO_LARGE"
  /** A redirect to another host. */
  | "REDIRECTED"
  /** The answer is not JSON, or not what was expected in it. */
  | "INVALID";

const brand = Symbol.for("@tidemark/source-catalog/CatalogError");

/** The only error this package throws, besides the `reason` of a caller's signal. */
export class CatalogError extends Error {
  override readonly name = "CatalogError";
  readonly code: CatalogErrorCode;
  /** Whether the same call can succeed later without a change by the caller. */
  readonly retryable: boolean;
  readonly [brand] = true;

  constructor(code: CatalogErrorCode, message: string, options?: ErrorOptions & { readonly retryable?: boolean }) {
    super(`[${code}] ${message}`, options);
    this.code = code;
    this.retryable = options?.retryable ?? false;
  }

  /** Like `instanceof`, but also true for another installed copy of this package. */
  static is(value: unknown): value is CatalogError {
    return value instanceof Error && brand in value;
  }
}
