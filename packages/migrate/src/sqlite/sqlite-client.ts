import type * as NodeSqlite from "node:sqlite";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { SqlResult, SqlValue } from "../connection.ts";
import { MigrateError } from "../migrate-error.ts";

/** SQLite drivers that the engine can open by itself. */
export type SqliteDriver = "better-sqlite3" | "node:sqlite";

/** A synchronous connection to SQLite, whichever driver is behind it. */
export interface SqliteClient {
  execute(sql: string, params: readonly unknown[]): SqlResult;
  /** Runs a statement that returns nothing for each list; values are bound as they are. */
  executeEach(sql: string, lists: readonly (readonly unknown[])[]): number[];
  /** Rows of a statement that reads, with integers as numbers; see `SqlExecutor`. */
  numbers(sql: string, params: readonly unknown[]): unknown[][];
  readonly isInTransaction: boolean;
  close(): void;
}

/** What is used of a better-sqlite3 `Database`. */
interface BetterSqlite3Like {
  readonly inTransaction: boolean;
  prepare(sql: string): BetterSqlite3Statement;
  close(): unknown;
}

interface BetterSqlite3Statement {
  readonly reader: boolean;
  raw(isRaw: boolean): unknown;
  safeIntegers(isSafe: boolean): unknown;
  all(...params: unknown[]): unknown[];
  run(...params: unknown[]): { readonly changes: number | bigint };
}

/** What is used of a node:sqlite `DatabaseSync`. */
interface NodeSqliteLike {
  readonly isTransaction: boolean;
  prepare(sql: string): NodeSqliteStatement;
  close(): void;
}

interface NodeSqliteStatement {
  columns(): unknown[];
  setReadBigInts(isBigInt: boolean): void;
  setReturnArrays(isArray: boolean): void;
  all(...params: never[]): unknown[];
  run(...params: never[]): { readonly changes: number | bigint };
}

/** Statements that are kept prepared. */
const maxPrepared = 200;

/** Prepares once; forgets the one that was not used for longest. */
class Prepared<S> {
  readonly #prepare: (sql: string) => S;
  readonly #kept = new Map<string, S>();

  constructor(prepare: (sql: string) => S) {
    this.#prepare = prepare;
  }

  get(sql: string): S {
    let statement = this.#kept.get(sql);
    if (statement === undefined) {
      try {
        statement = this.#prepare(sql);
      } catch (error) {
        throw statementError(error);
      }
      const [oldest] = this.#kept.keys();
      if (this.#kept.size >= maxPrepared && oldest !== undefined) this.#kept.delete(oldest);
    } else this.#kept.delete(sql);
    this.#kept.set(sql, statement);
    return statement;
  }
}

/** A wrong name or a slip in SQL is of the statement, whatever rows it would have met: no row is to blame for it. */
function statementError(error: unknown): unknown {
  const { code, errcode } = error as { readonly code?: unknown; readonly errcode?: unknown };
  if (code !== "SQLITE_ERROR" && errcode !== 1) return error;
  return new MigrateError("SQL_FAILED", `SQLite cannot prepare a statement: ${(error as Error).message}`, {
    cause: error,
  });
}

const maxInteger = 2n ** 63n - 1n;

/**
 * As SQLite takes it. A whole number goes as an integer: drivers send numbers as floating point, which a column of text
 * keeps as '5.0'.
 *
 * @throws {TypeError} where SQLite has no such value: the drivers would say so in words of their own, and not whose it is.
 */
export function bindable(value: unknown): unknown {
  switch (typeof value) {
    case "number":
      return Number.isSafeInteger(value) ? BigInt(value) : value;
    case "boolean":
      return value ? 1n : 0n;
    case "bigint":
      if (value <= maxInteger && value >= -maxInteger - 1n) return value;
      throw new TypeError(`SQLite has no integer ${value}`);
    case "object":
      if (value === null || ArrayBuffer.isView(value)) return value;
      throw new TypeError(`SQLite takes no ${value.constructor?.name ?? "object"}`);
    default:
      return value;
  }
}

/** Of a statement that gives rows: whether those are the rows it has written. */
const returnsWritten = (sql: string) => /\breturning\b/i.test(sql);
const answerOf = (rows: SqlValue[][], isWriter: boolean) => ({ rows, changes: isWriter ? rows.length : 0 });

function betterSqlite3Client(database: BetterSqlite3Like): SqliteClient {
  const inNumbers = new Prepared((sql) => {
    const statement = database.prepare(sql);
    statement.raw(true);
    return statement;
  });
  const prepared = new Prepared((sql) => {
    const statement = database.prepare(sql);
    if (statement.reader) {
      statement.raw(true);
      statement.safeIntegers(true);
    }
    return { statement, isWriter: returnsWritten(sql) };
  });
  return {
    execute(sql, params) {
      const { statement, isWriter } = prepared.get(sql);
      const bound = params.map(bindable);
      if (statement.reader) return answerOf(statement.all(...bound) as SqlValue[][], isWriter);
      return { rows: [], changes: Number(statement.run(...bound).changes) };
    },
    executeEach(sql, lists) {
      const { statement } = prepared.get(sql);
      return lists.map((params) => Number(statement.run(...params).changes));
    },
    numbers: (sql, params) => inNumbers.get(sql).all(...params.map(bindable)) as unknown[][],
    get isInTransaction() {
      return database.inTransaction;
    },
    close: () => void database.close(),
  };
}

function nodeSqliteClient(database: NodeSqliteLike): SqliteClient {
  const inNumbers = new Prepared((sql) => {
    const statement = database.prepare(sql);
    statement.setReturnArrays(true);
    return statement;
  });
  const prepared = new Prepared((sql) => {
    const statement = database.prepare(sql);
    const isReader = statement.columns().length > 0;
    if (isReader) {
      statement.setReadBigInts(true);
      statement.setReturnArrays(true);
    }
    return { statement, isReader, isWriter: returnsWritten(sql) };
  });
  return {
    execute(sql, params) {
      const { statement, isReader, isWriter } = prepared.get(sql);
      const bound = params.map(bindable) as never[];
      if (isReader) return answerOf(statement.all(...bound) as SqlValue[][], isWriter);
      return { rows: [], changes: Number(statement.run(...bound).changes) };
    },
    executeEach(sql, lists) {
      const { statement } = prepared.get(sql);
      return lists.map((params) => Number(statement.run(...(params as never[])).changes));
    },
    numbers: (sql, params) => inNumbers.get(sql).all(...(params.map(bindable) as never[])) as unknown[][],
    get isInTransaction() {
      return database.isTransaction;
    },
    close: () => database.close(),
  };
}

/**
 * Opens a file that exists, with the driver named or the first that is installed.
 *
 * @throws {MigrateError} `DRIVER_MISSING`
 */
export async function openSqliteClient(file: string, driver?: SqliteDriver): Promise<SqliteClient> {
  if (driver !== "node:sqlite") {
    const loaded = await import("better-sqlite3").catch((error: unknown) => {
      if (driver === undefined) return undefined;
      const message = 'the driver better-sqlite3 cannot be loaded: install it, or say driver: "node:sqlite"';
      throw new MigrateError("DRIVER_MISSING", message, { cause: error });
    });
    if (loaded !== undefined) {
      return betterSqlite3Client(new loaded.default(file, { fileMustExist: true }) as unknown as BetterSqlite3Like);
    }
  }
  // Not an import: bundlers strip `node:`, and without it there is no such module.
  const builtin = process.getBuiltinModule("node:sqlite") as typeof NodeSqlite | undefined;
  if (builtin === undefined) {
    throw new MigrateError("DRIVER_MISSING", "this Node has no node:sqlite: install better-sqlite3");
  }
  const { DatabaseSync } = builtin;
  // SQLite would create a missing file.
  return nodeSqliteClient(new DatabaseSync(uriOf(file)) as unknown as NodeSqliteLike);
}

function uriOf(file: string): URL {
  const uri = pathToFileURL(resolve(file));
  uri.searchParams.set("mode", "rw");
  return uri;
}
