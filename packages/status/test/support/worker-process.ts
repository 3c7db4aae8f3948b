// A process that works on a migration until it is killed: worker-process.ts <file>

import { defineMigration, openMigrations } from "@tidemark/migrate";
import { integer, sqliteTable } from "drizzle-orm/sqlite-core";

const [, , file = ""] = process.argv;
const rows = sqliteTable("rows", { id: integer("id").primaryKey(), n: integer("n").notNull().default(0) });
const migrations = await openMigrations({
  database: { dialect: "sqlite", file },
  definitions: [
    defineMigration({
      name: "fill",
      table: rows,
      key: "id",
      set: { n: 1 },
      initialRows: 10,
      maxRows: 10,
      minGapMs: 50,
      maxCountMs: 60_000,
    }),
  ],
  thread: "caller",
  heartbeatMs: 300,
  leaseMs: 60_000,
});
migrations.start();
setInterval(() => {}, 1000);
