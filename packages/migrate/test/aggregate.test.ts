import { seededRng } from "@tidemark/clock";
import { defineMigration, type MigrationEvent } from "@tidemark/migrate";
import type { Database } from "better-sqlite3";
import { sql } from "drizzle-orm";
import { integer, sqliteTable } from "drizzle-orm/sqlite-core";
import { expect, test } from "vitest";
import { eager, type EngineSetup, engineOn, scratch } from "./support/scratch.ts";

const accounts = sqliteTable("accounts", {
  id: integer("id").primaryKey(),
  latest: integer("latest").notNull().default(0),
  least: integer("least"),
  total: integer("total"),
  count: integer("count").notNull().default(0),
  given: integer("given").notNull().default(0),
});
const entries = sqliteTable("entries", {
  id: integer("id").primaryKey(),
  account: integer("account"),
  amount: integer("amount"),
});

const totals = (more = {}, aggregate = {}) =>
  defineMigration({
    name: "totals",
    table: accounts,
    key: "id",
    aggregate: {
      child: entries,
      parentKey: "account",
      set: {
        latest: { max: "amount", otherwise: 0 },
        least: { min: "amount" },
        total: { sum: "amount" },
        count: { count: true },
        given: { count: "amount" },
      },
      ...aggregate,
    },
    ...eager,
    ...more,
  });

/** Compared by the database, which has the last word on what is the same. */
const wrong = `select id, latest, least, total, count, given from accounts where not (
  latest is coalesce((select max(amount) from entries where account = accounts.id), 0)
  and least is (select min(amount) from entries where account = accounts.id)
  and total is (select sum(amount) from entries where account = accounts.id)
  and count is (select count(*) from entries where account = accounts.id)
  and given is (select count(amount) from entries where account = accounts.id))`;

function expectRight(db: Database): void {
  expect(db.prepare(wrong).safeIntegers().raw().all()).toEqual([]);
}

function fill(db: Database, accountIds: readonly number[], count: number, tail = ""): void {
  db.exec(`create table accounts (id integer primary key, latest integer not null default 0, least integer, total integer,
      count integer not null default 0, given integer not null default 0);
    create table entries (id integer primary key, account, amount)${tail};
    create index entries_account on entries (account)`);
  const rng = seededRng(1);
  const account = db.prepare("insert into accounts (id) values (?)");
  const entry = db.prepare("insert into entries (id, account, amount) values (?, ?, ?)");
  db.transaction(() => {
    for (const id of accountIds) account.run(id);
    for (let id = 1; id <= count; id++) {
      const owner = accountIds[rng.int(0, accountIds.length)] ?? 1;
      const amount = rng.int(0, 10) === 0 ? null : BigInt(rng.int(-1000, 1000));
      entry.run(id, rng.int(0, 20) === 0 ? null : BigInt(owner), amount);
    }
  })();
}

const ids = (count: number, step = 1) => Array.from({ length: count }, (_, index) => 1 + index * step);

/** Runs it to its end and resolves with what it told of rows overtaken and of ways closed. */
async function run(file: string, migration = totals(), setup: EngineSetup = {}) {
  const engine = await engineOn(file, [migration], setup);
  const events = engine.events();
  const [status] = await engine.run();
  await engine.close();
  const troubles: string[] = [];
  for await (const event of events) {
    if (isTrouble(event) && (event.kind === "repair" || event.kind === "fallback")) troubles.push(event.kind);
  }
  return { status, troubles };
}

const isTrouble = (event: MigrationEvent): event is Extract<MigrationEvent, { type: "trouble" }> =>
  event.type === "trouble";

test("max, min, sum and count of the children are what SQL says", async () => {
  const { file, db } = scratch();
  fill(db, ids(500), 5000);
  const { status, troubles } = await run(file);
  expect(status).toMatchObject({ state: "done", rowsDone: 500, rowsChanged: 500, total: 500 });
  expect(troubles).toEqual([]);
  expectRight(db);
});

test("only the children and the rows that are meant count", async () => {
  const { file, db } = scratch();
  fill(db, ids(200), 2000);
  const where = sql`${accounts.id} % 2 = 0`;
  const { status } = await run(file, totals({ where }, { where: sql`${entries.amount} > 0` }));
  expect(status).toMatchObject({ state: "done", rowsDone: 100 });
  expect(db.prepare("select count(*) from accounts where id % 2 = 1 and count > 0").pluck().get()).toBe(0);
  db.exec("delete from entries where amount <= 0 or amount is null; delete from accounts where id % 2 = 1");
  expectRight(db);
});

test("rows without children, and a table without rows", async () => {
  const { file, db } = scratch();
  fill(db, ids(10), 0);
  expect((await run(file)).status).toMatchObject({ state: "done", rowsDone: 10 });
  expectRight(db);
  db.exec("delete from accounts; drop table tidemark_migrations; drop table tidemark_migration_events");
  expect((await run(file)).status).toMatchObject({ state: "done", rowsDone: 0 });
});

test("children that JavaScript does not have exactly are left to SQL", async () => {
  const { file, db } = scratch();
  fill(db, ids(400), 4000);
  db.exec(`insert into entries (account, amount) values (1, 9007199254740993), (2, 0.5), (3, 'text'), (4, x'01'),
    (5, 9007199254740991), (5, 1), (6, 1e300), (7.0, 2000.0), (999999, 3)`);
  const { status, troubles } = await run(file);
  expect(status).toMatchObject({ state: "done", rowsDone: 400 });
  expect(troubles).toEqual([]);
  expectRight(db);
});

for (const [what, tail, change] of [
  ["children without row ids", " without rowid", ""],
  ["children whose parent's key is text", "", "update entries set account = cast(account as text) where id = 7"],
  ["many children that are no integers", "", "update entries set amount = amount + 0.5"],
] as const) {
  test(`${what} are asked for row by row`, async () => {
    const { file, db } = scratch();
    fill(db, ids(100), 1000, tail);
    db.exec(change);
    const { status, troubles } = await run(file);
    expect(status).toMatchObject({ state: "done", rowsDone: 100 });
    expect(troubles).toContain("fallback");
    expectRight(db);
  });
}

test("keys far apart are taken in windows, and too far apart row by row", async () => {
  for (const [step, isScanned] of [
    [200_000, true],
    [2_000_000, false],
  ] as const) {
    const { file, db } = scratch();
    fill(db, ids(100, step), 1000);
    const { status, troubles } = await run(file);
    expect(status).toMatchObject({ state: "done", rowsDone: 100 });
    expect(troubles.includes("fallback")).toBe(!isScanned);
    expectRight(db);
  }
});

const interrupted = async (point: "counted" | "prepared" | "exhausted", write: (db: Database) => void) => {
  const { file, db } = scratch();
  fill(db, ids(300), 3000);
  let isWritten = false;
  const result = await run(file, totals({ initialRows: 50, maxRows: 50 }), {
    probe(reached) {
      if (reached !== point || isWritten) return;
      isWritten = true;
      write(db);
    },
  });
  return { db, ...result };
};

test("children that come after the scan are in, whether or not the application keeps the columns", async () => {
  const { db, status, troubles } = await interrupted("prepared", (live) => {
    live.exec("insert into entries (account, amount) select id, 5000 + id from accounts");
  });
  expect(status).toMatchObject({ state: "done", rowsDone: 300, rowsChanged: 300 });
  expect(troubles).toEqual([]);
  expectRight(db);
});

test("a row that the application wrote since its children were read is computed as it is now", async () => {
  const { db, status, troubles } = await interrupted("prepared", (live) => {
    // Changed and deleted children: what was read of them is wrong, and the application keeps the columns.
    live.exec(`update entries set amount = 7777 where account = 5; delete from entries where account = 250;
      update accounts set latest = 7777, count = 1 where id = 5; update accounts set count = 0, given = -1 where id = 250`);
  });
  expect(status).toMatchObject({ state: "done", rowsDone: 300, rowsChanged: 300 });
  expect(troubles).toEqual([]);
  expectRight(db);
});

test("children changed by an application that does not keep the columns are found by verification", async () => {
  const { db, status, troubles } = await interrupted("prepared", (live) => {
    live.exec("update entries set amount = 7777 where account = 5; delete from entries where account in (6, 250)");
  });
  expect(status).toMatchObject({ state: "done", rowsDone: 300 });
  expect(troubles).toEqual(["repair"]);
  expectRight(db);
});

test("what goes wrong behind the cursor is found as well, and rows deleted and added meanwhile are no trouble", async () => {
  const { db, status } = await interrupted("exhausted", (live) => {
    live.exec(`update accounts set total = total + 1 where id = 17; delete from accounts where id = 18;
      delete from entries where account = 19; insert into accounts (id) values (1000)`);
  });
  expect(status).toMatchObject({ state: "done" });
  db.exec("delete from accounts where id = 1000");
  expectRight(db);
});

test.each([
  ["while a chunk is prepared", "before-begin", 3],
  ["before it is written", "prepared", 2],
] as const)(
  "a child whose parent's key is text that comes %s closes the scan, and ends no run",
  async (_, point, nth) => {
    const { file, db } = scratch();
    fill(db, ids(300), 3000);
    let count = 0;
    const { status, troubles } = await run(file, totals({ initialRows: 50, maxRows: 50 }), {
      probe(reached) {
        if (reached !== point || ++count !== nth) return;
        db.exec("insert into entries (account, amount) values (120, 5000), ('a guest', 1), (cast(120 as text), 6000)");
      },
    });
    expect(status).toMatchObject({ state: "done", rowsDone: 300, rowsChanged: 300 });
    expect(troubles).toEqual(["fallback"]);
    expectRight(db);
  },
);

test("children change all the time, of rows that are kept and of such that are not, and in the end all is right", async () => {
  const { file, db } = scratch();
  const [accountCount, entryCount] = process.env["TIDEMARK_LONG"] === "1" ? [5000, 100_000] : [300, 6000];
  fill(db, ids(accountCount), entryCount);
  const rng = seededRng(3);
  const insert = db.prepare("insert into entries (account, amount) values (?, ?)");
  const update = db.prepare("update entries set amount = ? where id = ?");
  const remove = db.prepare("delete from entries where id = ?");
  const keep = db.prepare(`update accounts set (latest, least, total, count, given) = (select coalesce(max(amount), 0),
    min(amount), sum(amount), count(*), count(amount) from entries where account = accounts.id) where id = ?`);
  const ownerOf = db.prepare("select account from entries where id = ?").pluck();
  const write = db.transaction(() => {
    const id = rng.int(1, entryCount + 1);
    const owner = BigInt(rng.int(0, 2) === 0 ? Number(ownerOf.get(id) ?? 1) : rng.int(1, accountCount + 1));
    const kind = rng.int(0, 3);
    if (kind === 0) insert.run(owner, BigInt(rng.int(-1000, 1000)));
    else if (kind === 1) update.run(BigInt(rng.int(-1000, 1000)), id);
    else remove.run(id);
    // Half of the writers are of the old version.
    if (rng.int(0, 2) === 0) {
      keep.run(owner);
      keep.run(ownerOf.get(id) ?? 1);
    }
  });
  let isOver = false;
  let writes = 0;
  const writer = (async () => {
    while (!isOver) {
      for (let each = 0; each < 5; each++) write();
      writes += 5;
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  const { status } = await run(file, totals({ maxRows: 30 }), {
    isShared: true,
    probe(point) {
      // Whoever writes without keeping the columns must be gone when they are checked.
      if (point === "exhausted") isOver = true;
    },
  });
  await writer;
  expect(status).toMatchObject({ state: "done", rowsDone: accountCount });
  expect(writes).toBeGreaterThan(50);
  expectRight(db);
});

test("an aggregate says what it is made of, and of what it cannot be made", () => {
  const define =
    (aggregate: object, more = {}) =>
    () =>
      totals(more, aggregate);
  expect(define({ set: { total: { sum: "amount", max: "amount" } } })).toThrow("must be one of max, min, sum, count");
  expect(define({ set: { total: {} } })).toThrow("got none");
  expect(define({ set: { total: { sum: "nothing" } } })).toThrow('no column "nothing"');
  expect(define({ parentKey: "nobody" })).toThrow('no column "nobody"');
  expect(define({ child: accounts, parentKey: "id" })).toThrow("in another table");
  expect(define({}, { key: ["id", "latest"] })).toThrow("a key of one column");
  expect(define({ set: {} })).toThrow("nothing is written");
});
