import type { SqlConnection, SqlExecutor, SqlQuery, SqlResult } from "../connection.ts";
import { isAway } from "../away.ts";
import { Turns } from "../turns.ts";
import type { MysqlSession } from "./mysql-client.ts";

/** How long MySQL and MariaDB let a chunk wait, compute and idle, in milliseconds. */
export interface MysqlLimits {
  readonly lockTimeoutMs: number;
  readonly statementTimeoutMs: number;
  readonly idleTimeoutMs: number;
}

/** A connection of the engine's own out of somebody's pool; another one when it is lost. */
export class MysqlConnection implements SqlConnection {
  readonly #open: () => Promise<MysqlSession>;
  readonly #limits: MysqlLimits;
  readonly #turns = new Turns();
  #session: MysqlSession | undefined;

  constructor(open: () => Promise<MysqlSession>, limits: MysqlLimits) {
    this.#open = open;
    this.#limits = limits;
  }

  execute(query: SqlQuery): Promise<SqlResult> {
    return this.#turns.alone(() => this.#using((session) => session.execute(query)));
  }

  transaction<T>(mode: "read" | "write", work: (executor: SqlExecutor) => Promise<T>): Promise<T> {
    return this.#turns.alone(() =>
      this.#using(async (session) => {
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
          await say("rollback").catch(() => this.#discard(session));
          throw error;
        }
      }),
    );
  }

  close(): Promise<void> {
    return this.#turns.close(() => this.#discard(this.#session));
  }

  async #using<T>(work: (session: MysqlSession) => Promise<T>): Promise<T> {
    const session = (this.#session ??= await this.#prepared());
    try {
      return await work(session);
    } catch (error) {
      if (isAway(error)) this.#discard(session);
      throw error;
    }
  }

  async #prepared(): Promise<MysqlSession> {
    const session = await this.#open();
    try {
      const { rows } = await session.execute({ sql: "select version()", params: [] });
      for (const sql of settings(/mariadb/i.test(String(rows[0]?.[0])), this.#limits)) {
        await session.execute({ sql, params: [] });
      }
      return session;
    } catch (error) {
      session.destroy();
      throw error;
    }
  }

  #discard(session: MysqlSession | undefined): void {
    session?.destroy();
    if (this.#session === session) this.#session = undefined;
  }
}

function settings(isMariaDb: boolean, { lockTimeoutMs, statementTimeoutMs, idleTimeoutMs }: MysqlLimits): string[] {
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
