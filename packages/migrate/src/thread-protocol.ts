import type { EngineOptions } from "./engine-options.ts";
import { MigrateError, type MigrateErrorCode } from "./migrate-error.ts";
import type { MigrationEvent } from "./migration-event.ts";
import type { Migrations } from "./migrations.ts";
import type { SignalRequest } from "./signals/signal-request.ts";
import type { SqliteFile } from "./sqlite/open-sqlite.ts";

/** What the engine's thread is started with. */
export interface ThreadStart {
  readonly database: SqliteFile;
  /** Module or folder of the definitions. */
  readonly definitions: string;
  readonly options: Required<EngineOptions>;
  readonly owner: string;
  /** Signals of the engine's own that its thread can read. */
  readonly requests: readonly SignalRequest[];
  /** Names of signals that are read in the caller's thread. */
  readonly remote: readonly string[];
}

/** Methods that are called across. */
export type ThreadMethod = Exclude<keyof Migrations, "events" | "close" | "write" | typeof Symbol.asyncDispose>;

/** From the caller to the engine. */
export type ToThread =
  | { readonly type: "call"; readonly id: number; readonly method: ThreadMethod; readonly args: readonly unknown[] }
  /** The signal of a call aborted. */
  | { readonly type: "abort"; readonly id: number }
  /** Somebody wants to write; answered when it is its turn. */
  | { readonly type: "enter"; readonly id: number }
  /** It has written. */
  | { readonly type: "leave"; readonly id: number }
  | { readonly type: "reading"; readonly id: number; readonly utilisation: number; readonly reason: string }
  | { readonly type: "no-reading"; readonly id: number; readonly message: string }
  | { readonly type: "close" };

/** From the engine to the caller. */
export type FromThread =
  | { readonly type: "ready" }
  | { readonly type: "refused"; readonly error: ErrorRecord }
  | { readonly type: "result"; readonly id: number; readonly result: unknown }
  | { readonly type: "thrown"; readonly id: number; readonly error: ErrorRecord }
  | { readonly type: "event"; readonly event: MigrationEvent }
  /** An event of type `error`; its error has to be flattened on the way. */
  | { readonly type: "trouble"; readonly error: ErrorRecord }
  | { readonly type: "read-signal"; readonly id: number; readonly name: string };

/** An error on its way between threads. */
export interface ErrorRecord {
  readonly code: MigrateErrorCode | undefined;
  readonly name: string;
  readonly message: string;
  readonly retryable: boolean;
  readonly cause: ErrorRecord | undefined;
}

/** Flattens what was thrown; causes are followed three deep. */
export function toErrorRecord(thrown: unknown, depth = 3): ErrorRecord {
  if (!(thrown instanceof Error)) {
    return { code: undefined, name: "Error", message: String(thrown), retryable: false, cause: undefined };
  }
  const isOwn = MigrateError.is(thrown);
  return {
    code: isOwn ? thrown.code : undefined,
    name: thrown.name,
    message: isOwn ? thrown.message.replace(`[${thrown.code}] `, "") : thrown.message,
    retryable: isOwn && thrown.retryable,
    cause: thrown.cause === undefined || depth === 0 ? undefined : toErrorRecord(thrown.cause, depth - 1),
  };
}

export function fromErrorRecord({ code, name, message, retryable, cause }: ErrorRecord): Error {
  const options = cause === undefined ? {} : { cause: fromErrorRecord(cause) };
  if (code !== undefined) return new MigrateError(code, message, { ...options, retryable });
  const error = new Error(message, options);
  error.name = name;
  return error;
}
