import { sqliteMigrationEvents, sqliteMigrationQuarantine, sqliteMigrations } from "@tidemark/migrate";
import { books } from "@tidemark/migrate/internal";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { getTableConfig } from "drizzle-orm/sqlite-core";
import { expect, test } from "vitest";
import { counters, createCounters } from "./support/schema.ts";
import { eager, engineOn, scratch } from "./support/scratch.ts";
import { defineMigration } from "@tidemark/migrate";

const fill = defineMigration({ name: "fill", table: counters, key: "id", set: { n: 1 }, ...eager });

test("the Drizzle tables are what the engine creates", async () => {
  const { file, db } = scratch();
  createCounters(db, 3);
  const engine = await engineOn(file, [fill]);
  for (const table of [sqliteMigrations, sqliteMigrationQuarantine, sqliteMigrationEvents]) {
    const { name, columns } = getTableConfig(table);
    const made = db.pragma(`table_info(${name})`) as { name: string; type: string; notnull: number }[];
    const isText = (type: string) => type.toLowerCase();
    expect(columns.map((column) => [column.name, column.getSQLType(), column.notNull || column.primary])).toEqual(
      made.map((column) => [column.name, isText(column.type), column.notnull === 1 || column.name === "id"]),
    );
  }
  await engine.run();
  expect(drizzle(db).select().from(sqliteMigrations).all()).toMatchObject([
    { name: "fill", state: "done", rowsDone: 3 },
  ]);
});

test("P1 and P2: books of an older version get what they lack, keep what they have, and are looked at once", async () => {
  for (const { name, columns } of books) {
    for (const column of Object.keys(columns)) {
      const { file, db } = scratch();
      createCounters(db, 5);
      await (await engineOn(file, [fill])).close();
      db.exec(`alter table ${name} drop column ${column}`);
      const engine = await engineOn(file, [fill]);
      const found = (db.pragma(`table_info(${name})`) as { name: string }[]).map((each) => each.name);
      expect(found).toContain(column);
      if (column !== "state") expect((await engine.run())[0]).toMatchObject({ state: "done", rowsDone: 5 });
    }
  }
});

test("books of a newer version are used as they are", async () => {
  const { file, db } = scratch();
  createCounters(db, 5);
  await (await engineOn(file, [fill])).close();
  db.exec("alter table tidemark_migrations add column from_the_future text not null default 'x'");
  const engine = await engineOn(file, [fill]);
  expect((await engine.run())[0]).toMatchObject({ state: "done" });
});
