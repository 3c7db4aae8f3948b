import { open } from "node:fs/promises";
import { type Clock, systemClock } from "@tidemark/clock";
import { sql } from "drizzle-orm";
import { messageOf } from "./body-rows.ts";
import { bookTables } from "./bookkeeping.ts";
import { columnsIn } from "./catalog.ts";
import type { SqlExecutor } from "./connection.ts";
import type { Database } from "./dialect.ts";
import { Ledger } from "./ledger.ts";
import { MigrateError } from "./migrate-error.ts";
import { type MysqlDatabase, openMysql } from "./mysql/open-mysql.ts";
import { openPostgres, type PostgresDatabase } from "./postgres/open-postgres.ts";
import { openSqlite, type SqliteFile } from "./sqlite/open-sqlite.ts";
import { openSqliteClient } from "./sqlite/sqlite-client.ts";

/** How a schema migration is let through. */
export interface SchemaGateOptions {
  /** The database that is migrated. Of a server one more connection is needed for as long as it takes. */
  readonly database: SqliteFile | PostgresDatabase | MysqlDatabase;
  /** Data migrations that must be done before, because what follows drops or forbids what they still need. */
  readonly requireDone?: readonly string[];
  /** Drizzle's own table, without which a database is new and nothing has to be done in it. @default "__drizzle_migrations" */
  readonly migrationsTable?: string;
  /** PostgreSQL: the schema it is in. @default "drizzle" */
  readonly migrationsSchema?: string;
  /**
   * How long another process that migrates is waited for, in milliseconds.
   * @default 600_000
   */
  readonly waitMs?: number;
  /** Ends the wait. */
  readonly signal?: AbortSignal;
  /** @default the machine's */
  readonly clock?: Clock;
}

/** How often the lock is tried for, in milliseconds. */
const retryMs = 50;
/** Any number, as long as it stays. */
const advisoryLock = 7_308_900_122;
/** Long enough for any schema migration, in milliseconds: the transaction that keeps the lock stands still meanwhile. */
const idleTimeoutMs = 24 * 3_600_000;

/**
 * Runs Drizzle's `migrate()` alone, however many processes start at once, and only when the data migrations it counts on
 * are done. The lock is the database's, or the system's for SQLite, so a process that dies gives it back.
 *
 * @throws {MigrateError} `NOT_DONE`, `NOT_FOUND` for a data migration nobody has registered, `SQL_FAILED` (retryable) when
 * another process migrates for longer than `waitMs`, or when the lock's connection fails; and whatever `migrate` throws.
 */
export async function migrateSchema<T>(options: SchemaGateOptions, migrate: () => T | Promise<T>): Promise<T> {
  const { database: given, requireDone = [], clock = systemClock } = options;
  const database = await openFor(given, clock);
  let thrown: { readonly error: unknown } | undefined;
  const work = async (executor?: SqlExecutor) => {
    await requireAll(database, clock, requireDone, options, executor);
    try {
      return await migrate();
    } catch (error) {
      thrown = { error };
      throw error;
    }
  };
  try {
    if (given.dialect === "sqlite") return await withFileLock(given, options, clock, work);
    return await database.transaction("write", async (executor) => {
      await locked(options, clock, () => tryLock(database, executor));
      try {
        return await work(executor);
      } finally {
        if (given.dialect === "mysql") await database.execute(sql`select release_lock(${mysqlLock})`, executor);
      }
    });
  } catch (error) {
    // Whatever became of the lock behind it.
    if (thrown !== undefined) throw thrown.error;
    if (MigrateError.is(error) || (options.signal?.aborted === true && error === options.signal.reason)) throw error;
    const retryable = database.dialect.classify(error) === "retry";
    const message = `the lock of the schema cannot be had or kept: ${messageOf(error)}`;
    throw new MigrateError("SQL_FAILED", message, { cause: error, retryable });
  } finally {
    await database.beside?.connection.close();
    await database.connection.close();
  }
}

async function openFor(given: SchemaGateOptions["database"], clock: Clock): Promise<Database> {
  switch (given.dialect) {
    case "sqlite":
      return openSqlite(given);
    case "postgresql":
      return openPostgres({ ...given, idleTimeoutMs }, clock);
    case "mysql":
      return openMysql({ ...given, idleTimeoutMs }, clock);
  }
}

// Of the server, so the database has to be part of its name, which is of 64 characters at most.
const mysqlLock = sql`concat('tidemark schema ', md5(database()))`;

async function tryLock(database: Database, executor: SqlExecutor): Promise<boolean> {
  const statement =
    database.dialect.name === "postgresql"
      ? sql`select pg_try_advisory_xact_lock(${sql.raw(String(advisoryLock))})::int`
      : sql`select get_lock(${mysqlLock}, 0)`;
  const { rows } = await database.execute(statement, executor);
  return Number(rows[0]?.[0]) === 1;
}

/** Asks again and again: a wait in the server would end at the timeouts of chunks, and nobody could abort it. */
async function locked(
  { waitMs = 600_000, signal }: SchemaGateOptions,
  clock: Clock,
  attempt: () => Promise<boolean>,
): Promise<void> {
  const endMs = clock.monotonic() + waitMs;
  while (!(await attempt())) {
    if (clock.monotonic() >= endMs) {
      const message = `another process has been migrating the schema for more than ${waitMs} ms`;
      throw new MigrateError("SQL_FAILED", message, { retryable: true });
    }
    await clock.sleep(retryMs, signal === undefined ? {} : { signal });
  }
}

/**
 * A lock on the database itself would shut out the very migration. This one is on an empty database beside it, which
 * stays: whoever removed it could remove it from under somebody who waits.
 */
async function withFileLock<T>(
  { file, driver }: SqliteFile,
  options: SchemaGateOptions,
  clock: Clock,
  work: () => Promise<T>,
): Promise<T> {
  const path = `${file}-schema-lock`;
  await (await open(path, "a")).close();
  const client = await openSqliteClient(path, driver);
  try {
    client.execute("pragma busy_timeout = 0", []);
    await locked(options, clock, async () => {
      try {
        client.execute("begin exclusive", []);
        return true;
      } catch (error) {
        const { code, errcode } = error as { readonly code?: unknown; readonly errcode?: unknown };
        if (errcode === 5 || String(code).startsWith("SQLITE_BUSY")) return false;
        throw error;
      }
    });
    return await work();
  } finally {
    client.close();
  }
}

async function requireAll(
  database: Database,
  clock: Clock,
  names: readonly string[],
  { migrationsTable = "__drizzle_migrations", migrationsSchema = "drizzle" }: SchemaGateOptions,
  executor: SqlExecutor | undefined,
): Promise<void> {
  if (names.length === 0) return;
  const isNew = (await columnsIn(database, migrationsTable, executor, migrationsSchema)).length === 0;
  if (isNew) return;
  const hasBooks = (await columnsIn(database, bookTables.runs, executor)).length > 0;
  const rows = hasBooks ? await new Ledger(database, clock).list(executor) : [];
  for (const name of names) {
    const row = rows.find((each) => each.name === name);
    if (row === undefined) {
      throw new MigrateError("NOT_FOUND", `the schema waits for "${name}", which nobody has registered here`);
    }
    if (row.state !== "done") {
      throw new MigrateError("NOT_DONE", `the schema waits for "${name}", which is ${row.state}`);
    }
  }
}
