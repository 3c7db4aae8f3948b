// Signals of the engine's own, each against what it is about.

import { tmpdir } from "node:os";
import { systemClock } from "@tidemark/clock";
import { defineMigration, openMigrations, type SignalOption } from "@tidemark/migrate";
import { EventLoopMeter, openSignals, openSqlite, resolveSignals } from "@tidemark/migrate/internal";
import { expect, onTestFinished, test } from "vitest";
import { counters, createCounters, createNotes } from "./support/schema.ts";
import { eager, engineOn, scratch } from "./support/scratch.ts";

const wal = { maxWalBytes: 2 ** 20 };
const run = { table: counters, rowsChanged: () => 0 };

async function signalsOf(file: string, options: readonly SignalOption[], busyTimeoutMs = 5000) {
  const database = await openSqlite({ dialect: "sqlite", file });
  const resolved = resolveSignals("sqlite", options, wal);
  const own = openSignals(resolved, database, systemClock, { dialect: "sqlite", file, busyTimeoutMs });
  onTestFinished(async () => {
    await own.close();
    await database.connection.close();
  });
  const read = (name: string) => own.signals.find((each) => each.name === name)?.read(run);
  return { read, limits: resolved.limits };
}

test("a signal that no database, or not this one, has is refused with those there are", () => {
  const resolve = (dialect: "sqlite" | "postgresql" | "mysql", ...options: readonly unknown[]) =>
    resolveSignals(dialect, options as readonly SignalOption[], wal);
  expect(() => resolve("sqlite", "blocked")).toThrow(
    'signal "blocked" is none of sqlite, which has event-loop, reader',
  );
  expect(() => resolve("mysql", "vacuum")).toThrow("none of mysql");
  expect(() => resolve("postgresql", "no-such")).toThrow("none of postgresql");
  expect(() => resolve("postgresql", "disk-free")).toThrow("needs the `path`");
  expect(() => resolve("mysql", "replica-lag")).toThrow("needs `replicas`");
  expect(() => resolve("sqlite", { name: "reader", limit: 0 })).toThrow("must be above 0, got 0");
  expect(() => resolve("sqlite", "reader", { name: "reader", limit: 3 })).toThrow('"reader" is taken');
  expect(() => resolve("sqlite", { name: "wal", read: async () => ({ utilisation: 0, reason: "" }) })).toThrow("taken");
});

test("the WAL of SQLite is watched in any case, with the limit that was asked for", () => {
  expect(resolveSignals("sqlite", [], wal).limits).toEqual(new Map([["wal", 2 ** 20]]));
  expect(resolveSignals("sqlite", [{ name: "wal", limit: 5 }], wal).limits).toEqual(new Map([["wal", 5]]));
  expect(resolveSignals("postgresql", ["blocked"], wal).limits).toEqual(new Map([["blocked", 100]]));
});

test("the probes measure what a reader and a writer beside the chunks have to wait", async () => {
  const { file, db } = scratch();
  createCounters(db, 10);
  await engineOn(file, [defineMigration({ name: "fill", table: counters, key: "id", set: { n: 1 } })]);
  const { read } = await signalsOf(
    file,
    [
      { name: "reader", limit: 1e6 },
      { name: "writer", limit: 1e6 },
    ],
    80,
  );
  // Whoever waits for a lock cannot be faster than this, and the machine may stand still during any single reading.
  const isFast = (name: string) => expect.poll(async () => (await read(name))?.utilisation).toBeLessThan(80 / 1e6);
  await isFast("writer");
  db.exec("begin immediate");
  // In WAL mode a writer is in the way of writers alone.
  const waited = await read("writer");
  expect(waited?.utilisation).toBeGreaterThanOrEqual(79 / 1e6);
  expect(waited?.reason).toMatch(/^a small write took \d+\.\d ms, limit 1000000 ms$/);
  await isFast("reader");
  db.exec("rollback");
  await isFast("writer");
});

test("a probe that cannot ask is no reading", async () => {
  const { file } = scratch();
  const { read } = await signalsOf(file, ["reader"]);
  await expect(read("reader")).rejects.toThrow("no such table: tidemark_migrations");
});

test("the delay of the event loop is the longest since it was last read", async () => {
  const meter = new EventLoopMeter();
  onTestFinished(() => meter.close());
  expect(meter.read()).toBe(0);
  const ticks = async (count: number) => {
    for (let tick = 0; tick < count; tick++) await new Promise((resolve) => systemClock.setTimer(1, () => resolve(0)));
  };
  await ticks(10);
  const startMs = systemClock.monotonic();
  while (systemClock.monotonic() - startMs < 120);
  await ticks(10);
  expect(meter.read()).toBeGreaterThan(90);
});

test("what is free on the disk is compared with what should be", async () => {
  const { file } = scratch();
  const { read, limits } = await signalsOf(file, [{ name: "disk-free", path: tmpdir(), limit: 1 }]);
  expect((await read("disk-free"))?.utilisation).toBeLessThan(0.001);
  limits.set("disk-free", 2 ** 60);
  const short = await read("disk-free");
  expect(short?.utilisation).toBeGreaterThan(1);
  expect(short?.reason).toMatch(/MB are free on the disk of .*tmp.*, and 1099511627776\.0 MB should stay free/);
});

test("in a thread, every signal is read, and a limit that is changed lets a run go on that it stopped", async () => {
  const { file, db } = scratch();
  createCounters(db, 60);
  createNotes(db, ["a", "bc"]);
  await using migrations = await openMigrations({
    database: { dialect: "sqlite", file },
    definitions: new URL("./support/definitions/counters.ts", import.meta.url),
    signalIntervalMs: 5,
    signals: [
      { name: "event-loop", limit: 1e9 },
      { name: "reader", limit: 1e9 },
      { name: "writer", limit: 1e9 },
      { name: "disk-free", limit: 2 ** 60 },
      { name: "mine", read: async () => ({ utilisation: 0.5, reason: "half" }) },
    ],
  });
  const events = migrations.events();
  const ran = migrations.run();
  for await (const event of events) if (event.type === "state" && event.to === "throttled") break;
  // On a busy machine the first reading may come after the run was held back for want of one.
  await expect
    .poll(() => migrations.get("bump"))
    .toMatchObject({
      state: "throttled",
      throttleReason: expect.stringMatching(/disk-free: .* are free on the disk of/),
    });
  await expect(migrations.adjust({ limits: { blocked: 3 } })).rejects.toMatchObject({ code: "OPTIONS_INVALID" });
  await expect(migrations.adjust({ limits: { "event-loop": -1 } })).rejects.toThrow("above 0");
  await migrations.adjust({ limits: { "disk-free": 1, "event-loop": 2e9 } });
  expect((await ran)[0]?.state).toBe("done");
});

test("a signal of another name is not shown as one of the engine's", async () => {
  const { file, db } = scratch();
  createCounters(db, 5);
  const definitions = [defineMigration({ name: "fill", table: counters, key: "id", set: { n: 1 }, ...eager })];
  const database = { dialect: "sqlite", file } as const;
  await expect(openMigrations({ database, definitions, thread: "caller", signals: ["vacuum"] })).rejects.toMatchObject({
    code: "OPTIONS_INVALID",
  });
});
