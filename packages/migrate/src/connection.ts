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
}

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
  close(): Promise<void>;
}
