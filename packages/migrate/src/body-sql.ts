import { type SQL, sql } from "drizzle-orm";
import { groupedUpdate } from "./aggregate/grouped-update.ts";
import { messageOf } from "./body-rows.ts";
import type { BodyRunner } from "./chunk.ts";
import type { SqlExecutor, SqlQuery } from "./connection.ts";
import type { MigrationChunk } from "./definition.ts";
import { MigrateError } from "./migrate-error.ts";
import type { KeyRange, Plan } from "./plan.ts";

/** One UPDATE for each chunk. */
export function setBody(plan: Plan): BodyRunner {
  return {
    statement: (range, and) => updateOf(plan, range, and),
    async perform(range, executor) {
      const { changes } = await executor.execute(updateQuery(plan, range));
      return { done: changes, changed: changes, poison: [] };
    },
  };
}

/** The UPDATE of a range, made once for all. */
export function updateQuery(plan: Plan, range: KeyRange): SqlQuery {
  return plan.queryOf("update", range, (symbolic) => updateOf(plan, symbolic));
}

export function updateOf(plan: Plan, range: KeyRange, and?: SQL): SQL {
  const where = and === undefined ? plan.matching(range) : sql`${plan.matching(range)} and ${and}`;
  const grouped = groupedUpdate(plan, range, where);
  if (grouped !== undefined) return grouped;
  const { dialect } = plan.database;
  const assignments = plan
    .assignments()
    .map(({ column, value }) => sql`${sql.identifier(dialect.nameOf(column))} = ${value}`);
  return sql`update ${plan.table} set ${sql.join(assignments, sql`, `)} where ${where}`;
}

/** The user's own statements, in the chunk's transaction. */
export function runBody(plan: Plan, signal: AbortSignal): BodyRunner {
  const { body, name } = plan.migration;
  if (body.type !== "run") throw new Error(`not a body of its own: ${body.type}`);
  return {
    async perform(range, executor) {
      const once = whileOpen(executor);
      const chunk: MigrationChunk = {
        name,
        rows: plan.matching(range),
        signal,
        execute: (statement) => plan.database.execute(statement, once.executor),
      };
      try {
        const before = await plan.countIn(range, executor);
        let changed: unknown;
        try {
          changed = await body.run(chunk);
        } catch (error) {
          // What the function throws by itself says nothing of the database, whatever code it has.
          if (MigrateError.is(error) || once.hasThrown(error)) throw error;
          throw new MigrateError("BODY_FAILED", `the body failed of "${name}": ${messageOf(error)}`, { cause: error });
        }
        if (typeof changed !== "number" || !Number.isSafeInteger(changed) || changed < 0) {
          const message = `run of "${name}" must resolve with the number of rows it changed, got ${String(changed)}`;
          throw new MigrateError("BODY_FAILED", message);
        }
        return { done: before, changed, poison: [] };
      } finally {
        once.end();
      }
    },
  };
}

/** An executor that stops working with its transaction: a statement that comes later would be in nobody's. */
function whileOpen(executor: SqlExecutor) {
  let isOpen = true;
  const thrown = new Set<unknown>();
  return {
    executor: {
      async execute(query: SqlQuery) {
        if (!isOpen) throw new MigrateError("BODY_FAILED", "the chunk is over; await every execute()");
        try {
          return await executor.execute(query);
        } catch (error) {
          thrown.add(error);
          throw error;
        }
      },
    },
    /** Whether an error is one of the database. */
    hasThrown: (error: unknown) => thrown.has(error),
    end() {
      isOpen = false;
    },
  };
}
