// Real processes, really killed.

import { seededRng, systemClock } from "@tidemark/clock";
import type { RunPoint } from "@tidemark/migrate/internal";
import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { createCounters, createNotes } from "./support/schema.ts";
import { engineOn, scratch, upTo } from "./support/scratch.ts";
import { bump, lengths } from "./support/definitions/counters.ts";
import { startProcess } from "./support/processes.ts";

const isLong = process.env["TIDEMARK_LONG"] === "1";
const rows = isLong ? 20_000 : 800;

/** Rows, and a ledger of every effect on them that no transaction of the engine knows of. */
function prepare(): ReturnType<typeof scratch> {
  const { file, db } = scratch();
  createCounters(db, rows);
  createNotes(
    db,
    upTo(rows).map((n) => "x".repeat(n % 50)),
  );
  db.exec(`create table effects (id integer not null);
    create trigger ledger after update on counters begin insert into effects values (new.id); end`);
  return { file, db };
}

function expectExactlyOnce(db: Database.Database): void {
  const one = (text: string) => db.prepare(text).pluck().get();
  expect(one("select count(*) from effects")).toBe(rows);
  expect(one("select count(distinct id) from effects")).toBe(rows);
  expect(one("select count(*) from counters where n <> 1")).toBe(0);
  expect(one("select count(*) from notes where length is not length(body)")).toBe(0);
  const books = db.prepare("select state, rows_done, total from tidemark_migrations order by name").raw().all();
  expect(books).toEqual([
    ["done", rows, rows],
    ["done", rows, rows],
  ]);
}

/** The counters say exactly what was done, at any instant. */
function expectTrueBooks(db: Database.Database): void {
  const read = db.transaction(() => ({
    effects: db.prepare("select count(*) from effects").pluck().get(),
    done: db.prepare("select rows_done from tidemark_migrations where name = 'bump'").pluck().get(),
  }));
  const { effects, done } = read();
  expect(done).toBe(effects);
}

const points: readonly RunPoint[] = [
  "claimed",
  "bounded",
  "counted",
  "before-begin",
  "before-effect",
  "after-effect",
  "before-commit",
  "after-commit",
  "exhausted",
  "verified",
  "before-done",
  "done",
];

test("M9: killed at every point of a run, it loses nothing and does nothing twice", {
  timeout: 1_200_000,
}, async () => {
  const { file, db } = prepare();
  const rng = seededRng(isLong ? systemClock.now() : 1);
  let kills = 0;
  for (const point of points) {
    const isOften = point.startsWith("before-") || point.startsWith("after-");
    const { exited } = startProcess("worker", file, "drain", point, String(isOften ? rng.int(1, 6) : 1));
    const { signal } = await exited;
    if (signal === "SIGKILL") kills++;
    expectTrueBooks(db);
  }
  // Points of the start are passed once in a run that goes on; all others kill.
  expect(kills).toBeGreaterThanOrEqual(points.length - 3);
  await startProcess("worker", file, "drain").exited;
  expectExactlyOnce(db);
});

test("M9: killed at ten random instants, it loses nothing and does nothing twice", { timeout: 1_200_000 }, async () => {
  const rounds = isLong ? 1000 : 10;
  const { file, db } = prepare();
  const rng = seededRng(isLong ? systemClock.now() : 2);
  for (let round = 0; round < rounds; round++) {
    const child = startProcess("worker", file, "forever");
    await child.ready;
    await systemClock.sleep(rng.int(0, 60));
    child.process.kill("SIGKILL");
    await child.exited;
    expectTrueBooks(db);
  }
  await startProcess("worker", file, "drain").exited;
  expectExactlyOnce(db);
});

test("M17: eight processes that start at once on fresh books do every row once", { timeout: 120_000 }, async () => {
  const { file, db } = prepare();
  const children = upTo(8).map(() => startProcess("worker", file, "drain"));
  for (const child of children) expect((await child.exited).code).toBe(0);
  expectExactlyOnce(db);
});

test("M10: a process that is stopped past its lease and wakes up writes nothing", { timeout: 1_200_000 }, async () => {
  const { file, db } = prepare();
  const rounds = isLong ? 1000 : 5;
  const zombie = startProcess("worker", file, "forever");
  await zombie.ready;
  let takeovers = 0;
  for (let round = 0; round < rounds; round++) {
    await stopOutsideOfTransactions(zombie.process, file);
    const stop = new AbortController();
    let chunks = 0;
    const engine = await engineOn(file, [bump, lengths], {
      leaseMs: 300,
      heartbeatMs: 100,
      owner: "heir",
      probe(point) {
        if (point === "after-commit" && ++chunks === 3) stop.abort();
      },
    });
    await engine.run({ signal: stop.signal }).catch(() => {});
    await engine.close();
    takeovers += chunks > 0 ? 1 : 0;
    zombie.process.kill("SIGCONT");
    await systemClock.sleep(40);
    expectTrueBooks(db);
  }
  zombie.process.kill("SIGKILL");
  await zombie.exited;
  expect(takeovers).toBeGreaterThan(0);
  await startProcess("worker", file, "drain").exited;
  expectExactlyOnce(db);
});

/** A process that is stopped with the write lock in its hands locks everybody out, as with any program. */
async function stopOutsideOfTransactions(
  child: { kill(signal: NodeJS.Signals): boolean },
  file: string,
): Promise<void> {
  const probe = new Database(file);
  probe.pragma("busy_timeout = 50");
  try {
    for (;;) {
      child.kill("SIGSTOP");
      try {
        probe.exec("begin immediate; rollback");
        return;
      } catch {
        child.kill("SIGCONT");
        await systemClock.sleep(3);
      }
    }
  } finally {
    probe.close();
  }
}

test("two live writers go on through a migration, and neither they nor it lose anything", {
  timeout: 120_000,
}, async () => {
  const { file, db } = prepare();
  const writers = [1, 2].map((seed) => startProcess("writer", file, String(seed)));
  for (const writer of writers) await writer.ready;
  const engine = await engineOn(file, [bump, lengths]);
  const statuses = await engine.run();
  const last: Record<string, string>[] = [];
  for (const writer of writers) {
    writer.process.stdin.end();
    last.push(JSON.parse((await writer.exited).output.replace("ready\n", "")) as Record<string, string>);
  }
  expect(statuses.map(({ state }) => state)).toEqual(["done", "done"]);
  expect(db.prepare("select count(*) from notes where length is not length(body)").pluck().get()).toBe(0);
  const [first = {}, second = {}] = last;
  expect(Object.keys(first).length + Object.keys(second).length).toBeGreaterThan(20);
  const bodyOf = db.prepare("select body from notes where id = ?").pluck();
  for (const [id, body] of Object.entries(first)) expect([body, second[id]]).toContain(bodyOf.get(id));
  for (const [id, body] of Object.entries(second)) expect([body, first[id]]).toContain(bodyOf.get(id));
});
