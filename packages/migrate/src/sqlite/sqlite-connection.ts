import type { Commit, SqlConnection, SqlExecutor, SqlQuery, SqlResult } from "../connection.ts";
import { MigrateError } from "../migrate-error.ts";
import { Turns } from "../turns.ts";
import type { SqliteClient } from "./sqlite-client.ts";
import { SqliteWal } from "./sqlite-wal.ts";

/**
 * The engine's own connection. Statements are synchronous underneath; between two of them only promise reactions run
 * unless a body waits for something else, and whatever is asked meanwhile waits for the end of the transaction.
 */
export class SqliteConnection implements SqlConnection {
  readonly #client: SqliteClient;
  readonly #wal: SqliteWal;
  readonly #turns = new Turns();
  readonly #direct: SqlExecutor = {
    execute: (query) => Promise.resolve(this.#execute(query)),
    executeEach: (sql, lists) => Promise.resolve(this.#executeEach(sql, lists)),
    numbers: (query) => Promise.resolve(this.#numbers(query)),
  };

  constructor(client: SqliteClient) {
    this.#client = client;
    this.#wal = new SqliteWal(client);
  }

  execute(query: SqlQuery): Promise<SqlResult> {
    return this.#turns.alone(() => this.#execute(query));
  }

  transaction<T>(mode: "read" | "write", work: (executor: SqlExecutor) => Promise<T>): Promise<T> {
    return this.#turns.alone(() => this.#transaction(mode, work));
  }

  transactionFrom<T>(
    first: () => SqlQuery,
    work: (executor: SqlExecutor, result: SqlResult) => Promise<T>,
    commit: Commit,
  ): Promise<T> {
    return this.#turns.alone(async () => {
      // Not possible inside of a transaction.
      if (commit === "durable") this.#client.execute("pragma synchronous = full", []);
      try {
        return await this.#transaction("write", async (executor) => work(executor, this.#execute(first())));
      } finally {
        if (commit === "durable") this.#client.execute("pragma synchronous = normal", []);
      }
    });
  }

  alone<T>(work: () => T | Promise<T>): Promise<T> {
    return this.#turns.alone(work);
  }

  tidyUp(mark: () => SqlQuery): Promise<void> {
    return this.#turns.alone(() => this.#wal.tidyUp(mark));
  }

  close(): Promise<void> {
    return this.#turns.close(() => this.#client.close());
  }

  async #transaction<T>(mode: "read" | "write", work: (executor: SqlExecutor) => Promise<T>): Promise<T> {
    // Deferred and then writing can fail with SQLITE_BUSY_SNAPSHOT, for which the busy handler is not even asked.
    this.#client.execute(mode === "write" ? "begin immediate" : "begin", []);
    try {
      const result = await work(this.#direct);
      this.#client.execute("commit", []);
      return result;
    } catch (error) {
      this.#rollBack();
      throw error;
    }
  }

  #rollBack(): void {
    try {
      // A full disk and some other errors have rolled back already.
      if (this.#client.isInTransaction) this.#client.execute("rollback", []);
    } catch {
      // The first error is the one to tell.
    }
  }

  numbers(query: SqlQuery): Promise<readonly (readonly unknown[])[]> {
    return this.#turns.alone(() => this.#numbers(query));
  }

  #numbers({ sql, params }: SqlQuery): readonly (readonly unknown[])[] {
    this.#turns.requireOpen();
    return this.#client.numbers(sql, params);
  }

  #executeEach(sql: string, lists: readonly (readonly unknown[])[]): number[] {
    this.#turns.requireOpen();
    return this.#client.executeEach(sql, lists);
  }

  #execute({ sql, params }: SqlQuery): SqlResult {
    this.#turns.requireOpen();
    return this.#client.execute(sql, params);
  }
}

/**
 * Whether an engine can work here without hurting anybody: in WAL mode readers do not wait for chunks, and with a busy
 * timeout a chunk waits for other writers instead of failing.
 *
 * @throws {MigrateError} `DATABASE_UNFIT`
 */
export function requireFit(client: SqliteClient, file: string): void {
  const pragma = (name: string) => client.execute(`pragma ${name}`, []).rows[0]?.[0];
  const mode = String(pragma("journal_mode")).toLowerCase();
  if (mode !== "wal") {
    throw new MigrateError(
      "DATABASE_UNFIT",
      `${file} has journal_mode ${mode}, in which every commit of a chunk shuts out all readers; ` +
        "run `PRAGMA journal_mode=WAL` on it once (it stays)",
    );
  }
  if (Number(pragma("busy_timeout")) > 0) return;
  throw new MigrateError(
    "DATABASE_UNFIT",
    `the connection to ${file} has busy_timeout 0, so a chunk would fail whenever somebody else writes; ` +
      "run `PRAGMA busy_timeout=5000` on it",
  );
}
