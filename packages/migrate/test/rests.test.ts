import { systemClock } from "@tidemark/clock";
import { defineMigration } from "@tidemark/migrate";
import { sql } from "drizzle-orm";
import { integer, sqliteTable } from "drizzle-orm/sqlite-core";
import { expect, test } from "vitest";
import { engineOn, scratch } from "./support/scratch.ts";

test("a run on SQLite rests in turn: as long as its chunks on average, and now and then for all who wait", async () => {
  const { file, db } = scratch();
  db.exec("create table counters (id integer primary key, n integer not null default 0)");
  for (let id = 1; id <= 12; id++) db.prepare("insert into counters (id) values (?)").run(id);
  const counters = sqliteTable("counters", { id: integer("id").primaryKey(), n: integer("n").notNull() });
  const migration = defineMigration({
    name: "counted",
    table: counters,
    key: "id",
    set: { n: sql`${counters.id}` },
    maxRows: 1,
    initialRows: 1,
  });
  // Ten milliseconds pass in each chunk, none elsewhere.
  let nowMs = 0;
  const rests: number[] = [];
  const clock = Object.assign(Object.create(systemClock) as typeof systemClock, {
    monotonic: () => nowMs,
    sleep(ms: number) {
      rests.push(Math.round(ms));
      nowMs += ms;
      return Promise.resolve();
    },
  });
  const probe = (point: string) => {
    if (point === "before-effect") nowMs += 10;
  };
  const [status] = await (await engineOn(file, [migration], { clock, probe })).run();
  expect(status).toMatchObject({ state: "done", rowsDone: 12 });
  expect(rests.slice(0, 10)).toEqual([6, 6, 6, 6, 26, 6, 6, 6, 6, 26]);
});
