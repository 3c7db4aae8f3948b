import { StreamError } from "@tidemark/stream";
import { type Unacknowledged, WriterError } from "./writer-error.ts";

/** What a writer tells its user about the error that ended it, whoever had it first. `refusal`: what it says already. */
export function endError(name: string, error: unknown, refusal: WriterError | undefined): WriterError {
  const cause = StreamError.is(error) ? (error.cause ?? error) : error;
  if (WriterError.is(cause)) return cause;
  if (StreamError.is(error) && error.code === "CLOSED") return refusal ?? closedError(name, error.cause);
  if (StreamError.is(error) && error.code === "CLOSE_TIMEOUT") return closeTimeout(name, error);
  const what = cause instanceof Error ? cause.message : String(cause);
  return new WriterError("FAILED", `${name} ended: ${what}`, { cause });
}

export function closedError(name: string, cause?: unknown): WriterError {
  return new WriterError("CLOSED", `${name} is closed`, { cause });
}

export function closeTimeout(name: string, cause?: unknown): WriterError {
  return new WriterError("CLOSE_TIMEOUT", `${name} could not be closed in time`, { cause, retryable: true });
}

/** The same error, saying what is not acknowledged. */
export function withUnacknowledged(error: WriterError, unacknowledged: Unacknowledged): WriterError {
  const { messages } = unacknowledged;
  if (messages === 0) return error;
  const { code, retryable, cause } = error;
  const text = error.message.replace(/^\[\w+\] /, "").replace(/ \(\d+ messages are not acknowledged\)$/, "");
  return new WriterError(code, `${text} (${messages} messages are not acknowledged)`, {
    retryable,
    cause,
    unacknowledged,
  });
}
