export type StoreErrorCode =
  | "ARGUMENT_INVALID"
  | "CLOSED"
  | "FILE_UNUSABLE"
  | "LISTEN_FAILED"
  | "OPTIONS_INVALID"
  | "OVERLOADED"
  | "REMOTE"
  | "SCHEMA_NEWER"
  | "STORE_FAILED"
  | "STORE_LOCKED"
  | "STORE_REPLACED"
  | "TOO_LARGE"
  | "TOO_OLD"
  | "UNAVAILABLE";

export interface StoreErrorOptions extends ErrorOptions {
  readonly retryable?: boolean;
  readonly oldestMarker?: string | undefined;
  readonly storeId?: string | undefined;
  readonly incarnation?: string | undefined;
}

const brand = Symbol.for("@tidemark/watch-server/StoreError");

/** The only error this package throws, besides the `reason` of a caller's signal. */
export class StoreError extends Error {
  override readonly name = "StoreError";
  readonly code: StoreErrorCode;
  /** Whether the same call can succeed later without a change by the caller. */
  readonly retryable: boolean;
  /** With `TOO_OLD`: the oldest marker that a watch can still start from. */
  readonly oldestMarker: string | undefined;
  /** With `STORE_REPLACED`: the store that is there now. Equal to the one before when that was restored from a backup. */
  readonly storeId: string | undefined;
  /** With `TOO_OLD`: the run of the store that said so. */
  readonly incarnation: string | undefined;
  readonly [brand] = true;

  constructor(code: StoreErrorCode, message: string, options?: StoreErrorOptions) {
    super(`[${code}] ${message}`, options);
    this.code = code;
    this.retryable = options?.retryable ?? false;
    this.oldestMarker = options?.oldestMarker;
    this.storeId = options?.storeId;
    this.incarnation = options?.incarnation;
  }

  /** Like `instanceof`, but also true for another installed copy of this package. */
  static is(value: unknown): value is StoreError {
    return value instanceof Error && brand in value;
  }
}
