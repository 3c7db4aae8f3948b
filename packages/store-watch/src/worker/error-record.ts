/** An error on its way between two threads. */
export interface ErrorRecord {
  readonly name: string;
  readonly code: string | undefined;
  readonly message: string;
  readonly retryable: boolean;
  readonly cause: ErrorRecord | undefined;
}

/** Flattens what was thrown. Causes are followed four deep. */
export function toErrorRecord(thrown: unknown, depth = 4): ErrorRecord {
  if (!(thrown instanceof Error)) {
    return { name: "Error", code: undefined, message: String(thrown), retryable: false, cause: undefined };
  }
  const { code, retryable } = thrown as { code?: unknown; retryable?: unknown };
  return {
    name: thrown.name,
    code: typeof code === "string" ? code : undefined,
    message: thrown.message,
    retryable: retryable === true,
    cause: thrown.cause === undefined || depth === 0 ? undefined : toErrorRecord(thrown.cause, depth - 1),
  };
}

/** The plain error behind a record, with `code` where there was one. */
export function fromErrorRecord(record: ErrorRecord): Error {
  const options = record.cause === undefined ? undefined : { cause: fromErrorRecord(record.cause) };
  const error = new Error(record.message, options);
  error.name = record.name;
  if (record.code !== undefined) Object.assign(error, { code: record.code });
  return error;
}
