// A file of an earlier release: served at once, and counted by a migration while it is written.
import { openMigrations } from "@tidemark/migrate";
import Database from "better-sqlite3";
import { sql } from "drizzle-orm";
import { SQLiteSyncDialect } from "drizzle-orm/sqlite-core";
import fc from "fast-check";
import { expect, test } from "vitest";
import { openStore, type Store } from "../src/index.ts";
import { countSizes } from "../src/migrations.ts";
import { earlierRelease } from "./earlier-release.ts";
import { testStore } from "./support.ts";

/** Counted one by one. */
async function sizeOf(store: Store) {
  let [keys, bytes, after] = [0, 0, new Uint8Array()];
  for (let hasMore = true; hasMore; ) {
    const page = await store.list({ after, limit: 10_000 });
    for (const { key, value } of page.kvs) {
      keys++;
      bytes += key.length + value.length;
      after = new Uint8Array(key);
    }
    hasMore = page.hasMore;
  }
  return { keys, bytes };
}

const migrationsOf = (file: string) =>
  openMigrations({ database: { dialect: "sqlite", file }, definitions: [countSizes], thread: "caller" });

test("a new file knows its size from the first write on", async () => {
  const store = await testStore();
  expect([store.isUpgrading, await store.size()]).toEqual([false, { keys: 0, bytes: 0 }]);
  await store.txn({
    ops: [
      { type: "put", key: "a", value: "12" },
      { type: "put", key: "bc", value: "" },
    ],
  });
  await store.put("a", "1234");
  await store.delete("nobody");
  expect(await store.size()).toEqual({ keys: 2, bytes: 7 });
  await store.delete("bc");
  expect(await store.size()).toEqual({ keys: 1, bytes: 5 });
  await store.compact(store.revision());
  expect(await store.size()).toEqual({ keys: 1, bytes: 5 });
});

test("a file of version 1 is opened as it is, written to, and says no size that it does not know", async () => {
  const file = earlierRelease(100);
  const store = await testStore({ file });
  expect([store.isUpgrading, await store.size(), store.revision()]).toEqual([true, undefined, 110n]);
  expect((await store.get("k3")).kv?.version).toBe(1n);
  await store.put("new", "1");
  await store.put("k3", "longer than it was");
  expect(await store.size()).toBeUndefined();
  // Nobody can take into use what is not done.
  expect([await store.finishUpgrade(), store.isUpgrading]).toEqual([false, true]);
});

test("a file of version 1 without a key has nothing to count", async () => {
  const store = await testStore({ file: earlierRelease(0) });
  expect([store.isUpgrading, await store.size()]).toEqual([false, { keys: 0, bytes: 0 }]);
});

test("keys are counted once each while they are written, deleted and compacted", { timeout: 60_000 }, async () => {
  const file = earlierRelease(1000);
  const store = await testStore({ file });
  await using migrations = await migrationsOf(file);
  await migrations.tune("store-2-sizes", { initialRows: 20, maxRows: 20, minGapMs: 1, nice: 0 });
  const running = migrations.run();
  let isDone = false;
  void running.finally(() => (isDone = true));
  for (let n = 0; !isDone; n++) {
    const key = `k${(n * 7919) % 1100}`;
    await (n % 3 === 0 ? store.delete(key) : store.put(key, "x".repeat(n % 50)));
    if (n % 25 === 0) await store.compact(store.revision());
  }
  expect(await running).toMatchObject([{ name: "store-2-sizes", state: "done" }]);
  await migrations.requireDone("store-2-sizes");
  expect(await store.finishUpgrade()).toBe(true);
  expect([store.isUpgrading, await store.size()]).toEqual([false, await sizeOf(store)]);
  await store.put("after", "it");
  expect(await store.size()).toEqual(await sizeOf(store));
  await store.close();
  const again = await testStore({ file });
  expect([again.isUpgrading, await again.size()]).toEqual([false, await sizeOf(again)]);
});

/** One chunk, in a transaction of its own, as the engine runs it. */
async function countChunk(db: Database.Database, from: string, to: string): Promise<void> {
  if (countSizes.body.type !== "run") throw new Error("the definition has another body now");
  db.exec("BEGIN IMMEDIATE");
  await countSizes.body.run({
    name: countSizes.name,
    rows: sql`keys.key >= ${Buffer.from(from)} AND keys.key < ${Buffer.from(to)}`,
    signal: new AbortController().signal,
    async execute(statement) {
      const query = new SQLiteSyncDialect().sqlToQuery(statement);
      return { rows: [], changes: db.prepare(query.sql).run(...query.params).changes };
    },
  });
  db.exec("COMMIT");
}

test("whatever is written between two chunks, the sums are those of what is there", { timeout: 600_000 }, async () => {
  const bounds = ["", "k13", "k17", "k6", "~"];
  const write = fc.tuple(fc.nat(25), fc.option(fc.string({ maxLength: 5 }), { nil: undefined }));
  const rounds = fc.array(fc.array(write, { maxLength: 6 }), { minLength: bounds.length, maxLength: bounds.length });
  await fc.assert(
    fc.asyncProperty(rounds, async (writes) => {
      const file = earlierRelease(20);
      const store = await openStore({ file });
      const db = new Database(file);
      try {
        for (const [index, round] of writes.entries()) {
          for (const [key, value] of round) {
            await (value === undefined ? store.delete(`k${key}`) : store.put(`k${key}`, value));
          }
          const [from, to] = bounds.slice(index, index + 2);
          if (from !== undefined && to !== undefined) await countChunk(db, from, to);
        }
        expect(await store.finishUpgrade()).toBe(true);
        expect(await store.size()).toEqual(await sizeOf(store));
      } finally {
        db.close();
        await store.close();
      }
    }),
    { numRuns: process.env["TIDEMARK_LONG"] === "1" ? 500 : 10 },
  );
});
