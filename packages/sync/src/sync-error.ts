export type SyncErrorCode =
  /** The site was closed. */
  | "CLOSED"
  /** An option or argument is outside its bounds. */
  | "OPTIONS_INVALID"
  /** Other sites know changes of this one that it does not have itself: its history was restored from a backup. */
  | "REWOUND"
  /** The channel has lost messages that this site has not seen, and there is no peer to get them from. */
  | "TOO_OLD"
  /** A message cannot come from a sound site, or is of a newer version. The site stopped before it. */
  | "PROTOCOL"
  /** The site's store does not take what the other sites made; see `cause`. It is tried again until it does. */
  | "SINK_FAILED"
  /** The channel or the history failed for good; see `cause`. */
  | "FAILED";

const brand = Symbol.for("@tidemark/sync/SyncError");

/** The only error this package throws, besides the `reason` of a caller's signal. */
export class SyncError extends Error {
  override readonly name = "SyncError";
  readonly code: SyncErrorCode;
  /** Whether the same call can succeed later without a change by the caller. */
  readonly retryable: boolean;
  readonly [brand] = true;

  constructor(code: SyncErrorCode, message: string, options?: ErrorOptions & { readonly retryable?: boolean }) {
    super(`[${code}] ${message}`, options);
    this.code = code;
    this.retryable = options?.retryable ?? false;
  }

  /** Like `instanceof`, but also true for another installed copy of this package. */
  static is(value: unknown): value is SyncError {
    return value instanceof Error && brand in value;
  }
}

/** What ended a site, as its users see it. */
export function toSyncError(error: unknown): SyncError {
  if (SyncError.is(error)) return error;
  const message = error instanceof Error ? error.message.replace(/^\[[A-Z_]+\] /, "") : String(error);
  const code = codeOf(error);
  if (code === "REWOUND" || code === "PROTOCOL") return new SyncError(code, message, { cause: error });
  return new SyncError("FAILED", message, { cause: error });
}

/** Whether waiting may mend it, by the error's own word. */
export function isRetryable(error: unknown): boolean {
  return error instanceof Error && "retryable" in error && error.retryable === true;
}

export function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
