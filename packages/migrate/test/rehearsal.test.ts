// A chunk that is done and rolled back, and what a few of them say about all.

import { systemClock } from "@tidemark/clock";
import { createSimulation } from "@tidemark/clock/testing";
import { defineMigration } from "@tidemark/migrate";
import { serviceTest } from "@tidemark/tooling/services";
import { sql } from "drizzle-orm";
import { expect, test } from "vitest";
import { counters, createCounters, createNotes, notes } from "./support/schema.ts";
import { eager, engineOn, scratch } from "./support/scratch.ts";
import { createStatements, definitionsFor } from "./support/shared-tables.ts";
import { stageOn } from "./support/stage.ts";

for (const [name, register] of [
  ["sqlite", test],
  ["pg", serviceTest("postgres")],
  ["mariadb", serviceTest("mariadb")],
] as const) {
  register(`${name}: a dry run does a chunk and leaves nothing of it`, async () => {
    const stage = await stageOn(name);
    for (const statement of createStatements(stage.dialect, 50)) await stage.query(statement);
    const engine = await stage.engine(definitionsFor(stage.dialect));
    const before = await stage.query("select * from tidemark_migrations order by name");
    const dry = await engine.dryRun("bump");
    expect(dry).toMatchObject({ rows: 20, changed: 20, refused: [], lastKey: '[["i","20"]]' });
    expect(dry.lockMs).toBeGreaterThan(0);
    expect(dry.tookMs).toBeGreaterThanOrEqual(dry.lockMs);
    expect(await engine.dryRun("bump", { rows: 1000 })).toMatchObject({ rows: 50, lastKey: '[["i","50"]]' });
    expect(await engine.dryRun("lengths", { rows: 7 })).toMatchObject({ rows: 7, changed: 7 });
    expect(await stage.query("select count(*) from effects")).toEqual([[0]]);
    expect(await stage.query("select count(length) from notes")).toEqual([[0]]);
    expect(await stage.query("select * from tidemark_migrations order by name")).toEqual(before);
  });
}

test("a dry run goes on where the run stands, and says what would be refused", async () => {
  const { file, db } = scratch();
  createNotes(db, ["a", "poison", "c"]);
  const map = ({ body }: { readonly body: string }) => {
    if (body === "poison") throw new Error("bad row");
    return { length: body.length };
  };
  const lengths = defineMigration({ name: "lengths", table: notes, key: "id", read: ["body"], write: ["length"], map });
  db.exec("create table limited (id integer primary key, n integer check (n < 3))");
  db.exec("insert into limited values (1, 0), (2, 0)");
  const engine = await engineOn(file, [lengths]);
  expect(await engine.dryRun("lengths")).toMatchObject({
    rows: 2,
    changed: 2,
    refused: [{ key: '[["i","2"]]', error: "bad row" }],
  });
  await engine.run();
  expect(await engine.dryRun("lengths")).toMatchObject({ rows: 0, changed: 0 });
});

test("a row that the database refuses, an empty table and a wrong key are told", async () => {
  const { file, db } = scratch();
  createCounters(db, 0);
  db.exec("create table notes (id integer primary key, body text not null, length integer check (length < 2))");
  const fill = defineMigration({ name: "fill", table: counters, key: "id", set: { n: 1 } });
  const limited = defineMigration({ name: "limited", table: notes, key: "id", set: { length: 5 } });
  const effect = defineMigration({
    name: "effect",
    table: counters,
    key: "id",
    read: ["id"],
    delivery: "at-least-once",
    effect() {},
  });
  const slip = defineMigration({ name: "slip", table: counters, key: "id", set: { n: sql`no_such` } });
  const engine = await engineOn(file, [fill, limited, effect, slip]);
  expect(await engine.dryRun("fill")).toMatchObject({ rows: 0, lastKey: undefined });
  db.exec("insert into notes values (1, 'x', null); insert into counters values (1, 0)");
  const { refused } = await engine.dryRun("limited");
  expect(refused[0]?.error).toContain("CHECK constraint failed");
  await expect(engine.dryRun("effect")).rejects.toMatchObject({ code: "OPTIONS_INVALID" });
  await expect(engine.dryRun("slip")).rejects.toMatchObject({ code: "SQL_FAILED" });
  await expect(engine.dryRun("fill", { rows: 0 })).rejects.toMatchObject({ code: "OPTIONS_INVALID" });
  await expect(engine.dryRun("other")).rejects.toMatchObject({ code: "NOT_FOUND" });
});

test("a sample predicts how long all rows take, in the time of its clock", async () => {
  const { file, db } = scratch();
  createCounters(db, 1000);
  db.exec("analyze");
  const simulation = createSimulation({ seed: 1 });
  const { clock } = simulation;
  // Each row takes a millisecond of the simulated clock.
  const bump = defineMigration({
    name: "bump",
    table: counters,
    key: "id",
    remaining: sql`${counters.n} = 0`,
    async run({ rows, execute }) {
      const { changes } = await execute(sql`update ${counters} set n = n + 1 where ${rows}`);
      await clock.sleep(changes);
      return changes;
    },
    ...eager,
    nice: 1,
    maxGapMs: 1000,
    initialRows: 10,
    minRows: 10,
    maxRows: 10,
  });
  const engine = await engineOn(file, [bump], { clock });
  const sampled = engine.sample("bump", { forMs: 95 });
  await simulation.advance(1000);
  const { chunks, rows, changed, rowsPerChunk, total, copyMs } = await sampled;
  // Ten for the rows of a chunk and ten of rest.
  expect({ chunks, rows, changed, rowsPerChunk, total }).toEqual({
    chunks: 5,
    rows: 50,
    changed: 50,
    rowsPerChunk: 10,
    total: 1000,
  });
  expect(copyMs).toBeCloseTo(2000, 0);
  expect(db.prepare("select sum(n) from counters").pluck().get()).toBe(0);
  const all = engine.sample("bump", { forMs: 1e9 });
  await simulation.advance(10_000);
  expect(await all).toMatchObject({ rows: 1000, total: 1000 });
});

test("a sample of a run that is half done says how long the other half takes", async () => {
  const { file, db } = scratch();
  createCounters(db, 1000);
  db.exec("analyze");
  const bump = defineMigration({
    name: "bump",
    table: counters,
    key: "id",
    where: sql`${counters.id} % 2 = 0`,
    set: { n: sql`${counters.n} + 1` },
    remaining: sql`${counters.id} % 2 = 0 and ${counters.n} = 0`,
    ...eager,
    initialRows: 50,
    minRows: 50,
    maxRows: 50,
  });
  let chunks = 0;
  const stop = new AbortController();
  // On it, whatever happens between two looks takes a millisecond.
  let ms = 0;
  const engine = await engineOn(file, [bump], {
    clock: { ...systemClock, monotonic: () => ms++ },
    probe(point) {
      if (point === "after-commit" && ++chunks === 10) stop.abort();
    },
  });
  const before = await engine.sample("bump", { forMs: 40 });
  expect(before).toMatchObject({ total: 500 });
  await engine.run({ signal: stop.signal }).catch(() => undefined);
  expect(await engine.get("bump")).toMatchObject({ rowsDone: 250 });
  const after = await engine.sample("bump", { forMs: 40 });
  expect(after).toMatchObject({ total: 250, chunks: before.chunks, rows: before.rows });
  expect(after.copyMs).toBeCloseTo((before.copyMs ?? 0) / 2, 0);
});
