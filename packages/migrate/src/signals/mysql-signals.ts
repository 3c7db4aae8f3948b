import { sql } from "drizzle-orm";
import type { Database } from "../dialect.ts";
import type { SqlConnection } from "../connection.ts";
import type { Reading } from "../signals.ts";
import type { MysqlReplica } from "./signal-request.ts";

/** Asks MariaDB, or else MySQL, in the words of the one that answers. */
export class MysqlSignals {
  readonly #database: Database;
  readonly #side: SqlConnection;
  #isMariaDb: boolean | undefined;

  constructor(database: Database, side: SqlConnection) {
    this.#database = database;
    this.#side = side;
  }

  async replicaLag(limit: number, replicas: readonly MysqlReplica[]): Promise<Reading> {
    const isMariaDb = await this.#asked();
    let worst: Reading = { utilisation: 0, reason: "no replica is behind" };
    for (const [index, replica] of replicas.entries()) {
      const [rows] = await replica.query(isMariaDb ? "show all slaves status" : "show replica status");
      const channels = rows as readonly Readonly<Record<string, unknown>>[];
      if (channels.length === 0) throw new Error(`replica ${index + 1} of ${replicas.length} replicates nothing`);
      for (const channel of channels) {
        const behind = channel["Seconds_Behind_Master"] ?? channel["Seconds_Behind_Source"];
        const ms = behind === null || behind === undefined ? Number.POSITIVE_INFINITY : Number(behind) * 1000;
        if (ms / limit <= worst.utilisation) continue;
        const far = Number.isFinite(ms) ? `${ms} ms behind, limit ${limit} ms` : "stopped";
        worst = { utilisation: ms / limit, reason: `replica ${index + 1} of ${replicas.length} is ${far}` };
      }
    }
    return worst;
  }

  /** `sessions` are the connections that chunks use now. */
  async blocked(limit: number, sessions: readonly bigint[]): Promise<Reading> {
    if (sessions.length === 0) return { utilisation: 0, reason: "no chunk has a connection" };
    const since = sql`coalesce(max(timestampdiff(microsecond, waiting.trx_wait_started, now(6))), 0) / 1000`;
    const waits = (await this.#asked())
      ? sql`information_schema.innodb_lock_waits w
          join information_schema.innodb_trx waiting on waiting.trx_id = w.requesting_trx_id
          join information_schema.innodb_trx own on own.trx_id = w.blocking_trx_id`
      : sql`performance_schema.data_lock_waits w
          join information_schema.innodb_trx waiting on waiting.trx_id = w.requesting_engine_transaction_id
          join information_schema.innodb_trx own on own.trx_id = w.blocking_engine_transaction_id`;
    const { rows } = await this.#database.execute(
      sql`select count(distinct waiting.trx_id), ${since} from ${waits}
          where own.trx_mysql_thread_id in ${[...sessions]}`,
      this.#side,
    );
    const [count, waited] = rows[0] ?? [];
    const waitedMs = Number(waited);
    return {
      utilisation: waitedMs / limit,
      reason: `${Number(count)} sessions wait for a lock of a chunk, the first for ${waitedMs.toFixed(0)} ms, limit ${limit} ms`,
    };
  }

  async #asked(): Promise<boolean> {
    if (this.#isMariaDb === undefined) {
      const { rows } = await this.#side.execute({ sql: "select version()", params: [] });
      this.#isMariaDb = /mariadb/i.test(String(rows[0]?.[0]));
    }
    return this.#isMariaDb;
  }
}
