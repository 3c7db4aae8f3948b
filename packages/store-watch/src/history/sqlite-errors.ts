import { StoreWatchError } from "../errors.ts";

/** SQLite's result code of an error that better-sqlite3 threw. */
export function sqliteCode(error: unknown): string | undefined {
  const code = error instanceof Error ? (error as { code?: unknown }).code : undefined;
  return typeof code === "string" && code.startsWith("SQLITE_") ? code : undefined;
}

const transient = /^SQLITE_(BUSY|LOCKED|IOERR|FULL|NOMEM|CANTOPEN|PROTOCOL|INTERRUPT)/;
const aboutData = /^SQLITE_(CONSTRAINT|TOOBIG|MISMATCH|RANGE|ERROR)/;

/**
 * What to do about a failed transaction: `transient` may go away by itself (a lock, a full disk); `data` comes from the
 * rows, so that one of them is to be set aside; `fatal` is about the database.
 */
export function classifySqliteError(error: unknown): "transient" | "data" | "fatal" | undefined {
  const code = sqliteCode(error);
  if (code === undefined) return undefined;
  if (transient.test(code)) return "transient";
  return aboutData.test(code) ? "data" : "fatal";
}

/** The error of a write that did not happen. */
export function commitFailed(error: unknown): StoreWatchError {
  if (StoreWatchError.is(error)) return error;
  const message = error instanceof Error ? error.message : String(error);
  const retryable = classifySqliteError(error) === "transient";
  const fix = retryable ? "it will be tried again" : "run fsck, and restore a backup if the file is damaged";
  return new StoreWatchError("COMMIT_FAILED", `SQLite refused the transaction (${message}); ${fix}`, {
    cause: error,
    retryable,
  });
}
