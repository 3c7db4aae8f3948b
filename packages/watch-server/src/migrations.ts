import { defineMigration, type Migration } from "@tidemark/migrate";
import { sql } from "drizzle-orm";
import { blob, integer, sqliteTable } from "drizzle-orm/sqlite-core";

const keys = sqliteTable("keys", {
  key: blob("key", { mode: "buffer" }).primaryKey(),
  head: integer("head").notNull(),
  size: integer("size"),
});

/** The sizes of keys that version 1 of the schema wrote last; whatever is written since has one. */
const counted = sql`(SELECT length(keys.key) + length(c.value) FROM changes c WHERE c.id = keys.head)`;

/**
 * For a file that an earlier release wrote. A chunk adds to the sums what it counts, in one transaction, and a key that is
 * written meanwhile is counted by its writer: so each is in them once.
 */
export const countSizes: Migration = defineMigration({
  name: "store-2-sizes",
  table: keys,
  key: "key",
  remaining: sql`${keys.size} IS NULL`,
  // Bundlers rewrite functions.
  version: "1",
  async run({ rows, execute }) {
    const left = sql`${rows} AND keys.size IS NULL`;
    await execute(sql`UPDATE meta SET value = value +
      CASE name WHEN 'live_keys' THEN (SELECT count(${counted}) FROM keys WHERE ${left})
      ELSE (SELECT coalesce(sum(${counted}), 0) FROM keys WHERE ${left}) END
      WHERE name IN ('live_keys', 'live_bytes')`);
    const { changes } = await execute(sql`UPDATE keys SET size = coalesce(${counted}, 0) WHERE ${left}`);
    return changes;
  },
});
