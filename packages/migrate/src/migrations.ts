import type { RunLogEntry } from "./ledger.ts";
import type { MigrationEvent } from "./migration-event.ts";
import type { QuarantinedRow } from "./quarantine.ts";
import type { MigrationStatus } from "./status.ts";

/** How to go on with a run that failed or was cancelled. */
export interface RetryOptions {
  /**
   * `cursor`: go on where it stopped, with the counts it has; after a verification that failed, visit what is wrong.
   * `start`: visit every row again, which repeats the effects of a body that is not idempotent.
   * @default "cursor"
   */
  readonly from?: "cursor" | "start";
}

/**
 * The migrations of a database. Every method asks the books, so it answers for all processes that share them; every
 * command is a transaction there, and holds once it has resolved.
 */
export interface Migrations {
  /** All migrations that the database knows, by name. */
  list(): Promise<MigrationStatus[]>;
  /** @throws {MigrateError} `NOT_FOUND` */
  get(name: string): Promise<MigrationStatus>;
  /**
   * Works in the background from now on, also on what is resumed later and on what others leave behind. Does not wait
   * for anything, and does not keep the process alive while there is nothing to do.
   */
  start(): void;
  /**
   * Works, and waits for others who do, until nothing can go on: everything is done, failed, cancelled, paused, or waits
   * for such a one.
   *
   * @throws `options.signal.reason` when it aborts; what was under way is given back.
   */
  run(options?: { readonly signal?: AbortSignal | undefined }): Promise<MigrationStatus[]>;
  /**
   * Stops a run for now. When this resolves, no further row of it is written, by whichever process.
   *
   * @throws {MigrateError} `NOT_FOUND`, `STATE_REFUSED`
   */
  pause(name: string): Promise<void>;
  /** Lets a paused run go on. @throws {MigrateError} `NOT_FOUND`, `STATE_REFUSED` */
  resume(name: string): Promise<void>;
  /** Stops a run for good; what it did stays. @throws {MigrateError} `NOT_FOUND`, `STATE_REFUSED` */
  cancel(name: string): Promise<void>;
  /**
   * Lets a failed or cancelled run go on, with the definition as it is here.
   *
   * @throws {MigrateError} `NOT_FOUND`, `STATE_REFUSED`
   */
  retry(name: string, options?: RetryOptions): Promise<void>;
  /** Rows that could not be migrated. */
  quarantined(name: string): Promise<QuarantinedRow[]>;
  /**
   * Accepts that a row stays as it is, so that it no longer keeps its migration from being done.
   *
   * @throws {MigrateError} `NOT_FOUND`
   */
  skipQuarantined(name: string, key: string): Promise<void>;
  /** Everything that happened to a migration, oldest first. */
  history(name: string): Promise<RunLogEntry[]>;
  /**
   * Gates what must not happen earlier, such as dropping a column.
   *
   * @throws {MigrateError} `NOT_DONE`, `NOT_FOUND`
   */
  requireDone(...names: readonly string[]): Promise<void>;
  /** What happens in this process from now on. Leaving the loop lets go. */
  events(): AsyncIterableIterator<MigrationEvent, undefined>;
  /** Gives back what is worked on once the chunk under way is committed, and closes the connection. Idempotent. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}
