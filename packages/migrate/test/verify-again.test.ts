import { defineMigration } from "@tidemark/migrate";
import { openSqlite, verifyAgain } from "@tidemark/migrate/internal";
import { expect, onTestFinished, test } from "vitest";
import { counters, createCounters } from "./support/schema.ts";
import { eager, engineOn, scratch } from "./support/scratch.ts";

const fill = defineMigration({ name: "fill", table: counters, key: "id", set: { n: 7 }, ...eager });

test("what is done can be verified again: one row that somebody spoilt is found, and nothing is written", async () => {
  const { file, db } = scratch();
  createCounters(db, 2000);
  const engine = await engineOn(file, [fill]);
  const database = await openSqlite({ dialect: "sqlite", file });
  onTestFinished(() => database.connection.close());
  await expect(verifyAgain(database, fill)).rejects.toMatchObject({ code: "STATE_REFUSED" });
  await engine.run();
  const books = () => db.prepare("select * from tidemark_migrations").all();
  const before = books();
  expect(await verifyAgain(database, fill)).toMatchObject({ verdict: "right", problem: undefined });
  // Behind the bound: not the migration's.
  db.exec("insert into counters values (3000, 0)");
  expect(await verifyAgain(database, fill)).toMatchObject({ verdict: "right" });
  db.exec("update counters set n = 6 where id = 1234");
  expect(await verifyAgain(database, fill)).toMatchObject({ verdict: "wrong", problem: expect.stringMatching(/1234/) });
  expect(books()).toEqual(before);
  const other = defineMigration({ name: "other", table: counters, key: "id", set: { n: 1 } });
  await expect(verifyAgain(database, other)).rejects.toMatchObject({ code: "NOT_FOUND" });
});
