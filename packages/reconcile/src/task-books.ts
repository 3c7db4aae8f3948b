import { sql } from "drizzle-orm";
import { ddl } from "./books.ts";
import type { StateStore } from "./state-store.ts";
import type { TaskRecord, TaskState } from "./task-types.ts";

interface TaskRow {
  id: string;
  kind: string;
  payload: string;
  state: string;
  attempts: number;
  next_ms: number | string;
  result: string | null;
  error: string | null;
  created_ms: number | string;
  ended_ms: number | string | null;
}

const columns = sql.raw("id, kind, payload, state, attempts, next_ms, result, error, created_ms, ended_ms");

/**
 * The rows of one queue. Each transition is one statement that names the state it starts from, so that it happens at most
 * once whoever tries (R7, R10).
 */
export class TaskBooks {
  readonly #store: StateStore;
  readonly #queue: string;

  constructor(store: StateStore, queue: string) {
    this.#store = store;
    this.#queue = queue;
  }

  create(): Promise<void> {
    return this.#store.commit(ddl.map((each) => sql.raw(each)));
  }

  /** What nobody runs, although its row says so, is to be done again: all but these. */
  async requeueRunning(but: readonly string[]): Promise<void> {
    const others = but.length === 0 ? sql`` : sql` AND id NOT IN ${but}`;
    await this.#store.all(
      sql`UPDATE tidemark_tasks SET state = 'pending', next_ms = 0
        WHERE queue = ${this.#queue} AND state = 'running'${others} RETURNING id`,
    );
  }

  /** False: there is a task of this id already. */
  async insert(id: string, kind: string, payload: string, nowMs: number): Promise<boolean> {
    const rows = await this.#store.all(
      sql`INSERT INTO tidemark_tasks (queue, id, seq, kind, payload, state, attempts, next_ms, created_ms)
        VALUES (${this.#queue}, ${id},
          (SELECT COALESCE(MAX(seq), 0) + 1 FROM tidemark_tasks WHERE queue = ${this.#queue}),
          ${kind}, ${payload}, 'pending', 0, 0, ${nowMs})
        ON CONFLICT (queue, id) DO NOTHING RETURNING id`,
    );
    return rows.length > 0;
  }

  /**
   * pending → running, the oldest that is due and not one of these. A due time beyond `horizonMs` comes from a clock that
   * was set back.
   */
  async take(nowMs: number, horizonMs: number, but: readonly string[]): Promise<TaskRecord | undefined> {
    const others = but.length === 0 ? sql`` : sql` AND id NOT IN ${but}`;
    const rows = await this.#store.all<TaskRow>(
      sql`UPDATE tidemark_tasks SET state = 'running', attempts = attempts + 1
        WHERE queue = ${this.#queue} AND state = 'pending' AND id = (
          SELECT id FROM tidemark_tasks
          WHERE queue = ${this.#queue} AND state = 'pending' AND (next_ms <= ${nowMs} OR next_ms > ${nowMs + horizonMs})${others}
          ORDER BY seq LIMIT 1)
        RETURNING ${columns}`,
    );
    return rows[0] && record(rows[0]);
  }

  /** When the next pending task is due, or undefined: there is none. */
  async nextDueMs(): Promise<number | undefined> {
    const [row] = await this.#store.all<{ due: number | string | null }>(
      sql`SELECT MIN(next_ms) AS due FROM tidemark_tasks WHERE queue = ${this.#queue} AND state = 'pending'`,
    );
    return row === undefined || row.due === null ? undefined : Number(row.due);
  }

  /** running → a final state. False: this attempt has ended already. */
  async end(
    { id, attempts }: Pick<TaskRecord, "id" | "attempts">,
    state: Exclude<TaskState, "pending" | "running">,
    nowMs: number,
    { result, error }: { readonly result?: string | undefined; readonly error?: string | undefined },
  ): Promise<boolean> {
    const rows = await this.#store.all(
      sql`UPDATE tidemark_tasks
        SET state = ${state}, ended_ms = ${nowMs}, result = ${result ?? null}, error = ${error ?? null}
        WHERE queue = ${this.#queue} AND id = ${id} AND state = 'running' AND attempts = ${attempts} RETURNING id`,
    );
    return rows.length > 0;
  }

  /** running → pending, after a failure. */
  async postpone({ id, attempts }: TaskRecord, dueMs: number, error: string): Promise<boolean> {
    const rows = await this.#store.all(
      sql`UPDATE tidemark_tasks SET state = 'pending', next_ms = ${dueMs}, error = ${error}
        WHERE queue = ${this.#queue} AND id = ${id} AND state = 'running' AND attempts = ${attempts} RETURNING id`,
    );
    return rows.length > 0;
  }

  /** pending → cancelled. */
  async cancelPending(id: string, nowMs: number): Promise<boolean> {
    const rows = await this.#store.all(
      sql`UPDATE tidemark_tasks SET state = 'cancelled', ended_ms = ${nowMs}
        WHERE queue = ${this.#queue} AND id = ${id} AND state = 'pending' RETURNING id`,
    );
    return rows.length > 0;
  }

  /** failed or cancelled → pending, with fresh attempts. */
  async revive(id: string): Promise<boolean> {
    const rows = await this.#store.all(
      sql`UPDATE tidemark_tasks SET state = 'pending', attempts = 0, next_ms = 0, ended_ms = NULL
        WHERE queue = ${this.#queue} AND id = ${id} AND state IN ('failed', 'cancelled') RETURNING id`,
    );
    return rows.length > 0;
  }

  async get(id: string): Promise<TaskRecord | undefined> {
    const [row] = await this.#store.all<TaskRow>(
      sql`SELECT ${columns} FROM tidemark_tasks WHERE queue = ${this.#queue} AND id = ${id}`,
    );
    return row && record(row);
  }

  async list(state: TaskState | undefined, limit: number): Promise<TaskRecord[]> {
    const only = state === undefined ? sql`` : sql` AND state = ${state}`;
    const rows = await this.#store.all<TaskRow>(
      sql`SELECT ${columns} FROM tidemark_tasks WHERE queue = ${this.#queue}${only} ORDER BY seq DESC LIMIT ${limit}`,
    );
    return rows.map(record);
  }

  /** Forgets all but the newest of those that have ended. */
  async prune(keep: number): Promise<void> {
    await this.#store.all(
      sql`DELETE FROM tidemark_tasks WHERE queue = ${this.#queue} AND state IN ('done', 'failed', 'cancelled')
        AND seq <= COALESCE((SELECT seq FROM tidemark_tasks
          WHERE queue = ${this.#queue} AND state IN ('done', 'failed', 'cancelled')
          ORDER BY seq DESC LIMIT 1 OFFSET ${keep}), -1)
        RETURNING id`,
    );
  }
}

function record(row: TaskRow): TaskRecord {
  return {
    id: row.id,
    kind: row.kind,
    payload: JSON.parse(row.payload) as unknown,
    state: row.state as TaskState,
    attempts: Number(row.attempts),
    dueMs: Number(row.next_ms),
    result: row.result === null ? undefined : (JSON.parse(row.result) as unknown),
    error: row.error ?? undefined,
    createdMs: Number(row.created_ms),
    endedMs: row.ended_ms === null ? undefined : Number(row.ended_ms),
  };
}
