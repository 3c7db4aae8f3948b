import type { SqlConnection, SqlExecutor, SqlLimits, SqlQuery, SqlResult } from "../connection.ts";
import { isAway } from "../away.ts";
import { Turns } from "../turns.ts";
import type { MysqlSession } from "./mysql-client.ts";

/** A session and what it was told. */
interface Seat {
  readonly session: MysqlSession;
  /** The server's number of the connection. */
  number: bigint;
  limits: SqlLimits | undefined;
}

/** Connections of the engine's own out of somebody's pool, one for each turn; another one when one is lost. */
export class MysqlConnection implements SqlConnection {
  readonly #open: () => Promise<MysqlSession>;
  readonly #turns = new Turns();
  readonly #seats = new Set<Seat>();
  readonly #idle: Seat[] = [];
  #limits: SqlLimits;

  constructor(open: () => Promise<MysqlSession>, limits: SqlLimits) {
    this.#open = open;
    this.#limits = limits;
  }

  /** The numbers of the connections that are open now. */
  get sessions(): readonly bigint[] {
    return [...this.#seats].map(({ number }) => number);
  }

  widen(width: number): void {
    this.#turns.widen(width);
  }

  /** From the next statement or transaction on. */
  limit(limits: Partial<SqlLimits>): void {
    this.#limits = { ...this.#limits, ...limits };
  }

  execute(query: SqlQuery): Promise<SqlResult> {
    return this.#turns.alone(() => this.#using(({ session }) => session.execute(query)));
  }

  transaction<T>(mode: "read" | "write", work: (executor: SqlExecutor) => Promise<T>): Promise<T> {
    return this.#turns.alone(() =>
      this.#using(async (seat) => {
        const { session } = seat;
        const say = (sql: string) => session.execute({ sql, params: [] });
        if (mode === "read") {
          // For the next transaction alone.
          await say("set transaction isolation level repeatable read");
          await say("start transaction with consistent snapshot, read only");
        } else await say("start transaction");
        try {
          const result = await work(session);
          await say("commit");
          return result;
        } catch (error) {
          await say("rollback").catch(() => this.#discard(seat));
          throw error;
        }
      }),
    );
  }

  close(): Promise<void> {
    return this.#turns.close(() => {
      for (const seat of this.#seats) this.#discard(seat);
    });
  }

  async #using<T>(work: (seat: Seat) => Promise<T>): Promise<T> {
    const seat = this.#idle.pop() ?? (await this.#opened());
    try {
      if (seat.limits !== this.#limits) await this.#prepare(seat);
      return await work(seat);
    } catch (error) {
      if (isAway(error)) this.#discard(seat);
      throw error;
    } finally {
      if (this.#seats.has(seat)) this.#idle.push(seat);
    }
  }

  async #opened(): Promise<Seat> {
    const seat = { session: await this.#open(), number: 0n, limits: undefined };
    this.#seats.add(seat);
    try {
      await this.#prepare(seat);
      return seat;
    } catch (error) {
      this.#discard(seat);
      throw error;
    }
  }

  async #prepare(seat: Seat): Promise<void> {
    const limits = this.#limits;
    const { session } = seat;
    const { rows } = await session.execute({ sql: "select version(), connection_id()", params: [] });
    const [version, number] = rows[0] ?? [];
    for (const sql of settings(/mariadb/i.test(String(version)), limits)) {
      await session.execute({ sql, params: [] });
    }
    seat.number = BigInt(number as bigint);
    seat.limits = limits;
  }

  #discard(seat: Seat): void {
    seat.session.destroy();
    this.#seats.delete(seat);
  }
}

function settings(isMariaDb: boolean, { lockTimeoutMs, statementTimeoutMs, idleTimeoutMs }: SqlLimits): string[] {
  const seconds = (ms: number) => Math.max(Math.ceil(ms / 1000), 1);
  return [
    "set names utf8mb4",
    // Gaps between keys stay open for inserts of others.
    "set session transaction isolation level read committed",
    `set session autocommit = 1, innodb_lock_wait_timeout = ${seconds(lockTimeoutMs)},
      sql_mode = concat_ws(',', nullif(@@sql_mode, ''), 'STRICT_ALL_TABLES')`,
    ...(isMariaDb
      ? [
          `set session max_statement_time = ${statementTimeoutMs / 1000}, idle_transaction_timeout = ${seconds(idleTimeoutMs)}`,
        ]
      : []),
  ];
}
