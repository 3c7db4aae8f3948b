import { defineMigration } from "@tidemark/migrate";
import { sql } from "drizzle-orm";
import { integer, sqliteTable, text } from "drizzle-orm/sqlite-core";

const people = sqliteTable("people", {
  id: integer("id").primaryKey(),
  email: text("email").notNull(),
  domain: text("domain"),
  length: integer("length"),
});

export const domains = defineMigration({
  name: "domains",
  table: people,
  key: "id",
  set: { domain: sql`substr(${people.email}, instr(${people.email}, '@') + 1)` },
  nice: 0,
  minGapMs: 0,
});

export const lengths = defineMigration({
  name: "lengths",
  table: people,
  key: "id",
  dependsOn: ["domains"],
  read: ["email"],
  write: ["length"],
  map: ({ email }) => ({ length: email.length }),
  nice: 0,
  minGapMs: 0,
});
