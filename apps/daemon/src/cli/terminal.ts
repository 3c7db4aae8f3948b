import { inspect } from "node:util";
import { DaemonError } from "../daemon-error.ts";
import { redact } from "../redact.ts";
import { createStyle, type Style } from "./format/style.ts";

/** Where a command writes and what it knows of its surroundings. */
export interface Terminal {
  readonly style: Style;
  readonly errorStyle: Style;
  /** Whether a person looks at standard output. */
  readonly isInteractive: boolean;
  /** Characters in a line; a wide screen's worth where nobody looks. */
  readonly columns: number;
  readonly nowMs: () => number;
  /** Writes to standard output; settles when there is room for more. */
  write(text: string | Uint8Array): Promise<void>;
  /** A remark for the person, on standard error, so that it never mixes with the data. */
  note(text: string): void;
  /** Aborts at Ctrl-C and when the reader of standard output has gone. */
  readonly signal: AbortSignal;
}

export function createTerminal(): Terminal {
  const stop = new AbortController();
  process.once("SIGINT", () => stop.abort(new Interrupted("SIGINT")));
  process.once("SIGTERM", () => stop.abort(new Interrupted("SIGTERM")));
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    // `tidemark log key | head` is not an error.
    stop.abort(error.code === "EPIPE" ? new Interrupted("EPIPE") : error);
  });
  return {
    style: createStyle(process.stdout),
    errorStyle: createStyle(process.stderr),
    isInteractive: process.stdout.isTTY,
    columns: process.stdout.columns ?? 160,
    nowMs: Date.now,
    signal: stop.signal,
    write: (text) =>
      new Promise((resolve, reject) => {
        process.stdout.write(text, (error) => (error == null ? resolve() : reject(stop.signal.reason ?? error)));
      }),
    note: (text) => void process.stderr.write(`${redact(text)}\n`),
  };
}

/** Ends a command quietly, with the exit code that shells expect. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
  readonly exitCode: number;

  constructor(by: "SIGINT" | "SIGTERM" | "EPIPE") {
    super(`stopped by ${by}`);
    this.exitCode = by === "SIGINT" ? 130 : by === "SIGTERM" ? 143 : 0;
  }
}

/** Prints what went wrong and what to do; returns the exit code. */
export function reportFailure(failure: unknown, style: Style): number {
  if (failure instanceof Interrupted) return failure.exitCode;
  const error = !DaemonError.is(failure) && isLocked(failure) ? lockedError(failure) : failure;
  if (DaemonError.is(error)) {
    process.stderr.write(redact(`${style("red", "error:")} ${error.problem}\n`));
    if (error.fix !== undefined) process.stderr.write(redact(`${error.fix.replace(/^/gm, "  ")}\n`));
    return error.exitCode;
  }
  // With its causes: they are what a report needs.
  const text = inspect(error, { depth: 4 });
  process.stderr.write(
    redact(`${style("red", "error:")} Tidemark failed unexpectedly. Please report this.\n${text}\n`),
  );
  return 5;
}

const lockedError = (cause: unknown) =>
  new DaemonError("DATA_DIR_IN_USE", "A database of this daemon is locked by another program.", {
    cause,
    fix: "End what writes there, such as an open transaction of sqlite3 or a backup, and start again.",
  });

/** Whether SQLite waited in vain for somebody else's transaction to end. */
function isLocked(error: unknown): boolean {
  for (let cause = error, depth = 0; cause instanceof Error && depth < 5; cause = cause.cause, depth++) {
    if (String((cause as NodeJS.ErrnoException).code).startsWith("SQLITE_BUSY")) return true;
  }
  return false;
}
