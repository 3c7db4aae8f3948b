import { type SQL, sql } from "drizzle-orm";
import type { GateMemo } from "./gate.ts";
import type { StateStore } from "./state-store.ts";

// Statements that SQLite and PostgreSQL both understand. `tables.ts` has the same tables for Drizzle.

export const ddl = [
  `CREATE TABLE IF NOT EXISTS tidemark_cycle_gates (
    cycle TEXT NOT NULL, phase TEXT NOT NULL, config TEXT, probe TEXT, success_ms BIGINT NOT NULL,
    PRIMARY KEY (cycle, phase))`,
  `CREATE TABLE IF NOT EXISTS tidemark_cycle_attempts (
    cycle TEXT NOT NULL, phase TEXT NOT NULL, item TEXT NOT NULL, version TEXT NOT NULL, failures INTEGER NOT NULL,
    next_ms BIGINT NOT NULL, is_quarantined INTEGER NOT NULL, error TEXT NOT NULL, updated_ms BIGINT NOT NULL,
    PRIMARY KEY (cycle, phase, item))`,
  `CREATE TABLE IF NOT EXISTS tidemark_cycle_dirty (
    cycle TEXT NOT NULL, item TEXT NOT NULL, mark BIGINT NOT NULL, PRIMARY KEY (cycle, item))`,
  `CREATE TABLE IF NOT EXISTS tidemark_cycle_cursors (
    cycle TEXT NOT NULL, phase TEXT NOT NULL, position TEXT NOT NULL, failures INTEGER NOT NULL,
    PRIMARY KEY (cycle, phase))`,
  `CREATE TABLE IF NOT EXISTS tidemark_cycle_set_aside (
    cycle TEXT NOT NULL, phase TEXT NOT NULL, position TEXT NOT NULL, payload TEXT NOT NULL, error TEXT NOT NULL,
    at_ms BIGINT NOT NULL, PRIMARY KEY (cycle, phase, position))`,
  `CREATE TABLE IF NOT EXISTS tidemark_tasks (
    queue TEXT NOT NULL, id TEXT NOT NULL, seq BIGINT NOT NULL, kind TEXT NOT NULL, payload TEXT NOT NULL,
    state TEXT NOT NULL, attempts INTEGER NOT NULL, next_ms BIGINT NOT NULL, result TEXT, error TEXT,
    created_ms BIGINT NOT NULL, ended_ms BIGINT, PRIMARY KEY (queue, id))`,
  `CREATE INDEX IF NOT EXISTS tidemark_tasks_by_state ON tidemark_tasks (queue, state, next_ms, seq)`,
];

/** How many keys go into one statement: SQLite allows 32,766 parameters, PostgreSQL 65,535. */
const keysAtOnce = 500;

export interface AttemptRow {
  readonly item: string;
  readonly version: string;
  readonly failures: number;
  readonly nextMs: number;
  readonly isQuarantined: boolean;
  readonly error: string;
  readonly updatedMs: number;
}

export interface DirtyRow {
  readonly item: string;
  readonly mark: number;
}

/** The tables of one cycle. Every method is one statement, or says that it only makes one. */
export class CycleBooks<Tx> {
  readonly store: StateStore<Tx>;
  readonly #cycle: string;

  constructor(store: StateStore<Tx>, cycle: string) {
    this.store = store;
    this.#cycle = cycle;
  }

  create(): Promise<void> {
    return this.store.commit(ddl.map((each) => sql.raw(each)));
  }

  async gate(phase: string): Promise<GateMemo | undefined> {
    const [row] = await this.store.all<{ config: string | null; probe: string | null; success_ms: number | string }>(
      sql`SELECT config, probe, success_ms FROM tidemark_cycle_gates WHERE cycle = ${this.#cycle} AND phase = ${phase}`,
    );
    return row && { config: row.config ?? undefined, probe: row.probe ?? undefined, successMs: Number(row.success_ms) };
  }

  saveGate(phase: string, memo: GateMemo): Promise<void> {
    const { config = null, probe = null, successMs } = memo;
    return this.store.commit([
      sql`INSERT INTO tidemark_cycle_gates (cycle, phase, config, probe, success_ms)
        VALUES (${this.#cycle}, ${phase}, ${config}, ${probe}, ${successMs})
        ON CONFLICT (cycle, phase) DO UPDATE
        SET config = excluded.config, probe = excluded.probe, success_ms = excluded.success_ms`,
    ]);
  }

  async attempts(phase: string): Promise<AttemptRow[]> {
    const rows = await this.store.all<{
      item: string;
      version: string;
      failures: number;
      next_ms: number | string;
      is_quarantined: number;
      error: string;
      updated_ms: number | string;
    }>(
      sql`SELECT item, version, failures, next_ms, is_quarantined, error, updated_ms FROM tidemark_cycle_attempts
        WHERE cycle = ${this.#cycle} AND phase = ${phase} ORDER BY item`,
    );
    return rows.map((row) => ({
      item: row.item,
      version: row.version,
      failures: Number(row.failures),
      nextMs: Number(row.next_ms),
      isQuarantined: Number(row.is_quarantined) !== 0,
      error: row.error,
      updatedMs: Number(row.updated_ms),
    }));
  }

  saveAttempt(phase: string, row: AttemptRow): Promise<void> {
    const isQuarantined = row.isQuarantined ? 1 : 0;
    return this.store.commit([
      sql`INSERT INTO tidemark_cycle_attempts
          (cycle, phase, item, version, failures, next_ms, is_quarantined, error, updated_ms)
        VALUES (${this.#cycle}, ${phase}, ${row.item}, ${row.version}, ${row.failures}, ${row.nextMs}, ${isQuarantined},
          ${row.error}, ${row.updatedMs})
        ON CONFLICT (cycle, phase, item) DO UPDATE
        SET version = excluded.version, failures = excluded.failures, next_ms = excluded.next_ms,
          is_quarantined = excluded.is_quarantined, error = excluded.error, updated_ms = excluded.updated_ms`,
    ]);
  }

  /** Makes items new again. Returns how many had failed. */
  async forgetAttempts(phase: string, items: readonly string[]): Promise<number> {
    let forgotten = 0;
    for (const some of chunks(items)) {
      const rows = await this.store.all(
        sql`DELETE FROM tidemark_cycle_attempts
          WHERE cycle = ${this.#cycle} AND phase = ${phase} AND item IN ${some} RETURNING item`,
      );
      forgotten += rows.length;
    }
    return forgotten;
  }

  async markDirty(items: Iterable<string>): Promise<number> {
    const statements = this.dirtyStatements(items);
    if (statements.length > 0) await this.store.commit(statements);
    return statements.length;
  }

  /** For a transaction: marks keys for the finalizers. A key that is marked already is marked anew. */
  dirtyStatements(items: Iterable<string>): SQL[] {
    return chunks([...new Set(items)]).map((some) => {
      const rows = some.map((item) => sql`(${this.#cycle}, ${item}, 1)`);
      return sql`INSERT INTO tidemark_cycle_dirty (cycle, item, mark) VALUES ${sql.join(rows, sql`, `)}
        ON CONFLICT (cycle, item) DO UPDATE SET mark = tidemark_cycle_dirty.mark + 1`;
    });
  }

  async dirty(): Promise<DirtyRow[]> {
    const rows = await this.store.all<{ item: string; mark: number | string }>(
      sql`SELECT item, mark FROM tidemark_cycle_dirty WHERE cycle = ${this.#cycle} ORDER BY item`,
    );
    return rows.map((row) => ({ item: row.item, mark: Number(row.mark) }));
  }

  /** The key is finalised, unless it was marked again meanwhile: then it is the next cycle's (R3). */
  async clearDirty({ item, mark }: DirtyRow): Promise<void> {
    await this.store.commit([
      sql`DELETE FROM tidemark_cycle_dirty WHERE cycle = ${this.#cycle} AND item = ${item} AND mark = ${mark}`,
    ]);
  }

  async cursor(phase: string): Promise<{ position: bigint | undefined; failures: number }> {
    const [row] = await this.store.all<{ position: string; failures: number }>(
      sql`SELECT position, failures FROM tidemark_cycle_cursors WHERE cycle = ${this.#cycle} AND phase = ${phase}`,
    );
    if (row === undefined) return { position: undefined, failures: 0 };
    return { position: row.position === "" ? undefined : BigInt(row.position), failures: Number(row.failures) };
  }

  /** For a transaction: how far a phase has come, and how often the change after that has failed. */
  cursorStatement(phase: string, position: bigint | undefined, failures: number): SQL {
    return sql`INSERT INTO tidemark_cycle_cursors (cycle, phase, position, failures)
      VALUES (${this.#cycle}, ${phase}, ${position?.toString() ?? ""}, ${failures})
      ON CONFLICT (cycle, phase) DO UPDATE SET position = excluded.position, failures = excluded.failures`;
  }

  /** For a transaction: a change that the phase goes on without. */
  setAsideStatement(phase: string, position: bigint, payload: string, error: string, atMs: number): SQL {
    return sql`INSERT INTO tidemark_cycle_set_aside (cycle, phase, position, payload, error, at_ms)
      VALUES (${this.#cycle}, ${phase}, ${position.toString()}, ${payload}, ${error}, ${atMs})
      ON CONFLICT (cycle, phase, position) DO UPDATE SET error = excluded.error, at_ms = excluded.at_ms`;
  }

  async setAside(phase: string): Promise<{ position: bigint; payload: string; error: string; atMs: number }[]> {
    const rows = await this.store.all<{ position: string; payload: string; error: string; at_ms: number | string }>(
      sql`SELECT position, payload, error, at_ms FROM tidemark_cycle_set_aside
        WHERE cycle = ${this.#cycle} AND phase = ${phase}`,
    );
    return rows
      .map((row) => ({
        position: BigInt(row.position),
        payload: row.payload,
        error: row.error,
        atMs: Number(row.at_ms),
      }))
      .toSorted((a, b) => (a.position < b.position ? -1 : 1));
  }

  /** For a transaction: the change was applied after all, or given up. */
  takeBackStatement(phase: string, position: bigint): SQL {
    return sql`DELETE FROM tidemark_cycle_set_aside
      WHERE cycle = ${this.#cycle} AND phase = ${phase} AND position = ${position.toString()}`;
  }
}

function chunks<T>(all: readonly T[]): T[][] {
  const parts: T[][] = [];
  for (let at = 0; at < all.length; at += keysAtOnce) parts.push(all.slice(at, at + keysAtOnce));
  return parts;
}
