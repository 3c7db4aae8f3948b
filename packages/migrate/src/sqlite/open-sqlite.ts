import { MigrateError } from "../migrate-error.ts";
import type { SqlConnection } from "../connection.ts";
import { Database } from "../dialect.ts";
import { openSqliteClient, type SqliteClient, type SqliteDriver } from "./sqlite-client.ts";
import { requireFit, SqliteConnection } from "./sqlite-connection.ts";
import { sqliteDialect } from "./sqlite-dialect.ts";

/** A SQLite database in a file, to which the engine opens a connection of its own. */
export interface SqliteFile {
  readonly dialect: "sqlite";
  /** Its path. It must exist and be in WAL mode. */
  readonly file: string;
  /** @default better-sqlite3 where it is installed, else node:sqlite */
  readonly driver?: SqliteDriver;
  /**
   * How long a chunk waits for another writer before it is tried again, in milliseconds, above 0.
   * @default 5000
   */
  readonly busyTimeoutMs?: number;
}

const defaultBusyTimeoutMs = 5000;

/** @throws {MigrateError} `OPTIONS_INVALID` */
export function checkSqliteFile({ file, busyTimeoutMs = defaultBusyTimeoutMs }: SqliteFile): void {
  if (file === "" || file.includes(":memory:")) {
    const message = `file must be the path of a database, got ${JSON.stringify(file)}: the engine has a connection of its own`;
    throw new MigrateError("OPTIONS_INVALID", message);
  }
  if (Number.isSafeInteger(busyTimeoutMs) && busyTimeoutMs > 0) return;
  const message = `busyTimeoutMs must be a whole number above 0, or chunks would fail whenever somebody writes; got ${busyTimeoutMs}`;
  throw new MigrateError("OPTIONS_INVALID", message);
}

/**
 * Opens the engine's connection to a file.
 *
 * @throws {MigrateError} `OPTIONS_INVALID`, `DRIVER_MISSING`, `DATABASE_UNFIT`, `SQL_FAILED`
 */
export async function openSqlite(options: SqliteFile): Promise<Database> {
  checkSqliteFile(options);
  const client = await openSqliteClient(options.file, options.driver).catch((error: unknown) => {
    if (MigrateError.is(error)) throw error;
    const because = error instanceof Error ? error.message : String(error);
    throw new MigrateError("SQL_FAILED", `${options.file} cannot be opened: ${because}`, { cause: error });
  });
  return attachSqlite(client, options, async () => {
    const snapshots = await openSqliteClient(options.file, options.driver);
    snapshots.execute("pragma query_only = 1", []);
    return new SqliteConnection(snapshots);
  });
}

/** Prepares a connection that is the engine's alone. @throws {MigrateError} `DATABASE_UNFIT` */
function attachSqlite(
  client: SqliteClient,
  { file, busyTimeoutMs }: Omit<SqliteFile, "dialect">,
  openSnapshots: () => Promise<SqlConnection>,
): Database {
  try {
    if (busyTimeoutMs !== undefined || client.execute("pragma busy_timeout", []).rows[0]?.[0] === 0n) {
      client.execute(`pragma busy_timeout = ${busyTimeoutMs ?? defaultBusyTimeoutMs}`, []);
    }
    requireFit(client, file);
    // With `full`, the default of node:sqlite, each chunk would wait for the disk while it keeps out everybody who writes. What
    // a power cut takes back is taken back whole: the rows of the last chunks together with their cursor. Commits of others
    // are as durable as they were, with all that was committed before them.
    client.execute("pragma synchronous = normal", []);
    // Done between chunks, where it is not of the time that locks are held, and before it is much.
    client.execute("pragma wal_autocheckpoint = 0", []);
    return new Database(sqliteDialect, new SqliteConnection(client), undefined, openSnapshots);
  } catch (error) {
    client.close();
    throw error;
  }
}
