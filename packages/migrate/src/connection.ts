/** A value on its way to or from a driver. Integers come as bigint, so that none is rounded. */
export type SqlValue = null | boolean | number | bigint | string | Uint8Array;

export interface SqlQuery {
  readonly sql: string;
  readonly params: readonly unknown[];
}

export interface SqlResult {
  /** Values in the order of the selected columns. */
  readonly rows: readonly (readonly SqlValue[])[];
  /** Rows inserted, updated or deleted. */
  readonly changes: number;
}

/** Runs statements, one at a time. */
export interface SqlExecutor {
  execute(query: SqlQuery): Promise<SqlResult>;
  /**
   * Runs one statement for each list of parameters, where that is quicker than one by one; see {@link executeEach}.
   * Resolves with the number of rows each of them changed.
   */
  executeEach?(sql: string, lists: readonly (readonly unknown[])[]): Promise<readonly number[]>;
  /**
   * Rows with integers as numbers, which is many times cheaper than bigint. One beyond 2^53 is rounded to a number that is no
   * safe integer either, or refused with `ERR_OUT_OF_RANGE`.
   */
  numbers?(query: SqlQuery): Promise<readonly (readonly unknown[])[]>;
}

/**
 * Runs one statement for each list of parameters, and resolves with the number of rows each of them changed. Values are
 * bound as they are: as the database gave them, or as `bindable` of its driver made them.
 */
export async function executeEach(
  executor: SqlExecutor,
  text: string,
  lists: readonly (readonly unknown[])[],
): Promise<readonly number[]> {
  if (executor.executeEach !== undefined) return executor.executeEach(text, lists);
  const changes: number[] = [];
  for (const params of lists) changes.push((await executor.execute({ sql: text, params })).changes);
  return changes;
}

/** How long a server lets a chunk wait for a lock, compute, and stand still, in milliseconds. */
export interface SqlLimits {
  readonly lockTimeoutMs: number;
  readonly statementTimeoutMs: number;
  readonly idleTimeoutMs: number;
}

/**
 * Whether a commit is waited for until a crash of the server cannot take it back. What is `lazy` is taken back whole, with all
 * that was committed behind it, and is on disk when a later `durable` one is. Where the server has no such choice, it may be
 * waited for all the same; or `inOne` leaves it behind, to happen, or to fail, before the next one that needs the same locks.
 */
export type Commit = "durable" | "lazy";

/**
 * A connection of the engine's own: nobody else runs statements on it. What is asked of it meanwhile waits until a
 * transaction is over.
 */
export interface SqlConnection extends SqlExecutor {
  /**
   * Runs `work` in one transaction and commits; when it throws, everything is rolled back and the error comes out.
   * A `write` transaction takes its locks at the start, so that it cannot fail half-way because somebody else wrote; a
   * `read` transaction sees one snapshot.
   */
  transaction<T>(mode: "read" | "write", work: (executor: SqlExecutor) => Promise<T>): Promise<T>;
  /**
   * A `write` transaction that says its first statement along with its begin, where that saves a round trip; `first` is
   * called as it begins.
   */
  transactionFrom?<T>(
    first: () => SqlQuery,
    work: (executor: SqlExecutor, result: SqlResult) => Promise<T>,
    commit: Commit,
  ): Promise<T>;
  /**
   * A `write` transaction of one statement of `together` of the dialect, in one way there and back. Undefined where that is
   * not possible, or not known to be.
   */
  readonly inOne?: ((query: () => SqlQuery, commit: Commit) => Promise<SqlResult>) | undefined;
  /**
   * `write` transactions of one statement of `together` each, one behind the other, in one way there and back. Each is committed
   * by itself. When one fails, the error comes out, those before it stay, and those behind it are not begun. Resolves with
   * the answer to each. Undefined where that is not possible.
   */
  readonly inSeries?:
    | ((queries: () => readonly SqlQuery[], commits: readonly Commit[]) => Promise<readonly SqlResult[]>)
    | undefined;
  /** Runs `work` while no transaction of this connection does; undefined where nobody would notice. */
  alone?<T>(work: () => T | Promise<T>): Promise<T>;
  /**
   * Does between two chunks, without a lock, what one who writes meanwhile would have to do instead; undefined where there
   * is nothing of that kind. `mark` is a statement that writes a little, in case somebody has to write first.
   */
  tidyUp?(mark: () => SqlQuery): Promise<void>;
  /** Lets so many transactions run at a time; undefined where that is one and stays one. */
  widen?(width: number): void;
  /** Changes what the server is told about each transaction; undefined where there is no server. */
  limit?(limits: Partial<SqlLimits>): void;
  close(): Promise<void>;
}
