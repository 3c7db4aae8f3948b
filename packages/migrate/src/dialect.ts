import type { Column, SQL, Table } from "drizzle-orm";
import type { ChunkParts } from "./chunk-in-one.ts";
import type { Commit, SqlConnection, SqlExecutor, SqlQuery, SqlResult, SqlValue } from "./connection.ts";

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

/** An UPDATE of rows of a table and of what a query gives for some of them. */
export interface JoinedUpdate {
  readonly table: SQL;
  readonly key: SQL;
  /** The assignments. */
  readonly sets: SQL;
  /** A select of columns of its own, among them `tidemark_parent`: a key, each at most once. */
  readonly groups: SQL;
  /** Of keys. */
  readonly inRange: SQL;
  /** Of rows, `inRange` included. */
  readonly where: SQL;
}

/** Where databases differ. Everything else is written once, in Drizzle's `sql`. */
export interface Dialect {
  readonly name: "sqlite" | "postgresql" | "mysql";
  toQuery(statement: SQL): SqlQuery;
  /** The name a column has in the database. */
  nameOf(column: Column): string;
  /** Behind the key, exactly; the comparison is the database's own. */
  keyAfter(key: readonly Column[], values: readonly SqlValue[]): SQL;
  /** Not behind the key. */
  keyUpTo(key: readonly Column[], values: readonly SqlValue[]): SQL;
  /** A value of a key, as its column is compared with it: so that no digit of it is lost there. */
  keyValue(column: Column, value: SQL): SQL;
  /** A key column as it is selected for a cursor: so that no digit of it is lost on the way. */
  selectKey(column: Column): SQL;
  /** A column as it is selected for {@link fromDriver} and {@link isUnchanged}. */
  select(column: Column): SQL;
  /** What the driver of Drizzle would give a decoder. */
  fromDriver(column: Column, value: SqlValue): unknown;
  /** Whether a column still has what was selected: byte for byte, whatever its collation takes for equal. */
  isUnchanged(column: Column, selected: SQL): SQL;
  /** Whether a column has what an assignment of the value would leave in it, NULL being the same as NULL. */
  isSame(column: Column, value: SQL): SQL;
  /** Whether each assignment of an UPDATE sees those before it. */
  readonly assignsInTurn: boolean;
  /** Rows that the query gives nothing for see NULLs. Undefined where that would not be quicker than asking for each row. */
  updateJoined?(update: JoinedUpdate): SQL;
  /** A chunk as one statement, for connections that take such ones. */
  together?(parts: ChunkParts): SQL;
  /** Whether a transaction that writes keeps out every other one, whatever rows they are about. */
  readonly hasOneWriter: boolean;
  /** A statement whose answer changes when another connection commits. */
  readonly dataVersion?: SqlQuery;
  /** Around an INSERT that does nothing, and changes no row, where the key is there already. */
  readonly insertNew: { readonly verb: SQL; readonly suffix: SQL };
  /** A value of JavaScript as the driver has to get it, where the connection does not see to that; see `executeEach`. */
  bindable?(value: unknown): unknown;
  /** A value of JavaScript as the database gets it, where that is a text that every column gives back as it took it. */
  sent?(value: unknown): SqlValue;
  /** A statement that plans another one, and so finds the wrong names in it. */
  explain(query: SqlQuery): SqlQuery;
  /** Appended to a select in a transaction that goes on to write the row. */
  readonly lockSuffix: SQL;
  /** The clock that leases are measured by, in ms since the epoch; undefined: that of this machine. */
  readonly now: SQL | undefined;
  /** Milliseconds since the server was sent what it does now, with several statements all of them; undefined: it does not tell. */
  readonly sinceMs?: SQL;
  classify(error: unknown): SqlFailure;
  /** The columns a table has; empty: there is no such table. */
  columnNames(executor: SqlExecutor, table: string): Promise<string[]>;
  /** Creates the bookkeeping tables, or adds what an older version did not have. */
  prepare(connection: SqlConnection): Promise<void>;
  /**
   * Why the declared columns cannot serve as a key, or undefined: the database must know them as unique, and no row may
   * have a NULL in them.
   */
  faultOfKey(executor: SqlExecutor, table: Table, columns: readonly string[]): Promise<string | undefined>;
  /** Whether a column is what the rows of a table are numbered with: a whole number in each. Undefined: no column is. */
  isRowNumber?(executor: SqlExecutor, table: Table, column: string): Promise<boolean>;
  /**
   * Whether rows are counted off without asking of each whether it is behind the bound, since looking at a few behind it
   * costs less.
   */
  readonly countsPastBound?: boolean;
  /** A guess at the rows of a table that costs nothing; undefined when the database has none. */
  estimateRows(executor: SqlExecutor, table: Table): Promise<number | undefined>;
}

/** A second way into a server, for what must not wait for a chunk. */
export interface Beside {
  readonly connection: SqlConnection;
  /** The name that sessions have while a chunk is in its transaction, where the server has such names. */
  readonly label?: string;
  /** The numbers of the sessions that chunks use now, where the server has no such names. */
  sessions?(): readonly bigint[];
}

/** A dialect and its connection, as everything above uses them. */
export class Database {
  readonly dialect: Dialect;
  readonly connection: SqlConnection;
  /** Undefined for SQLite, where nothing in this thread is beside anything. */
  readonly beside: Beside | undefined;
  /** A connection for one long read, whose snapshot lasts from its `begin` until it is closed. */
  readonly openSnapshots: (() => Promise<SqlConnection>) | undefined;

  constructor(
    dialect: Dialect,
    connection: SqlConnection,
    beside?: Beside,
    openSnapshots?: () => Promise<SqlConnection>,
  ) {
    this.dialect = dialect;
    this.connection = connection;
    this.beside = beside;
    this.openSnapshots = openSnapshots;
  }

  execute(statement: SQL, executor: SqlExecutor = this.connection): Promise<SqlResult> {
    return executor.execute(this.dialect.toQuery(statement));
  }

  transaction<T>(mode: "read" | "write", work: (executor: SqlExecutor) => Promise<T>): Promise<T> {
    return this.connection.transaction(mode, work);
  }

  /** A `write` transaction and its first statement, in one round trip where that is possible. */
  transactionFrom<T>(
    first: () => SqlQuery,
    work: (executor: SqlExecutor, result: SqlResult) => Promise<T>,
    commit: Commit = "durable",
  ): Promise<T> {
    const { connection } = this;
    if (connection.transactionFrom !== undefined) return connection.transactionFrom(first, work, commit);
    return this.transaction("write", async (executor) => work(executor, await executor.execute(first())));
  }
}
