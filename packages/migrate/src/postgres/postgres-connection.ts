import type { SqlConnection, SqlExecutor, SqlLimits, SqlQuery, SqlResult } from "../connection.ts";
import { Turns } from "../turns.ts";
import type { PostgresPort } from "./postgres-client.ts";

const settingsOf = ({ lockTimeoutMs, statementTimeoutMs, idleTimeoutMs }: SqlLimits, label: string) =>
  // For the transaction alone: a pooler may give the session to somebody else behind it.
  `set local lock_timeout = ${lockTimeoutMs}; set local statement_timeout = ${statementTimeoutMs}; ` +
  `set local idle_in_transaction_session_timeout = ${idleTimeoutMs}; set local application_name = '${label}'`;

/** Works through somebody's pool, as many statements and transactions at a time as it is told to. */
export class PostgresConnection implements SqlConnection {
  readonly #port: PostgresPort;
  readonly #label: string;
  #limits: SqlLimits;
  readonly #turns: Turns;

  /** `label` is what sessions are called while they are in a transaction: letters, digits and dashes. */
  constructor(port: PostgresPort, limits: SqlLimits, label = "tidemark-migrations", width = 1) {
    this.#port = port;
    this.#label = label;
    this.#limits = limits;
    this.#turns = new Turns(width);
  }

  widen(width: number): void {
    this.#turns.widen(width);
  }

  /** From the next transaction on. */
  limit(limits: Partial<SqlLimits>): void {
    this.#limits = { ...this.#limits, ...limits };
  }

  execute(query: SqlQuery): Promise<SqlResult> {
    return this.#turns.alone(() => this.#port.execute(query));
  }

  transaction<T>(mode: "read" | "write", work: (executor: SqlExecutor) => Promise<T>): Promise<T> {
    const begin = mode === "read" ? "isolation level repeatable read read only" : "isolation level read committed";
    return this.#turns.alone(() =>
      this.#port.transaction(begin, settingsOf(this.#limits, this.#label), (execute) => work({ execute })),
    );
  }

  /** The pool is not the engine's to close. */
  close(): Promise<void> {
    return this.#turns.close(() => undefined);
  }
}
