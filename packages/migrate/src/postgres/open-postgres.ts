import { type Clock, systemClock, systemRng } from "@tidemark/clock";
import type { SqlLimits } from "../connection.ts";
import { Database } from "../dialect.ts";
import { MigrateError } from "../migrate-error.ts";
import { requireAbove } from "../options.ts";
import { isPgPool, isPostgresJs, pgPort, type PostgresClient, postgresJsPort } from "./postgres-client.ts";
import { PostgresConnection } from "./postgres-connection.ts";
import { postgresDialect } from "./postgres-dialect.ts";

/** A PostgreSQL database, to which the engine comes through your driver: at most one connection at a time. */
export interface PostgresDatabase {
  readonly dialect: "postgresql";
  /**
   * A `Pool` of `pg`, or the `sql` of `postgres`. It stays yours to close, behind the migrations. Give `end()` of
   * `postgres` a `timeout`: once a connection was lost with a statement under way, whoever's it was, it waits for ever.
   */
  readonly client: PostgresClient;
  /**
   * How long a chunk waits for a lock before it lets others go first and is tried again, in milliseconds. Below the
   * server's `deadlock_timeout`, so that a deadlock never costs anybody else their transaction.
   * @default 500
   */
  readonly lockTimeoutMs?: number;
  /**
   * How long a statement of a chunk may take before the chunk is cut in half, in milliseconds.
   * @default 5000
   */
  readonly statementTimeoutMs?: number;
  /**
   * How long a chunk may sit in its transaction without a statement before the server ends it, in milliseconds: what a
   * stopped process keeps others waiting.
   * @default 10_000
   */
  readonly idleTimeoutMs?: number;
  /**
   * How long an answer of the server, or a connection of the pool, is waited for, in milliseconds.
   * @default 60_000
   */
  readonly answerTimeoutMs?: number;
  /**
   * Whether a chunk waits until its commit is on disk, and on the standbys that `synchronous_standby_names` asks for. Without
   * that, a crash of the server can take back the chunks of its last second, cursor and effect alike, which are then done
   * again; what is `done` is on disk either way, with all that led to it. Effects outside of the database always wait.
   * @default false
   */
  readonly durableChunks?: boolean;
}

const defaults = {
  lockTimeoutMs: 500,
  statementTimeoutMs: 5000,
  idleTimeoutMs: 10_000,
  answerTimeoutMs: 60_000,
} as const satisfies SqlLimits & { readonly answerTimeoutMs: number };

/** @throws {MigrateError} `OPTIONS_INVALID` */
export function openPostgres(options: PostgresDatabase, clock: Clock = systemClock): Database {
  const { client } = options;
  const limits = {
    lockTimeoutMs: Math.ceil(options.lockTimeoutMs ?? defaults.lockTimeoutMs),
    statementTimeoutMs: Math.ceil(options.statementTimeoutMs ?? defaults.statementTimeoutMs),
    idleTimeoutMs: Math.ceil(options.idleTimeoutMs ?? defaults.idleTimeoutMs),
    answerTimeoutMs: options.answerTimeoutMs ?? defaults.answerTimeoutMs,
  };
  for (const [name, value] of Object.entries(limits)) requireAbove(name, value, 0);
  const port = isPgPool(client)
    ? pgPort(client, clock, limits.answerTimeoutMs)
    : isPostgresJs(client)
      ? postgresJsPort(client, clock, limits.answerTimeoutMs)
      : undefined;
  if (port === undefined) {
    throw new MigrateError("OPTIONS_INVALID", "client must be a Pool of pg, or what postgres() of postgres returns");
  }
  const label = `tidemark-migrations-${systemRng.uint32().toString(36)}-${systemRng.uint32().toString(36)}`;
  const connection = new PostgresConnection(port, limits, { label, isDurable: options.durableChunks ?? false });
  // A vacuum keeps a connection for long, and every other signal has to be read meanwhile.
  const beside = new PostgresConnection(port, limits, { label: "tidemark-signals", width: 2 });
  return new Database(postgresDialect, connection, { connection: beside, label });
}
