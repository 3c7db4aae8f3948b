import type { Commit, SqlConnection, SqlExecutor, SqlLimits, SqlQuery, SqlResult } from "../connection.ts";
import { Turns } from "../turns.ts";
import type { PostgresPort } from "./postgres-client.ts";
import { withLiterals } from "./postgres-literals.ts";

const settingsOf = ({ lockTimeoutMs, statementTimeoutMs, idleTimeoutMs }: SqlLimits, label: string) =>
  // For the transaction alone: a pooler may give the session to somebody else behind it.
  `set local lock_timeout = ${lockTimeoutMs}; set local statement_timeout = ${statementTimeoutMs}; ` +
  `set local idle_in_transaction_session_timeout = ${idleTimeoutMs}; set local application_name = '${label}'; ` +
  // Compiling takes longer than a chunk may.
  "set local jit = off";

const writing = "isolation level read committed";

/** How a connection shows and keeps what it does. */
interface PostgresHabits {
  /** What sessions are called while they are in a transaction: letters, digits and dashes. */
  readonly label: string;
  /** How many statements and transactions run at a time. */
  readonly width?: number;
  /** Whether every commit waits for the disk. */
  readonly isDurable?: boolean;
}

/** Works through somebody's pool, as many statements and transactions at a time as it is told to. */
export class PostgresConnection implements SqlConnection {
  readonly #port: PostgresPort;
  readonly #label: string;
  readonly #isDurable: boolean;
  #limits: SqlLimits;
  readonly #turns: Turns;

  constructor(port: PostgresPort, limits: SqlLimits, { label, width = 1, isDurable = true }: PostgresHabits) {
    this.#port = port;
    this.#label = label;
    this.#isDurable = isDurable;
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
    const begin = mode === "read" ? "isolation level repeatable read read only" : writing;
    return this.#turns.alone(() => this.#port.transaction(begin, this.#settings(), work));
  }

  transactionFrom<T>(
    first: () => SqlQuery,
    work: (executor: SqlExecutor, result: SqlResult) => Promise<T>,
    commit: Commit,
  ): Promise<T> {
    return this.#turns.alone(() => this.#from(first(), work, commit));
  }

  inOne(query: () => SqlQuery, commit: Commit): Promise<SqlResult> {
    return this.#turns.alone(() => {
      const asked = query();
      const text = withLiterals(asked);
      if (text === undefined) return this.#from(asked, (_, result) => Promise.resolve(result), commit);
      // Statements that come as one text are one transaction, which is rolled back when one of them fails.
      const together = `set transaction ${writing}; ${this.#settings(commit)}; ${text}`;
      return this.#port.execute({ sql: together, params: [] });
    });
  }

  get inSeries() {
    const { series } = this.#port;
    if (series === undefined) return undefined;
    return (queries: () => readonly SqlQuery[], commits: readonly Commit[]): Promise<readonly SqlResult[]> =>
      this.#turns.alone(async () => {
        const asked = queries();
        const texts = asked.map(withLiterals);
        if (!texts.includes(undefined)) {
          const each = texts.map((text, at) => `begin ${writing}; ${this.#settings(commits[at])}; ${text}; commit`);
          return series(each.join("; "));
        }
        const results: SqlResult[] = [];
        for (const [at, query] of asked.entries()) {
          results.push(await this.#from(query, (_, result) => Promise.resolve(result), commits[at] ?? "durable"));
        }
        return results;
      });
  }

  #from<T>(
    query: SqlQuery,
    work: (executor: SqlExecutor, result: SqlResult) => Promise<T>,
    commit: Commit,
  ): Promise<T> {
    const text = withLiterals(query);
    const settings = this.#settings(commit);
    const beginning = text === undefined ? settings : `${settings}; ${text}`;
    return this.#port.transaction(writing, beginning, async (executor, begun) => {
      return work(executor, text === undefined ? await executor.execute(query) : begun);
    });
  }

  #settings(commit: Commit = "durable"): string {
    const settings = settingsOf(this.#limits, this.#label);
    return commit === "lazy" && !this.#isDurable ? `${settings}; set local synchronous_commit = off` : settings;
  }

  /** The pool is not the engine's to close. */
  close(): Promise<void> {
    return this.#turns.close(() => undefined);
  }
}
