// Loaded by the thread that does it: a column of the row itself.

import { defineMigration } from "@tidemark/migrate";
import { sql } from "drizzle-orm";
import { integer, sqliteTable, text } from "drizzle-orm/sqlite-core";

export const things = sqliteTable("things", {
  id: integer("id").primaryKey(),
  a: text("a").notNull(),
  b: text("b"),
});

export const rows = defineMigration({ name: "lower", table: things, key: "id", set: { b: sql`lower(${things.a})` } });
