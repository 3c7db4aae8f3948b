import { join } from "node:path";
import Database from "better-sqlite3";
import { systemClock } from "@tidemark/clock";
import fc from "fast-check";
import { expect, test } from "vitest";
import { runNow } from "../../src/history/flow.ts";
import { MomentTable } from "../../src/history/moment-table.ts";
import { Moments } from "../../src/history/moments.ts";
import { check, DirectWriter, removeDatabase } from "./direct.ts";
import { temporaryFolder } from "./helpers.ts";
import { anyStep, Script } from "./script.ts";

const runs = process.env["TIDEMARK_LONG"] === "1" ? 1000 : 60;

/** What each position shows, and which one each cursor and time mean, from a position on. */
function visible(file: string, from: number, cursors: readonly string[]) {
  const db = new Database(file, { readonly: true });
  try {
    const moments = new Moments(new MomentTable(db));
    const now = runNow(moments.now());
    const states: Record<number, unknown> = {};
    const at = db
      .prepare(
        `SELECT quote(o.key), quote(v.value), v.version FROM objects o
         JOIN versions v ON v.pos = (SELECT max(w.pos) FROM versions w WHERE w.object = o.id AND w.pos <= ?)
         WHERE v.value IS NOT NULL ORDER BY o.key`,
      )
      .raw();
    for (let position = from; position <= now; position++) states[position] = at.all(position);
    const log = db
      .prepare("SELECT pos, quote(value), version, parent FROM versions WHERE pos > ? ORDER BY pos")
      .raw()
      .all(from);
    const stream = runNow(moments.stream("s"));
    const find = (moment: object) => {
      try {
        return runNow(moments.find(moment, stream));
      } catch (error) {
        return (error as { code: string }).code;
      }
    };
    const byCursor = cursors.map((cursor) => [cursor, find({ cursor })] as const);
    const byTime = Array.from({ length: 60 }, (_, index) => [index, find({ timeMs: index * 1000 })] as const);
    // Below the floor nobody may look, so what is said there does not count.
    const isVisible = ([, position]: readonly [unknown, unknown]) => typeof position === "number" && position >= from;
    return { states, log, byCursor: byCursor.filter(isVisible), byTime: byTime.filter(isVisible) };
  } finally {
    db.close();
  }
}

test("whatever is pruned, every state from the floor on stays as it was and the database is sound", {
  timeout: 3_600_000,
}, async () => {
  const folder = temporaryFolder({ isInMemory: true });
  let round = 0;
  const fraction = fc.nat({ max: 100 }).map((percent) => percent / 100);
  const prunes = fc.array(fc.record({ before: fraction, consumer: fc.option(fraction), isOne: fc.boolean() }), {
    minLength: 1,
    maxLength: 3,
  });
  await fc.assert(
    fc.asyncProperty(fc.array(anyStep, { maxLength: 20 }), prunes, async (steps, wanted) => {
      const script = new Script({ isVersioned: true });
      const file = join(folder, `${round++}.db`);
      const writer = new DirectWriter(file);
      const cursors: string[] = [];
      try {
        let now = 1000;
        writer.append(script.frames.splice(0), now);
        for (const step of steps) {
          script.run(step);
          now += 1000;
          writer.append(script.frames.splice(0), now);
          cursors.push(script.cursor);
        }
        let floor = 0;
        for (const { before, consumer, isOne } of wanted) {
          const { position } = writer.append([]);
          const at = (share: number) => Math.round(floor + share * (position - floor));
          if (consumer !== null) writer.writer.setConsumer("c", at(consumer), now);
          const least = Math.min(at(before), consumer === null ? position : at(consumer));
          const expected = visible(file, least, cursors);
          const input = { before: { position: at(before) }, stream: isOne ? "s" : undefined };
          const pruned = await writer.writer.prune(input);
          expect(pruned.floor).toBe(least);
          expect(visible(file, least, cursors)).toEqual(expected);
          expect(check(file).findings).toEqual([]);
          floor = least;
          writer.writer.setConsumer("c", undefined, now);
        }
        // What is left is what the floor still needs, and no more.
        const left = new Database(file, { readonly: true });
        const superfluous = left.prepare(
          "SELECT count(*) FROM versions v WHERE pos < (SELECT max(w.pos) FROM versions w WHERE w.object = v.object AND w.pos <= ?)",
        );
        expect(superfluous.pluck().get(floor)).toBe(0);
        left.close();
      } finally {
        writer.close();
        removeDatabase(file);
      }
    }),
    { numRuns: runs },
  );
});

test("pruning takes short turns, so commits get in between", async () => {
  const file = join(temporaryFolder({ isInMemory: true }), "h.db");
  const writer = new DirectWriter(file);
  const script = new Script({ isVersioned: true });
  for (let step = 0; step < 4000; step++) {
    script.run({ type: "transaction", writes: [0, 1, 2, 3].map((key) => ({ key, value: step % 3 })), poison: 99 });
  }
  writer.append(script.frames.splice(0));
  const pruning = writer.writer.prune({ before: {}, stream: undefined });
  let between = 0;
  let isDone = false;
  void pruning.then(() => {
    isDone = true;
  });
  while (!isDone) {
    script.run({ type: "transaction", writes: [{ key: 5, value: between % 3 }], poison: 99 });
    writer.append(script.frames.splice(0));
    between++;
    await new Promise<void>((resolve) => systemClock.setImmediate(resolve));
  }
  const { removed } = await pruning;
  expect(removed).toBe(4000 * 4 - 4);
  expect(between).toBeGreaterThan(3);
  writer.close();
  expect(check(file).findings).toEqual([]);
});
