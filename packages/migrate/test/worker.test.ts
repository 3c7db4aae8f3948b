import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@tidemark/clock";
import { type Migrations, openMigrations } from "@tidemark/migrate";
import { expect, onTestFinished, test } from "vitest";
import { createCounters, createNotes } from "./support/schema.ts";
import { scratch, upTo } from "./support/scratch.ts";

const folder = new URL("./support/definitions/", import.meta.url);

async function opened(file: string, options: object = {}): Promise<Migrations> {
  const migrations = await openMigrations({
    database: { dialect: "sqlite", file },
    definitions: folder,
    signalIntervalMs: 10,
    ...options,
  });
  onTestFinished(() => migrations.close());
  return migrations;
}

function prepared(): ReturnType<typeof scratch> {
  const { file, db } = scratch();
  createCounters(db, 300);
  createNotes(
    db,
    upTo(300).map((n) => "x".repeat(n % 50)),
  );
  return { file, db };
}

test("a folder of definitions runs in a thread, functions and all, and its events arrive here", async () => {
  const { file, db } = prepared();
  const migrations = await opened(file);
  const types = new Set<string>();
  const told = (async () => {
    for await (const event of migrations.events()) types.add(event.type === "state" ? `state ${event.to}` : event.type);
  })();
  const statuses = await migrations.run();
  expect(statuses).toMatchObject([
    { name: "bump", state: "done", rowsDone: 300 },
    { name: "lengths", state: "done", rowsDone: 300, rowsChanged: 300 },
  ]);
  expect(db.prepare("select count(*) from notes where length is not length(body)").pluck().get()).toBe(0);
  await migrations.requireDone("bump", "lengths");
  expect((await migrations.history("bump")).map(({ type }) => type)).toEqual([
    "registered",
    "claim",
    "counted",
    "exhaust",
    "verified",
  ]);
  await migrations.close();
  await told;
  expect([...types]).toEqual(expect.arrayContaining(["progress", "state running", "state done"]));
});

test("M1: a mapper that never gives up its thread does not hold up the event loop", async () => {
  const { file, db } = scratch();
  createNotes(db, ["a"]);
  const scratchFolder = mkdtempSync(join(tmpdir(), "tidemark-definitions-"));
  onTestFinished(() => rmSync(scratchFolder, { recursive: true, force: true }));
  const flag = join(scratchFolder, "flag");
  // It spins until this thread has made a file: in this thread it would spin for ever.
  const spinning = new URL("./support/spinning.ts", import.meta.url);
  db.prepare("update notes set body = ?").run(flag);
  const migrations = await opened(file, { definitions: spinning });
  const run = migrations.run();
  await systemClock.sleep(50);
  writeFileSync(flag, "");
  expect((await run)[0]).toMatchObject({ state: "done", rowsDone: 1 });
});

test("a signal of this thread stops a run in the other one, with its reason, and lets it go on", async () => {
  const { file } = prepared();
  let utilisation = 3;
  const lag = { name: "lag", read: async () => ({ utilisation, reason: "the replica is 9 s behind" }) };
  const migrations = await opened(file, { signals: [lag] });
  const events = migrations.events();
  const run = migrations.run();
  for await (const event of events) if (event.type === "state" && event.to === "throttled") break;
  // On a busy machine the first reading may come after the run was held back for want of one.
  await expect
    .poll(() => migrations.get("bump"), { timeout: 20_000 })
    .toMatchObject({
      state: "throttled",
      throttleReason: "lag: the replica is 9 s behind",
      rowsDone: 0,
    });
  utilisation = 0.1;
  expect((await run).map(({ state }) => state)).toEqual(["done", "done"]);
});

test("an aborted run gives back its lease before it rejects with the reason", async () => {
  const { file } = prepared();
  const migrations = await opened(file);
  // It rests behind its first chunk: the other thread would have done them all before a slow one here stops it.
  await migrations.tune("bump", { minGapMs: 600_000, maxGapMs: 600_000 });
  const stop = new AbortController();
  const reason = new Error("enough");
  const events = migrations.events();
  const run = migrations.run({ signal: stop.signal });
  for await (const event of events) if (event.type === "progress") break;
  stop.abort(reason);
  await expect(run).rejects.toBe(reason);
  expect(await migrations.get("bump")).toMatchObject({ state: "registered", owner: undefined });
});

test("pause, resume, cancel and retry reach the thread, and errors come back with their codes", async () => {
  const { file } = prepared();
  const migrations = await opened(file);
  await migrations.pause("bump");
  expect(await migrations.get("bump")).toMatchObject({ state: "paused" });
  await expect(migrations.retry("bump")).rejects.toMatchObject({ code: "STATE_REFUSED", name: "MigrateError" });
  await migrations.resume("bump");
  await migrations.cancel("lengths");
  expect((await migrations.run()).map(({ state }) => state)).toEqual(["done", "cancelled"]);
  await expect(migrations.requireDone("lengths")).rejects.toMatchObject({ code: "NOT_DONE" });
  await migrations.retry("lengths");
  migrations.start();
  expect((await migrations.run()).map(({ state }) => state)).toEqual(["done", "done"]);
});

test("what the thread cannot open or load is refused here with its code", async () => {
  const { file } = scratch("delete");
  await expect(opened(file)).rejects.toMatchObject({ code: "DATABASE_UNFIT" });
  const fit = prepared();
  await expect(opened(fit.file, { definitions: "./no/such/folder" })).rejects.toMatchObject({
    code: "DEFINITIONS_INVALID",
  });
  const none = new URL("./support/scratch.ts", import.meta.url);
  await expect(opened(fit.file, { definitions: none })).rejects.toMatchObject({ code: "DEFINITIONS_INVALID" });
});

test("what cannot be sent to the thread is refused like anything else", async () => {
  const { file } = prepared();
  const migrations = await opened(file);
  const tuned = migrations.tune("bump", { nice: (() => 1) as never });
  await expect(tuned).rejects.toMatchObject({ name: "MigrateError", code: "OPTIONS_INVALID" });
  expect(await migrations.get("bump")).toMatchObject({ state: "registered" });
});

test("after close every call is refused, and closing again is nothing", async () => {
  const { file } = prepared();
  const migrations = await opened(file);
  await migrations.close();
  await migrations.close();
  await expect(migrations.list()).rejects.toMatchObject({ code: "CLOSED" });
});

test("what definitions keep open in the thread holds up neither close nor a refusal", async () => {
  const { file } = prepared();
  const scratchFolder = mkdtempSync(join(tmpdir(), "tidemark-definitions-"));
  onTestFinished(() => rmSync(scratchFolder, { recursive: true, force: true }));
  const restless = join(scratchFolder, "restless.mjs");
  const counters = new URL("./counters.ts", folder).href;
  writeFileSync(restless, `setInterval(() => {}, 60_000);\nexport * from ${JSON.stringify(counters)};`);
  const migrations = await opened(file, { definitions: restless });
  const events = migrations.events();
  await migrations.run();
  await migrations.close();
  const states: string[] = [];
  for await (const event of events) if (event.type === "state") states.push(`${event.name} ${event.to}`);
  expect(states).toEqual(expect.arrayContaining(["bump done", "lengths done"]));
  const unfit = scratch("delete");
  await expect(opened(unfit.file, { definitions: restless })).rejects.toMatchObject({ code: "DATABASE_UNFIT" });
});
