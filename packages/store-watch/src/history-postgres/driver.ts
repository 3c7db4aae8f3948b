import { StoreWatchError } from "../errors.ts";

// What this package uses of `pg`, so that its types need not be installed where PostgreSQL is not used.

export interface PostgresResult<Row> {
  readonly rows: Row[];
  readonly rowCount: number | null;
  /** The first word of what the server did: a commit may have become a `ROLLBACK`. */
  readonly command: string;
}

export interface PostgresQuery {
  readonly text: string;
  readonly values?: readonly unknown[];
  /** The statement is prepared once per connection under this name. */
  readonly name?: string;
}

export interface PostgresClient {
  query<Row = Record<string, unknown>>(query: PostgresQuery | string): Promise<PostgresResult<Row>>;
  release(error?: Error | boolean): void;
  on(event: "error", listener: (error: Error) => void): unknown;
}

export interface PostgresPool {
  connect(): Promise<PostgresClient>;
  end(): Promise<void>;
  on(event: "error", listener: (error: Error) => void): unknown;
}

/** The module `pg`, version 8. */
export interface PostgresDriver {
  readonly Pool: new (config: Record<string, unknown>) => unknown;
  readonly types: { getTypeParser(oid: number, format?: string): (text: string) => unknown };
}

const int8 = 20;

/** @throws {StoreWatchError} `OPTIONS_INVALID` when `pg` is not installed. */
export async function loadDriver(): Promise<PostgresDriver> {
  try {
    const module = (await import("pg")) as unknown as { readonly default: PostgresDriver };
    return module.default;
  } catch (error) {
    throw new StoreWatchError("OPTIONS_INVALID", "a history on PostgreSQL needs the package pg; install pg 8", {
      cause: error,
    });
  }
}

export function openPool(
  driver: PostgresDriver,
  options: { readonly url: string; readonly schema: string; readonly max: number },
): PostgresPool {
  const pool = new driver.Pool({
    connectionString: options.url,
    max: options.max,
    application_name: "tidemark-history",
    // A query is sent without waiting for the answer to the one before; answers come in that order.
    pipeline: true,
    // A connection that is open but dead must not hold a read for ever.
    keepAlive: true,
    connectionTimeoutMillis: 10_000,
    options: `-c search_path=${options.schema} -c TimeZone=UTC`,
    types: {
      getTypeParser: (oid: number, format?: string) =>
        oid === int8 && format !== "binary" ? Number : driver.types.getTypeParser(oid, format),
    },
  }) as PostgresPool;
  // Of idle connections: whoever needs one next gets the error, or a new connection.
  pool.on("error", () => undefined);
  return pool;
}
