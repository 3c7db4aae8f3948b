import type { Commit, SqlConnection, SqlExecutor, SqlLimits, SqlQuery, SqlResult } from "../connection.ts";
import { isAway } from "../away.ts";
import { Turns } from "../turns.ts";
import { blocksOf, type MysqlSession } from "./mysql-client.ts";

/** A session and what it was told. */
interface Seat {
  readonly session: MysqlSession;
  /** The server's number of the connection. */
  number: bigint;
  /** Takes blocks of statements. */
  isMariaDb: boolean;
  /** A commit gives its locks back, and shows what it wrote, before it waits for the disk. */
  isSeenEarly: boolean;
  limits: SqlLimits | undefined;
}

/** What keeps the locks of a transaction until it is in the binary log, or on the other nodes of a cluster. */
const holders = "show variables where variable_name in ('log_bin', 'wsrep_on') and value = 'ON'";

const plain = (sql: string): SqlQuery => ({ sql, params: [] });

function executorOf({ session, isMariaDb }: Seat): SqlExecutor {
  if (!isMariaDb) return session;
  return {
    execute: (query) => session.execute(query),
    async executeEach(sql, lists) {
      const changes: number[] = [];
      for (const block of blocksOf(sql, lists)) {
        const [[counts] = []] = (await session.execute(block)).rows;
        changes.push(...String(counts).slice(1).split(",").map(Number));
      }
      return changes;
    },
  };
}

/** How a connection works. */
interface MysqlHabits {
  /** Whether a lazy commit is left to itself; that takes one more connection out of the pool. */
  readonly leavesCommits?: boolean;
}

/** Connections of the engine's own out of somebody's pool, one for each turn; another one when one is lost. */
export class MysqlConnection implements SqlConnection {
  readonly #open: () => Promise<MysqlSession>;
  readonly #turns = new Turns();
  readonly #seats = new Set<Seat>();
  readonly #idle: Seat[] = [];
  readonly #leavesCommits: boolean;
  #limits: SqlLimits;
  /** The ends of the last two commits that were left to themselves. They do not reject. */
  #commits: readonly [older: Promise<void>, newer: Promise<void>] = [Promise.resolve(), Promise.resolve()];

  constructor(open: () => Promise<MysqlSession>, limits: SqlLimits, { leavesCommits = false }: MysqlHabits = {}) {
    this.#open = open;
    this.#limits = limits;
    this.#leavesCommits = leavesCommits;
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
    return this.#transaction(async ({ session }) => {
      if (mode === "read") {
        // For the next transaction alone.
        await session.execute(plain("set transaction isolation level repeatable read"));
        await session.execute(plain("start transaction with consistent snapshot, read only"));
      } else await session.execute(plain("start transaction"));
    }, work);
  }

  transactionFrom<T>(
    first: () => SqlQuery,
    work: (executor: SqlExecutor, result: SqlResult) => Promise<T>,
  ): Promise<T> {
    return this.#transaction(async ({ session, isMariaDb }) => {
      const { sql, params } = first();
      if (isMariaDb) return session.execute({ sql: `begin not atomic start transaction; ${sql}; end`, params });
      await session.execute(plain("start transaction"));
      return session.execute({ sql, params });
    }, work);
  }

  /**
   * Known when the first connection is open, and it is before there is a chunk. A lazy commit is as durable as any, but it is
   * not waited for where its locks are free before it is on disk: the next chunk goes out on another connection meanwhile.
   */
  get inOne(): ((query: () => SqlQuery, commit: Commit) => Promise<SqlResult>) | undefined {
    const takers = [...this.#seats].filter(({ isMariaDb, session }) => isMariaDb && session.countsFound);
    if (takers.length === 0) return undefined;
    const isLeft = this.#leavesCommits && takers.every(({ isSeenEarly }) => isSeenEarly);
    return (query, commit) =>
      this.#turns.alone(() => (isLeft && commit === "lazy" ? this.#leaving(query) : this.#whole(query)));
  }

  #whole(query: () => SqlQuery): Promise<SqlResult> {
    return this.#using(async (seat) => {
      try {
        return await seat.session.execute(query());
      } catch (error) {
        await this.#rollBack(seat);
        throw error;
      }
    });
  }

  /** Resolves with the row of a block, whose commit follows; when that fails, whoever comes next finds nothing of it. */
  async #leaving(query: () => SqlQuery): Promise<SqlResult> {
    const [older, newer] = this.#commits;
    const ended = Promise.withResolvers<void>();
    this.#commits = [newer, ended.promise];
    try {
      // So there are never more than two at a time, and one connection more than turns.
      await older;
      const seat = await this.#taken();
      const { row, end } = seat.session.begin(query());
      void this.#watch(seat, end).then(ended.resolve);
      return await row.catch(async (error: unknown) => {
        await ended.promise;
        throw error;
      });
    } catch (error) {
      ended.resolve();
      throw error;
    }
  }

  /** Gives a seat back when its block is over, however that went. Does not reject. */
  async #watch(seat: Seat, end: Promise<void>): Promise<void> {
    try {
      await end;
    } catch (error) {
      if (isAway(error)) this.#discard(seat);
      else await this.#rollBack(seat);
    }
    this.#giveBack(seat);
  }

  /** A block may have ended before its commit. */
  #rollBack(seat: Seat): Promise<unknown> {
    return seat.session.execute(plain("rollback")).catch(() => this.#discard(seat));
  }

  #transaction<B, T>(
    begin: (seat: Seat) => Promise<B>,
    work: (executor: SqlExecutor, begun: B) => Promise<T>,
  ): Promise<T> {
    return this.#turns.alone(() =>
      this.#using(async (seat) => {
        const { session } = seat;
        const say = (sql: string) => session.execute(plain(sql));
        try {
          const begun = await begin(seat);
          const result = await work(executorOf(seat), begun);
          await say("commit");
          return result;
        } catch (error) {
          await this.#rollBack(seat);
          throw error;
        }
      }),
    );
  }

  close(): Promise<void> {
    return this.#turns.close(async () => {
      await Promise.all(this.#commits);
      for (const seat of this.#seats) this.#discard(seat);
    });
  }

  async #using<T>(work: (seat: Seat) => Promise<T>): Promise<T> {
    const seat = await this.#taken();
    try {
      return await work(seat);
    } catch (error) {
      if (isAway(error)) this.#discard(seat);
      throw error;
    } finally {
      this.#giveBack(seat);
    }
  }

  /** A seat that is ready and nobody else's until it is given back. */
  async #taken(): Promise<Seat> {
    const seat = this.#idle.pop() ?? (await this.#opened());
    if (seat.limits === this.#limits) return seat;
    try {
      await this.#prepare(seat);
      return seat;
    } catch (error) {
      this.#discard(seat);
      throw error;
    }
  }

  #giveBack(seat: Seat): void {
    if (this.#seats.has(seat)) this.#idle.push(seat);
  }

  async #opened(): Promise<Seat> {
    const session = await this.#open();
    const seat = { session, number: 0n, isMariaDb: false, isSeenEarly: false, limits: undefined };
    this.#seats.add(seat);
    return seat;
  }

  async #prepare(seat: Seat): Promise<void> {
    const limits = this.#limits;
    const { session } = seat;
    const { rows } = await session.execute({ sql: "select version(), connection_id()", params: [] });
    const [version, number] = rows[0] ?? [];
    seat.isMariaDb = /mariadb/i.test(String(version));
    seat.isSeenEarly = seat.isMariaDb && (await session.execute(plain(holders))).rows.length === 0;
    for (const sql of settings(seat.isMariaDb, limits)) {
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
