import { seededRng } from "@tidemark/clock";
import { defineMigration, type MigrateErrorCode } from "@tidemark/migrate";
import { decodeKey, encodeKey } from "@tidemark/migrate/internal";
import { testSeed } from "@tidemark/tooling/seed";
import type { Database } from "better-sqlite3";
import { sql } from "drizzle-orm";
import { blob, integer, real, type SQLiteColumn, sqliteTable, text } from "drizzle-orm/sqlite-core";
import fc from "fast-check";
import { expect, test } from "vitest";
import { eager, engineOn, scratch } from "./support/scratch.ts";

const n = integer("n").notNull().default(0);

/** Visits every row of `t` in small chunks and expects each to be touched once. */
async function visits(
  db: Database,
  file: string,
  table: ReturnType<typeof tableOf>,
  key: readonly string[],
): Promise<void> {
  const rows = db.prepare("select count(*) from t").pluck().get();
  const column = (table as unknown as { readonly n: SQLiteColumn }).n;
  const migration = defineMigration({
    name: "visit",
    table,
    key: key as never,
    set: { n: sql`${column} + 1` } as never,
    remaining: sql`${column} = 0`,
    ...eager,
    initialRows: 3,
    maxRows: 3,
  });
  const engine = await engineOn(file, [migration]);
  const [status] = await engine.run();
  expect(status).toMatchObject({ state: "done", rowsDone: rows, rowsChanged: rows });
  expect(db.prepare("select distinct n from t").pluck().all()).toEqual([1]);
}

function tableOf(columns: Readonly<Record<string, typeof n>>) {
  return sqliteTable("t", { ...columns, n });
}

test("integers beyond 2^53 are visited once each, without a digit lost", async () => {
  const { file, db } = scratch();
  db.exec("create table t (id integer primary key, n integer not null default 0)");
  const ids = [-(2n ** 63n), -1n, 0n, 1n, ...[0n, 1n, 2n, 3n, 4n, 5n].map((i) => 2n ** 53n + i), 2n ** 63n - 1n];
  const insert = db.prepare("insert into t (id) values (?)");
  for (const id of ids) insert.run(id);
  await visits(db, file, tableOf({ id: integer("id").primaryKey() as never }), ["id"]);
  expect(db.prepare("select bound from tidemark_migrations").pluck().get()).toBe('[["i","9223372036854775807"]]');
});

test("text is visited in the database's own order, whatever its collation says", async () => {
  const { file, db } = scratch();
  db.exec("create table t (id text collate nocase primary key not null, n integer not null default 0)");
  const insert = db.prepare("insert into t (id) values (?)");
  for (const id of ["b", "A", "c", "Z", "a b", "é", "", "z~", "_", "😀", "0", "10", "9", "a%", "O'Hara", "ﬀ"])
    insert.run(id);
  await visits(db, file, tableOf({ id: text("id").primaryKey() as never }), ["id"]);
});

test("UUIDs as text and as bytes are visited once each", async () => {
  const rng = seededRng(testSeed);
  for (const type of ["text", "blob"] as const) {
    const { file, db } = scratch();
    db.exec(`create table t (id ${type} primary key not null, n integer not null default 0)`);
    const insert = db.prepare("insert into t (id) values (?)");
    for (let index = 0; index < 20; index++) {
      const bytes = Buffer.from(Array.from({ length: 16 }, () => rng.int(0, 256)));
      const uuid = bytes.toString("hex").replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, "$1-$2-$3-$4-$5");
      insert.run(type === "text" ? uuid : bytes);
    }
    const column = type === "text" ? text("id").primaryKey() : blob("id", { mode: "buffer" }).primaryKey();
    await visits(db, file, tableOf({ id: column as never }), ["id"]);
  }
});

test("composite keys are visited once each, also where the first part is the same for many", async () => {
  const { file, db } = scratch();
  db.exec("create table t (a text not null, b integer not null, n integer not null default 0, unique (a, b))");
  const insert = db.prepare("insert into t (a, b) values (?, ?)");
  for (const a of ["x", "y", "X", ""]) for (let b = -3; b < 8; b++) insert.run(a, b);
  await visits(db, file, tableOf({ a: text("a").notNull() as never, b: integer("b").notNull() as never }), ["a", "b"]);
});

test("chunks are counted in rows, however sparse their keys are", async () => {
  const { file, db } = scratch();
  db.exec("create table t (id integer primary key, n integer not null default 0)");
  const insert = db.prepare("insert into t (id) values (?)");
  for (let id = 1; id <= 30; id++) insert.run(id ** 8);
  await visits(db, file, tableOf({ id: integer("id").primaryKey() as never }), ["id"]);
  // A row each at the least, whatever a busy machine makes of the sizes; the keys span 30 to the eighth.
  expect(db.prepare("select chunks from tidemark_migrations").pluck().get()).toBeLessThanOrEqual(31);
});

test("numbers with fractions, and columns without a type that hold everything, are visited once each", async () => {
  const { file, db } = scratch();
  db.exec("create table t (id primary key not null, n integer not null default 0)");
  const insert = db.prepare("insert into t (id) values (?)");
  for (const id of [
    0.1,
    0.2,
    1 / 3,
    1e300,
    -0.5,
    -Infinity,
    Infinity,
    5n,
    "5",
    "a",
    Buffer.from([1, 2]),
    Buffer.from([]),
    2n ** 60n,
  ])
    insert.run(id);
  await visits(db, file, tableOf({ id: real("id").primaryKey() as never }), ["id"]);
});

test("a random table of any keys is visited once each in chunks of any size", async () => {
  const value = fc.oneof(
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    fc.string({ unit: "grapheme" }).filter((each) => !each.includes("\0")),
    fc.double({ noNaN: true }),
    fc.uint8Array({ maxLength: 6 }).map((bytes) => Buffer.from(bytes)),
  );
  const { db, file } = scratch();
  db.exec("create table t (a not null, b not null, n integer not null default 0, unique (a, b))");
  let round = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(value, value), { maxLength: 25 }),
      fc.integer({ min: 1, max: 8 }),
      async (rows, size) => {
        db.exec("delete from t");
        const insert = db.prepare("insert or ignore into t (a, b) values (?, ?)");
        for (const row of rows) insert.run(...row);
        const table = tableOf({ a: text("a").notNull() as never, b: text("b").notNull() as never });
        const migration = defineMigration({
          name: `round-${round++}`,
          table,
          key: ["a", "b"] as never,
          set: { n: sql`n + 1` },
          remaining: sql`n <> 1`,
          ...eager,
          initialRows: size,
          maxRows: size,
        });
        const engine = await engineOn(file, [migration]);
        const [status] = await engine.run();
        await engine.close();
        expect(status).toMatchObject({ state: "done", rowsDone: db.prepare("select count(*) from t").pluck().get() });
        expect(db.prepare("select count(*) from t where n <> 1").pluck().get()).toBe(0);
      },
    ),
    { numRuns: 40 },
  );
});

test("a key survives its way through the books, and equal keys are equal text", () => {
  const value = fc.oneof(fc.bigInt(), fc.string({ unit: "binary" }), fc.double({ noNaN: true }), fc.uint8Array());
  fc.assert(
    fc.property(fc.array(value, { minLength: 1, maxLength: 4 }), (key) => {
      const text = encodeKey(key);
      expect(decodeKey(text)).toEqual(key.map((each) => (Object.is(each, -0) ? 0 : each)));
      expect(encodeKey(decodeKey(text))).toBe(text);
    }),
  );
});

const refusals: readonly (readonly [string, string, string])[] = [
  [
    "is not unique",
    "create table t (id integer not null, n integer not null default 0)",
    "no primary key or unique index",
  ],
  [
    "is unique only in part",
    "create table t (id integer not null, n integer not null default 0); create unique index i on t (id) where n = 0",
    "no primary key or unique index",
  ],
  [
    "is unique as an expression",
    "create table t (id integer not null, n integer not null default 0); create unique index i on t (abs(id))",
    "no primary key or unique index",
  ],
  [
    "is NULL somewhere",
    "create table t (id text primary key, n integer not null default 0); insert into t (id) values (null)",
    "is NULL in some row",
  ],
  ["is of no table", "create table other (id integer primary key)", 'no table "t"'],
  ["is of no column", "create table t (key integer primary key, n integer not null default 0)", 'no column "id"'],
];
for (const [what, ddl, message] of refusals) {
  test(`a key that ${what} is refused before a row is touched`, async () => {
    const { file, db } = scratch();
    db.exec(ddl);
    const table = tableOf({ id: text("id").primaryKey() as never });
    const migration = defineMigration({ name: "visit", table, key: "id" as never, set: { n: 1 }, ...eager });
    const engine = await engineOn(file, [migration]);
    const [status] = await engine.run();
    expect(status).toMatchObject({ state: "failed", error: { code: "KEY_INVALID" satisfies MigrateErrorCode } });
    expect(status?.error?.message).toContain(message);
  });
}
