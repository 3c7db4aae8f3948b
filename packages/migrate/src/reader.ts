import { type Clock, systemClock } from "@tidemark/clock";
import { sql } from "drizzle-orm";
import { messageOf } from "./body-rows.ts";
import { bookTables } from "./bookkeeping.ts";
import type { Database } from "./dialect.ts";
import { MigrateError } from "./migrate-error.ts";
import { type OpenMigrationsOptions, openDatabase } from "./open-migrations.ts";
import { runColumnNames, toRunRow } from "./run-row.ts";
import { type MigrationStatus, toStatus } from "./status.ts";

/** Tells how migrations stand, and writes nothing: for processes that show them and do none. */
export interface MigrationReader {
  /**
   * All migrations that the database knows, by name; empty where it has no books yet. `isDrifted` and `waitsFor` are for
   * whoever has the definitions.
   *
   * @throws {MigrateError} `SQL_FAILED`, `CLOSED`
   */
  list(): Promise<MigrationStatus[]>;
  /** Closes the connection. Idempotent. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export interface OpenMigrationReaderOptions {
  /** SQLite: a file. PostgreSQL, MySQL and MariaDB: the pool of your driver. */
  readonly database: OpenMigrationsOptions["database"];
  /** @default the machine's */
  readonly clock?: Clock;
}

/**
 * Opens the books of a database for reading. The tables need not be there, and those of an older version are read as they
 * are.
 *
 * @throws {MigrateError} `OPTIONS_INVALID`, `DATABASE_UNFIT`, `DRIVER_MISSING`, `SQL_FAILED`
 */
export async function openMigrationReader(options: OpenMigrationReaderOptions): Promise<MigrationReader> {
  const { clock = systemClock } = options;
  const database = await openDatabase(options.database, clock);
  const close = () => database.connection.close();
  return {
    async list() {
      try {
        return await read(database, clock);
      } catch (error) {
        if (MigrateError.is(error)) throw error;
        const retryable = database.dialect.classify(error) === "retry";
        const message = `the books cannot be read: ${messageOf(error)}`;
        throw new MigrateError("SQL_FAILED", message, { cause: error, retryable });
      }
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function read(database: Database, clock: Clock): Promise<MigrationStatus[]> {
  const { dialect } = database;
  const found = new Set(await dialect.columnNames(database.connection, bookTables.runs));
  if (found.size === 0) return [];
  const columns = runColumnNames.map((name) => (found.has(name) ? sql`${sql.identifier(name)}` : sql`null`));
  const runs = sql.identifier(bookTables.runs);
  const now = dialect.now ?? sql`${clock.now()}`;
  const statement = sql`select ${sql.join([...columns, now], sql`, `)} from ${runs} order by name`;
  const { rows } = await database.execute(statement);
  return rows.map((values) => toStatus(toRunRow(values), Number(values.at(-1)), undefined, []));
}
