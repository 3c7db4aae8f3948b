import { defineMigration, type EffectContext } from "@tidemark/migrate";
import { sql } from "drizzle-orm";
import { expect, test } from "vitest";
import { counters, createCounters, createNotes, notes } from "./support/schema.ts";
import { eager, engineOn, scratch } from "./support/scratch.ts";

const lengths = (map: (row: { body: string }) => { length?: number | null } | undefined = mapLength, tuning = {}) =>
  defineMigration({
    name: "lengths",
    table: notes,
    key: "id",
    read: ["body"],
    write: ["length"],
    map,
    ...eager,
    ...tuning,
  });

function mapLength({ body }: { body: string }): { length: number } {
  return { length: body.length };
}

test("a mapper gets the columns it reads and writes what it returns", async () => {
  const { file, db } = scratch();
  createNotes(db, ["a", "bb", "ccc"]);
  const engine = await engineOn(file, [lengths()]);
  expect((await engine.run())[0]).toMatchObject({ state: "done", rowsDone: 3, rowsChanged: 3 });
  expect(db.prepare("select length from notes order by id").pluck().all()).toEqual([1, 2, 3]);
});

test("a mapper may be asynchronous and may leave rows as they are", async () => {
  const { file, db } = scratch();
  createNotes(db, ["a", "bb", "ccc"]);
  const body = async (row: { body: string }) => (row.body === "bb" ? undefined : mapLength(row));
  const migration = defineMigration({
    name: "lengths",
    table: notes,
    key: "id",
    read: ["body"],
    write: ["length"],
    map: body,
    ...eager,
  });
  const engine = await engineOn(file, [migration]);
  expect((await engine.run())[0]).toMatchObject({ state: "done", rowsDone: 3, rowsChanged: 2 });
  expect(db.prepare("select length from notes order by id").pluck().all()).toEqual([1, null, 3]);
});

test("a live write of a written column between reading and writing wins", async () => {
  const { file, db } = scratch();
  createNotes(db, ["a", "bb", "ccc"]);
  const raced = lengths(
    (row) => {
      if (row.body === "bb") db.exec("update notes set length = 99 where body = 'bb'");
      return mapLength(row);
    },
    { remaining: sql`${notes.length} is null` },
  );
  const engine = await engineOn(file, [raced]);
  expect((await engine.run())[0]).toMatchObject({ state: "done", rowsDone: 3, rowsChanged: 2 });
  expect(db.prepare("select length from notes order by id").pluck().all()).toEqual([1, 99, 3]);
});

test("a live write of an input between reading and writing is mapped again, not lost", async () => {
  const { file, db } = scratch();
  createNotes(db, ["a", "bb", "ccc"]);
  let isWritten = false;
  const engine = await engineOn(file, [
    lengths((row) => {
      if (!isWritten) {
        isWritten = true;
        db.exec("update notes set body = 'longer' where id = 2; delete from notes where id = 3");
      }
      return mapLength(row);
    }),
  ]);
  expect((await engine.run())[0]).toMatchObject({ state: "done", rowsChanged: 2 });
  expect(db.prepare("select body, length from notes order by id").raw().all()).toEqual([
    ["a", 1],
    ["longer", 6],
  ]);
});

test("a row of a mapper that no longer matches when it is written is left alone", async () => {
  const { file, db } = scratch();
  createNotes(db, ["a", "bb"]);
  let isWritten = false;
  const migration = defineMigration({
    name: "lengths",
    table: notes,
    key: "id",
    where: sql`not exists (select 1 from archived where id = ${notes.id})`,
    read: ["body"],
    write: ["length"],
    map(row) {
      if (!isWritten) db.exec("insert into archived values (2)");
      isWritten = true;
      return mapLength(row);
    },
    ...eager,
  });
  db.exec("create table archived (id integer primary key)");
  const engine = await engineOn(file, [migration]);
  expect((await engine.run())[0]?.state).toBe("done");
  expect(db.prepare("select length from notes order by id").pluck().all()).toEqual([1, null]);
});

test("a body of its own works on the rows of its chunk, in the chunk's transaction", async () => {
  const { file, db } = scratch();
  createCounters(db, 20);
  db.exec("create table copies (id integer primary key)");
  const migration = defineMigration({
    name: "copies",
    table: counters,
    key: "id",
    where: sql`${counters.id} % 2 = 0`,
    remaining: sql`${counters.id} % 2 = 0 and ${counters.id} not in (select id from copies)`,
    async run({ rows, execute }) {
      return (await execute(sql`insert into copies select id from ${counters} where ${rows}`)).changes;
    },
    ...eager,
    initialRows: 7,
    maxRows: 7,
  });
  const engine = await engineOn(file, [migration]);
  expect((await engine.run())[0]).toMatchObject({ state: "done", rowsDone: 10, rowsChanged: 10, total: 10 });
  expect(db.prepare("select count(*) from copies").pluck().get()).toBe(10);
});

test.each(["better-sqlite3", "node:sqlite"] as const)(
  "rows that a statement returns are rows it changed, with %s",
  async (driver) => {
    const { file, db } = scratch();
    createCounters(db, 20);
    const migration = defineMigration({
      name: "returns",
      table: counters,
      key: "id",
      remaining: sql`${counters.n} = 0`,
      async run({ rows, execute }) {
        expect((await execute(sql`select 1 from ${counters} where ${rows}`)).changes).toBe(0);
        const written = await execute(sql`update ${counters} set n = 1 where ${rows} and id % 2 = 0 returning id`);
        const { changes } = await execute(sql`update ${counters} set n = 2 where ${rows} and n = 0`);
        expect(written.changes).toBe(written.rows.length);
        return written.changes + changes;
      },
      ...eager,
    });
    const engine = await engineOn(file, [migration], { driver });
    expect((await engine.run())[0]).toMatchObject({ state: "done", rowsDone: 20, rowsChanged: 20 });
  },
);

test.each(["ENOENT", "SQLITE_BUSY", "ERR_INVALID_ARG_TYPE"])(
  "what a body of its own throws with code %s is of the body, and nothing to wait for",
  async (code) => {
    const { file, db } = scratch();
    createCounters(db, 20);
    const migration = defineMigration({
      name: "explodes",
      table: counters,
      key: "id",
      remaining: sql`${counters.n} = 0`,
      run: () => Promise.reject(Object.assign(new Error("no such file"), { code })),
      ...eager,
    });
    const engine = await engineOn(file, [migration]);
    const [status] = await engine.run();
    expect(status).toMatchObject({ state: "failed", rowsDone: 0, error: { code: "BODY_FAILED" } });
    expect(status?.error?.message).toContain('the body failed of "explodes": no such file');
  },
);

test("B9: a body that throws fails the run with its text, rolls its chunk back, and the process lives on", async () => {
  const { file, db } = scratch();
  createCounters(db, 20);
  const migration = defineMigration({
    name: "explodes",
    table: counters,
    key: "id",
    remaining: sql`${counters.n} = 0`,
    async run({ rows, execute }) {
      const { changes } = await execute(sql`update ${counters} set n = n + 1 where ${rows}`);
      if (db.prepare("select rows_done from tidemark_migrations").pluck().get() === 10) throw new Error("boom at ten");
      return changes;
    },
    ...eager,
    initialRows: 5,
    minRows: 5,
    maxRows: 5,
  });
  const engine = await engineOn(file, [migration]);
  const [status] = await engine.run();
  expect(status).toMatchObject({ state: "failed", rowsDone: 10, error: { code: "BODY_FAILED" } });
  expect(status?.error?.message).toContain("boom at ten");
  expect(db.prepare("select sum(n) from counters").pluck().get()).toBe(10);
});

test("a body of its own that keeps its executor for later is refused", async () => {
  const { file, db } = scratch();
  createCounters(db, 3);
  let late: Promise<unknown> | undefined;
  const migration = defineMigration({
    name: "late",
    table: counters,
    key: "id",
    remaining: sql`false`,
    async run({ execute }) {
      late ??= Promise.resolve()
        .then(() => Promise.resolve())
        .then(() => new Promise((resolve) => setTimeout(resolve, 1)))
        .then(() => execute(sql`update ${counters} set n = 100`));
      late.catch(() => {});
      return 0;
    },
    ...eager,
  });
  const engine = await engineOn(file, [migration]);
  await engine.run();
  await expect(late).rejects.toMatchObject({ code: "BODY_FAILED" });
  expect(db.prepare("select max(n) from counters").pluck().get()).toBe(0);
});

test("an effect elsewhere is made for each row, with a key that is the same on every attempt", async () => {
  const { file, db } = scratch();
  createNotes(db, ["a", "bb", "ccc"]);
  const sent: string[] = [];
  let crashes = 1;
  const migration = defineMigration({
    name: "mails",
    table: notes,
    key: "id",
    delivery: "at-least-once",
    read: ["body"],
    effect({ body }, { idempotencyKey }: EffectContext) {
      sent.push(`${body} ${idempotencyKey}`);
    },
    ...eager,
  });
  const engine = await engineOn(file, [migration], {
    probe(point) {
      if (point === "before-commit" && crashes-- > 0) throw Object.assign(new Error("busy"), { code: "SQLITE_BUSY" });
    },
  });
  expect((await engine.run())[0]).toMatchObject({ state: "done", rowsDone: 3 });
  expect(sent).toHaveLength(6);
  expect(new Set(sent).size).toBe(3);
  expect(sent[0]).toBe('a mails:[["i","1"]]');
});

test("what a mapper returns must be a declared column", async () => {
  const { file, db } = scratch();
  createNotes(db, ["a"]);
  const engine = await engineOn(file, [lengths(() => ({ body: "x" }) as never, { maxQuarantined: 0 })]);
  const [status] = await engine.run();
  expect(status).toMatchObject({ state: "failed", error: { code: "QUARANTINE_FULL" } });
  expect((await engine.quarantined("lengths"))[0]?.error).toContain('map returned "body"');
});

test("integers beyond 2^53 reach a mapper and the comparison without a digit lost", async () => {
  const { file, db } = scratch();
  createNotes(db, ["a"]);
  db.exec("update notes set length = 9007199254740993");
  const seen: unknown[] = [];
  const migration = defineMigration({
    name: "big",
    table: notes,
    key: "id",
    read: ["length"],
    write: ["body"],
    map({ length }) {
      seen.push(length);
      return { body: String(length) };
    },
    ...eager,
  });
  const engine = await engineOn(file, [migration]);
  expect((await engine.run())[0]).toMatchObject({ state: "done", rowsChanged: 1 });
  expect(seen[0]).toBe(9007199254740993n);
  expect(db.prepare("select body from notes").pluck().get()).toBe("9007199254740993");
});
