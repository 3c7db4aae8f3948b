import { type Clock, systemClock } from "@tidemark/clock";
import type { SqlLimits } from "../connection.ts";
import { Database } from "../dialect.ts";
import { MigrateError } from "../migrate-error.ts";
import { requireAbove } from "../options.ts";
import { limitOf, type MysqlClient, openSession, promisePool } from "./mysql-client.ts";
import { MysqlConnection } from "./mysql-connection.ts";
import { mysqlDialect } from "./mysql-dialect.ts";

/**
 * A MySQL or MariaDB database, from whose pool the engine takes one connection, another one for signals, and a third one
 * where a chunk of MariaDB can begin while the commit of the one before waits for the disk.
 */
export interface MysqlDatabase {
  readonly dialect: "mysql";
  /**
   * A pool of `mysql2` or `mysql2/promise`. It stays yours to close, behind the migrations. One of fewer than five
   * connections is not asked for the third.
   */
  readonly client: MysqlClient;
  /**
   * How long a chunk waits for a lock before it lets others go first and is tried again, in milliseconds; the server
   * knows whole seconds.
   * @default 1000
   */
  readonly lockTimeoutMs?: number;
  /**
   * How long a statement may take before its chunk is cut in half, in milliseconds. MariaDB alone can stop writes.
   * @default 5000
   */
  readonly statementTimeoutMs?: number;
  /**
   * How long a chunk may sit in its transaction without a statement before the server ends it, in milliseconds; whole
   * seconds, and MariaDB alone.
   * @default 10_000
   */
  readonly idleTimeoutMs?: number;
  /**
   * How long an answer of the server, or a connection of the pool, is waited for, in milliseconds.
   * @default 60_000
   */
  readonly answerTimeoutMs?: number;
}

const defaults = {
  lockTimeoutMs: 1000,
  statementTimeoutMs: 5000,
  idleTimeoutMs: 10_000,
  answerTimeoutMs: 60_000,
} as const satisfies SqlLimits & { readonly answerTimeoutMs: number };

/** A pool of so many connections leaves some to others when the engine takes three. */
const roomyPool = 5;

/** @throws {MigrateError} `OPTIONS_INVALID` */
export function openMysql(options: MysqlDatabase, clock: Clock = systemClock): Database {
  const limits = {
    lockTimeoutMs: options.lockTimeoutMs ?? defaults.lockTimeoutMs,
    statementTimeoutMs: options.statementTimeoutMs ?? defaults.statementTimeoutMs,
    idleTimeoutMs: options.idleTimeoutMs ?? defaults.idleTimeoutMs,
    answerTimeoutMs: options.answerTimeoutMs ?? defaults.answerTimeoutMs,
  };
  for (const [name, value] of Object.entries(limits)) requireAbove(name, value, 0);
  const pool = promisePool(options.client);
  if (pool === undefined) {
    throw new MigrateError("OPTIONS_INVALID", "client must be a pool of mysql2 or mysql2/promise");
  }
  const leavesCommits = (limitOf(pool) ?? 0) >= roomyPool;
  const open = () => openSession(pool, clock, limits.answerTimeoutMs);
  const connection = new MysqlConnection(open, limits, { leavesCommits });
  return new Database(mysqlDialect, connection, {
    connection: new MysqlConnection(open, limits),
    sessions: () => connection.sessions,
  });
}
