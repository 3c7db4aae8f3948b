import { defineMigration, type MigrationEvent } from "@tidemark/migrate";
import { sql } from "drizzle-orm";
import { expect, test } from "vitest";
import { counters, createCounters, createParents, parents } from "./support/schema.ts";
import { eager, engineOn, scratch } from "./support/scratch.ts";

const latest = sql`(select max(at) from children where parent_id = ${parents.id})`;
const hasChildren = sql`exists (select 1 from children where parent_id = ${parents.id})`;

const lastSeen = (tuning = {}) =>
  defineMigration({
    name: "last-seen",
    table: parents,
    key: "id",
    where: sql`${parents.lastSeen} = 0 and ${hasChildren}`,
    set: { lastSeen: latest },
    remaining: sql`${parents.lastSeen} <> coalesce(${latest}, 0)`,
    ...eager,
    ...tuning,
  });

async function collect(events: AsyncIterable<MigrationEvent>): Promise<MigrationEvent[]> {
  const all: MigrationEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

test("fills a column from another table, and says so", async () => {
  const { file, db } = scratch();
  createParents(db, 1000, (id) => [id, id + 5]);
  const engine = await engineOn(file, [lastSeen()]);
  const [status] = await engine.run();
  expect(status).toMatchObject({ state: "done", rowsDone: 1000, rowsChanged: 1000, total: 1000, progress: 1 });
  expect(db.prepare("select count(*) from parents where last_seen = id + 5").pluck().get()).toBe(1000);
});

test("B2: rows behind the bound taken at the start are not touched", async () => {
  const { file, db } = scratch();
  createCounters(db, 50);
  let hasGrown = false;
  const engine = await engineOn(file, [bump({ initialRows: 10, maxRows: 10 })], {
    probe(point) {
      if (point !== "after-commit" || hasGrown) return;
      hasGrown = true;
      db.exec("insert into counters (id) values (51), (52)");
    },
  });
  const [status] = await engine.run();
  expect(status).toMatchObject({ state: "done", rowsDone: 50 });
  expect(db.prepare("select n from counters where id > 50").pluck().all()).toEqual([0, 0]);
});

const bump = (tuning = {}) =>
  defineMigration({
    name: "bump",
    table: counters,
    key: "id",
    set: { n: sql`${counters.n} + 1` },
    remaining: sql`${counters.n} = 0`,
    ...eager,
    ...tuning,
  });

test("B3: the total counts only the rows that can change", async () => {
  const { file, db } = scratch();
  createParents(db, 100, (id) => (id % 2 === 0 ? [id] : []));
  db.exec("update parents set last_seen = 7 where id = 2; update children set at = 7 where parent_id = 2");
  const engine = await engineOn(file, [lastSeen()]);
  const seen = collect(engine.events());
  await engine.run();
  await engine.close();
  const totals = new Set((await seen).flatMap((event) => (event.type === "progress" ? [event.total] : [])));
  expect([...totals]).toEqual([49]);
});

test("B4: an empty table is done at once, with one report of nothing", async () => {
  const { file, db } = scratch();
  createCounters(db, 0);
  const engine = await engineOn(file, [bump()]);
  const seen = collect(engine.events());
  const [status] = await engine.run();
  await engine.close();
  expect(status).toMatchObject({ state: "done", rowsDone: 0, total: 0, progress: 1 });
  const reports = (await seen).filter(({ type }) => type === "progress");
  expect(reports).toMatchObject([{ rowsDone: 0, total: 0 }]);
});

test("B5: parents without children are skipped and do not hold up the loop", async () => {
  const { file, db } = scratch();
  createParents(db, 6, (id) => (id === 3 ? [] : [id * 10]));
  const engine = await engineOn(file, [lastSeen({ initialRows: 1, maxRows: 1 })]);
  const [status] = await engine.run();
  expect(status).toMatchObject({ state: "done", rowsDone: 5 });
  expect(db.prepare("select last_seen from parents order by id").pluck().all()).toEqual([10, 20, 0, 40, 50, 60]);
});

test("B7 and B8: every chunk that had rows is reported once, in order, and no other", async () => {
  const { file, db } = scratch();
  createCounters(db, 12);
  const engine = await engineOn(file, [bump({ initialRows: 5, minRows: 5, maxRows: 5 })]);
  const seen = collect(engine.events());
  await engine.run();
  await engine.close();
  const reports = (await seen).flatMap((event) => (event.type === "progress" ? [event.rowsDone] : []));
  expect(reports).toEqual([5, 10, 12]);
});

test("B11: it ends although somebody keeps adding rows that match", async () => {
  const { file, db } = scratch();
  createCounters(db, 200);
  const insert = db.prepare("insert into counters default values");
  const engine = await engineOn(file, [bump({ initialRows: 20, maxRows: 20 })], {
    probe(point) {
      if (point === "after-commit") for (let n = 0; n < 30; n++) insert.run();
    },
  });
  const [status] = await engine.run();
  expect(status).toMatchObject({ state: "done", rowsDone: 200 });
});

test("D1: a computed value that equals the sentinel does not trap the loop", async () => {
  const { file, db } = scratch();
  createParents(db, 7, (id) => (id === 4 ? [0] : [id]));
  const engine = await engineOn(file, [lastSeen({ initialRows: 3, maxRows: 3 })]);
  const [status] = await engine.run();
  expect(status).toMatchObject({ state: "done", rowsDone: 7, total: 7 });
});

test("rows that come below the bound while it runs raise the total, never the share above one", async () => {
  const { file, db } = scratch();
  createCounters(db, 30);
  db.exec("update counters set id = id * 1000");
  let added = 0;
  const engine = await engineOn(file, [bump({ initialRows: 10, maxRows: 10 })], {
    probe(point) {
      if (point === "after-commit" && added < 2)
        db.prepare("insert into counters (id) values (?)").run(29_500 + added++);
    },
  });
  const seen = collect(engine.events());
  const [status] = await engine.run();
  await engine.close();
  expect(status?.state).toBe("done");
  expect(status?.rowsDone).toBeGreaterThan(30);
  for (const event of await seen) {
    if (event.type === "progress") expect(event.rowsDone).toBeLessThanOrEqual(event.total ?? Number.NaN);
  }
});

test("a value that is no expression goes through the column's own encoder", async () => {
  const { file, db } = scratch();
  createCounters(db, 5);
  const engine = await engineOn(file, [
    defineMigration({ name: "fixed", table: counters, key: "id", set: { n: 41 }, ...eager }),
  ]);
  expect((await engine.run())[0]?.state).toBe("done");
  expect(db.prepare("select distinct n from counters").pluck().all()).toEqual([41]);
});
