import { StoreWatchError } from "../errors.ts";

/** The SQLSTATE of an error that the server sent; undefined for everything else, a broken connection included. */
export function sqlState(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code, severity } = error as { code?: unknown; severity?: unknown };
  if (typeof code === "string" && typeof severity === "string") return code;
  return sqlState(error.cause);
}

/** Classes 08 (connection), 53 (resources), 57 (operator), 55 (locks), 40 (serialization), 25P03 (idle too long). */
const transient = /^(08|53|57|55|40|25P0[34])/;
/** Classes 22 (data), 23 (constraints), 54 (limits), P0 (raised by a trigger). */
const aboutData = /^(22|23|54|P0)/;

/** What to do about a failed transaction, as `classifySqliteError` says it of SQLite. No SQLSTATE: the connection broke. */
export function classifyPostgresError(error: unknown): "transient" | "data" | "fatal" | undefined {
  if (StoreWatchError.is(error)) return undefined;
  const state = sqlState(error);
  if (state === undefined) return isConnectionError(error) ? "transient" : undefined;
  if (transient.test(state)) return "transient";
  return aboutData.test(state) ? "data" : "fatal";
}

/** Whether the server may not have answered: then nobody knows what became of the statement. */
export function isConnectionError(error: unknown): boolean {
  const state = sqlState(error);
  if (state !== undefined) return /^(08|57P)/.test(state);
  if (!(error instanceof Error)) return false;
  const { code } = error as { code?: unknown };
  return (
    (typeof code === "string" && /^(E[A-Z]+|ERR_SOCKET.*)$/.test(code)) ||
    /connection|timeout|not queryable/i.test(error.message)
  );
}

export function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === "") return error.errors.map(messageOf).join("; ");
  return error instanceof Error ? error.message : String(error);
}

/** The error of a write that did not happen. */
export function commitFailed(error: unknown): StoreWatchError {
  if (StoreWatchError.is(error)) return error;
  const kind = classifyPostgresError(error);
  if (kind === undefined) {
    return new StoreWatchError("INTERNAL", `a write of the history failed: ${messageOf(error)}`, { cause: error });
  }
  const retryable = kind === "transient";
  const fix = retryable ? "it will be tried again" : "look at the server's log, and run fsck";
  return new StoreWatchError("COMMIT_FAILED", `PostgreSQL refused the transaction (${messageOf(error)}); ${fix}`, {
    cause: error,
    retryable,
  });
}

/** The error of a read, or of an opening, that did not happen. `where` has no password. */
export function unreadable(where: string, error: unknown): StoreWatchError {
  if (StoreWatchError.is(error)) return error;
  const retryable = classifyPostgresError(error) === "transient";
  const fix = retryable ? "start the server, or correct its address" : "check the database, the user and its rights";
  return new StoreWatchError("DATABASE_UNREADABLE", `${where} cannot be used (${messageOf(error)}); ${fix}`, {
    cause: error,
    retryable,
  });
}
