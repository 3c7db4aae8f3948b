import { statSync } from "node:fs";
import { systemClock } from "@tidemark/clock";
import { defineMigration } from "@tidemark/migrate";
import { openSignals, openSqlite, resolveSignals } from "@tidemark/migrate/internal";
import Sqlite from "better-sqlite3";
import { sql } from "drizzle-orm";
import { integer, sqliteTable } from "drizzle-orm/sqlite-core";
import { expect, onTestFinished, test } from "vitest";
import { eager, engineOn, scratch } from "./support/scratch.ts";

const pages = sqliteTable("pages", { id: integer("id").primaryKey(), n: integer("n").notNull().default(0) });

/** A page for each row, and a migration of all of them. */
function pagesIn(rows: number) {
  const { db, file } = scratch();
  db.exec(`create table pages (id integer primary key, n integer not null default 0, body text);
    with recursive ids(id) as (select 1 union all select id + 1 from ids where id < ${rows})
    insert into pages (id, body) select id, hex(zeroblob(1500)) from ids`);
  db.pragma("wal_checkpoint(truncate)");
  const definition = defineMigration({
    name: "n",
    table: pages,
    key: "id",
    set: { n: sql`id` },
    maxRows: 50,
    ...eager,
  });
  return { db, file, definition };
}

/** Pages in the WAL, and how many of them the database has too. */
function filling(db: Sqlite.Database) {
  const [found] = db.pragma("wal_checkpoint(noop)") as { readonly log: number; readonly checkpointed: number }[];
  if (found === undefined) throw new Error("a pragma has a row");
  return { inWal: found.log, moved: found.checkpointed };
}

/** Makes the WAL about so many pages longer, in one commit. */
function fill(db: Sqlite.Database, count: number): void {
  db.prepare("update pages set body = hex(randomblob(1500)) where id <= ?").run(count);
}

test("M7: chunks are moved out of the WAL before somebody else's commit would have to do it", async () => {
  const { db, file, definition } = pagesIn(3000);
  let most = 0;
  const engine = await engineOn(file, [definition], {
    probe(point) {
      if (point !== "before-begin") return;
      // SQLite has whoever makes it a thousand pages move them.
      most = Math.max(most, filling(db).inWal);
    },
  });
  expect(await engine.run()).toMatchObject([{ state: "done", rowsDone: 3000 }]);
  expect(most).toBeGreaterThan(0);
  expect(most).toBeLessThan(1000);
});

test("M7: behind a reader that does not end a run stops before the WAL is long, and says why", async () => {
  const { file, definition } = pagesIn(5000);
  const maxWalBytes = 2 ** 20;
  const reader = new Sqlite(file);
  onTestFinished(() => void reader.close());
  reader.exec("begin");
  reader.prepare("select count(*) from pages").get();
  const watched = await openSqlite({ dialect: "sqlite", file });
  onTestFinished(() => watched.connection.close());
  const own = openSignals(resolveSignals("sqlite", [], { maxWalBytes }), watched, systemClock);
  const [signal] = own.signals;
  if (signal === undefined) throw new Error("the WAL is watched in any case");
  const engine = await engineOn(file, [definition], {
    signals: [{ name: signal.name, read: () => signal.read({ table: pages, rowsChanged: () => 0 }) }],
  });
  const reasons: (string | undefined)[] = [];
  let walBytes = 0;
  void (async () => {
    for await (const event of engine.events()) {
      if (event.type !== "state" || event.to !== "throttled") continue;
      reasons.push(event.reason);
      walBytes = statSync(`${file}-wal`).size;
      reader.exec("commit");
    }
  })();
  expect(await engine.run()).toMatchObject([{ state: "done", rowsDone: 5000 }]);
  expect(reasons).toEqual([expect.stringMatching(/^wal: .* look for a reader that does not end$/)]);
  // What is written between two readings comes on top.
  expect(walBytes).toBeLessThan(8 * maxWalBytes);
});

test("whoever writes first into an emptied WAL is the engine, with a write of its own", async () => {
  const { db, file, definition } = pagesIn(3000);
  let emptied = 0;
  let inWalBefore = 0;
  const engine = await engineOn(file, [definition], {
    probe(point) {
      if (point !== "before-begin") return;
      const { inWal, moved } = filling(db);
      if (inWal < inWalBefore) emptied++;
      inWalBefore = inWal;
      // Otherwise the next to write, whoever that is, waits for the disk with the lock.
      expect(inWal === 0 || moved < inWal).toBe(true);
    },
  });
  expect(await engine.run()).toMatchObject([{ state: "done", rowsDone: 3000 }]);
  expect(emptied).toBeGreaterThan(1);
});

test("a WAL that somebody reads is emptied when it is read no more, and nobody else has to", async () => {
  const { db, file } = pagesIn(2000);
  const database = await openSqlite({ dialect: "sqlite", file });
  onTestFinished(() => database.connection.close());
  const mark = () => ({ sql: "update pages set n = n + 1 where id = 1", params: [] });
  const reader = new Sqlite(file);
  onTestFinished(() => void reader.close());
  fill(db, 850);
  reader.exec("begin");
  reader.prepare("select count(*) from pages").get();
  fill(db, 10);
  await database.connection.tidyUp?.(mark);
  const { inWal, moved } = filling(db);
  expect(inWal).toBeGreaterThan(850);
  expect(moved).toBeGreaterThan(800);
  expect(moved).toBeLessThan(inWal);
  reader.exec("commit");
  await database.connection.tidyUp?.(mark);
  expect(filling(db).inWal).toBeLessThan(10);
});

test("the signal of the WAL leaves there what is always there, and moves what is much", async () => {
  const { db, file } = pagesIn(2000);
  const database = await openSqlite({ dialect: "sqlite", file });
  onTestFinished(() => database.connection.close());
  const own = openSignals(resolveSignals("sqlite", [], { maxWalBytes: 32 * 2 ** 20 }), database, systemClock);
  const read = async () => (await own.signals[0]?.read({ table: pages, rowsChanged: () => 0 }))?.utilisation;
  fill(db, 600);
  expect(await read()).toBe(0);
  expect(filling(db)).toMatchObject({ moved: 0 });
  // Nobody else moves it.
  db.pragma("wal_autocheckpoint = 0");
  fill(db, 600);
  expect(await read()).toBe(0);
  expect(filling(db).moved).toBeGreaterThan(1000);
});

test("what others write while a run is verified is moved between its reads, where they could not finish it", async () => {
  const { db, file } = pagesIn(1500);
  let isVerifying = false;
  let most = 0;
  const definition = defineMigration({
    name: "n",
    table: pages,
    key: "id",
    read: ["id"],
    write: ["n"],
    map({ id }) {
      if (isVerifying && id % 20 === 0) {
        // In the middle of a snapshot of the engine.
        db.prepare("update pages set body = hex(randomblob(1500)) where id between ? and ?").run(id, id + 30);
        most = Math.max(most, filling(db).inWal);
      }
      return { n: id };
    },
    maxRows: 20,
    ...eager,
  });
  const engine = await engineOn(file, [definition], {
    probe(point) {
      if (point === "exhausted") isVerifying = true;
    },
  });
  expect(await engine.run()).toMatchObject([{ state: "done", rowsDone: 1500 }]);
  expect(most).toBeGreaterThan(500);
  expect(most).toBeLessThan(1000);
});
