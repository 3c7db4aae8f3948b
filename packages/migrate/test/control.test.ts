import { seededRng, systemClock } from "@tidemark/clock";
import { createSimulation } from "@tidemark/clock/testing";
import { defineMigration, type MigrationEvent } from "@tidemark/migrate";
import { MigrationEngine, openSqlite, resolveEngine } from "@tidemark/migrate/internal";
import { sql } from "drizzle-orm";
import { expect, onTestFinished, test } from "vitest";
import { counters, createCounters, createNotes, notes } from "./support/schema.ts";
import { eager, engineOn, scratch } from "./support/scratch.ts";

const bump = (tuning = {}) =>
  defineMigration({
    name: "bump",
    table: counters,
    key: "id",
    set: { n: sql`${counters.n} + 1` },
    remaining: sql`${counters.n} = 0`,
    ...eager,
    // Also after a chunk that took far too long: a test below waits for a certain one.
    initialRows: 10,
    minRows: 10,
    maxRows: 10,
    ...tuning,
  });

test("R1: a migration is in the books before open resolves, and nothing runs until it is told to", async () => {
  const { file, db } = scratch();
  createCounters(db, 10);
  const engine = await engineOn(file, [bump()]);
  expect(db.prepare("select name, state from tidemark_migrations").raw().all()).toEqual([["bump", "registered"]]);
  expect(await engine.get("bump")).toMatchObject({ state: "registered", rowsDone: 0, totalKind: "pending" });
  expect(db.prepare("select sum(n) from counters").pluck().get()).toBe(0);
});

test("M16: opening looks at no row of a table, however large, and writes nothing when all is known", async () => {
  const { file, db } = scratch();
  createCounters(db, 10);
  await (await engineOn(file, [bump()])).close();
  // Whoever reads the table or takes the write lock is stuck now.
  db.exec("begin immediate; alter table counters rename to hidden");
  const engine = await engineOn(file, [bump()]);
  expect((await engine.list())[0]?.state).toBe("registered");
  db.exec("rollback");
});

test("R2: what is done stays done, and its body is not run again", async () => {
  const { file, db } = scratch();
  createCounters(db, 20);
  const engine = await engineOn(file, [bump()]);
  await engine.run();
  await engine.run();
  const other = await engineOn(file, [bump()]);
  await other.run();
  expect(db.prepare("select distinct n from counters").pluck().all()).toEqual([1]);
  expect((await engine.get("bump")).endedAt).toBeTypeOf("number");
});

test("B10: an aborted run keeps its committed chunks, gives the lease back, and goes on later", async () => {
  const { file, db } = scratch();
  createCounters(db, 100);
  const stop = new AbortController();
  const reason = new Error("enough");
  const engine = await engineOn(file, [bump()], {
    probe(point) {
      if (point === "after-commit") stop.abort(reason);
    },
  });
  await expect(engine.run({ signal: stop.signal })).rejects.toBe(reason);
  const status = await engine.get("bump");
  expect(status).toMatchObject({ state: "registered", rowsDone: 10, owner: undefined });
  expect(db.prepare("select sum(n) from counters").pluck().get()).toBe(10);
  expect((await engine.run())[0]).toMatchObject({ state: "done", rowsDone: 100 });
  expect(db.prepare("select distinct n from counters").pluck().all()).toEqual([1]);
});

test("B10: a sleep between chunks ends at once when the run is aborted", async () => {
  const { file, db } = scratch();
  createCounters(db, 100);
  const stop = new AbortController();
  const engine = await engineOn(file, [bump({ minGapMs: 600_000, maxGapMs: 600_000 })]);
  const events = engine.events();
  const run = engine.run({ signal: stop.signal });
  for await (const event of events) if (event.type === "progress") break;
  stop.abort();
  await expect(run).rejects.toThrow();
  expect(await engine.get("bump")).toMatchObject({ state: "registered", rowsDone: 10 });
});

test("when pause resolves no further row is written, and resume goes on where it stopped", async () => {
  const { file, db } = scratch();
  createCounters(db, 200);
  const operator = await engineOn(file, [bump()], { owner: "operator" });
  let paused: Promise<number> | undefined;
  const engine = await engineOn(file, [bump({ minGapMs: 1 })], {
    probe(point) {
      if (point !== "after-commit" || paused !== undefined) return;
      paused = operator.pause("bump").then(() => db.prepare("select sum(n) from counters").pluck().get() as number);
    },
  });
  expect((await engine.run())[0]?.state).toBe("paused");
  expect(db.prepare("select sum(n) from counters").pluck().get()).toBe(await paused);
  expect(await paused).toBeLessThan(200);
  await operator.resume("bump");
  expect((await engine.run())[0]).toMatchObject({ state: "done", rowsDone: 200 });
  expect(db.prepare("select distinct n from counters").pluck().all()).toEqual([1]);
});

test("cancel ends a run for good, keeps what it did, and retry goes on with it", async () => {
  const { file, db } = scratch();
  createCounters(db, 50);
  let isCancelled = false;
  const engine = await engineOn(file, [bump()], {
    probe(point) {
      if (point !== "before-begin" || isCancelled || db.prepare("select sum(n) from counters").pluck().get() !== 20)
        return;
      isCancelled = true;
      db.exec("update tidemark_migrations set state = 'cancelled', fence = fence + 1");
    },
  });
  expect((await engine.run())[0]).toMatchObject({ state: "cancelled", rowsDone: 20 });
  await engine.retry("bump");
  expect((await engine.run())[0]).toMatchObject({ state: "done", rowsDone: 50, runNo: 2 });
  expect(db.prepare("select distinct n from counters").pluck().all()).toEqual([1]);
});

test("commands that make no sense are refused with what would", async () => {
  const { file, db } = scratch();
  createCounters(db, 5);
  const engine = await engineOn(file, [bump()]);
  await engine.run();
  for (const command of ["pause", "resume", "cancel", "retry"] as const) {
    await expect(engine[command]("bump")).rejects.toMatchObject({ code: "STATE_REFUSED" });
    await expect(engine[command]("nobody")).rejects.toMatchObject({ code: "NOT_FOUND" });
  }
});

test("R3 and R4: a failed run is retried with its counts, its error gone and its history kept (D14)", async () => {
  const { file, db } = scratch();
  createCounters(db, 30);
  let isBroken = true;
  const migration = defineMigration({
    name: "bump",
    table: counters,
    key: "id",
    remaining: sql`${counters.n} = 0`,
    version: "1",
    async run({ rows, execute }) {
      if (isBroken && db.prepare("select rows_done from tidemark_migrations").pluck().get() === 10)
        throw new Error("broken");
      return (await execute(sql`update ${counters} set n = n + 1 where ${rows}`)).changes;
    },
    ...eager,
    initialRows: 10,
    maxRows: 10,
  });
  const engine = await engineOn(file, [migration]);
  expect((await engine.run())[0]).toMatchObject({ state: "failed", rowsDone: 10, total: 30 });
  isBroken = false;
  await engine.retry("bump");
  expect(await engine.get("bump")).toMatchObject({ state: "registered", rowsDone: 10, total: 30, error: undefined });
  expect((await engine.run())[0]).toMatchObject({ state: "done", rowsDone: 30, error: undefined });
  expect(db.prepare("select distinct n from counters").pluck().all()).toEqual([1]);
  const types = (await engine.history("bump")).map(({ type, runNo }) => `${runNo} ${type}`);
  expect(types).toEqual([
    "1 registered",
    "1 claim",
    "1 counted",
    "1 fail",
    "2 retry",
    "2 claim",
    "2 exhaust",
    "2 verified",
  ]);
});

test("requireDone lets pass only what is done, and says how far the rest is", async () => {
  const { file, db } = scratch();
  createCounters(db, 5);
  const engine = await engineOn(file, [bump()]);
  await expect(engine.requireDone("bump")).rejects.toMatchObject({ code: "NOT_DONE" });
  await expect(engine.requireDone("bump")).rejects.toThrow("registered (0 of an unknown number of rows)");
  await expect(engine.requireDone("other")).rejects.toMatchObject({ code: "NOT_FOUND" });
  await engine.run();
  await engine.requireDone("bump");
});

test("a migration waits for those it depends on, and for nothing when they fail", async () => {
  const { file, db } = scratch();
  createCounters(db, 5);
  createNotes(db, ["a"]);
  const order: string[] = [];
  const second = defineMigration({
    name: "second",
    table: notes,
    key: "id",
    dependsOn: ["bump"],
    read: ["body"],
    write: ["length"],
    map({ body }) {
      order.push("second");
      return { length: body.length };
    },
    ...eager,
  });
  db.exec("create trigger refuse before update on counters begin select raise(abort, 'no'); end");
  const engine = await engineOn(file, [second, bump({ maxQuarantined: 0 })]);
  const statuses = await engine.run();
  expect(statuses.map(({ name, state, waitsFor }) => [name, state, waitsFor])).toEqual([
    ["bump", "failed", []],
    ["second", "registered", ["bump"]],
  ]);
  expect(order).toEqual([]);
  db.exec("drop trigger refuse");
  await engine.retry("bump");
  expect((await engine.run()).map(({ state }) => state)).toEqual(["done", "done"]);
});

test("definitions that wait for each other, or share a name, are refused", async () => {
  const { file } = scratch();
  const ring = [bump({ name: "a", dependsOn: ["b"] }), bump({ name: "b", dependsOn: ["a"] })];
  await expect(engineOn(file, ring)).rejects.toThrow("a → b → a");
  await expect(engineOn(file, [bump(), bump()])).rejects.toMatchObject({ code: "DEFINITIONS_INVALID" });
});

test("a definition that changed after its run had begun stops it visibly, until somebody decides", async () => {
  const { file, db } = scratch();
  createCounters(db, 30);
  const stop = new AbortController();
  const first = await engineOn(file, [bump()], {
    probe(point) {
      if (point === "after-commit") stop.abort();
    },
  });
  await first.run({ signal: stop.signal }).catch(() => {});
  await first.close();
  const engine = await engineOn(file, [bump({ set: { n: sql`${counters.n} + 100` } })]);
  const events = engine.events();
  expect(await engine.get("bump")).toMatchObject({ isDrifted: true });
  expect((await engine.run())[0]).toMatchObject({
    state: "failed",
    rowsDone: 10,
    owner: undefined,
    error: { code: "DEFINITION_DRIFTED" },
  });
  const reason = expect.stringMatching(/changed after its run had begun/) as string;
  expect((await events.next()).value).toEqual({
    type: "state",
    name: "bump",
    from: "registered",
    to: "failed",
    reason,
  });
  await engine.retry("bump", { from: "cursor" });
  expect((await engine.run())[0]).toMatchObject({ state: "done", rowsDone: 30, isDrifted: false });
  expect(db.prepare("select n, count(*) from counters group by n").raw().all()).toEqual([
    [1, 10],
    [100, 20],
  ]);
});

test("a definition that changed before its run began is simply the definition", async () => {
  const { file, db } = scratch();
  createCounters(db, 5);
  await (await engineOn(file, [bump()])).close();
  const engine = await engineOn(file, [bump({ set: { n: sql`${counters.n} + 2` } })]);
  expect(await engine.get("bump")).toMatchObject({ isDrifted: false });
  expect((await engine.run())[0]?.state).toBe("done");
});

test("retry from the start visits every row again", async () => {
  const { file, db } = scratch();
  createCounters(db, 20);
  const engine = await engineOn(file, [bump({ remaining: sql`${counters.n} < 2` })]);
  expect((await engine.run())[0]).toMatchObject({ state: "failed", error: { code: "VERIFY_FAILED" } });
  await engine.retry("bump", { from: "start" });
  expect((await engine.run())[0]).toMatchObject({ state: "done", rowsDone: 20, total: 20 });
  expect(db.prepare("select distinct n from counters").pluck().all()).toEqual([2]);
});

test("the background goes on with what is resumed, and close gives back what is under way", async () => {
  const { file, db } = scratch();
  createCounters(db, 50);
  const engine = await engineOn(file, [bump()]);
  await engine.pause("bump");
  engine.start();
  const until = async (wanted: (event: MigrationEvent) => boolean) => {
    for await (const event of engine.events()) if (wanted(event)) return;
  };
  const done = until((event) => event.type === "state" && event.to === "done");
  await engine.resume("bump");
  await done;
  expect((await engine.run())[0]?.state).toBe("done");
  await engine.close();
  await expect(engine.list()).rejects.toMatchObject({ code: "CLOSED" });
});

test("B12: a database that is gone is an error, never a silent success", async () => {
  const { file, db } = scratch();
  createCounters(db, 50);
  const engine = await engineOn(file, [bump()]);
  db.exec("drop table tidemark_migrations");
  await expect(engine.run()).rejects.toThrow("no such table");
});

test("somebody who holds the write lock for longer than the busy timeout delays a run, and fails nothing", async () => {
  const { file, db } = scratch();
  createCounters(db, 50);
  const simulation = createSimulation({ seed: 7 });
  for (const at of ["claimed", "counted", "after-commit", "exhausted", "before-done"] as const) {
    let isHeld = false;
    const engine = await engineOn(file, [bump({ name: `at-${at}`, remaining: sql`false` })], {
      clock: simulation.clock,
      busyTimeoutMs: 1,
      probe(point) {
        if (point !== at || isHeld) return;
        isHeld = true;
        db.exec("begin immediate");
        simulation.clock.setTimer(8000, () => db.exec("rollback"));
      },
    });
    const startMs = simulation.clock.monotonic();
    expect((await simulation.run(() => engine.run())).at(-1)).toMatchObject({ state: "done", rowsDone: 50 });
    expect(simulation.clock.monotonic() - startMs).toBeGreaterThanOrEqual(8000);
    await engine.close();
  }
  expect(db.prepare("select distinct n from counters").pluck().all()).toEqual([5]);
});

test("a command that somebody is in the way of fails as retryable", async () => {
  const { file, db } = scratch();
  createCounters(db, 5);
  const engine = await engineOn(file, [bump()], { busyTimeoutMs: 1 });
  db.exec("begin immediate");
  await expect(engine.pause("bump")).rejects.toMatchObject({ code: "SQL_FAILED", retryable: true });
  db.exec("rollback");
  await engine.pause("bump");
});

test("a run that is tried again after others changed the schema does not crash the process", async () => {
  const { file, db } = scratch();
  createCounters(db, 2);
  const engine = await engineOn(file, [bump({ remaining: sql`${counters.n} < 1000` })]);
  await engine.run();
  for (let round = 1; round <= 50; round++) {
    // SQLite then reads the schema anew and frees what it knew of it.
    db.exec(`create table other_${round} (a, b, c)`);
    await engine.retry("bump", { from: "start" });
    expect((await engine.run())[0]).toMatchObject({ state: "failed", error: { code: "VERIFY_FAILED" } });
  }
});

test.each([
  ["paused", (engine: MigrationEngine) => engine.pause("bump")],
  ["cancelled", (engine: MigrationEngine) => engine.cancel("bump")],
  ["given back", (_: MigrationEngine, stop: AbortController) => stop.abort()],
] as const)("what held back a run that is %s by now is not shown any more", async (_, end) => {
  const { file, db } = scratch();
  createCounters(db, 20);
  const signals = [{ name: "load", read: async () => ({ utilisation: 9, reason: "too much of it" }) }];
  const engine = await engineOn(file, [bump()], { signals, heartbeatMs: 20 });
  const stop = new AbortController();
  const events = engine.events();
  const ran = engine.run({ signal: stop.signal }).catch(() => undefined);
  for await (const event of events) if (event.type === "state" && event.to === "throttled") break;
  expect(await engine.get("bump")).toMatchObject({
    state: "throttled",
    throttleReason: expect.stringMatching(/^load/),
  });
  await end(engine, stop);
  await ran;
  expect(await engine.get("bump")).toMatchObject({ rowsDone: 0, throttleReason: undefined });
});

/** A background that has nothing to do, on a database that fails as often as is asked of it. */
async function idleOn(failure: () => Error | undefined) {
  const { file, db } = scratch();
  createCounters(db, 5);
  const database = await openSqlite({ dialect: "sqlite", file });
  const connection = new Proxy(database.connection, {
    get(target, property) {
      const value: unknown = Reflect.get(target, property, target);
      if (property !== "execute") return typeof value === "function" ? (value.bind(target) as unknown) : value;
      return (query: Parameters<typeof target.execute>[0]) => {
        const error = failure();
        return error === undefined ? target.execute(query) : Promise.reject(error);
      };
    },
  });
  const engine = await MigrationEngine.open({
    database: new Proxy(database, {
      get: (target, property) => (property === "connection" ? connection : (Reflect.get(target, property) as unknown)),
    }),
    definitions: [bump()],
    options: resolveEngine({ pollMs: 60_000 }),
    clock: systemClock,
    rng: seededRng(1),
    owner: "test",
    signals: [],
    isShared: false,
  });
  onTestFinished(() => engine.close());
  await engine.cancel("bump");
  engine.start();
  // It looks once and finds nothing.
  await new Promise((resolve) => setImmediate(resolve));
  return engine;
}

test("whoever waits for the background waits out a database that is busy, and is told of one that fails", async () => {
  let failures = 0;
  let error: Error = Object.assign(new Error("database is locked"), { code: "SQLITE_BUSY" });
  const engine = await idleOn(() => (failures-- > 0 ? error : undefined));
  const events = engine.events();
  failures = 2;
  expect(await engine.run()).toMatchObject([{ name: "bump", state: "cancelled" }]);
  expect((await events.next()).value).toMatchObject({ type: "error", error: { code: "SQL_FAILED", retryable: true } });
  error = Object.assign(new Error("disk I/O error"), { code: "SQLITE_IOERR" });
  failures = 1;
  await expect(engine.run()).rejects.toMatchObject({ name: "MigrateError", code: "SQL_FAILED", cause: error });
});
