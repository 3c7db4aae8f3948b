import { type SQL, sql } from "drizzle-orm";
import { bookTables } from "./bookkeeping.ts";
import type { SqlExecutor } from "./connection.ts";
import type { Database } from "./dialect.ts";

/** A row that could not be migrated. Its key is text that `skipQuarantined` takes. */
export interface QuarantinedRow {
  readonly key: string;
  readonly error: string;
  readonly attempts: number;
  /** `skipped`: an operator said that it may stay as it is. */
  readonly state: "held" | "skipped";
  /** ms since the epoch. */
  readonly firstAt: number;
  /** ms since the epoch. */
  readonly lastAt: number;
  /** The run that put it there last. */
  readonly runNo: number;
}

const table = sql.identifier(bookTables.quarantine);
/** What is told of an error; it may carry a whole row. */
const maxErrorLength = 1000;

/** Rows that are set aside, so that one of them does not hold up all others. */
export class Quarantine {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async list(name: string, executor?: SqlExecutor): Promise<QuarantinedRow[]> {
    const statement = sql`select row_key, error, attempts, state, first_at, last_at, run_no from ${table}
      where name = ${name} order by first_at, row_key`;
    const { rows } = await this.#database.execute(statement, executor);
    return rows.map(([key, error, attempts, state, firstAt, lastAt, runNo]) => ({
      key: String(key),
      error: String(error),
      attempts: Number(attempts),
      state: String(state) as QuarantinedRow["state"],
      firstAt: Number(firstAt),
      lastAt: Number(lastAt),
      runNo: Number(runNo),
    }));
  }

  /** Holds a row; true when it was not there before. What an operator said of it stays. */
  async hold(
    name: string,
    runNo: number,
    key: string,
    error: string,
    now: SQL,
    executor: SqlExecutor,
  ): Promise<boolean> {
    const cut = error.slice(0, maxErrorLength);
    const again = sql`update ${table} set run_no = ${runNo}, error = ${cut}, attempts = attempts + 1, last_at = ${now}
      where name = ${name} and row_key = ${key}`;
    if ((await this.#database.execute(again, executor)).changes > 0) return false;
    await this.#database.execute(
      sql`insert into ${table} (name, row_key, run_no, error, first_at, last_at)
          values (${name}, ${key}, ${runNo}, ${cut}, ${now}, ${now})`,
      executor,
    );
    return true;
  }

  async release(name: string, key: string, executor: SqlExecutor): Promise<void> {
    await this.#database.execute(sql`delete from ${table} where name = ${name} and row_key = ${key}`, executor);
  }

  /** Forgets all rows of a migration. */
  async clear(name: string, executor: SqlExecutor): Promise<void> {
    await this.#database.execute(sql`delete from ${table} where name = ${name}`, executor);
  }

  /** False when there is no such row. */
  async skip(name: string, key: string, executor: SqlExecutor): Promise<boolean> {
    const statement = sql`update ${table} set state = 'skipped' where name = ${name} and row_key = ${key}`;
    return (await this.#database.execute(statement, executor)).changes > 0;
  }
}
