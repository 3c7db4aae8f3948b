// Drizzle's own migrations, behind the gate, on every database. Without vitest: processes of their own load it.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { migrateSchema } from "@tidemark/migrate";
import { type Address, linkTo } from "./address.ts";

/** A folder as drizzle-kit writes it, with one migration that works only once. */
export function writeMigrations(folder: string, dialect: Address["dialect"], statements: readonly string[]): void {
  mkdirSync(join(folder, "meta"), { recursive: true });
  writeFileSync(join(folder, "0000_made.sql"), statements.join("\n--> statement-breakpoint\n"));
  const entry = { idx: 0, version: "7", when: 1_700_000_000_000, tag: "0000_made", breakpoints: true };
  const journal = { version: "7", dialect, entries: [entry] };
  writeFileSync(join(folder, "meta", "_journal.json"), JSON.stringify(journal));
}

/** Runs them with the driver of the address; `isGated` is false where the gate itself is in doubt. */
export async function migrateFolder(
  address: Address,
  folder: string,
  { isGated = true, requireDone = [] as readonly string[] } = {},
): Promise<void> {
  const link = await linkTo(address);
  const migrate = () => migrateWithDrizzle(address, link.database, folder);
  try {
    if (isGated) await migrateSchema({ database: link.database, requireDone }, migrate);
    else await migrate();
  } finally {
    await link.end();
  }
}

async function migrateWithDrizzle(address: Address, database: object, folder: string): Promise<void> {
  const migrationsFolder = folder;
  const { client } = database as { readonly client: never };
  switch (address.dialect) {
    case "sqlite": {
      const { default: Sqlite } = await import("better-sqlite3");
      const { drizzle } = await import("drizzle-orm/better-sqlite3");
      const { migrate } = await import("drizzle-orm/better-sqlite3/migrator");
      const db = new Sqlite(address.file);
      migrate(drizzle(db), { migrationsFolder });
      db.close();
      return;
    }
    case "postgresql": {
      const { drizzle } = await import("drizzle-orm/node-postgres");
      const { migrate } = await import("drizzle-orm/node-postgres/migrator");
      return migrate(drizzle(client), { migrationsFolder });
    }
    case "mysql": {
      const { drizzle } = await import("drizzle-orm/mysql2");
      const { migrate } = await import("drizzle-orm/mysql2/migrator");
      return migrate(drizzle(client), { migrationsFolder });
    }
  }
}
