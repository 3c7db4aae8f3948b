import { hostname } from "node:os";
import { type Clock } from "@tidemark/clock";
import { StoreWatchError } from "../errors.ts";
import type { PostgresClient } from "./driver.ts";
import { sqlState } from "./postgres-errors.ts";

/** Which writer it is, and how many transactions the database has seen. */
export interface Fence {
  readonly fence: number;
  tx: number;
}

/** How a statement without a function of its own refuses to go on: it divides by the rows that it changed. */
const divisionByZero = "22012";

interface WriterRow {
  readonly fence: number;
  readonly tx: number;
  readonly owner: string;
  readonly left_ms: number;
}

/**
 * The right to write a history on PostgreSQL: one row, by the server's clock. Every transaction of a writer begins with
 * an update of that row that names its fence and how far it has come. Whoever was asleep while another one took the
 * lease changes no row, and rolls back: it has written nothing.
 */
export class WriterLease {
  readonly #session: string;
  readonly #ttlMs: number;
  readonly #where: string;

  constructor(options: { readonly session: string; readonly ttlMs: number; readonly where: string }) {
    this.#session = options.session;
    this.#ttlMs = options.ttlMs;
    this.#where = options.where;
  }

  get ttlMs(): number {
    return this.#ttlMs;
  }

  /**
   * Takes the lease when nobody has it, or its holder let it run out, and waits up to `waitMs` for that. With `isForced` it
   * is taken from whoever has it.
   *
   * @throws {StoreWatchError} `DATABASE_LOCKED` naming the process that has it.
   */
  async take(client: PostgresClient, waitMs: number, clock: Clock, isForced = false): Promise<Fence> {
    const owner = `process ${process.pid} on ${hostname()}`;
    const deadline = clock.monotonic() + waitMs;
    for (;;) {
      const taken = await this.#try(client, owner, isForced);
      if (taken !== undefined) return taken;
      const { rows } = await client.query<WriterRow>(
        // One that was released, perhaps just now, ended an infinite time ago, which cannot be subtracted from.
        `SELECT owner, fence, tx, greatest(0, extract(epoch FROM
           least(greatest(expires_at, clock_timestamp()), clock_timestamp() + interval '1 day') - clock_timestamp()) * 1000
         )::float8 AS left_ms FROM writer`,
      );
      const left = rows[0]?.left_ms ?? 0;
      const patience = deadline - clock.monotonic();
      if (patience <= 0) {
        throw new StoreWatchError(
          "DATABASE_LOCKED",
          `${this.#where} is written by ${rows[0]?.owner ?? "another process"} already (its lease ends in ` +
            `${Math.ceil(left)} ms unless it is renewed); stop that one, or give this one a schema of its own`,
          { retryable: true },
        );
      }
      await clock.sleep(Math.min(Math.max(left, 50), patience));
    }
  }

  async #try(client: PostgresClient, owner: string, isForced: boolean): Promise<Fence | undefined> {
    try {
      await client.query("BEGIN");
      // A holder that stopped within a transaction has the row; the server ends that transaction, or it goes on.
      await client.query("SET LOCAL lock_timeout = 2000");
      const { rows } = await client.query<WriterRow>({
        text: `UPDATE writer SET fence = fence + 1, session = $1, owner = $2,
            expires_at = clock_timestamp() + $3 * interval '1 millisecond'
          WHERE session = $1 OR expires_at <= clock_timestamp() OR $4 RETURNING fence, tx`,
        values: [this.#session, owner, this.#ttlMs, isForced],
      });
      await client.query("COMMIT");
      const row = rows[0];
      return row === undefined ? undefined : { fence: row.fence, tx: row.tx };
    } catch (error) {
      await client.query("ROLLBACK");
      if (sqlState(error) !== "55P03") throw error;
      return undefined;
    }
  }

  /**
   * The first statement of every transaction. False: another one has the lease, or the database was set back. Then the
   * server has refused the statement, and refuses what was sent behind it.
   */
  async hold(client: PostgresClient, fence: Fence): Promise<boolean> {
    try {
      await client.query({
        name: "tidemark_hold",
        text: `WITH held AS (UPDATE writer SET tx = tx + 1,
            expires_at = clock_timestamp() + $3 * interval '1 millisecond' WHERE fence = $1 AND tx = $2 RETURNING 1)
          SELECT 1 / count(*) FROM held`,
        values: [fence.fence, fence.tx, this.#ttlMs],
      });
      return true;
    } catch (error) {
      if (sqlState(error) !== divisionByZero) throw error;
      return false;
    }
  }

  /** Says that this writer is alive, while it has nothing to write. */
  async renew(client: PostgresClient, fence: Fence): Promise<boolean> {
    const { rowCount } = await client.query({
      name: "tidemark_renew",
      text: "UPDATE writer SET expires_at = clock_timestamp() + $3 * interval '1 millisecond' WHERE fence = $1 AND tx = $2",
      values: [fence.fence, fence.tx, this.#ttlMs],
    });
    return rowCount === 1;
  }

  /** How far the database has come with this fence, once whatever is under way there is over; undefined: it has another. */
  async ask(client: PostgresClient, fence: Fence): Promise<number | undefined> {
    const { rows } = await client.query<WriterRow>("SELECT fence, tx FROM writer FOR UPDATE");
    return rows[0]?.fence === fence.fence ? rows[0].tx : undefined;
  }

  /** Lets the next writer in at once. */
  async release(client: PostgresClient, fence: Fence): Promise<void> {
    await client.query({
      text: "UPDATE writer SET expires_at = '-infinity', session = '' WHERE fence = $1",
      values: [fence.fence],
    });
  }
}
