import type { Clock } from "@tidemark/clock";

/** The connection is gone, or the database gave no answer in time: what was under way may or may not have happened. */
export class DatabaseAway extends Error {
  override readonly name = "DatabaseAway";
  readonly code = "DATABASE_AWAY";
}

/** Waits for an answer, but not for ever. @throws {DatabaseAway} */
export function answerWithin<T>(clock: Clock, ms: number, answer: PromiseLike<T>): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const timer = clock.setTimer(ms, () => reject(new DatabaseAway(`the database gave no answer in ${ms} ms`)));
  answer.then(resolve, reject);
  return promise.finally(() => timer.cancel());
}

const networkCodes = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "EAI_AGAIN",
  "ENOTFOUND",
  "ENOENT",
  "DATABASE_AWAY",
]);

/** Whether an error says that the database could not be reached, whatever it would have said. */
export function isAway(error: unknown): boolean {
  const { code } = error as { readonly code?: unknown };
  return typeof code === "string" && networkCodes.has(code);
}
