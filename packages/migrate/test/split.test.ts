import { defineMigration, type MigrationEvent } from "@tidemark/migrate";
import type { Database } from "better-sqlite3";
import { sql } from "drizzle-orm";
import { expect, test } from "vitest";
import { createParents, parents } from "./support/schema.ts";
import { eager, engineOn, scratch } from "./support/scratch.ts";

const latest = sql`coalesce((select max(at) from children where parent_id = ${parents.id}), 0)`;
const lastSeen = (tuning = {}) =>
  defineMigration({ name: "last-seen", table: parents, key: "id", set: { lastSeen: latest }, ...eager, ...tuning });

const wrong = `select count(*) from parents where last_seen is not
  coalesce((select max(at) from children where parent_id = parents.id), 0)`;

test("what is computed before the transaction is written in it", async () => {
  const { file, db } = scratch();
  createParents(db, 500, (id) => (id % 7 === 0 ? [] : [id, id + 5]));
  const engine = await engineOn(file, [lastSeen()]);
  expect((await engine.run())[0]).toMatchObject({ state: "done", rowsDone: 500, rowsChanged: 500 });
  expect(db.prepare(wrong).pluck().get()).toBe(0);
});

/** An engine that is interrupted by `write` once, between the reading and the writing of a chunk. */
async function interrupted(write: (db: Database) => void, tuning = {}) {
  const { file, db } = scratch();
  createParents(db, 100, (id) => [id]);
  let isWritten = false;
  const repairs: MigrationEvent[] = [];
  const engine = await engineOn(file, [lastSeen({ initialRows: 100, ...tuning })], {
    probe(point) {
      if (point !== "prepared" || isWritten) return;
      isWritten = true;
      write(db);
    },
  });
  const events = engine.events();
  const [status] = await engine.run();
  await engine.close();
  for await (const event of events) if (event.type === "trouble" && event.kind === "repair") repairs.push(event);
  return { db, status, repairs };
}

test("a row that a live write overtakes is computed again under the lock", async () => {
  const { db, status, repairs } = await interrupted((live) => {
    // The application keeps the column by itself, as it should.
    live.exec(`insert into children (parent_id, at) values (5, 1000);
      update parents set last_seen = 1000 where id = 5; delete from parents where id = 6`);
  });
  expect(status).toMatchObject({ state: "done", rowsDone: 99, rowsChanged: 99, total: 99 });
  expect(db.prepare(wrong).pluck().get()).toBe(0);
  expect(db.prepare("select last_seen from parents where id = 5").pluck().get()).toBe(1000);
  expect(repairs).toEqual([]);
});

test("a write to other rows alone is found by verification and put right", async () => {
  const { db, status, repairs } = await interrupted((live) => {
    live.exec("insert into children (parent_id, at) values (5, 1000); delete from children where parent_id = 9");
  });
  expect(status).toMatchObject({ state: "done", rowsDone: 100, rowsChanged: 102 });
  expect(db.prepare(wrong).pluck().get()).toBe(0);
  expect(repairs).toHaveLength(1);
});

test("a row that matches no longer when it is written is left alone", async () => {
  const { db, status } = await interrupted((live) => live.exec("update parents set last_seen = 7 where id = 5"), {
    where: sql`${parents.lastSeen} = 0`,
  });
  expect(status).toMatchObject({ state: "done", rowsDone: 99 });
  expect(db.prepare("select last_seen from parents where id = 5").pluck().get()).toBe(7);
});

test("a value keeps its class on the way through the engine", async () => {
  const { file, db } = scratch();
  db.exec(`create table parents (id integer primary key, last_seen any) strict;
    create table samples (parent_id integer, value any) strict`);
  const values = ["9007199254740993", "5.0", "'5'", "x'00ff'", "null", "0.1", "1e300"];
  values.forEach((value, index) => {
    db.exec(`insert into parents (id) values (${index}); insert into samples values (${index}, ${value})`);
  });
  const sample = sql`(select value from samples where parent_id = ${parents.id})`;
  const migration = defineMigration({
    name: "classes",
    table: parents,
    key: "id",
    set: { lastSeen: sample },
    ...eager,
  });
  const engine = await engineOn(file, [migration]);
  expect((await engine.run())[0]).toMatchObject({ state: "done", rowsDone: values.length });
  expect(db.prepare("select quote(last_seen), typeof(last_seen) from parents").raw().all()).toEqual(
    db.prepare("select quote(value), typeof(value) from samples order by parent_id").raw().all(),
  );
});

test("a definition that gives another value each time is not put right for ever", async () => {
  const { file, db } = scratch();
  createParents(db, 100, (id) => [id]);
  const engine = await engineOn(file, [
    lastSeen({ set: { lastSeen: sql`(select max(at) from children) + random()` } }),
  ]);
  expect((await engine.run())[0]).toMatchObject({ state: "failed", error: { code: "VERIFY_FAILED" } });
});

test("what was overtaken is not put right while a signal objects", async () => {
  const { file, db } = scratch();
  createParents(db, 100, (id) => [id]);
  let utilisation = 0;
  const engine = await engineOn(file, [lastSeen({ initialRows: 100, minGapMs: 20, maxGapMs: 20 })], {
    signals: [{ name: "load", read: async () => ({ utilisation, reason: "too much of it" }) }],
    probe(point) {
      if (point !== "exhausted") return;
      db.exec("update parents set last_seen = -1");
      utilisation = 9;
    },
  });
  const ran = engine.run();
  await expect.poll(() => engine.get("last-seen")).toMatchObject({ throttleReason: "load: too much of it" });
  const left = db.prepare(wrong).pluck().get();
  expect(left).toBeGreaterThan(0);
  await engine.get("last-seen");
  expect(db.prepare(wrong).pluck().get()).toBe(left);
  utilisation = 0;
  expect((await ran)[0]).toMatchObject({ state: "done", throttleReason: undefined });
  expect(db.prepare(wrong).pluck().get()).toBe(0);
});
