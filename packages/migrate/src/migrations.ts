import type { RunLogEntry } from "./ledger.ts";
import type { MigrationEvent } from "./migration-event.ts";
import type { EngineOptions } from "./engine-options.ts";
import type { MigrationTuning } from "./options.ts";
import type { QuarantinedRow } from "./quarantine.ts";
import type { DryRun, Sample } from "./rehearsal.ts";
import type { SignalName } from "./signals/signal-request.ts";
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

/** What can be changed while the process goes on; what is not named stays as it is. */
export interface Adjustment extends EngineOptions {
  /** What is bearable of signals that are being read, in their units. */
  readonly limits?: { readonly [Name in SignalName]?: number };
  /** Of PostgreSQL and MariaDB or MySQL, from the next chunk on. */
  readonly lockTimeoutMs?: number;
  readonly statementTimeoutMs?: number;
  readonly idleTimeoutMs?: number;
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
  /**
   * Changes knobs of a migration, for every process and for good: they hold from its next chunk on. A knob that is set to
   * undefined gets back what its definition says.
   *
   * @throws {MigrateError} `NOT_FOUND`, `OPTIONS_INVALID`
   */
  tune(name: string, changes: MigrationTuning): Promise<void>;
  /**
   * Changes how this process behaves, as long as it lives: leases, signals and their limits, timeouts of the server.
   *
   * @throws {MigrateError} `OPTIONS_INVALID`; then nothing is changed.
   */
  adjust(changes: Adjustment): Promise<void>;
  /**
   * Does the next chunk and rolls it back, beside whoever works. It holds its locks as a chunk does.
   *
   * @throws {MigrateError} `NOT_FOUND`, `OPTIONS_INVALID` for effects outside of the database, `KEY_INVALID`, `SQL_FAILED`
   */
  dryRun(name: string, options?: { readonly rows?: number }): Promise<DryRun>;
  /**
   * Does chunks and rolls them back for a while, and says how long all of them would take.
   *
   * @param options.forMs how long to try @default 1000
   * @throws as {@link dryRun}
   */
  sample(name: string, options?: { readonly forMs?: number }): Promise<Sample>;
  /**
   * Runs a write of this process between two chunks, in the order they come: it never waits longer than for the chunk
   * under way, and no chunk starts before it is over. For SQLite, whose writers otherwise poll for the lock; servers
   * have queues of their own, so there it just runs.
   */
  write<T>(work: () => T | Promise<T>): Promise<T>;
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
