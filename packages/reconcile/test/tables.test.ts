import Database from "better-sqlite3";
import { getTableConfig as postgresConfig } from "drizzle-orm/pg-core";
import { getTableConfig as sqliteConfig } from "drizzle-orm/sqlite-core";
import { postgresCycleAttempts, postgresTasks, sqliteCycleAttempts, sqliteTasks } from "@tidemark/reconcile";
import { expect, test } from "vitest";
import { ddl } from "../src/books.ts";

test("the Drizzle tables are the tables that the engine creates", () => {
  const db = new Database(":memory:");
  for (const each of ddl) db.exec(each);
  const created = (table: string) =>
    db.prepare('SELECT name, "notnull" AS isNotNull FROM pragma_table_info(?) ORDER BY name').all(table);
  const described = (columns: readonly { name: string; notNull: boolean }[]) =>
    columns
      .map(({ name, notNull }) => ({ name, isNotNull: notNull ? 1 : 0 }))
      .toSorted((a, b) => (a.name < b.name ? -1 : 1));
  for (const table of [sqliteCycleAttempts, sqliteTasks]) {
    const { name, columns } = sqliteConfig(table);
    expect(described(columns), name).toEqual(created(name));
  }
  for (const table of [postgresCycleAttempts, postgresTasks]) {
    const { name, columns } = postgresConfig(table);
    expect(described(columns), name).toEqual(created(name));
  }
});
