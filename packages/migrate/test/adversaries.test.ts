// Engines that break one promise each, through the ports that a real one uses. The promises are checked on the real one
// first; a check that no fake fails would be worth nothing.

import { type Clock, seededRng } from "@tidemark/clock";
import { createSimulation } from "@tidemark/clock/testing";
import { defineMigration } from "@tidemark/migrate";
import { MigrationEngine, openSqlite, resolveEngine, type RunPoint } from "@tidemark/migrate/internal";
import Sqlite from "better-sqlite3";
import { sql } from "drizzle-orm";
import { expect, onTestFinished, test } from "vitest";
import { counters, createCounters } from "./support/schema.ts";
import { scratch } from "./support/scratch.ts";

type Database = Awaited<ReturnType<typeof openSqlite>>;
type Executor = Parameters<Parameters<Database["transaction"]>[1]>[0];
type Query = Parameters<Executor["execute"]>[0];
type Answer = Awaited<ReturnType<Executor["execute"]>>;

/** How an engine is not what it should be. */
interface Fake {
  /** Instead of a statement; undefined: as it is. */
  readonly say?: (query: Query, say: (query: Query) => Promise<Answer>) => Promise<Answer> | undefined;
  /** Statements of a transaction that are said behind it, on their own. */
  readonly isDeferred?: (query: Query) => boolean;
  readonly clock?: (clock: Clock) => Clock;
}

/** A way into the database that a fake has changed, and that is gone after so many commits. */
function through(database: Database, { say, isDeferred }: Fake, dieAfter: number): Database {
  let commits = 0;
  const gone = () => commits >= dieAfter;
  const asked = (executor: Executor, later?: Query[]): Executor => ({
    execute(query) {
      if (gone()) return Promise.reject(new Error("the process is dead"));
      if (later !== undefined && isDeferred?.(query)) {
        later.push(query);
        return Promise.resolve({ rows: [], changes: 1 });
      }
      return say?.(query, (other) => executor.execute(other)) ?? executor.execute(query);
    },
  });
  const { connection } = database;
  const changed = {
    ...asked(connection),
    async transaction<T>(mode: "read" | "write", work: (executor: Executor) => Promise<T>): Promise<T> {
      if (gone()) throw new Error("the process is dead");
      const later: Query[] = [];
      let isChunk = false;
      const result = await connection.transaction(mode, (executor) => {
        const inner = asked(executor, later);
        return work({
          execute(query) {
            isChunk ||= /counters/.test(query.sql);
            return inner.execute(query);
          },
        });
      });
      if (isChunk) commits++;
      for (const query of later) {
        if (gone()) throw new Error("the process is dead");
        await connection.execute(query);
      }
      return result;
    },
    close: () => connection.close(),
  };
  return new Proxy(database, {
    get(target, property) {
      if (property === "connection") return changed;
      if (property === "transaction") return changed.transaction;
      if (property === "execute") {
        return (statement: Parameters<Database["execute"]>[0], executor: Executor = changed) =>
          executor.execute(target.dialect.toQuery(statement));
      }
      return Reflect.get(target, property, target) as unknown;
    },
  });
}

const rows = 300;

/** A migration whose rows take a millisecond each. */
const costly = (clock: Clock) =>
  defineMigration({
    name: "bump",
    table: counters,
    key: "id",
    remaining: sql`${counters.n} = 0`,
    async run({ rows: chunk, execute }) {
      const { changes } = await execute(sql`update ${counters} set n = n + 1 where ${chunk}`);
      await clock.sleep(changes);
      return changes;
    },
    initialRows: 10,
    version: "1",
  });

/** An engine on a database, and what happened when. */
async function stage(fake: Fake, dieAfter = Number.POSITIVE_INFINITY) {
  const { file, db } = scratch();
  createCounters(db, rows);
  db.exec(`create table effects (id integer not null);
    create trigger ledger after update on counters begin insert into effects values (new.id); end`);
  const simulation = createSimulation({ seed: 3 });
  const points: { readonly point: RunPoint; readonly atMs: number }[] = [];
  let onPoint: (point: RunPoint) => void = () => {};
  const open = async (how: Fake, commits: number) => {
    const clock = how.clock?.(simulation.clock) ?? simulation.clock;
    const engine = await MigrationEngine.open({
      database: through(await openSqlite({ dialect: "sqlite", file }), how, commits),
      definitions: [costly(simulation.clock)],
      options: resolveEngine({ pollMs: 100, leaseMs: 3000, heartbeatMs: 1000 }),
      clock,
      rng: seededRng(1),
      owner: "fake",
      signals: [],
      isShared: true,
      probe(point) {
        points.push({ point, atMs: simulation.clock.monotonic() });
        onPoint(point);
      },
    });
    onTestFinished(() => engine.close());
    return engine;
  };
  return {
    db,
    file,
    simulation,
    points,
    engine: await open(fake, dieAfter),
    heir: () => open(fake, Number.POSITIVE_INFINITY),
    at: (listener: (point: RunPoint) => void) => (onPoint = listener),
  };
}

const promises = {
  /** Nobody waits long for the lock of a chunk. */
  async "short chunks"(fake: Fake) {
    const { simulation, engine, points } = await stage(fake);
    await simulation.run(() => engine.run());
    let beganMs = 0;
    for (const { point, atMs } of points) {
      if (point === "before-effect") beganMs = atMs;
      if (point === "after-commit") expect(atMs - beganMs).toBeLessThanOrEqual(5 * 10);
    }
  },
  /** Half of the time belongs to others. */
  async "room for others"(fake: Fake) {
    const { simulation, engine, points } = await stage(fake);
    await simulation.run(() => engine.run());
    let [endedMs, heldMs, freeMs] = [Number.NaN, 0, 0];
    for (const { point, atMs } of points) {
      if (point === "before-effect" && !Number.isNaN(endedMs)) freeMs += atMs - endedMs;
      if (point === "before-effect") endedMs = atMs;
      if (point === "after-commit") {
        heldMs += atMs - endedMs;
        endedMs = atMs;
      }
    }
    expect(heldMs).toBeGreaterThan(rows / 2);
    expect(freeMs / (freeMs + heldMs)).toBeGreaterThan(0.4);
  },
  /** A process that dies right after a commit has lost nothing, and nothing is done again. */
  async "exactly once"(fake: Fake) {
    const { simulation, engine, heir, db } = await stage(fake, 3);
    await simulation.run(() => engine.run()).catch(() => {});
    const next = await heir();
    await simulation.run(() => next.run());
    expect(db.prepare("select count(*), count(distinct id) from effects").raw().get()).toEqual([rows, rows]);
  },
  /** Whoever lost its lease writes nothing. */
  async fenced(fake: Fake) {
    const { simulation, engine, db, at } = await stage(fake);
    let chunks = 0;
    let effects: unknown;
    at((point) => {
      if (point !== "before-begin" || ++chunks !== 3) return;
      db.exec("update tidemark_migrations set fence = fence + 5, owner = 'other', lease_expires_at = 9e15");
      effects = db.prepare("select count(*) from effects").pluck().get();
    });
    engine.start();
    await simulation.advance(2500);
    expect(chunks).toBeGreaterThanOrEqual(3);
    expect(db.prepare("select count(*) from effects").pluck().get()).toBe(effects);
    expect(db.prepare("select owner from tidemark_migrations").pluck().get()).toBe("other");
  },
} as const satisfies Record<string, (fake: Fake) => Promise<void>>;

const nothing: Answer = { rows: [], changes: 0 };

const fakes: Readonly<Record<string, Fake & { readonly breaks: keyof typeof promises }>> = {
  "single UPDATE": {
    breaks: "short chunks",
    // Wherever a chunk would end, there are no more rows: so the bound is its end.
    say: ({ sql: text }) => (/limit 1 offset/.test(text) ? Promise.resolve(nothing) : undefined),
  },
  "no yield": {
    breaks: "room for others",
    clock: (clock) => ({
      now: () => clock.now(),
      monotonic: () => clock.monotonic(),
      setTimer: (delayMs, callback) => clock.setTimer(delayMs, callback),
      setImmediate: (callback) => clock.setImmediate(callback),
      sleep: () => new Promise<void>((resolve) => void clock.setImmediate(resolve)),
    }),
  },
  "cursor outside of the transaction": {
    breaks: "exactly once",
    isDeferred: ({ sql: text }) => /^update "tidemark_migrations" set .*"cursor" = /s.test(text),
  },
  "fence removed": {
    breaks: "fenced",
    async say({ sql: text, params }, say) {
      if (/^select "name", .* where name = \?/s.test(text)) {
        // Whatever the books say, it is the number this one once got.
        const { rows: found, changes } = await say({ sql: text, params });
        const at = text.slice(0, text.indexOf(" from ")).split(", ").indexOf('"fence"');
        return { rows: found.map((row) => (Number(row[at]) > 1 ? row.with(at, 1n) : row)), changes };
      }
      if (/^update .* and fence = \?/s.test(text)) {
        return say({ sql: text.replace("and fence = ?", "and coalesce(?, 0) >= 0"), params });
      }
      return say({ sql: text, params });
    },
  },
};

for (const [name, keep] of Object.entries(promises)) {
  test(`the engine keeps its promise: ${name}`, async () => {
    await keep({});
  });
}

for (const [name, fake] of Object.entries(fakes)) {
  test(`an engine with this fault is caught: ${name}`, async () => {
    const error: unknown = await promises[fake.breaks](fake).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    // By what was promised, and not because the fake does not work at all.
    expect((error as Error | undefined)?.name).toBe("AssertionError");
  });
}

test("the fakes work otherwise: each brings its migration to the end", async () => {
  for (const fake of Object.values(fakes)) {
    const { simulation, engine, file } = await stage(fake);
    const [status] = await simulation.run(() => engine.run());
    expect(status?.state).toBe("done");
    const db = new Sqlite(file);
    expect(db.prepare("select distinct n from counters").pluck().all()).toEqual([1]);
    db.close();
  }
});
