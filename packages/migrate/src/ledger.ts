import type { Clock } from "@tidemark/clock";
import { type SQL, sql } from "drizzle-orm";
import { bookTables, type runColumns } from "./bookkeeping.ts";
import type { SqlExecutor, SqlQuery, SqlResult } from "./connection.ts";
import type { Database } from "./dialect.ts";
import { legacyRuns } from "./legacy-books.ts";
import { MigrateError } from "./migrate-error.ts";
import { assign, rateWindow, type RunChanges } from "./run-changes.ts";
import { phaseOf, type RunRow, runColumnNames, toRunRow } from "./run-row.ts";
import { slot, Template } from "./template.ts";
import { activeStates, isActive, nextRunState, type RunEvent, type RunState } from "./run-state.ts";

/** The right to work on a run. Whoever has an older fence writes nothing. */
export interface Lease {
  readonly name: string;
  readonly fence: number;
}

/** Who works, and how long a lease lasts without a sign of life. */
export interface Worker {
  readonly owner: string;
  readonly leaseMs: number;
  readonly heartbeatMs: number;
}

/** What a run looked like when somebody last looked: the same beat for a whole lease means that its worker is dead. */
export interface Sighting {
  readonly fence: number;
  readonly beat: number;
}

/** The lease is gone: paused, cancelled, or taken over. Nothing that this worker does counts any more. */
export class LeaseLost extends Error {
  override readonly name = "LeaseLost";
}

const runs = sql.identifier(bookTables.runs);
// `cursor` is a keyword of MySQL.
const selected = sql.join(
  runColumnNames.map((name) => sql.identifier(name)),
  sql`, `,
);

/** What a chunk changes, by property of a run. */
const progressColumns = {
  total: "total",
  rowsDone: "rows_done",
  rowsChanged: "rows_changed",
  rowsQuarantined: "rows_quarantined",
  chunks: "chunks",
  cursor: "cursor",
  isExhausted: "is_exhausted",
  spentMs: "spent_ms",
  yieldedMs: "yielded_ms",
} as const satisfies Partial<Record<keyof RunRow, keyof typeof runColumns>>;

/** The books: who may work on what, how far it is, and what happened. */
export class Ledger {
  readonly #database: Database;
  readonly #clock: Clock;
  #holding: Template | undefined;
  #advancing: Template | undefined;

  constructor(database: Database, clock: Clock) {
    this.#database = database;
    this.#clock = clock;
  }

  /** The time that leases are measured by, as an expression. */
  get now(): SQL {
    return this.#database.dialect.now ?? sql`${this.#clock.now()}`;
  }

  /** The same as a number. */
  async nowMs(executor?: SqlExecutor): Promise<number> {
    if (this.#database.dialect.now === undefined) return this.#clock.now();
    const { rows } = await this.#database.execute(sql`select ${this.now}`, executor);
    return Number(rows[0]?.[0]);
  }

  async list(executor?: SqlExecutor): Promise<RunRow[]> {
    const { rows } = await this.#database.execute(sql`select ${selected} from ${runs} order by name`, executor);
    return rows.map(toRunRow);
  }

  /** @throws {MigrateError} `NOT_FOUND` */
  async read(name: string, executor?: SqlExecutor, isLocked = false): Promise<RunRow> {
    const lock = isLocked ? this.#database.dialect.lockSuffix : sql.raw("");
    const statement = sql`select ${selected} from ${runs} where name = ${name}${lock}`;
    const [row] = (await this.#database.execute(statement, executor)).rows;
    if (row === undefined) throw new MigrateError("NOT_FOUND", `no migration is named "${name}"`);
    return toRunRow(row);
  }

  /** Makes the runs known that are not yet. Writes nothing when all are, so that a start never waits for a writer. */
  async register(runsToKnow: readonly Pick<RunRow, "name" | "definitionHash" | "body" | "tableName">[]): Promise<void> {
    const missing = async (executor?: SqlExecutor) => {
      const known = new Set((await this.list(executor)).map(({ name }) => name));
      return runsToKnow.filter(({ name }) => !known.has(name));
    };
    if ((await missing()).length === 0) return;
    await this.#database.transaction("write", async (executor) => {
      await this.#adopt(runsToKnow, executor);
      for (const { name, definitionHash, body, tableName } of await missing(executor)) {
        const { verb, suffix } = this.#database.dialect.insertNew;
        const { changes } = await this.#database.execute(
          sql`${verb} ${runs} (name, definition_hash, body, table_name, state, registered_at, updated_at)
              values (${name}, ${definitionHash}, ${body}, ${tableName}, ${"registered"}, ${this.now}, ${this.now})${suffix}`,
          executor,
        );
        // Of processes that start at once, one makes it known.
        if (changes === 0) continue;
        await this.record(await this.read(name, executor), "registered", {}, executor);
      }
    });
  }

  /** Takes over what an earlier runner knew, so that nothing it has done is done again. */
  async #adopt(
    runsToKnow: readonly Pick<RunRow, "name" | "body" | "tableName">[],
    executor: SqlExecutor,
  ): Promise<void> {
    for (const legacy of await legacyRuns(this.#database, executor)) {
      const { name, state, rowsProcessed, rowsTotal, startedAt, endedAt, error } = legacy;
      const isDone = state === "done";
      const { body, tableName } = runsToKnow.find((each) => each.name === name) ?? { body: "legacy", tableName: "" };
      const { verb, suffix } = this.#database.dialect.insertNew;
      // What is not done starts from the beginning: its cursor was the predicate of its body. So it has no counts yet.
      const { changes } = await this.#database.execute(
        sql`${verb} ${runs} (name, body, table_name, state, rows_done, rows_changed, total, total_kind, started_at, ended_at,
              error_code, error, registered_at, updated_at)
            values (${name}, ${body}, ${tableName}, ${state}, ${isDone ? rowsProcessed : 0}, ${isDone ? rowsProcessed : 0},
              ${isDone ? rowsProcessed : null}, ${isDone ? "exact" : "pending"}, ${startedAt}, ${endedAt},
              ${state === "failed" ? "BODY_FAILED" : null}, ${state === "failed" ? (error ?? "unknown error") : null},
              ${this.now}, ${this.now})${suffix}`,
        executor,
      );
      if (changes === 0) continue;
      await this.record(await this.read(name, executor), "adopted", { state, rowsProcessed, rowsTotal }, executor);
    }
  }

  /**
   * Takes the lease of a run nobody works on. Undefined: somebody was quicker, or the run is not to be worked on.
   *
   * @throws {MigrateError} `DEFINITION_DRIFTED` after the run has been set to failed
   */
  async claim(
    name: string,
    definitionHash: string,
    worker: Worker,
    dead?: Sighting,
  ): Promise<{ readonly row: RunRow; readonly lease: Lease } | undefined> {
    const outcome = await this.#database.transaction("write", async (executor) => {
      const row = await this.read(name, executor, true);
      if (!isClaimable(row, await this.nowMs(executor), dead)) return undefined;
      if (row.definitionHash !== definitionHash && (row.isBounded || row.cursor !== undefined)) {
        const drifted = driftError(row);
        const changes = { ...failure(drifted, this.now), owner: null };
        await this.#apply(row, { type: "fail" }, changes, executor, { code: drifted.code });
        return drifted;
      }
      const event = { type: "claim", phase: phaseOf(row) } as const;
      const claimed = await this.#apply(
        row,
        event,
        {
          definition_hash: definitionHash,
          fence: row.fence + 1,
          owner: worker.owner,
          heartbeat_ms: worker.heartbeatMs,
          started_at: sql`coalesce(started_at, ${this.now})`,
          ...this.#signOfLife(worker),
        },
        executor,
        { owner: worker.owner, from: row.cursor, ...(isActive(row.state) && { takenFrom: row.owner }) },
      );
      return { row: claimed, lease: { name, fence: claimed.fence } };
    });
    if (outcome instanceof MigrateError) throw outcome;
    return outcome;
  }

  /**
   * Fails unless the lease is still held in one of the states. First statement of every transaction that writes on
   * behalf of a run; where the database locks rows, it holds off pause, cancel and takeover until the commit.
   *
   * Resolves with the run, which stays as it is until the commit, except for what this transaction does.
   *
   * @throws {LeaseLost}
   */
  async hold(lease: Lease, executor: SqlExecutor, states: readonly RunState[] = activeStates): Promise<RunRow> {
    return this.held(lease, await executor.execute(this.holding(lease)), states);
  }

  /** The statement of {@link hold}. */
  holding(lease: Lease): SqlQuery {
    this.#holding ??= new Template(
      this.#database.dialect,
      sql`select ${selected} from ${runs} where name = ${slot(0)}${this.#database.dialect.lockSuffix}`,
    );
    return this.#holding.fill([lease.name]);
  }

  /** What {@link hold} makes of the answer to {@link holding}. @throws {LeaseLost} */
  held(lease: Lease, result: SqlResult, states: readonly RunState[] = activeStates): RunRow {
    const [values] = result.rows;
    const row = values === undefined ? undefined : toRunRow(values);
    if (row !== undefined && row.fence === lease.fence && states.includes(row.state)) return row;
    throw new LeaseLost(`the lease ${lease.fence} of "${lease.name}" is over`);
  }

  /**
   * What a chunk changes in the books, and a sign of life. `row` is what `hold` gave in the same transaction. Resolves with
   * what it has become.
   *
   * @throws {LeaseLost}
   */
  async advance(
    lease: Lease,
    worker: Worker,
    row: RunRow,
    progress: Pick<RunRow, keyof typeof progressColumns>,
    executor: SqlExecutor,
  ): Promise<RunRow> {
    const columns = Object.entries(progressColumns);
    const at = columns.length;
    const now = this.#database.dialect.now ?? slot(at);
    this.#advancing ??= new Template(
      this.#database.dialect,
      sql`update ${runs} set ${assign({
        ...rateWindow,
        ...Object.fromEntries(columns.map(([, column], index) => [column, slot(index)])),
        throttle_reason: null,
        beat: sql`beat + 1`,
        heartbeat_at: now,
        updated_at: now,
        heartbeat_ms: slot(at + 1),
        lease_expires_at: sql`${now} + ${slot(at + 2)}`,
      })} where name = ${slot(at + 3)} and fence = ${slot(at + 4)} and state in ${[...activeStates]}`,
    );
    const values = columns.map(([property]) => {
      const value = progress[property as keyof typeof progressColumns];
      return typeof value === "boolean" ? Number(value) : (value ?? null);
    });
    const { heartbeatMs, leaseMs } = worker;
    const more = [this.#clock.now(), heartbeatMs, leaseMs, lease.name, lease.fence];
    const { changes } = await executor.execute(this.#advancing.fill([...values, ...more]));
    if (changes !== 1) throw new LeaseLost(`the lease ${lease.fence} of "${lease.name}" is over`);
    return { ...row, ...progress, throttleReason: undefined };
  }

  /**
   * Writes to the run and shows a sign of life, if the lease is still held.
   *
   * @throws {LeaseLost}
   */
  async update(lease: Lease, worker: Worker, changes: RunChanges, executor?: SqlExecutor): Promise<void> {
    const { changes: count } = await this.#database.execute(this.#updating(lease, worker, changes), executor);
    if (count !== 1) throw new LeaseLost(`the lease ${lease.fence} of "${lease.name}" is over`);
  }

  /** The statement that shows a sign of life, and changes nothing where the lease is over. */
  beating(lease: Lease, worker: Worker): SqlQuery {
    return this.#database.dialect.toQuery(this.#updating(lease, worker, {}));
  }

  #updating(lease: Lease, worker: Worker, changes: RunChanges): SQL {
    return sql`update ${runs} set ${assign({ ...rateWindow, ...changes, ...this.#signOfLife(worker) })}
      where name = ${lease.name} and fence = ${lease.fence} and state in ${[...activeStates]}`;
  }

  /**
   * Moves the run on behalf of its worker.
   *
   * @throws {LeaseLost}
   */
  transition(lease: Lease, event: RunEvent, changes: RunChanges = {}, detail: object = {}): Promise<RunRow> {
    return this.#database.transaction("write", async (executor) => {
      await this.hold(lease, executor);
      return this.#apply(await this.read(lease.name, executor), event, changes, executor, detail);
    });
  }

  /**
   * Moves the run on behalf of an operator. A worker that holds its lease loses it with this commit: nothing that it
   * has not yet committed will be. `also` happens in the same transaction, if the state becomes another.
   *
   * @throws {MigrateError} `NOT_FOUND`, `STATE_REFUSED`
   */
  command(
    name: string,
    event: RunEvent,
    changes: (row: RunRow) => RunChanges = () => ({}),
    detail: object = {},
    also?: (executor: SqlExecutor) => Promise<void>,
  ): Promise<RunRow> {
    return this.#database.transaction("write", async (executor) => {
      const row = await this.read(name, executor, true);
      if (nextRunState(row.state, event) === row.state) return row;
      await also?.(executor);
      const revoked = { fence: row.fence + 1, owner: null, lease_expires_at: null };
      return this.#apply(row, event, { ...revoked, ...changes(row) }, executor, detail);
    });
  }

  /**
   * Changes knobs of a run, whoever works on it: they hold from its next chunk on.
   *
   * @throws {MigrateError} `NOT_FOUND`, and whatever `change` throws.
   */
  tune(name: string, change: (json: string | undefined) => string | undefined): Promise<RunRow> {
    return this.#database.transaction("write", async (executor) => {
      const row = await this.read(name, executor, true);
      const tuning = change(row.tuning) ?? null;
      // The state and the fence stay: nobody loses a lease over a knob.
      await this.#database.execute(sql`update ${runs} set tuning = ${tuning} where name = ${name}`, executor);
      await this.record(row, "tune", { tuning: tuning === null ? {} : (JSON.parse(tuning) as object) }, executor);
      return row;
    });
  }

  /** Adds to the log of what happened. */
  async record(
    row: Pick<RunRow, "name" | "runNo" | "owner" | "fence">,
    type: string,
    detail: object,
    executor?: SqlExecutor,
  ): Promise<void> {
    await this.#database.execute(
      sql`insert into ${sql.identifier(bookTables.events)} (name, run_no, at, type, detail, owner, fence)
          values (${row.name}, ${row.runNo}, ${this.now}, ${type}, ${JSON.stringify(detail)}, ${row.owner ?? null}, ${row.fence})`,
      executor,
    );
  }

  /** What happened to a migration, oldest first. */
  async history(name: string): Promise<RunLogEntry[]> {
    const { rows } = await this.#database.execute(
      sql`select at, run_no, type, detail, owner, fence from ${sql.identifier(bookTables.events)}
          where name = ${name} order by id`,
    );
    return rows.map(([at, runNo, type, detail, owner, fence]) => ({
      at: Number(at),
      runNo: Number(runNo),
      type: String(type),
      detail: JSON.parse(String(detail ?? "{}")) as Record<string, unknown>,
      owner: owner === null || owner === undefined ? undefined : String(owner),
      fence: Number(fence),
    }));
  }

  async #apply(
    row: RunRow,
    event: RunEvent,
    changes: RunChanges,
    executor: SqlExecutor,
    detail: object,
  ): Promise<RunRow> {
    const state = nextRunState(row.state, event);
    const isOver = state === "done" || state === "failed" || state === "cancelled";
    const statement = sql`update ${runs} set ${assign({
      state,
      updated_at: this.now,
      // What held a run back holds back nothing that is paused, over, or with nobody.
      throttle_reason: null,
      ...(isOver && { ended_at: this.now, lease_expires_at: null }),
      // Neither the time when nobody worked nor that of counting belongs to the rate.
      ...((event.type === "claim" || event.type === "counted") && this.#rateFromNow()),
      ...changes,
    })} where name = ${row.name} and fence = ${row.fence} and state = ${row.state}`;
    const { changes: count } = await this.#database.execute(statement, executor);
    if (count !== 1) throw new LeaseLost(`the run "${row.name}" moved on meanwhile`);
    const next = await this.read(row.name, executor);
    await this.record(next, event.type, { from: row.state, to: state, ...detail }, executor);
    return next;
  }

  #rateFromNow(): RunChanges {
    const rows = sql`rows_done + rows_quarantined`;
    return { rate_at: this.now, rate_rows: rows, rate_before_at: this.now, rate_before_rows: rows };
  }

  #signOfLife({ leaseMs, heartbeatMs }: Worker): RunChanges {
    return {
      beat: sql`beat + 1`,
      heartbeat_at: this.now,
      heartbeat_ms: heartbeatMs,
      lease_expires_at: sql`${this.now} + ${leaseMs}`,
      updated_at: this.now,
    };
  }
}

/** One line of a migration's log. */
export interface RunLogEntry {
  /** ms since the epoch. */
  readonly at: number;
  readonly runNo: number;
  readonly type: string;
  readonly detail: Readonly<Record<string, unknown>>;
  readonly owner: string | undefined;
  readonly fence: number;
}

/** What a failed run shows. */
export function failure(error: MigrateError, now: SQL): RunChanges {
  return { error_code: error.code, error: error.message, ended_at: now, lease_expires_at: null };
}

function isClaimable(row: RunRow, nowMs: number, dead: Sighting | undefined): boolean {
  if (row.state === "registered") return true;
  if (!isActive(row.state)) return false;
  if (row.leaseExpiresAt === undefined || row.leaseExpiresAt <= nowMs) return true;
  // Clocks jump. A whole lease without a beat, by the clock of whoever watched, is as good as one that ran out.
  return dead !== undefined && dead.fence === row.fence && dead.beat === row.beat;
}

function driftError(row: RunRow): MigrateError {
  return new MigrateError(
    "DEFINITION_DRIFTED",
    `the definition of "${row.name}" changed after its run had begun (${row.rowsDone} rows done); put the old one back, ` +
      'or retry({ from: "cursor" }) to finish with the new one, or retry({ from: "start" }) to visit every row again',
  );
}
