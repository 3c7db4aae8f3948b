// Every knob, turned while a run goes; and more than one run at a time.

import { systemClock } from "@tidemark/clock";
import { defineMigration, type Migration, openMigrations } from "@tidemark/migrate";
import { serviceTest } from "@tidemark/tooling/services";
import Sqlite from "better-sqlite3";
import { sql } from "drizzle-orm";
import { expect, test } from "vitest";
import { counters, createCounters, createNotes, notes } from "./support/schema.ts";
import { eager, engineOn, scratch } from "./support/scratch.ts";
import { createStatements, tablesOf } from "./support/shared-tables.ts";
import { stageOn } from "./support/stage.ts";

const bump = (tuning = {}) =>
  defineMigration({
    name: "bump",
    table: counters,
    key: "id",
    set: { n: sql`${counters.n} + 1` },
    remaining: sql`${counters.n} = 0`,
    ...eager,
    initialRows: 10,
    minRows: 10,
    maxRows: 10,
    ...tuning,
  });

test("a knob that another process turns holds from the next chunk on, and for whoever takes over", async () => {
  const { file, db } = scratch();
  // So many that there are enough of them left when a slow operator is done.
  createCounters(db, 400);
  const operator = await engineOn(file, [bump()], { owner: "operator" });
  let tuned: Promise<void> | undefined;
  const sizes: number[] = [];
  const engine = await engineOn(file, [bump({ minGapMs: 1 })], {
    probe(point) {
      if (point === "after-commit") tuned ??= operator.tune("bump", { minRows: 3, maxRows: 3, nice: 0.5 });
    },
  });
  const events = engine.events();
  const seen = (async () => {
    let before = 0;
    for await (const event of events) {
      if (event.type !== "progress") continue;
      sizes.push(event.rowsDone - before);
      before = event.rowsDone;
    }
  })();
  expect((await engine.run())[0]).toMatchObject({ state: "done", rowsDone: 400 });
  await engine.close();
  await seen;
  await tuned;
  expect(sizes[0]).toBe(10);
  expect(sizes.filter((size) => size === 3).length).toBeGreaterThan(20);
  expect(db.prepare("select tuning from tidemark_migrations").pluck().get()).toBe(
    '{"minRows":3,"maxRows":3,"nice":0.5}',
  );
  expect((await operator.history("bump")).map(({ type }) => type)).toContain("tune");
});

test("a knob gets back what its definition says, and nonsense is refused without a change", async () => {
  const { file, db } = scratch();
  createCounters(db, 10);
  const engine = await engineOn(file, [bump()]);
  await engine.tune("bump", { targetMs: 5, nice: 3 });
  await expect(engine.tune("bump", { targetMs: -1 })).rejects.toMatchObject({ code: "OPTIONS_INVALID" });
  await expect(engine.tune("bump", { maxRows: 2 })).rejects.toThrow("maxRows must be a whole number of at least 10");
  await expect(engine.tune("bump", { speed: 1 } as never)).rejects.toThrow('"speed" is no knob of a migration');
  await expect(engine.tune("other", { nice: 1 })).rejects.toMatchObject({ code: "NOT_FOUND" });
  await engine.tune("bump", { nice: undefined } as never);
  expect(db.prepare("select tuning from tidemark_migrations").pluck().get()).toBe('{"targetMs":5}');
  await engine.tune("bump", { targetMs: undefined } as never);
  expect(db.prepare("select tuning from tidemark_migrations").pluck().get()).toBeNull();
});

test("a turned knob is no drift of the definition", async () => {
  const { file, db } = scratch();
  createCounters(db, 30);
  const stop = new AbortController();
  const engine = await engineOn(file, [bump()], {
    probe(point) {
      if (point === "after-commit") stop.abort();
    },
  });
  await engine.run({ signal: stop.signal }).catch(() => {});
  await engine.tune("bump", { maxRows: 20 });
  expect((await (await engineOn(file, [bump()])).run())[0]).toMatchObject({ state: "done", rowsDone: 30 });
});

test("knobs that do not fit another definition fail its run, which says so, and hold up no other", async () => {
  const { file, db } = scratch();
  createCounters(db, 30);
  createNotes(db, ["a"]);
  await (await engineOn(file, [bump({ initialRows: 5, minRows: 1 })])).tune("bump", { maxRows: 5 });
  const other = defineMigration({ name: "other", table: notes, key: "id", set: { length: 1 }, ...eager });
  const engine = await engineOn(file, [bump(), other]);
  const [status, next] = await engine.run();
  expect(status).toMatchObject({ state: "failed", owner: undefined, error: { code: "OPTIONS_INVALID" } });
  expect(status?.error?.message).toContain('what was tuned, {"maxRows":5}, does not fit the definition any more');
  expect(next).toMatchObject({ state: "done" });
  await engine.tune("bump", { maxRows: undefined } as never);
  await engine.retry("bump");
  expect((await engine.run())[0]).toMatchObject({ state: "done", rowsDone: 30 });
});

test("a knob without a limit stays without one in the books", async () => {
  const { file, db } = scratch();
  createNotes(db, ["a", "b"]);
  const migration = defineMigration({
    name: "lengths",
    table: notes,
    key: "id",
    read: ["body"],
    write: ["length"],
    map: () => Promise.reject(new Error("cannot read it")),
    ...eager,
    maxQuarantined: 1,
  });
  const engine = await engineOn(file, [migration]);
  await engine.tune("lengths", { maxQuarantined: Number.POSITIVE_INFINITY, maxCountMs: Number.POSITIVE_INFINITY });
  expect((await engine.run())[0]).toMatchObject({ state: "failed", error: { code: "QUARANTINED" } });
  const tuning = db.prepare("select tuning from tidemark_migrations").pluck().get() as string;
  expect(JSON.parse(tuning)).toEqual({ maxQuarantined: Number.MAX_VALUE, maxCountMs: Number.MAX_VALUE });
});

test("leases and heartbeats can be changed while a run goes", async () => {
  const { file, db } = scratch();
  createCounters(db, 40);
  let chunks = 0;
  let adjusted: Promise<void> | undefined;
  const engine = await engineOn(file, [bump({ minGapMs: 1 })], {
    leaseMs: 3000,
    heartbeatMs: 1000,
    probe(point) {
      if (point !== "after-commit") return;
      const text = "select heartbeat_ms, lease_expires_at - heartbeat_at from tidemark_migrations";
      const now = db.prepare(text).raw().get();
      chunks++;
      if (chunks === 1) {
        expect(now).toEqual([1000, 3000]);
        adjusted = engine.adjust({ leaseMs: 90_000, heartbeatMs: 20_000, pollMs: 7 });
      } else expect(now).toEqual([20_000, 90_000]);
    },
  });
  expect((await engine.run())[0]?.state).toBe("done");
  await adjusted;
  expect(chunks).toBeGreaterThanOrEqual(4);
  await expect(engine.adjust({ heartbeatMs: 80_000 })).rejects.toMatchObject({ code: "OPTIONS_INVALID" });
  await expect(engine.adjust({ lockTimeoutMs: 100 })).rejects.toThrow("SQLite has no timeouts of a server");
});

test("what a signal's stop and go hang on can be changed while it stops a run", async () => {
  const { file, db } = scratch();
  createCounters(db, 20);
  let utilisation = 1.5;
  const engine = await engineOn(file, [bump()], {
    signals: [{ name: "load", read: async () => ({ utilisation, reason: "busy" }) }],
  });
  const events = engine.events();
  const ran = engine.run();
  for await (const event of events) if (event.type === "state" && event.to === "throttled") break;
  // Above what it would take to go on, until that is raised.
  utilisation = 0.9;
  await engine.adjust({ resumeBelow: 0.95, signalIntervalMs: 2 });
  expect((await ran)[0]?.state).toBe("done");
});

/** Each of two migrations waits for the other to have begun, which they do only beside each other. */
function waitingForEachOther(dialect: "sqlite" | "postgresql" | "mysql"): Migration[] {
  const begun = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const { counters: first, notes: second } = tablesOf(dialect);
  return [first, second].map((table, index) => {
    const column = index === 0 ? "n" : "length";
    return defineMigration({
      name: `run-${index}`,
      table,
      key: "id",
      read: ["id"],
      write: [column],
      async map() {
        begun[index]?.resolve();
        await begun[1 - index]?.promise;
        return { [column]: 7 };
      },
      ...eager,
    } as never);
  });
}

for (const [name, register] of [
  ["sqlite", test],
  ["pg", serviceTest("postgres")],
  ["mariadb", serviceTest("mariadb")],
] as const) {
  register(`${name}: as many runs go at a time as are allowed`, async () => {
    const stage = await stageOn(name);
    for (const statement of createStatements(stage.dialect, 30)) await stage.query(statement);
    const engine = await stage.engine(waitingForEachOther(stage.dialect), { maxRuns: 2 });
    expect((await engine.run()).map(({ state, rowsDone }) => [state, rowsDone])).toEqual([
      ["done", 30],
      ["done", 30],
    ]);
    expect(await stage.query("select count(*) from counters where n = 7")).toEqual([[30]]);
  });
}

test("more runs may begin while one goes, once that is allowed", async () => {
  const stage = await stageOn("sqlite", createStatements("sqlite", 5));
  const definitions = waitingForEachOther("sqlite");
  const engine = await stage.engine(definitions);
  const events = engine.events();
  const ran = engine.run();
  for await (const event of events) if (event.type === "state" && event.to === "running") break;
  await engine.adjust({ maxRuns: 2 });
  expect((await ran).map(({ state }) => state)).toEqual(["done", "done"]);
});

test("two migrations of one table never run beside each other", async () => {
  const { file, db } = scratch();
  createNotes(db, ["a", "b", "c"]);
  let [now, most] = [0, 0];
  const migration = (name: string) =>
    defineMigration({
      name,
      table: notes,
      key: "id",
      read: ["body"],
      write: ["length"],
      async map() {
        most = Math.max(most, ++now);
        await systemClock.sleep(1);
        now--;
        return { length: 1 };
      },
      ...eager,
      maxRows: 1,
    });
  const engine = await engineOn(file, [migration("one"), migration("two")], { maxRuns: 4 });
  expect((await engine.run()).map(({ state }) => state)).toEqual(["done", "done"]);
  expect(most).toBe(1);
});

test("a migration that waits for another does so also where there would be room", async () => {
  const { file, db } = scratch();
  createCounters(db, 30);
  createNotes(db, ["a", "b", "c"]);
  const states: string[] = [];
  const behind = defineMigration({
    name: "behind",
    table: notes,
    key: "id",
    dependsOn: ["bump"],
    set: { length: 3 },
    ...eager,
  });
  const engine = await engineOn(file, [behind, bump()], {
    maxRuns: 2,
    probe(point) {
      if (point === "claimed")
        states.push(String(db.prepare("select state from tidemark_migrations where name = 'bump'").pluck().get()));
    },
  });
  expect((await engine.run()).map(({ state }) => state)).toEqual(["done", "done"]);
  expect(states).toEqual(["counting", "done"]);
});

test("a writer of this process that takes its turn never meets the lock of a chunk", async () => {
  const { file, db } = scratch();
  createCounters(db, 3000);
  createNotes(db, []);
  await using migrations = await openMigrations({
    database: { dialect: "sqlite", file },
    definitions: new URL("./support/definitions/counters.ts", import.meta.url),
  });
  await migrations.tune("bump", { minGapMs: 0, maxGapMs: 0, minRows: 20 });
  const impatient = new Sqlite(file);
  impatient.pragma("busy_timeout = 0");
  impatient.pragma("synchronous = off");
  const insert = impatient.prepare("insert into notes (body) values ('written')");
  let isOver = false;
  const ran = migrations.run().finally(() => (isOver = true));
  let writes = 0;
  // Whatever the checkpoint or a chunk of the other thread locks, it does not lock now.
  for (; !isOver && writes < 5000; writes++) await migrations.write(() => insert.run());
  expect((await ran)[0]).toMatchObject({ state: "done", rowsDone: 3000 });
  expect(impatient.prepare("select count(*) from notes").pluck().get()).toBe(writes);
  expect(writes).toBeGreaterThan(20);
  await expect(
    migrations.write(() => {
      throw new Error("of the caller");
    }),
  ).rejects.toThrow("of the caller");
  expect(await migrations.write(() => 5)).toBe(5);
  impatient.close();
});
