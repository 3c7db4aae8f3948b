import { defineMigration } from "@tidemark/migrate";
import { integer, sqliteTable } from "drizzle-orm/sqlite-core";

const people = sqliteTable("people", { id: integer("id").primaryKey(), length: integer("length") });

// Ten rows, and a rest of a tenth of a second: there is time to look, to pause and to stop it.
export const slow = defineMigration({
  name: "slow",
  table: people,
  key: "id",
  set: { length: 1 },
  initialRows: 10,
  maxRows: 10,
  minGapMs: 100,
  maxGapMs: 100,
});
