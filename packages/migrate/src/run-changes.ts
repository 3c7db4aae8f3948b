import { type SQL, sql } from "drizzle-orm";
import type { runColumns } from "./bookkeeping.ts";

/** Columns and what they become. */
export type RunChanges = { readonly [Column in keyof typeof runColumns]?: SQL | string | number | null };

/** How long a window of the rate lasts, in ms. What is shown is the rate over the last one to two of them. */
const rateWindowMs = 10_000;

const isWindowOver = sql`updated_at - rate_at >= ${rateWindowMs}`;
const nextWindow = (next: string, now: string) =>
  sql`case when ${isWindowOver} then ${sql.raw(next)} else ${sql.raw(now)} end`;

// A window begins with what the books say before this write: the time of the last one and the rows there were then, so
// that the two belong together. In this order, and before all else, because MySQL assigns in turn.
export const rateWindow: RunChanges = {
  rate_before_at: nextWindow("rate_at", "rate_before_at"),
  rate_before_rows: nextWindow("rate_rows", "rate_before_rows"),
  rate_rows: nextWindow("rows_done + rows_quarantined", "rate_rows"),
  rate_at: nextWindow("updated_at", "rate_at"),
};

/** The assignments of an UPDATE. */
export function assign(changes: RunChanges): SQL {
  const entries = Object.entries(changes).filter(([, value]) => value !== undefined);
  return sql.join(
    entries.map(([column, value]) => sql`${sql.identifier(column)} = ${value}`),
    sql`, `,
  );
}
