import { expect, test } from "vitest";
import { bump, lengths } from "./support/definitions/counters.ts";
import { startProcess } from "./support/processes.ts";
import { createCounters, createNotes } from "./support/schema.ts";
import { engineOn, scratch, upTo } from "./support/scratch.ts";

const rows = process.env["TIDEMARK_LONG"] === "1" ? 20_000 : 800;

test("two live writers go on through a migration, and neither they nor it lose anything", {
  timeout: 120_000,
}, async () => {
  const { file, db } = scratch();
  createCounters(db, rows);
  createNotes(
    db,
    upTo(rows).map((n) => "x".repeat(n % 50)),
  );
  const writers = [1, 2].map((seed) => startProcess("writer", file, String(seed)));
  for (const writer of writers) await writer.ready;
  // Nobody but the writers has written a length yet. The run waits until they are at it, in the middle of its first rows.
  const written = db.prepare("select count(*) from notes where length is not null").pluck();
  let isUnderWay = false;
  let hasPassed = false;
  const writersAreSlow = {
    name: "writers",
    async read() {
      hasPassed ||= isUnderWay && (written.get() as number) > 20;
      return { utilisation: isUnderWay && !hasPassed ? 2 : 0, reason: "they have hardly begun" };
    },
  };
  const engine = await engineOn(file, [bump, lengths], {
    signals: [writersAreSlow],
    probe: (point) => {
      if (point === "after-commit") isUnderWay = true;
    },
  });
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
