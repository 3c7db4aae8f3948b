import { defineMigration } from "@tidemark/migrate";
import type { RunPoint } from "@tidemark/migrate/internal";
import { sql } from "drizzle-orm";
import { integer, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { expect, test } from "vitest";
import { counters, createCounters, createNotes, notes } from "./support/schema.ts";
import { eager, engineOn, scratch, upTo } from "./support/scratch.ts";

const lengths = (tuning = {}) =>
  defineMigration({
    name: "lengths",
    table: notes,
    key: "id",
    read: ["body"],
    write: ["length"],
    map({ body }) {
      if (body.startsWith("bad")) throw new Error(`cannot read ${body}`);
      return { length: body.length };
    },
    ...eager,
    ...tuning,
  });

test("a row that a mapper throws on is set aside, and all others are done", async () => {
  const { file, db } = scratch();
  createNotes(db, ["a", "bad 1", "ccc", "bad 2"]);
  const engine = await engineOn(file, [lengths()]);
  const [status] = await engine.run();
  expect(status).toMatchObject({
    state: "failed",
    rowsDone: 2,
    rowsQuarantined: 2,
    total: 4,
    error: { code: "QUARANTINED" },
  });
  const held = await engine.quarantined("lengths");
  expect(held.map(({ key, error, state }) => [key, error, state])).toEqual([
    ['[["i","2"]]', "cannot read bad 1", "held"],
    ['[["i","4"]]', "cannot read bad 2", "held"],
  ]);
});

test("corrected rows leave the quarantine on retry, and the counts go on", async () => {
  const { file, db } = scratch();
  createNotes(db, ["a", "bad 1", "ccc", "bad 2"]);
  const engine = await engineOn(file, [lengths()]);
  await engine.run();
  db.exec("update notes set body = 'good' where body = 'bad 1'");
  await engine.retry("lengths");
  expect((await engine.run())[0]).toMatchObject({ state: "failed", runNo: 2, rowsDone: 3, rowsQuarantined: 1 });
  expect((await engine.quarantined("lengths")).map(({ attempts }) => attempts)).toEqual([2]);
  db.exec("delete from notes where body = 'bad 2'");
  await engine.retry("lengths");
  expect((await engine.run())[0]).toMatchObject({ state: "done", runNo: 3, rowsDone: 4, rowsQuarantined: 0 });
  expect(db.prepare("select length from notes order by id").pluck().all()).toEqual([1, 4, 3]);
});

test("a skipped row no longer keeps a migration from being done, and stays on the list", async () => {
  const { file, db } = scratch();
  createNotes(db, ["a", "bad 1"]);
  const engine = await engineOn(file, [lengths()]);
  await engine.run();
  await engine.skipQuarantined("lengths", '[["i","2"]]');
  await engine.retry("lengths");
  expect((await engine.run())[0]).toMatchObject({ state: "done", rowsDone: 1, rowsQuarantined: 1, total: 2 });
  expect(await engine.quarantined("lengths")).toMatchObject([{ state: "skipped" }]);
  await expect(engine.skipQuarantined("lengths", "[]")).rejects.toMatchObject({ code: "NOT_FOUND" });
});

test("a skipped row stays skipped when a retry visits what verification found wrong", async () => {
  const { file, db } = scratch();
  createNotes(db, ["a", "bad 1", "ccc"]);
  let isDisturbed = true;
  const probe = (point: RunPoint) => {
    if (point === "exhausted" && isDisturbed) db.exec("update notes set length = 77 where body = 'a'");
  };
  const engine = await engineOn(file, [lengths()], { probe });
  expect((await engine.run())[0]).toMatchObject({ state: "failed", error: { code: "VERIFY_FAILED" } });
  await engine.skipQuarantined("lengths", '[["i","2"]]');
  isDisturbed = false;
  await engine.retry("lengths");
  expect((await engine.run())[0]).toMatchObject({ state: "done", rowsQuarantined: 1 });
  expect(await engine.quarantined("lengths")).toMatchObject([{ state: "skipped" }]);
});

test("a row that is skipped while others are verified keeps nothing from being done", async () => {
  const { file, db } = scratch();
  createNotes(db, ["a", "bad 1"]);
  const skip = "update tidemark_migration_quarantine set state = 'skipped'";
  let isVerifying = false;
  const migration = defineMigration({
    name: "lengths",
    table: notes,
    key: "id",
    read: ["body"],
    write: ["length"],
    async map({ body }) {
      if (body === "bad 1") throw new Error("cannot read it");
      if (isVerifying) db.exec(skip);
      return { length: body.length };
    },
    ...eager,
  });
  const engine = await engineOn(file, [migration], { probe: (point) => (isVerifying ||= point === "exhausted") });
  expect((await engine.run())[0]).toMatchObject({ state: "done", rowsDone: 1, rowsQuarantined: 1, total: 2 });
});

test("rows that were set aside are not tried again while a signal objects", async () => {
  const { file, db } = scratch();
  createNotes(db, ["a", "bad 1"]);
  let utilisation = 0;
  const signals = [{ name: "load", read: async () => ({ utilisation, reason: "too much of it" }) }];
  const engine = await engineOn(file, [lengths()], { signals, heartbeatMs: 20 });
  await engine.run();
  db.exec("update notes set body = 'good' where body = 'bad 1'");
  // Copied to the end, and not.
  for (const isExhausted of [1, 0]) {
    db.prepare("update tidemark_migrations set is_exhausted = ?").run(isExhausted);
    utilisation = 9;
    await engine.retry("lengths");
    const ran = engine.run();
    await expect.poll(() => engine.get("lengths")).toMatchObject({ throttleReason: expect.stringMatching(/^load/) });
    expect(await engine.quarantined("lengths")).toMatchObject([{ attempts: 1 }]);
    await engine.cancel("lengths");
    utilisation = 0;
    await ran;
  }
  await engine.retry("lengths");
  expect((await engine.run())[0]).toMatchObject({ state: "done", rowsDone: 2, rowsQuarantined: 0 });
});

test("a retry from the start that comes behind another one takes nothing from the quarantine", async () => {
  const { file, db } = scratch();
  createNotes(db, ["a", "bad 1", "ccc"]);
  const engine = await engineOn(file, [lengths()]);
  await engine.run();
  await engine.retry("lengths");
  // The run goes on already: it starts again nowhere.
  await engine.retry("lengths", { from: "start" });
  expect(await engine.quarantined("lengths")).toMatchObject([{ key: '[["i","2"]]' }]);
  expect((await engine.run())[0]).toMatchObject({ state: "failed", runNo: 2, rowsDone: 2, rowsQuarantined: 1 });
  await engine.retry("lengths", { from: "start" });
  expect(await engine.quarantined("lengths")).toEqual([]);
  expect((await engine.run())[0]).toMatchObject({ state: "failed", runNo: 3, rowsDone: 2, rowsQuarantined: 1 });
});

test("a row that the database refuses is found by halving, and only that one is set aside", async () => {
  const { file, db } = scratch();
  createCounters(db, 100);
  db.exec(`create trigger refuse before update on counters when new.id in (37, 38, 90)
    begin select raise(abort, 'not this one'); end`);
  const migration = defineMigration({
    name: "bump",
    table: counters,
    key: "id",
    set: { n: sql`${counters.n} + 1` },
    remaining: sql`${counters.n} = 0`,
    ...eager,
  });
  const engine = await engineOn(file, [migration]);
  expect((await engine.run())[0]).toMatchObject({ state: "failed", rowsDone: 97, rowsQuarantined: 3 });
  expect((await engine.quarantined("bump")).map(({ key }) => key)).toEqual([37, 38, 90].map((id) => `[["i","${id}"]]`));
  expect(db.prepare("select id from counters where n <> 1").pluck().all()).toEqual([37, 38, 90]);
  db.exec("drop trigger refuse");
  await engine.retry("bump");
  expect((await engine.run())[0]).toMatchObject({ state: "done", rowsDone: 100, rowsQuarantined: 0 });
  expect(db.prepare("select distinct n from counters").pluck().all()).toEqual([1]);
});

test("more rows in quarantine than are allowed fail the run at once", async () => {
  const { file, db } = scratch();
  createNotes(
    db,
    upTo(50).map((n) => `bad ${n}`),
  );
  const engine = await engineOn(file, [lengths({ maxQuarantined: 5, initialRows: 2, maxRows: 2 })]);
  const [status] = await engine.run();
  expect(status).toMatchObject({ state: "failed", error: { code: "QUARANTINE_FULL" } });
  // A chunk has at most two rows, and one after a slow one: it is over by one or two.
  expect([6, 7]).toContain(status?.rowsQuarantined);
});

test("a slip in the SQL of a definition is blamed on the definition, not on rows", async () => {
  const { file, db } = scratch();
  createCounters(db, 10);
  const migration = defineMigration({
    name: "slip",
    table: counters,
    key: "id",
    set: { n: sql`no_such_column` },
    ...eager,
  });
  const engine = await engineOn(file, [migration]);
  const [status] = await engine.run();
  expect(status).toMatchObject({ state: "failed", rowsQuarantined: 0, error: { code: "SQL_FAILED" } });
  expect(status?.error?.message).toContain("no_such_column");
});

const docs = sqliteTable("docs", {
  id: integer("id").primaryKey(),
  doc: text("doc", { mode: "json" }).$type<{ readonly size: number }>(),
  size: integer("size"),
});
const readsDocs = { name: "sizes", table: docs, key: "id", read: ["doc"], ...eager } as const;

test.each([
  [
    "mapper",
    defineMigration({ ...readsDocs, write: ["size"], map: ({ doc }) => ({ size: doc?.size ?? null }) }),
    { state: "failed", rowsDone: 2, rowsQuarantined: 1, error: { code: "QUARANTINED" } },
  ],
  [
    "effect",
    defineMigration({ ...readsDocs, delivery: "at-least-once", effect: () => undefined }),
    { state: "failed", rowsDone: 2, rowsQuarantined: 1, error: { code: "QUARANTINED" } },
  ],
])(
  "a row with a value that its column cannot read is set aside before a %s gets it",
  async (_, migration, expected) => {
    const { file, db } = scratch();
    db.exec(`create table docs (id integer primary key, doc text, size integer);
    insert into docs (doc) values ('{"size":1}'), ('{broken'), ('{"size":3}')`);
    const engine = await engineOn(file, [migration]);
    expect((await engine.run())[0]).toMatchObject(expected);
    const [held] = await engine.quarantined("sizes");
    expect([held?.key, held?.error]).toEqual(['[["i","2"]]', expect.stringContaining('"doc" cannot be read: ')]);
    db.exec(`update docs set doc = '{"size":2}' where id = 2`);
    await engine.retry("sizes");
    expect((await engine.run())[0]).toMatchObject({ state: "done", rowsDone: 3, rowsQuarantined: 0 });
  },
);

test.each(["better-sqlite3", "node:sqlite"] as const)(
  "a row for which a mapper makes a value that SQLite has not is set aside, with %s",
  async (driver) => {
    const { file, db } = scratch();
    createNotes(db, ["a", "huge", "ccc", "date"]);
    const made: Readonly<Record<string, unknown>> = { huge: 2n ** 63n, date: new Date(0) };
    const migration = defineMigration({
      name: "lengths",
      table: notes,
      key: "id",
      read: ["body"],
      write: ["length"],
      map: ({ body }) => ({ length: (made[body] ?? body.length) as number }),
      ...eager,
    });
    const engine = await engineOn(file, [migration], { driver });
    expect((await engine.run())[0]).toMatchObject({ state: "failed", rowsDone: 2, error: { code: "QUARANTINED" } });
    expect((await engine.quarantined("lengths")).map(({ error }) => error)).toEqual([
      "SQLite has no integer 9223372036854775808",
      "SQLite takes no Date",
    ]);
  },
);
