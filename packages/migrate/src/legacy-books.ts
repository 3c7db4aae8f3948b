import { sql } from "drizzle-orm";
import { columnsIn } from "./catalog.ts";
import type { SqlExecutor } from "./connection.ts";
import type { Database } from "./dialect.ts";
import type { RunState } from "./run-state.ts";

/** Names under which earlier runners kept one row for each migration, with its status and its counts. */
const tables = ["_async_migrations", "async_migrations"] as const;

/** What another runner knows about a migration. */
export interface LegacyRun {
  readonly name: string;
  readonly state: RunState;
  readonly rowsProcessed: number;
  readonly rowsTotal: number;
  readonly startedAt: number | null;
  readonly endedAt: number | null;
  readonly error: string | null;
}

const states: Readonly<Record<string, RunState>> = {
  // It was under way, or would have been: nobody works on it any more.
  pending_async: "registered",
  done: "done",
  failed: "failed",
};

/** Reads what such runners left behind. Tables of another shape, and rows with another status, are none. */
export async function legacyRuns(database: Database, executor: SqlExecutor): Promise<LegacyRun[]> {
  const found: LegacyRun[] = [];
  for (const table of tables) {
    const columns = new Set(await columnsIn(database, table, executor));
    if (!columns.has("name") || !columns.has("status")) continue;
    const wanted = ["name", "status", "rows_processed", "rows_total", "started_at", "ended_at", "error"];
    const selected = wanted.map((name) => (columns.has(name) ? sql.identifier(name) : sql`null`));
    const statement = sql`select ${sql.join(selected, sql`, `)} from ${sql.identifier(table)} order by name`;
    for (const [name, status, processed, total, started, ended, error] of (await database.execute(statement, executor))
      .rows) {
      const state = states[String(status)];
      if (state === undefined) continue;
      found.push({
        name: String(name),
        state,
        rowsProcessed: Number(processed ?? 0),
        rowsTotal: Number(total ?? 0),
        startedAt: timeOf(started),
        endedAt: timeOf(ended),
        error: error === null || error === undefined || error === "" ? null : String(error),
      });
    }
  }
  return found;
}

/** RFC 3339, or SQL's own format, which is taken as UTC; null for anything else. */
function timeOf(value: unknown): number | null {
  if (typeof value !== "string" || value === "") return null;
  const isSql = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?$/.test(value);
  const ms = Date.parse(isSql ? `${value.replace(" ", "T")}Z` : value);
  return Number.isNaN(ms) ? null : ms;
}
