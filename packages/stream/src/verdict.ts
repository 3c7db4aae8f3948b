import type { RetryClass } from "./protocol.ts";
import type { StreamError } from "./stream-error.ts";

const verdicts = new WeakMap<object, RetryClass>();

/** Marks an error of the core itself, about which no protocol is asked. */
export function judged(error: StreamError, retryClass: RetryClass): StreamError {
  verdicts.set(error, retryClass);
  return error;
}

/** What the core itself has to say about an error. */
export function verdictOf(error: unknown): RetryClass | undefined {
  return typeof error === "object" && error !== null ? verdicts.get(error) : undefined;
}
