import { defineMigration, type MigrationStatus, openMigrationReader } from "@tidemark/migrate";
import { systemClock } from "@tidemark/clock";
import { createSimulation } from "@tidemark/clock/testing";
import { sql } from "drizzle-orm";
import { expect, onTestFinished, test } from "vitest";
import { counters, createCounters } from "./support/schema.ts";
import { eager, engineOn, scratch } from "./support/scratch.ts";
import { startProcess } from "./support/processes.ts";

const fill = defineMigration({
  name: "fill",
  table: counters,
  key: "id",
  set: { n: 1 },
  ...eager,
  initialRows: 10,
  maxRows: 10,
  minGapMs: 1000,
  maxGapMs: 1000,
});

/** What the books say after each of the chunks, in virtual time: ten rows a second, unless a signal objects. */
async function watched(rows: number, utilisationAt: (ms: number) => number = () => 0) {
  const { file, db } = scratch();
  createCounters(db, rows);
  const simulation = createSimulation({ seed: 1 });
  const { clock } = simulation;
  const seen: MigrationStatus[] = [];
  await simulation.run(async () => {
    const engine = await engineOn(file, [fill], {
      clock,
      probe: (point) => {
        if (point !== "after-commit") return;
        const done = db.prepare("select count(*) from counters where n = 1").pluck().get();
        const row = db.prepare("select rows_done, total from tidemark_migrations").get();
        // Exact at every commit, by whichever connection one looks.
        expect(row).toEqual({ rows_done: done, total: rows });
      },
      signals: [
        { name: "load", read: async () => ({ utilisation: utilisationAt(clock.monotonic()), reason: "load" }) },
      ],
      signalIntervalMs: 500,
      heartbeatMs: 2000,
      leaseMs: 6000,
    });
    let isOver = false;
    const running = engine.run().finally(() => (isOver = true));
    while (!isOver) {
      seen.push(await engine.get("fill"));
      await clock.sleep(250);
    }
    await running;
    seen.push(await engine.get("fill"));
    await engine.close();
  });
  return seen;
}

test("M13: the ETA of the copy is right within a fifth from a tenth on, and no share is above one or not a number", async () => {
  const seen = await watched(400);
  const copiedAt = seen.find(({ rowsDone }) => rowsDone === 400)?.readAt ?? Number.NaN;
  const late = seen.filter(({ state, rowsDone }) => state === "running" && rowsDone >= 40 && rowsDone < 400);
  expect(late.length).toBeGreaterThan(50);
  for (const { etaMs, readAt, progress, rowsDone } of late) {
    const leftMs = copiedAt - readAt;
    // A chunk more or less is all that can be known of a rate in chunks.
    expect(Math.abs((etaMs ?? Number.NaN) - leftMs), `${rowsDone} rows`).toBeLessThan(leftMs * 0.2 + 2000);
    expect(progress).toBeLessThan(1);
  }
  expect(seen.at(-1)).toMatchObject({ state: "done", progress: 1, etaMs: undefined, rowsPerSecond: undefined });
});

test("the rate is that of the last seconds, not of the whole life: it falls to nothing while a signal objects", async () => {
  const seen = await watched(300, (ms) => (ms > 10_000 && ms < 60_000 ? 2 : 0));
  const held = seen.filter(({ state }) => state === "throttled");
  expect(held[0]?.rowsPerSecond).toBeGreaterThan(5);
  expect(held.at(-1)).toMatchObject({
    rowsPerSecond: 0,
    etaMs: undefined,
    throttleReason: expect.stringMatching(/load/),
  });
  // The life-long average would still say 4 rows a second here.
  const after = seen.findLast(({ state, rowsDone }) => state === "running" && rowsDone < 300);
  expect(after?.rowsPerSecond).toBeGreaterThan(7);
  expect(after?.yieldShare).toBeGreaterThan(0.9);
});

test("a reader needs no definitions, no books, and no column that its books do not have yet; and it writes nothing", async () => {
  const { file, db } = scratch();
  const reader = await openMigrationReader({ database: { dialect: "sqlite", file } });
  onTestFinished(() => reader.close());
  expect(await reader.list()).toEqual([]);
  expect(db.pragma("table_info(tidemark_migrations)")).toEqual([]);
  createCounters(db, 3);
  const engine = await engineOn(file, [defineMigration({ name: "quick", table: counters, key: "id", set: { n: 1 } })]);
  await engine.run();
  await engine.close();
  expect(await reader.list()).toMatchObject([{ name: "quick", state: "done", rowsDone: 3, isDrifted: undefined }]);
  db.exec("alter table tidemark_migrations drop column rate_at");
  expect(await reader.list()).toMatchObject([{ name: "quick", state: "done", rowsDone: 3 }]);
  db.exec("drop table tidemark_migrations; create view tidemark_migrations as select nowhere.x as name, 1 as state");
  await expect(reader.list()).rejects.toMatchObject({ code: "SQL_FAILED" });
});

test("M13: after SIGKILL a reader says stalled within two heartbeats, and not before", async () => {
  const { file, db } = scratch();
  createCounters(db, 10_000);
  db.exec("create table notes (id integer primary key, body text not null, length integer)");
  const reader = await openMigrationReader({ database: { dialect: "sqlite", file } });
  onTestFinished(() => reader.close());
  // It kills itself in the middle of its rows, however late somebody looks.
  const address = JSON.stringify({ dialect: "sqlite", file });
  const worker = startProcess("worker", address, "forever", "after-commit", "200");
  let isOver = false;
  const exited = worker.exited.finally(() => (isOver = true));
  exited.catch(() => {});
  await worker.ready;
  const look = async () => {
    const found = (await reader.list()).find(({ name }) => name === "bump");
    const silentMs = (found?.readAt ?? 0) - (found?.heartbeatAt ?? 0);
    if (found?.heartbeatAt !== undefined) expect(found.state === "stalled", `${silentMs} ms`).toBe(silentMs > 2 * 60);
    return found;
  };
  while (!isOver) {
    await look();
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect((await exited).signal).toBe("SIGKILL");
  let status: MigrationStatus | undefined;
  do status = await look();
  while (status?.state !== "stalled");
  expect(status).toMatchObject({
    state: "stalled",
    storedState: "running",
    etaMs: undefined,
    rowsPerSecond: undefined,
  });
  // What is counted is what is there.
  const done = db.prepare(`select count(*) from counters where n > 0`).pluck().get();
  expect(status?.rowsDone).toBe(done);
});

/** The total that a run shows when counting is given up after a few slices of 50 rows; of each thousand a tenth has `n`. */
async function totalOf(where?: string) {
  const { file, db } = scratch();
  createCounters(db, 2000);
  db.exec("update counters set n = 1 where id % 10 = 0; create index few on counters (id) where n = 1; analyze");
  const migration = defineMigration({
    name: "fill",
    table: counters,
    key: "id",
    ...(where !== undefined && { where: sql.raw(where) }),
    set: { n: 2 },
    remaining: sql`0`,
    ...eager,
    initialRows: 50,
    maxRows: 50,
    maxCountMs: 20,
  });
  // On it, whatever happens between two looks takes a millisecond.
  let ms = 0;
  const seen: Partial<MigrationStatus>[] = [];
  const engine = await engineOn(file, [migration], {
    clock: { ...systemClock, monotonic: () => ms++ },
    probe(point) {
      if (point !== "counted") return;
      seen.push(db.prepare("select total, total_kind as totalKind from tidemark_migrations").get() as MigrationStatus);
    },
  });
  await engine.run();
  return seen[0];
}

test("an estimate is of the whole table, also where an index knows a part of it", async () => {
  expect(await totalOf()).toEqual({ total: 2000, totalKind: "estimate" });
});

test("an estimate is of the rows that a migration is about, and there is none where it has seen none of them", async () => {
  expect(await totalOf("id % 10 = 0")).toEqual({ total: 200, totalKind: "estimate" });
  expect(await totalOf("id > 1900")).toEqual({ total: null, totalKind: "none" });
});
