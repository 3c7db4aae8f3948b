import type { SQL } from "drizzle-orm";
import type { BaseSQLiteDatabase } from "drizzle-orm/sqlite-core";
import { errorText, ReconcileError } from "./reconcile-error.ts";

/**
 * Where gates, attempts, cursors, dirty keys and tasks are kept. Nothing is ever waited for within a transaction (R11):
 * what a transaction writes is known before it begins.
 *
 * @typeParam Tx what writes into the same transaction get: Drizzle's transaction of this database.
 */
export interface StateStore<Tx = unknown> {
  /** Runs one statement and returns its rows. */
  all<Row>(query: SQL): Promise<Row[]>;
  /** All or nothing: the statements in order, then `write`. */
  commit(statements: readonly SQL[], write?: (tx: Tx) => void | Promise<void>): Promise<void>;
}

type SyncSqlite = BaseSQLiteDatabase<"sync", unknown, Record<string, unknown>>;

/** Drizzle's transaction in SQLite. Every call of it is synchronous. */
export type SqliteTransaction = Parameters<Parameters<SyncSqlite["transaction"]>[0]>[0];

/**
 * State in SQLite, through the Drizzle database of a synchronous driver such as better-sqlite3. The database may be the
 * one that the phases write to, so that cursors move in the same transaction as effects. One process at a time.
 */
export function sqliteState(
  database: BaseSQLiteDatabase<"sync", unknown, Record<string, never>>,
): StateStore<SqliteTransaction> {
  const db = database as unknown as SyncSqlite;
  return {
    all: <Row>(query: SQL) => attempt(async () => db.all(query) as Row[]),
    commit: (statements, write) =>
      attempt(async () => {
        db.transaction(
          (tx) => {
            for (const statement of statements) tx.run(statement);
            const written: unknown = write?.(tx);
            if (written instanceof Promise) {
              written.catch(() => {});
              throw new ReconcileError(
                "PROTOCOL",
                "A write into SQLite must be synchronous, got a promise. Prepare first, then write with .run()",
              );
            }
          },
          { behavior: "immediate" },
        );
      }),
  };
}

/** What runs statements in PostgreSQL: Drizzle's databases and transactions of node-postgres, postgres.js and PGlite. */
export interface PostgresExecutor {
  execute(query: SQL): PromiseLike<unknown>;
}

/** What of Drizzle's PostgreSQL databases is needed here. */
export interface PostgresDatabase<Tx extends PostgresExecutor> extends PostgresExecutor {
  transaction(work: (tx: Tx) => Promise<void>): Promise<void>;
}

/**
 * State in PostgreSQL, through any Drizzle database. One process at a time runs a cycle or tasks of one name.
 *
 * A connection that the server ends is an error of the cycle or task that needed it, and the next one has another
 * connection. With node-postgres listen to `error` of the pool and of each of its clients: it ends the process where
 * nobody does.
 */
export function postgresState<Tx extends PostgresExecutor>(db: PostgresDatabase<Tx>): StateStore<Tx> {
  return {
    all: <Row>(query: SQL) => attempt(async () => rowsOf(await db.execute(query)) as Row[]),
    commit: (statements, write) =>
      attempt(() =>
        db.transaction(async (tx) => {
          for (const statement of statements) await tx.execute(statement);
          await write?.(tx);
        }),
      ),
  };
}

/** postgres.js returns the rows themselves, the others an object with them. */
function rowsOf(result: unknown): unknown[] {
  return Array.isArray(result) ? result : (result as { readonly rows: unknown[] }).rows;
}

async function attempt<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (ReconcileError.is(error)) throw error;
    // Drizzle's message is the statement; why it failed is its cause.
    const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
    throw new ReconcileError("STATE_FAILED", `The state database refused: ${errorText(cause)}`, {
      cause: error,
      retryable: true,
    });
  }
}
