import { sql } from "drizzle-orm";
import type { SqlConnection, SqlValue } from "../connection.ts";
import type { Database } from "../dialect.ts";
import type { Reading, SignalRun } from "../signals.ts";
import { megabytes } from "./local-signals.ts";
import type { SignalRequest } from "./signal-request.ts";

/** A replica this far behind is too far, however little time that is, in bytes. */
const maxReplicaBytes = 256 * 2 ** 20;

/** What the server and the run say of a table's updates. */
interface Updates {
  /** When they were first asked, or the server's statistics began anew. */
  readonly byServer: number;
  readonly byRun: number;
  /** By the server, the last time; and how often it had been vacuumed. */
  readonly seen: number;
  readonly vacuums: number;
  /** By the run, at the last vacuum. */
  readonly cleaned: number;
}

/** Asks a server without extensions and, but for other people's replicas, without privileges. */
export class PostgresSignals {
  readonly #database: Database;
  readonly #side: SqlConnection;
  readonly #monotonic: () => number;
  #lastWal: { readonly bytes: number; readonly atMs: number } | undefined;
  #vacuuming: Promise<void> | undefined;
  readonly #updates = new Map<string, Updates>();

  constructor(database: Database, side: SqlConnection, monotonic: () => number) {
    this.#database = database;
    this.#side = side;
    this.#monotonic = monotonic;
  }

  /** WAL since the last reading. The first one has nothing to compare with. */
  async walRate(limit: number): Promise<Reading> {
    const [row] = await this.#rows("select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')");
    const now = { bytes: Number(row?.[0]), atMs: this.#monotonic() };
    const last = this.#lastWal ?? now;
    this.#lastWal = now;
    const seconds = Math.max((now.atMs - last.atMs) / 1000, 0.001);
    const rate = (now.bytes - last.bytes) / seconds;
    return {
      utilisation: rate / limit,
      reason: `the server writes ${megabytes(rate)} of WAL a second, limit ${megabytes(limit)}`,
    };
  }

  async replicaLag(limit: number, { minReplicas = 0 }: SignalRequest): Promise<Reading> {
    // A replica that stands still may report the lag it last had, so what it has not replayed counts too.
    const rows = await this.#rows(
      `select coalesce(nullif(application_name, ''), client_addr::text, 'a replica'),
          coalesce(extract(epoch from replay_lag) * 1000, 0)::float8,
          coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn), 0)::float8
        from pg_stat_replication`,
    );
    if (rows.length < minReplicas) {
      return {
        utilisation: Number.POSITIVE_INFINITY,
        reason: `${rows.length} of ${minReplicas} replicas are connected`,
      };
    }
    let worst: Reading = { utilisation: 0, reason: "no replica is behind" };
    for (const [name, lag, left] of rows) {
      const [ms, bytes] = [Number(lag), Number(left)];
      const utilisation = Math.max(ms / limit, bytes / maxReplicaBytes);
      if (utilisation <= worst.utilisation) continue;
      const reason = `replica ${String(name)} is ${ms.toFixed(0)} ms and ${megabytes(bytes)} behind, limit ${limit} ms and ${megabytes(maxReplicaBytes)}`;
      worst = { utilisation, reason };
    }
    return worst;
  }

  /** Whoever waits for a lock of the engine's, seen from the locks: those of all users are visible to all. */
  async blocked(limit: number, label: string): Promise<Reading> {
    const [row] = await this.#rows(
      `select count(distinct waiting.pid),
          coalesce(max(extract(epoch from clock_timestamp() - waiting.waitstart)) * 1000, 0)::float8
        from pg_locks waiting where not waiting.granted and exists (
          select from unnest(pg_blocking_pids(waiting.pid)) as blocker
            join pg_stat_activity as own on own.pid = blocker where own.application_name = $1)`,
      label,
    );
    const waitedMs = Number(row?.[1]);
    return {
      utilisation: waitedMs / limit,
      reason: `${Number(row?.[0])} sessions wait for a lock of a chunk, the first for ${waitedMs.toFixed(0)} ms, limit ${limit} ms`,
    };
  }

  /** Dead rows make a table larger for ever, so somebody has to clean up before there are more. */
  async vacuum(limit: number, run: SignalRun, { vacuums = false }: SignalRequest): Promise<Reading> {
    const name = this.#database.dialect.toQuery(sql`${run.table}`).sql;
    const [row] = await this.#rows(
      `select s.n_live_tup::float8, s.n_dead_tup::float8, s.n_tup_upd::float8,
          (s.vacuum_count + s.autovacuum_count)::float8, p.phase from pg_stat_all_tables s
        left join pg_stat_progress_vacuum p on p.relid = s.relid where s.relid = to_regclass($1)`,
      name,
    );
    if (row === undefined) throw new Error(`the server has no statistics of ${name}`);
    const live = Number(row[0]);
    const dead = Number(row[1]) + this.#untold(name, Number(row[2]), Number(row[3]), run.rowsChanged());
    // Few rows are cleaned up by whoever reads their page next.
    const share = dead < 1000 ? 0 : dead / Math.max(live, 1);
    const isRunning = row[4] !== null || this.#vacuuming !== undefined;
    if (share > limit && vacuums && !isRunning) this.#vacuum(name);
    const doing = isRunning ? "vacuum is on it" : vacuums ? "vacuum starts" : "autovacuum has not come yet";
    const percent = (value: number) => `${(value * 100).toFixed(0)} %`;
    return {
      utilisation: share / limit,
      reason: `${percent(share)} of ${name} is dead rows, limit ${percent(limit)}; ${doing}`,
    };
  }

  /**
   * Rows that the run has changed since the last vacuum, and that its session has not told the server of: it does so once a
   * second while it works, and not for ten when it rests.
   */
  #untold(name: string, byServer: number, vacuums: number, byRun: number): number {
    let since = this.#updates.get(name);
    // Its statistics begin anew when somebody asks for that, or behind a crash.
    if (since === undefined || byServer < since.seen) {
      since = { byServer, byRun, seen: byServer, vacuums, cleaned: byRun };
    }
    const cleaned = vacuums === since.vacuums ? since.cleaned : byRun;
    this.#updates.set(name, { ...since, seen: byServer, vacuums, cleaned });
    const untold = byRun - since.byRun - (byServer - since.byServer);
    return Math.max(Math.min(untold, byRun - cleaned), 0);
  }

  #vacuum(name: string): void {
    // Whether it worked is what the next reading says.
    this.#vacuuming = this.#side
      .execute({ sql: `vacuum ${name}`, params: [] })
      .then(
        () => undefined,
        () => undefined,
      )
      .finally(() => {
        this.#vacuuming = undefined;
      });
  }

  async #rows(text: string, ...params: readonly unknown[]): Promise<readonly (readonly SqlValue[])[]> {
    return (await this.#side.execute({ sql: text, params })).rows;
  }
}
