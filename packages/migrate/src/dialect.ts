import type { Column, SQL } from "drizzle-orm";
import type { SqlConnection, SqlExecutor, SqlQuery, SqlResult, SqlValue } from "./connection.ts";

/** What an error of the database asks for. */
export type SqlFailure =
  /** Somebody else was in the way; the same chunk may be tried again: busy, deadlock, serialisation. */
  | "retry"
  /** It took too long: a smaller chunk may do. */
  | "split"
  /** A row, or what is written into it, breaks a rule: find it and put it into quarantine. */
  | "poison"
  /** Anything else. */
  | "fatal";

/**
 * Where databases differ. Everything else is written once, in Drizzle's `sql`.
 *
 * PostgreSQL will lock the run's row and the chunk's rows in the order of the key (`for no key update`), set
 * `lock_timeout`, `statement_timeout` and `idle_in_transaction_session_timeout` for each chunk, and take times from its
 * own clock. MySQL and MariaDB read committed, and spell keysets without row values, which their optimisers do not
 * range over.
 */
export interface Dialect {
  readonly name: "sqlite" | "postgresql" | "mysql";
  toQuery(statement: SQL): SqlQuery;
  /** The name a column has in the database. */
  nameOf(column: Column): string;
  /** Behind the key, exactly; the comparison is the database's own. */
  keyAfter(key: readonly Column[], values: readonly SqlValue[]): SQL;
  /** Not behind the key. */
  keyUpTo(key: readonly Column[], values: readonly SqlValue[]): SQL;
  /** A key column as it is selected for a cursor: so that no digit of it is lost on the way. */
  selectKey(column: Column): SQL;
  /** Whether two expressions are the same, NULL being the same as NULL. */
  isSame(left: SQL, right: SQL): SQL;
  /** Appended to a select in a transaction that goes on to write the row. */
  readonly lockSuffix: SQL;
  /** The clock that leases are measured by, in ms since the epoch; undefined: that of this machine. */
  readonly now: SQL | undefined;
  classify(error: unknown): SqlFailure;
  /** Creates the bookkeeping tables, or adds what an older version did not have. At once or not at all. */
  prepare(connection: SqlConnection): Promise<void>;
  /**
   * Why the declared columns cannot serve as a key, or undefined: the database must know them as unique, and no row may
   * have a NULL in them.
   */
  faultOfKey(executor: SqlExecutor, table: string, columns: readonly string[]): Promise<string | undefined>;
  /** A guess at the rows of a table that costs nothing; undefined when the database has none. */
  estimateRows(executor: SqlExecutor, table: string): Promise<number | undefined>;
}

/** A dialect and its connection, as everything above uses them. */
export class Database {
  readonly dialect: Dialect;
  readonly connection: SqlConnection;

  constructor(dialect: Dialect, connection: SqlConnection) {
    this.dialect = dialect;
    this.connection = connection;
  }

  execute(statement: SQL, executor: SqlExecutor = this.connection): Promise<SqlResult> {
    return executor.execute(this.dialect.toQuery(statement));
  }

  transaction<T>(mode: "read" | "write", work: (executor: SqlExecutor) => Promise<T>): Promise<T> {
    return this.connection.transaction(mode, work);
  }
}
