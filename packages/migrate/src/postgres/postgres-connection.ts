import type { SqlConnection, SqlExecutor, SqlQuery, SqlResult } from "../connection.ts";
import { Turns } from "../turns.ts";
import type { PostgresPort } from "./postgres-client.ts";

/** How long PostgreSQL lets a chunk wait, compute and idle, in milliseconds. */
export interface PostgresLimits {
  readonly lockTimeoutMs: number;
  readonly statementTimeoutMs: number;
  readonly idleTimeoutMs: number;
}

/** Works through somebody's pool, one statement or transaction at a time. */
export class PostgresConnection implements SqlConnection {
  readonly #port: PostgresPort;
  readonly #settings: string;
  readonly #turns = new Turns();

  constructor(port: PostgresPort, { lockTimeoutMs, statementTimeoutMs, idleTimeoutMs }: PostgresLimits) {
    this.#port = port;
    // For the transaction alone: a pooler may give the session to somebody else behind it.
    this.#settings =
      `set local lock_timeout = ${lockTimeoutMs}; set local statement_timeout = ${statementTimeoutMs}; ` +
      `set local idle_in_transaction_session_timeout = ${idleTimeoutMs}`;
  }

  execute(query: SqlQuery): Promise<SqlResult> {
    return this.#turns.alone(() => this.#port.execute(query));
  }

  transaction<T>(mode: "read" | "write", work: (executor: SqlExecutor) => Promise<T>): Promise<T> {
    const begin = mode === "read" ? "isolation level repeatable read read only" : "isolation level read committed";
    return this.#turns.alone(() => this.#port.transaction(begin, this.#settings, (execute) => work({ execute })));
  }

  /** The pool is not the engine's to close. */
  close(): Promise<void> {
    return this.#turns.close(() => undefined);
  }
}
