import { StoreWatchError, type StoreWatchErrorCode, type StoreWatchErrorOptions } from "./errors.ts";
import type { ReaderMethods, WriterMethods } from "./history/methods.ts";
import { type ErrorRecord, fromErrorRecord } from "./worker/error-record.ts";
import { WorkerClient, workerFile } from "./worker/worker-client.ts";

// This file is in src/ because the workers' files are found beside it, here and in dist/.

export function startWriter(): WorkerClient<WriterMethods> {
  return new WorkerClient<WriterMethods>(workerFile(import.meta.url, "./history-writer-worker"), {
    name: "tidemark history writer",
    // What it keeps is bounded far below; the limits only make it collect its garbage earlier.
    resourceLimits: { maxYoungGenerationSizeMb: 8, maxOldGenerationSizeMb: 96 },
    ...workerErrors,
  });
}

export function startReader(): WorkerClient<ReaderMethods> {
  return new WorkerClient<ReaderMethods>(workerFile(import.meta.url, "./history-reader-worker"), {
    name: "tidemark history reader",
    resourceLimits: { maxYoungGenerationSizeMb: 8, maxOldGenerationSizeMb: 160 },
    ...workerErrors,
  });
}

/** The error behind a record of one of our threads. */
export function reviveError(record: ErrorRecord, options: StoreWatchErrorOptions = {}): StoreWatchError {
  if (record.name !== "StoreWatchError") {
    const isSqlite = record.code?.startsWith("SQLITE_") === true;
    const [code, what] = isSqlite ? (["DATABASE_UNREADABLE", "SQLite"] as const) : (["INTERNAL", "a thread"] as const);
    const cause = fromErrorRecord(record);
    return new StoreWatchError(code, `${what} of the history failed: ${record.message}`, { ...options, cause });
  }
  const code = record.code as StoreWatchErrorCode;
  const { retryable } = record;
  const cause = record.cause && { cause: fromErrorRecord(record.cause) };
  return new StoreWatchError(code, record.message.replace(`[${code}] `, ""), { ...options, ...cause, retryable });
}

export function closedError(): StoreWatchError {
  return new StoreWatchError("CLOSED", "the history is closed");
}

export const workerErrors = {
  reviveError: (record: ErrorRecord) => reviveError(record),
  closedError,
  diedError: (message: string, cause: unknown) =>
    new StoreWatchError("WORKER_DIED", `${message}; open the history again`, { cause }),
};
