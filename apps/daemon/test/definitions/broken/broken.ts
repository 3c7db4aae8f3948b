import { defineMigration } from "@tidemark/migrate";
import { sql } from "drizzle-orm";
import { integer, sqliteTable } from "drizzle-orm/sqlite-core";

const people = sqliteTable("people", { id: integer("id").primaryKey(), length: integer("length") });

export const broken = defineMigration({
  name: "broken",
  table: people,
  key: "id",
  set: { length: sql`nowhere.column` },
});
