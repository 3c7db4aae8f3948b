import { createSimulation } from "@tidemark/clock/testing";
import { defineMigration, MigrateError } from "@tidemark/migrate";
import { Ledger, LeaseLost, openSqlite, type RunPoint } from "@tidemark/migrate/internal";
import { sql } from "drizzle-orm";
import fc from "fast-check";
import { expect, onTestFinished, test } from "vitest";
import { counters, createCounters } from "./support/schema.ts";
import { eager, engineOn, scratch } from "./support/scratch.ts";

const bump = (tuning = {}) =>
  defineMigration({
    name: "bump",
    table: counters,
    key: "id",
    set: { n: sql`${counters.n} + 1` },
    remaining: sql`${counters.n} = 0`,
    ...eager,
    initialRows: 10,
    maxRows: 10,
    ...tuning,
  });

const worker = (owner: string) => ({ owner, leaseMs: 15_000, heartbeatMs: 5000 });

async function booksOf(file: string, simulation = createSimulation({ seed: 1 })) {
  const database = await openSqlite({ dialect: "sqlite", file });
  onTestFinished(() => database.connection.close());
  const hash = "h";
  const ledger = new Ledger(database, simulation.clock);
  return { database, ledger, hash, simulation };
}

test("of all who ask, one gets the lease, until it has run out", async () => {
  const { file, db } = scratch();
  createCounters(db, 5);
  await (await engineOn(file, [bump()])).close();
  const { ledger, simulation } = await booksOf(file);
  const first = await ledger.claim("bump", "h", worker("a"));
  expect(first?.lease.fence).toBe(1);
  expect(await ledger.claim("bump", "h", worker("b"))).toBeUndefined();
  await simulation.advance(14_999);
  expect(await ledger.claim("bump", "h", worker("b"))).toBeUndefined();
  await simulation.advance(1);
  const second = await ledger.claim("bump", "h", worker("b"));
  expect(second?.lease.fence).toBe(2);
  const log = await ledger.history("bump");
  expect(log.at(-1)).toMatchObject({ type: "claim", owner: "b", detail: { takenFrom: "a" } });
});

test("a heartbeat keeps the lease, and is refused once somebody else has it", async () => {
  const { file, db } = scratch();
  createCounters(db, 5);
  await (await engineOn(file, [bump()])).close();
  const { ledger, simulation } = await booksOf(file);
  const first = await ledger.claim("bump", "h", worker("a"));
  if (first === undefined) throw new Error("not claimed");
  await simulation.advance(10_000);
  await ledger.update(first.lease, worker("a"), {});
  await simulation.advance(10_000);
  expect(await ledger.claim("bump", "h", worker("b"))).toBeUndefined();
  await simulation.advance(5000);
  expect(await ledger.claim("bump", "h", worker("b"))).toBeDefined();
  await expect(ledger.update(first.lease, worker("a"), {})).rejects.toBeInstanceOf(LeaseLost);
  await expect(ledger.transition(first.lease, { type: "fail" })).rejects.toBeInstanceOf(LeaseLost);
});

test("M13: a run whose worker died is shown as stalled after two heartbeats, and never as running", async () => {
  const { file, db } = scratch();
  createCounters(db, 5);
  const simulation = createSimulation({ seed: 2 });
  const engine = await engineOn(file, [bump()], { clock: simulation.clock });
  const { ledger } = await booksOf(file, simulation);
  await ledger.claim("bump", "h", worker("dead"));
  expect(await engine.get("bump")).toMatchObject({ state: "counting", owner: "dead" });
  await simulation.advance(10_000);
  expect(await engine.get("bump")).toMatchObject({ state: "counting" });
  await simulation.advance(1);
  expect(await engine.get("bump")).toMatchObject({ state: "stalled", storedState: "counting" });
});

test("M17: a dead worker's run is taken over within its lease and a second", async () => {
  const { file, db } = scratch();
  createCounters(db, 30);
  const simulation = createSimulation({ seed: 3 });
  const engine = await engineOn(file, [bump()], { clock: simulation.clock, pollMs: 1000 });
  const { ledger } = await booksOf(file, simulation);
  await ledger.claim("bump", "h", worker("dead"));
  const startMs = simulation.clock.monotonic();
  const events = engine.events();
  const [status] = await simulation.run(() => engine.run());
  expect(status).toMatchObject({ state: "done", rowsDone: 30 });
  expect(simulation.clock.monotonic() - startMs).toBeLessThanOrEqual(16_100);
  expect((await events.next()).value).toMatchObject({ type: "state", from: "counting", to: "counting" });
});

test("a live worker that beats more rarely than others keeps its run", async () => {
  const { file, db } = scratch();
  createCounters(db, 30);
  const simulation = createSimulation({ seed: 6 });
  const engine = await engineOn(file, [bump()], { clock: simulation.clock, pollMs: 1000 });
  const { ledger } = await booksOf(file, simulation);
  const rare = { owner: "rare", leaseMs: 180_000, heartbeatMs: 60_000 };
  const claimed = await ledger.claim("bump", "h", rare);
  if (claimed === undefined) throw new Error("not claimed");
  for (const atMs of [60_000, 120_000]) {
    simulation.clock.setTimer(atMs, () => void ledger.update(claimed.lease, rare, {}));
  }
  const startMs = simulation.clock.monotonic();
  expect((await simulation.run(() => engine.run()))[0]).toMatchObject({ state: "done", rowsDone: 30 });
  // It is dead from its second beat on.
  expect(simulation.clock.monotonic() - startMs).toBeGreaterThanOrEqual(300_000);
});

test("a wall clock that jumps back an hour does not keep a dead worker's run for an hour", async () => {
  const { file, db } = scratch();
  createCounters(db, 30);
  const simulation = createSimulation({ seed: 4 });
  const engine = await engineOn(file, [bump()], { clock: simulation.clock, pollMs: 1000 });
  const { ledger } = await booksOf(file, simulation);
  await ledger.claim("bump", "h", worker("dead"));
  simulation.jumpWallClock(-3_600_000);
  const startMs = simulation.clock.monotonic();
  expect((await simulation.run(() => engine.run()))[0]).toMatchObject({ state: "done" });
  expect(simulation.clock.monotonic() - startMs).toBeLessThanOrEqual(17_100);
});

test("a wall clock that jumps ahead costs a live worker its lease, and not one row twice", async () => {
  const { file, db } = scratch();
  createCounters(db, 30);
  const simulation = createSimulation({ seed: 5 });
  let hasJumped = false;
  const second = await engineOn(file, [bump()], { clock: simulation.clock, owner: "second" });
  let taken: Promise<unknown> | undefined;
  const first = await engineOn(file, [bump({ minGapMs: 100, maxGapMs: 100 })], {
    clock: simulation.clock,
    owner: "first",
    probe(point) {
      if (point !== "after-commit" || hasJumped) return;
      hasJumped = true;
      simulation.jumpWallClock(3_600_000);
      taken = second.run();
    },
  });
  await simulation.run(() => first.run());
  await taken;
  expect(await first.get("bump")).toMatchObject({ state: "done", rowsDone: 30 });
  expect(db.prepare("select distinct n from counters").pluck().all()).toEqual([1]);
  expect((await first.history("bump")).filter(({ type }) => type === "claim").map(({ owner }) => owner)).toEqual([
    "first",
    "second",
  ]);
});

test("M10: whoever lost the lease writes nothing, at whatever point it lost it", async () => {
  const points: RunPoint[] = [
    "claimed",
    "bounded",
    "counted",
    "before-begin",
    "after-commit",
    "exhausted",
    "verified",
    "before-done",
  ];
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...points), fc.integer({ min: 1, max: 4 }), async (at, nth) => {
      const { file, db } = scratch();
      createCounters(db, 40);
      let left = nth;
      let sumThen: unknown;
      let bookThen: unknown;
      const book = () => db.prepare("select * from tidemark_migrations").get();
      const engine = await engineOn(file, [bump()], {
        pollMs: 1_000_000,
        probe(point) {
          if (point !== at || --left !== 0) return;
          // Somebody else has it from now on.
          db.exec("update tidemark_migrations set fence = fence + 1, owner = 'other', lease_expires_at = 9e15");
          sumThen = db.prepare("select sum(n) from counters").pluck().get();
          bookThen = book();
        },
      });
      const stop = new AbortController();
      const events = engine.events();
      const run = engine.run({ signal: stop.signal }).catch(() => {});
      for await (const event of events) {
        if (event.type === "lost" || (event.type === "state" && event.to === "done")) break;
      }
      stop.abort();
      await run;
      if (bookThen !== undefined) {
        expect(book()).toEqual(bookThen);
        expect(db.prepare("select sum(n) from counters").pluck().get()).toBe(sumThen);
      }
    }),
    { numRuns: 20 },
  );
});

test("an error in the middle of a chunk leaves neither its rows nor its cursor, and the chunk is done once (M9)", async () => {
  const points: RunPoint[] = ["before-begin", "before-effect", "after-effect", "before-commit", "after-commit"];
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...points), fc.array(fc.nat(8), { maxLength: 5 }), async (at, when) => {
      const { file, db } = scratch();
      createCounters(db, 40);
      let passes = 0;
      const engine = await engineOn(file, [bump()], {
        probe(point) {
          if (point === at && when.includes(passes++))
            throw Object.assign(new Error("in the way"), { code: "SQLITE_BUSY" });
        },
      });
      expect((await engine.run())[0]).toMatchObject({ state: "done", rowsDone: 40, rowsChanged: 40 });
      expect(db.prepare("select distinct n from counters").pluck().all()).toEqual([1]);
    }),
    { numRuns: 20 },
  );
});

test("R5: how a run ended is written again when the database was in the way", async () => {
  const { file, db } = scratch();
  createCounters(db, 10);
  const simulation = createSimulation({ seed: 6 });
  db.exec("create table gate (open integer); insert into gate values (0)");
  const migration = defineMigration({
    name: "broken",
    table: counters,
    key: "id",
    remaining: sql`${counters.n} = 0`,
    run: () => Promise.reject(new MigrateError("BODY_FAILED", "broken")),
    ...eager,
  });
  const engine = await engineOn(file, [migration], { clock: simulation.clock });
  db.exec(`create trigger refuse before update of ended_at on tidemark_migrations
    when new.state = 'failed' and (select open from gate) = 0
    begin select raise(abort, 'not now'); end`);
  // Attempts come at once, after 100 ms, and after 500 ms more.
  simulation.clock.setTimer(550, () => db.exec("update gate set open = 1"));
  expect((await simulation.run(() => engine.run()))[0]).toMatchObject({
    state: "failed",
    error: { code: "BODY_FAILED" },
  });
});
