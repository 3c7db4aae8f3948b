// A disk that is really full. It takes a file system of its own, and so the right to mount one.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defineMigration } from "@tidemark/migrate";
import Sqlite from "better-sqlite3";
import { sql } from "drizzle-orm";
import { expect, onTestFinished, test } from "vitest";
import { counters, createCounters } from "./support/schema.ts";
import { eager, engineOn } from "./support/scratch.ts";

/** A file system of a few megabytes; undefined where nobody may make one. */
function smallDisk(): string | undefined {
  const folder = mkdtempSync(join(tmpdir(), "tidemark-full-"));
  try {
    execFileSync("/bin/mount", ["-t", "tmpfs", "-o", "size=6m", "tmpfs", folder], { stdio: "ignore" });
  } catch {
    rmSync(folder, { recursive: true });
    return undefined;
  }
  onTestFinished(() => {
    execFileSync("/bin/umount", ["-l", folder]);
    rmSync(folder, { recursive: true });
  });
  return folder;
}

const wide = sql`${counters.n} + 1`;
const bump = defineMigration({
  name: "bump",
  table: counters,
  key: "id",
  set: { n: wide },
  remaining: sql`${counters.n} = 0`,
  ...eager,
  initialRows: 2000,
  minRows: 2000,
  maxRows: 2000,
});

test("a run that meets a full disk says so, loses nothing, and goes on when there is room", async (context) => {
  const folder = smallDisk();
  if (folder === undefined) return context.skip("nobody may mount a file system here");
  const file = join(folder, "app.db");
  const db = new Sqlite(file);
  onTestFinished(() => void db.close());
  db.pragma("journal_mode = wal");
  createCounters(db, 40_000);
  db.exec(`create table effects (id integer not null);
    create trigger ledger after update on counters begin insert into effects values (new.id); end`);
  db.pragma("wal_checkpoint(truncate)");
  const engine = await engineOn(file, [bump], { leaseMs: 300, heartbeatMs: 100 });
  // A reader that does not end keeps the WAL from being reset, so it grows.
  const ballast = join(folder, "ballast");
  let isFull = false;
  try {
    for (let part = 0; ; part++) writeFileSync(`${ballast}-${part}`, Buffer.alloc(64 * 1024));
  } catch {
    isFull = true;
  }
  expect(isFull).toBe(true);
  // Nothing can be written: not even that it failed.
  const outcome: unknown = await engine.run().then(
    ([status]) => status?.error?.message,
    (error: unknown) => (error as Error).message,
  );
  expect(String(outcome)).toMatch(/disk is full|disk I\/O error/);
  const [effects, done] = db
    .prepare("select (select count(*) from effects), (select rows_done from tidemark_migrations)")
    .raw()
    .get() as [number, number];
  expect(effects).toBe(done);
  expect(done).toBeLessThan(40_000);
  execFileSync("sh", ["-c", `rm -f ${ballast}-*`]);
  const status = await engine.get("bump");
  if (status.state === "failed") await engine.retry("bump");
  expect((await engine.run())[0]).toMatchObject({ state: "done", rowsDone: 40_000 });
  expect(db.prepare("select count(*), count(distinct id) from effects").raw().get()).toEqual([40_000, 40_000]);
  expect(db.pragma("integrity_check", { simple: true })).toBe("ok");
});

test("a database that may not grow is a full disk, too", async () => {
  const folder = mkdtempSync(join(tmpdir(), "tidemark-full-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "app.db");
  const db = new Sqlite(file);
  onTestFinished(() => void db.close());
  db.pragma("journal_mode = wal");
  createCounters(db, 3000);
  db.exec("create table copies (id integer primary key, text text)");
  const grow = defineMigration({
    name: "grow",
    table: counters,
    key: "id",
    remaining: sql`not exists (select 1 from copies c where c.id = ${counters.id})`,
    async run({ rows, execute }) {
      // Of the connection of the engine alone.
      await execute(sql`pragma max_page_count = 60`);
      return (await execute(sql`insert into copies select id, hex(randomblob(100)) from ${counters} where ${rows}`))
        .changes;
    },
    ...eager,
  });
  const engine = await engineOn(file, [grow]);
  const outcome: unknown = await engine.run().then(
    ([status]) => status?.error,
    (error: unknown) => error,
  );
  expect(outcome).toMatchObject({ code: "SQL_FAILED" });
  expect((outcome as Error).message).toContain("database or disk is full");
  const { rowsDone } = await engine.get("grow");
  expect(db.prepare("select count(*) from copies").pluck().get()).toBe(rowsDone);
});
