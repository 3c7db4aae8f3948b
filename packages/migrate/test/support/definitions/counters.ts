import { defineMigration } from "@tidemark/migrate";
import { sql } from "drizzle-orm";
import { counters, notes } from "../schema.ts";

// On a machine that stands still for seconds, rows are counted all the same.
const pace = { initialRows: 20, maxRows: 20, nice: 0, minGapMs: 1, maxGapMs: 1, maxCountMs: 60_000 } as const;

/** Not idempotent: a row that is visited twice shows it. */
export const bump = defineMigration({
  name: "bump",
  table: counters,
  key: "id",
  set: { n: sql`${counters.n} + 1` },
  remaining: sql`${counters.n} = 0`,
  ...pace,
});

export const lengths = defineMigration({
  name: "lengths",
  table: notes,
  key: "id",
  dependsOn: ["bump"],
  read: ["body"],
  write: ["length"],
  map: ({ body }) => ({ length: body.length }),
  ...pace,
});
