import { defineMigration } from "@tidemark/migrate";
import { openSqlite, Plan, Stride } from "@tidemark/migrate/internal";
import { testSeed } from "@tidemark/tooling/seed";
import { sql } from "drizzle-orm";
import { integer, sqliteTable, text } from "drizzle-orm/sqlite-core";
import fc from "fast-check";
import { expect, onTestFinished, test } from "vitest";
import { eager, engineOn, scratch, upTo } from "./support/scratch.ts";

const t = sqliteTable("t", { id: integer("id").primaryKey(), n: integer("n").notNull().default(0) });
const bump = defineMigration({
  name: "bump",
  table: t,
  key: "id",
  set: { n: sql`${t.n} + 1` },
  remaining: sql`n <> 1`,
});

/** A table `t` with these keys, and whether ranges of it can be told without looking. */
async function strideOver(
  ids: readonly (number | bigint)[],
  ddl = "create table t (id integer primary key, n integer)",
) {
  const { file, db } = scratch();
  db.exec(ddl);
  const insert = db.prepare("insert into t (id, n) values (?, 0)");
  for (const id of ids) insert.run(id);
  const database = await openSqlite({ dialect: "sqlite", file });
  onTestFinished(() => database.connection.close());
  const plan = new Plan(bump, database, "copy");
  const bound = await plan.lastKey();
  if (bound === undefined) throw new Error("it has rows");
  return Stride.of(plan, bound, ids.length);
}

test("ranges of whole numbers that leave few gaps end where they must, and the last one at the bound", async () => {
  const stride = await strideOver(upTo(100));
  expect(stride?.next(undefined, 30)).toEqual({ after: undefined, upTo: [30n], isLast: false });
  expect(stride?.next([30n], 69)).toEqual({ after: [30n], upTo: [99n], isLast: false });
  expect(stride?.next([30n], 70)).toEqual({ after: [30n], upTo: [100n], isLast: true });
  expect(stride?.next([99n], 50_000)).toEqual({ after: [99n], upTo: [100n], isLast: true });
});

test("the ends of all integers are within reach, without a digit lost", async () => {
  const [least, most] = [-(2n ** 63n), 2n ** 63n - 1n];
  const low = await strideOver(upTo(10).map((n) => least + BigInt(n - 1)));
  expect(low?.next(undefined, 4)).toEqual({ after: undefined, upTo: [least + 3n], isLast: false });
  const high = await strideOver(upTo(10).map((n) => most - BigInt(n - 1)));
  expect(high?.next([most - 3n], 50_000)).toEqual({ after: [most - 3n], upTo: [most], isLast: true });
});

test("the end of a range is looked for where a number may be no row, or a row no whole number", async () => {
  const table = (id: string) => `create table t (${id}, n integer)`;
  expect(await strideOver(upTo(80).map((n) => n * 2))).toBeUndefined();
  expect(await strideOver([1, 2, 3, 1000])).toBeUndefined();
  expect(await strideOver(upTo(10), `${table("id integer primary key not null")} without rowid`)).toBeUndefined();
  expect(await strideOver(upTo(10), table("id integer primary key desc"))).toBeUndefined();
  expect(await strideOver(upTo(10), table("id int primary key"))).toBeUndefined();
  expect(await strideOver(upTo(10), table("id integer unique"))).toBeUndefined();
  expect(await strideOver(upTo(10), "create table t (id integer, n integer, primary key (id, n))")).toBeUndefined();
  expect(await strideOver(upTo(10), table("ID Integer Primary Key"))).toBeDefined();
});

test("other keys, and a migration that is not about every row, are copied all the same", async () => {
  const { file, db } = scratch();
  db.exec("create table t (id integer primary key, n integer not null default 0)");
  for (const id of upTo(50)) db.prepare("insert into t (id) values (?)").run(id);
  const named = sqliteTable("named", { name: text("name").primaryKey(), n: integer("n").notNull().default(0) });
  db.exec("create table named (name text primary key not null, n integer not null default 0)");
  for (const id of upTo(50)) db.prepare("insert into named (name) values (?)").run(`${id}`);
  const even = defineMigration({
    name: "even",
    table: t,
    key: "id",
    where: sql`id % 2 = 0`,
    set: { n: 1 },
    ...eager,
    initialRows: 7,
    maxRows: 7,
  });
  const all = defineMigration({ name: "names", table: named, key: "name", set: { n: 1 }, ...eager, maxRows: 7 });
  const engine = await engineOn(file, [even, all]);
  expect(await engine.run()).toMatchObject([
    { name: "even", state: "done", rowsDone: 25 },
    { name: "names", state: "done", rowsDone: 50 },
  ]);
  expect(db.prepare("select sum(n) from t").pluck().get()).toBe(25);
});

test("every row of a table with gaps is visited once, a poisonous one set aside, and a wrong one found", async () => {
  let round = 0;
  const { file, db } = scratch();
  let withGaps = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: -500, max: 500 }),
      fc.integer({ min: 20, max: 120 }),
      fc.uniqueArray(fc.integer({ min: 1, max: 118 }), { maxLength: 12 }),
      fc.integer({ min: 1, max: 15 }),
      async (first, count, gone, size) => {
        const ids = upTo(count)
          .filter((index) => index === 1 || index === count || !gone.includes(index))
          .map((index) => first + index);
        db.exec("drop table if exists t");
        const poison = ids[Math.trunc(ids.length / 2)] as number;
        const wrong = ids[Math.trunc(ids.length / 3)] as number;
        db.exec(
          `create table t (id integer primary key, n integer not null default 0 check (n = 0 or id <> ${poison}))`,
        );
        const insert = db.prepare("insert into t (id) values (?)");
        for (const id of ids) insert.run(id);
        const name = `round-${round++}`;
        const migration = defineMigration({
          name,
          table: t,
          key: "id",
          set: { n: sql`${t.n} + 1` },
          remaining: sql`n <> 1`,
          ...eager,
          initialRows: size,
          maxRows: size,
        });
        const engine = await engineOn(file, [migration], {
          probe(point) {
            if (point === "exhausted") db.prepare("update t set n = 5 where id = ?").run(wrong);
          },
        });
        const [status] = (await engine.run()).filter((each) => each.name === name);
        await engine.close();
        expect(status).toMatchObject({
          state: "failed",
          rowsDone: ids.length - 1,
          rowsQuarantined: 1,
          error: { code: "VERIFY_FAILED" },
        });
        expect(status?.error?.message).toContain(`1 rows are not as they should be: [["i","${wrong}"]]`);
        expect(db.prepare("select id from t where n = 0").pluck().all()).toEqual([poison]);
        expect(db.prepare("select count(*) from t where n = 1").pluck().get()).toBe(ids.length - 2);
        if (ids.length < count) withGaps++;
      },
    ),
    { numRuns: 25, seed: testSeed },
  );
  expect(withGaps).toBeGreaterThan(0);
});

test("rows that come and go while a run is under way are those of their ranges", async () => {
  const { file, db } = scratch();
  db.exec("create table t (id integer primary key, n integer not null default 0)");
  const insert = db.prepare("insert into t (id) values (?)");
  for (const id of upTo(200)) if (id % 10 !== 0) insert.run(id);
  let chunk = 0;
  const migration = defineMigration({
    name: "bump",
    table: t,
    key: "id",
    set: { n: sql`${t.n} + 1` },
    remaining: sql`n <> 1`,
    ...eager,
    initialRows: 8,
    maxRows: 8,
  });
  const engine = await engineOn(file, [migration], {
    probe(point) {
      if (point !== "before-begin") return;
      chunk++;
      // Far in front of the cursor, and a whole chunk at a time.
      if (chunk === 3) db.exec("delete from t where id between 101 and 150");
      if (chunk === 4) for (const id of [110, 120, 160]) insert.run(id);
      if (chunk === 5) insert.run(1_000);
    },
  });
  expect((await engine.run())[0]).toMatchObject({ state: "done", rowsDone: 180 - 45 + 3 });
  // Behind the bound: not the migration's.
  expect(db.prepare("select id from t where n <> 1").pluck().all()).toEqual([1_000]);
});
