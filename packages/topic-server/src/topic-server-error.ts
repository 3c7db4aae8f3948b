/**
 * - `OPTIONS_INVALID`: an option is out of its bounds, or two contradict each other.
 * - `CORRUPT`: stored data is damaged where no crash can have damaged it. Nothing was changed.
 * - `DISK_FULL`: the file system has no room. Nothing of the refused write is kept; the same call can succeed later.
 * - `DISK_FAILED`: the file system failed in another way.
 * - `LOCKED`: another process has the data directory open.
 * - `CLOSED`: the store was closed.
 */
export type TopicServerErrorCode = "CLOSED" | "CORRUPT" | "DISK_FAILED" | "DISK_FULL" | "LOCKED" | "OPTIONS_INVALID";

const brand = Symbol.for("@tidemark/topic-server/TopicServerError");

/** The only error this package throws, besides what clients are told as a status of YDB. */
export class TopicServerError extends Error {
  override readonly name = "TopicServerError";
  readonly code: TopicServerErrorCode;
  /** Whether the same call can succeed later without a change by the caller. */
  readonly retryable: boolean;
  readonly [brand] = true;

  constructor(code: TopicServerErrorCode, message: string, options?: ErrorOptions & { readonly retryable?: boolean }) {
    super(`[${code}] ${message}`, options);
    this.code = code;
    this.retryable = options?.retryable ?? false;
  }

  /** Like `instanceof`, but also true for another installed copy of this package. */
  static is(value: unknown): value is TopicServerError {
    return value instanceof Error && brand in value;
  }
}
