// Loaded by the thread that does it: any expression, computed outside of the lock.

import { defineMigration } from "@tidemark/migrate";
import { sql } from "drizzle-orm";
import { transmissions } from "./sqlite-tables.ts";

const latest = sql`(select max(timestamp) from observations where transmission_id = ${transmissions.id})`;

export const split = defineMigration({
  name: "last-seen",
  table: transmissions,
  key: "id",
  set: { lastSeen: sql`coalesce(${latest}, 0)` },
});
