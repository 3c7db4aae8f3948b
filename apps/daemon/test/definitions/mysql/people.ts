import { defineMigration } from "@tidemark/migrate";
import { sql } from "drizzle-orm";
import { int, mysqlTable, text } from "drizzle-orm/mysql-core";

const people = mysqlTable("people", {
  id: int("id").primaryKey(),
  email: text("email").notNull(),
  domain: text("domain"),
  length: int("length"),
});

export const domains = defineMigration({
  name: "domains",
  table: people,
  key: "id",
  set: { domain: sql`substring_index(${people.email}, '@', -1)` },
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
