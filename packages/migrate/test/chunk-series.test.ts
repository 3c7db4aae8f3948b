// Chunks that go to PostgreSQL together, each in a transaction of its own.

import { systemClock } from "@tidemark/clock";
import { defineMigration, type Migration, type MigrationEvent, openMigrations } from "@tidemark/migrate";
import { type ChunkContext, Ledger, LeaseLost, performSeries, Plan } from "@tidemark/migrate/internal";
import { serviceTest } from "@tidemark/tooling/services";
import { type SQL, sql } from "drizzle-orm";
import { expect, onTestFinished, test } from "vitest";
import { linkTo } from "./support/address.ts";
import { linkToPglite } from "./support/pglite.ts";
import { eager } from "./support/scratch.ts";
import { createStatements, tablesOf } from "./support/shared-tables.ts";
import { type Stage, stageOn } from "./support/stage.ts";

const worker = { owner: "test", leaseMs: 60_000, heartbeatMs: 10_000 };
const rows = 40;
const { counters } = tablesOf("postgresql");

const onPostgres = serviceTest("postgres");
const prepared = () => stageOn("pg", createStatements("postgresql", rows));

/** A run that is claimed and running, and chunks of ten rows each. */
async function claimed(stage: Stage, set: SQL = sql`n + 1`) {
  const link = await linkTo(stage.address as never);
  const database = await link.open();
  onTestFinished(async () => {
    await database.connection.close();
    await link.end();
  });
  database.connection.limit?.({ lockTimeoutMs: 60_000 });
  const migration = defineMigration({
    name: "bump",
    table: counters,
    key: "id",
    set: { n: set },
    remaining: sql`n = 0`,
  } as never) as Migration;
  const ledger = new Ledger(database, systemClock);
  await database.dialect.prepare(database.connection);
  await ledger.register([{ name: "bump", definitionHash: "x", body: "set", tableName: "counters" }]);
  const { lease } = (await ledger.claim("bump", "x", worker)) ?? {};
  if (lease === undefined) throw new Error("nobody else is there");
  await stage.query("update tidemark_migrations set state = 'running', total = 40");
  const plan = new Plan(migration, database, "copy");
  const body = {
    statement: (range: never, and?: SQL) =>
      sql`update ${counters} set n = ${set} where ${plan.matching(range)}${and === undefined ? sql`` : sql` and ${and}`}`,
  };
  const monotonic = () => performance.now();
  const context = { plan, ledger, lease, worker, probe: () => {}, monotonic } as unknown as ChunkContext;
  const first = { after: undefined as never, upTo: [10n], rows: 10, isLast: false };
  const rangeAt = (after: number) => ({
    after: [BigInt(after)],
    upTo: [BigInt(after + 10)],
    rows: 10,
    isLast: after + 10 === rows,
  });
  return (targetMs = 10_000, from = 0, count = 3) =>
    performSeries(context, body as never, {
      ranges: Array.from({ length: count }, (_, at) => (from + at === 0 ? first : rangeAt((from + at) * 10))),
      bound: [BigInt(rows)],
      rows: 4,
      ends: 3,
      spent: { spentMs: 1, yieldedMs: 2 },
      targetMs,
    });
}

const done = (stage: Stage) => stage.query("select id from counters where n = 1 order by id");
const books = (stage: Stage) =>
  stage.query("select rows_done, chunks, is_exhausted, spent_ms from tidemark_migrations");

onPostgres("each chunk moves the books; the last one sees where the next ones end, up to the bound", async () => {
  const stage = await prepared();
  const perform = await claimed(stage);
  const results = await perform();
  expect(results.map(({ row, isLast }) => [row.rowsDone, row.chunks, row.cursor, isLast])).toEqual([
    [10, 1, '[["i","10"]]', false],
    [20, 2, '[["i","20"]]', false],
    [30, 3, '[["i","30"]]', false],
  ]);
  expect(results.map(({ ahead }) => ahead)).toEqual([
    [],
    [],
    [
      { after: [30n], upTo: [34n], rows: 4, isLast: false },
      { after: [34n], upTo: [38n], rows: 4, isLast: false },
      { after: [38n], upTo: [40n], rows: 4, isLast: true },
    ],
  ]);
  expect(await done(stage)).toHaveLength(30);
  expect(await books(stage)).toEqual([[30, 3, 0, 1]]);
  for (const { lockMs } of results) expect(lockMs).toBeGreaterThan(0);
  expect((await perform(10_000, 3, 1)).map(({ isLast, row }) => [isLast, row.isExhausted])).toEqual([[true, true]]);
});

onPostgres("a chunk is committed while those behind it wait for somebody", async () => {
  const stage = await prepared();
  const perform = await claimed(stage);
  const other = await linkTo(stage.address as never);
  onTestFinished(() => other.end());
  const database = await other.open();
  database.connection.limit?.({ idleTimeoutMs: 60_000 });
  const isWaiting = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
  const { results } = await database.connection.transaction("write", async (executor) => {
    await executor.execute({ sql: "select 1 from counters where id = 15 for update", params: [] });
    const results = perform();
    results.catch(() => {});
    while ((await stage.query(isWaiting)).length === 0);
    expect(await done(stage)).toHaveLength(10);
    expect(await books(stage)).toEqual([[10, 1, 0, 1]]);
    // Not to be waited for in here: it waits for the end of this transaction.
    return { results };
  });
  expect(await results).toHaveLength(3);
  expect(await done(stage)).toHaveLength(30);
});

onPostgres("behind a chunk that takes far too long nothing is begun", async () => {
  const stage = await prepared();
  const perform = await claimed(stage);
  const results = await perform(1e-6);
  expect(results.map(({ row }) => row.rowsDone)).toEqual([10]);
  expect(await done(stage)).toHaveLength(10);
  expect(await books(stage)).toEqual([[10, 1, 0, 1]]);
  // It goes on from there.
  expect(await perform(10_000, 1)).toHaveLength(3);
  expect(await done(stage)).toHaveLength(40);
});

onPostgres("where a row is refused, what was before it stays, and nothing is left open", async () => {
  const stage = await prepared();
  await stage.query("alter table counters add constraint small check (n < 5)");
  await stage.query("update counters set n = 4 where id = 17");
  const perform = await claimed(stage);
  await expect(perform()).rejects.toThrow("small");
  expect(await done(stage)).toHaveLength(10);
  expect(await books(stage)).toEqual([[10, 1, 0, 1]]);
  const open = "select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in%'";
  expect(await stage.query(open)).toEqual([[0]]);
  await stage.query("update counters set n = 0 where id = 17");
  expect(await perform(10_000, 1)).toHaveLength(3);
});

for (const [what, change] of [
  ["another fence", "fence = fence + 1"],
  ["another state", "state = 'paused'"],
] as const) {
  onPostgres(`nothing is done behind ${what}, wherever it comes`, async () => {
    const stage = await prepared();
    const perform = await claimed(stage);
    const [results] = await Promise.all([
      perform().catch((error: unknown) => error),
      stage.query(`update tidemark_migrations set ${change}`),
    ]);
    const count = (await done(stage)).length;
    if (Array.isArray(results)) expect(count).toBe(results.length * 10);
    else {
      expect(results).toBeInstanceOf(LeaseLost);
      expect(count).toBe(0);
    }
    expect(await books(stage)).toEqual([[count, count / 10, 0, count === 0 ? 0 : 1]]);
    await expect(perform(10_000, count / 10, 1)).rejects.toThrow(LeaseLost);
  });
}

onPostgres("done already, by chunks that were given up for lost, it is not done again", async () => {
  const stage = await prepared();
  const perform = await claimed(stage);
  await perform(10_000, 0, 2);
  await expect(perform()).rejects.toThrow("not as it was taken to be");
  // But for the chunk that begins where the books are.
  expect(await stage.query("select n, count(*) from counters group by n order by n")).toEqual([
    [0, 10],
    [1, 30],
  ]);
  expect(await books(stage)).toEqual([[30, 3, 0, 1]]);
});

onPostgres("a statement that cannot be written as a text goes one by one", async () => {
  const stage = await prepared();
  const perform = await claimed(stage, sql`n + length('$1') - 1`);
  expect((await perform()).map(({ row }) => row.rowsDone)).toEqual([10, 20, 30]);
  expect(await done(stage)).toHaveLength(30);
});

/** The texts that the driver is asked for while a run goes from its start to its end, and what the engine tells. */
async function running(definition: object, numRows: number) {
  const stage = await stageOn("pg", createStatements("postgresql", numRows));
  const asked: string[] = [];
  type Query = (config: { text?: string }, ...rest: unknown[]) => unknown;
  const { client } = stage.database as unknown as {
    readonly client: { on(event: "acquire", listener: (connection: { query: Query }) => void): void };
  };
  const known = new WeakSet<object>();
  client.on("acquire", (connection) => {
    if (known.has(connection)) return;
    known.add(connection);
    const query = connection.query.bind(connection);
    connection.query = (config, ...rest) => {
      asked.push(config.text ?? "");
      return query(config, ...rest);
    };
  });
  const bump = defineMigration({ name: "bump", table: counters, key: "id", ...definition } as never);
  const migrations = await openMigrations({ database: stage.database, definitions: [bump] });
  const events: MigrationEvent[] = [];
  const told = (async () => {
    for await (const event of migrations.events()) events.push(event);
  })();
  const [status] = await migrations.run();
  await migrations.close();
  await told;
  return { stage, status, asked: asked.filter((text) => text.includes("with held")), events };
}

const progressOf = (events: readonly MigrationEvent[]) => events.filter((event) => event.type === "progress");

onPostgres("an engine that rests for nobody asks for several at once, and tells of each", async () => {
  const size = { initialRows: 10, minRows: 10, maxRows: 10 };
  const set = { n: sql`n + 1` };
  const { status, asked, events } = await running({ ...eager, ...size, set, remaining: sql`n = 0` }, 400);
  expect(status).toMatchObject({ state: "done", rowsDone: 400, rowsChanged: 400 });
  expect(progressOf(events).map(({ rowsDone }) => rowsDone)).toEqual(
    Array.from({ length: 40 }, (_, i) => (i + 1) * 10),
  );
  // One by itself, to see where the next ones end, and the rest in fours.
  expect(asked.length).toBeLessThan(15);
  expect(asked.some((text) => text.split("with held").length === 5)).toBe(true);
});

onPostgres("an engine that rests between chunks asks for one at a time", async () => {
  const size = { initialRows: 10, minRows: 10, maxRows: 10 };
  const { status, asked } = await running(
    { ...eager, minGapMs: 1, ...size, set: { n: sql`n + 1` }, remaining: sql`n = 0` },
    100,
  );
  expect(status).toMatchObject({ state: "done" });
  expect(asked.every((text) => text.split("with held").length === 2)).toBe(true);
});

test("a database of this process is asked for one at a time, as everybody in it would wait for all", async () => {
  const { open } = await linkToPglite();
  const { connection } = await open();
  await connection.execute({ sql: "select 1", params: [] });
  expect(connection.inSeries).toBeUndefined();
});

onPostgres(
  "M12: a row that gets dear in the middle of a series is not followed by chunks of the same size",
  async () => {
    // From row 500 on each costs a tenth of what a chunk may take.
    const set = { n: sql`n + 1 + (select 0 from (select pg_sleep(case when id > 500 then 0.002 else 0 end)) slept)` };
    const { status, events } = await running({ ...eager, targetMs: 20, maxRows: 200, set, remaining: sql`n = 0` }, 800);
    expect(status).toMatchObject({ state: "done", rowsDone: 800 });
    const locks = progressOf(events).map(({ lockMs }) => lockMs);
    for (const [at, lockMs] of locks.entries()) {
      if (lockMs > 100) expect(locks[at + 1] ?? 0).toBeLessThanOrEqual(100);
    }
  },
);
