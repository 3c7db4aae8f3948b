import { defineMigration } from "@tidemark/migrate";
import { sql } from "drizzle-orm";
import { expect, test } from "vitest";
import { counters, createCounters, createNotes, notes } from "./support/schema.ts";
import { eager, engineOn, scratch } from "./support/scratch.ts";

const lengths = defineMigration({
  name: "lengths",
  table: notes,
  key: "id",
  read: ["body"],
  write: ["length"],
  map: ({ body }) => ({ length: body.length }),
  ...eager,
});
const lengthsInSql = defineMigration({
  name: "lengths",
  table: notes,
  key: "id",
  set: { length: sql`length(${notes.body})` },
  ...eager,
});

for (const [kind, migration] of [
  ["mapped", lengths],
  ["computed in SQL", lengthsInSql],
] as const) {
  test(`one wrong row that was ${kind} keeps a migration from being done, and retry repairs that row alone`, async () => {
    const { file, db } = scratch();
    createNotes(db, ["a", "bb", "ccc"]);
    let isCorrupted = false;
    const engine = await engineOn(file, [migration], {
      probe(point) {
        if (point !== "exhausted" || isCorrupted) return;
        isCorrupted = true;
        db.exec("update notes set length = 77 where id = 2");
      },
    });
    const [status] = await engine.run();
    expect(status).toMatchObject({ state: "failed", rowsDone: 3, error: { code: "VERIFY_FAILED" } });
    expect(status?.progress).toBeLessThan(1);
    expect(status?.error?.message).toContain('1 rows are not as they should be: [["i","2"]]');
    await engine.retry("lengths");
    expect((await engine.run())[0]).toMatchObject({ state: "done" });
    expect(db.prepare("select length from notes order by id").pluck().all()).toEqual([1, 2, 3]);
  });
}

test("a row that is rewritten while it is being verified is not taken for a wrong one", async () => {
  const { file, db } = scratch();
  createNotes(db, ["a", "bb", "ccc"]);
  let isVerifying = false;
  const migration = defineMigration({
    name: "lengths",
    table: notes,
    key: "id",
    read: ["body"],
    write: ["length"],
    map({ body }) {
      if (isVerifying) db.exec("update notes set body = 'rewritten', length = 9 where id = 2");
      return { length: body.length };
    },
    ...eager,
  });
  const engine = await engineOn(file, [migration], {
    probe(point) {
      if (point === "exhausted") isVerifying = true;
    },
  });
  expect((await engine.run())[0]?.state).toBe("done");
  expect(db.prepare("select length from notes where id = 2").pluck().get()).toBe(9);
});

test("a repair touches only what is wrong, also where the body is not idempotent", async () => {
  const { file, db } = scratch();
  createCounters(db, 30);
  let isCorrupted = false;
  const migration = defineMigration({
    name: "bump",
    table: counters,
    key: "id",
    set: { n: sql`${counters.n} + 1` },
    remaining: sql`${counters.n} = 0`,
    ...eager,
  });
  const engine = await engineOn(file, [migration], {
    probe(point) {
      if (point === "exhausted" && !isCorrupted) db.exec("update counters set n = 0 where id in (5, 6)");
      if (point === "exhausted") isCorrupted = true;
    },
  });
  expect((await engine.run())[0]).toMatchObject({ state: "failed", error: { code: "VERIFY_FAILED" } });
  await engine.retry("bump");
  expect((await engine.run())[0]?.state).toBe("done");
  expect(db.prepare("select distinct n from counters").pluck().all()).toEqual([1]);
});

test("a body that reads what it writes must say what remains", () => {
  const define = (set: object) => () =>
    defineMigration({ name: "bump", table: counters, key: "id", set: set as { n: number } });
  expect(define({ n: sql`${counters.n} + 1` })).toThrow("say with `remaining`");
  expect(define({ n: sql`n + 1` })).toThrow("say with `remaining`");
  expect(define({ n: sql`(select max(x) from y where ${counters.n} > 1)` })).toThrow("say with `remaining`");
  expect(define({ n: sql`${counters.id} + 1` })).not.toThrow();
  expect(() =>
    defineMigration({ name: "x", table: notes, key: "id", read: ["body"], write: ["body"], map: () => undefined }),
  ).toThrow("say with `remaining`");
});

test("a total that would take too long to count is left open until the end", async () => {
  const { file, db } = scratch();
  createCounters(db, 100);
  const migration = defineMigration({
    name: "slow-count",
    table: counters,
    key: "id",
    set: { n: 1 },
    ...eager,
    initialRows: 10,
    maxRows: 10,
    maxCountMs: 0,
  });
  const totals: unknown[] = [];
  const engine = await engineOn(file, [migration], {
    probe(point) {
      if (point === "after-commit")
        totals.push(db.prepare("select total_kind, total from tidemark_migrations").raw().get());
    },
  });
  expect((await engine.run())[0]).toMatchObject({ state: "done", total: 100, totalKind: "exact" });
  expect(totals[0]).toEqual(["none", null]);
});
