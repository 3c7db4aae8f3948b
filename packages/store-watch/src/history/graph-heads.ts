import { type Flow, wait } from "./flow.ts";
import { byStamp } from "./graph-stamp.ts";
import type { GraphRow, GraphTables } from "./graph-tables.ts";

/** The versions that are heads of an object, the one that is shown first. `known`: some that were read already. */
export function* headRows(
  tables: GraphTables,
  object: { readonly id: number; readonly head: number },
  known: readonly GraphRow[] = [],
): Flow<GraphRow[]> {
  const rows: GraphRow[] = [];
  for (const position of yield* wait(tables.headsOf(object))) {
    const row = known.find(({ pos }) => pos === position) ?? (yield* wait(tables.version(position)));
    rows.push(row as GraphRow);
  }
  return rows.sort(byStamp);
}
