// A chunk that is one statement, where somebody else has the books just then.

import { systemClock } from "@tidemark/clock";
import { defineMigration, type Migration, type MigrationChunk, openMigrations } from "@tidemark/migrate";
import { chunkInOne, didInOne, Ledger, LeaseLost, Plan } from "@tidemark/migrate/internal";
import { serviceTest } from "@tidemark/tooling/services";
import { sql } from "drizzle-orm";
import { expect } from "vitest";
import { linkTo } from "./support/address.ts";
import { eager } from "./support/scratch.ts";
import { createStatements, tablesOf } from "./support/shared-tables.ts";
import { type Stage, stageOn } from "./support/stage.ts";

const worker = { owner: "test", leaseMs: 60_000, heartbeatMs: 10_000 };
const rows = 30;

async function connected(stage: Stage) {
  const link = await linkTo(stage.address as never);
  return { ...link, [Symbol.asyncDispose]: () => link.end() };
}

/** A run that is claimed and running, and a chunk of its first ten rows. */
async function claimed(stage: Stage) {
  const link = await linkTo(stage.address as never);
  const database = await link.open();
  database.connection.limit?.({ lockTimeoutMs: 60_000 });
  const table = tablesOf(stage.dialect).counters;
  const set = { n: sql`n + 1` };
  const migration = defineMigration({
    name: "bump",
    table,
    key: "id",
    set,
    remaining: sql`n = 0`,
  } as never) as Migration;
  const ledger = new Ledger(database, systemClock);
  await database.dialect.prepare(database.connection);
  await ledger.register([{ name: "bump", definitionHash: "x", body: "set", tableName: "counters" }]);
  const { lease } = (await ledger.claim("bump", "x", worker)) ?? {};
  if (lease === undefined) throw new Error("nobody else is there");
  await stage.query("update tidemark_migrations set state = 'running', total = 5");
  const plan = new Plan(migration, database, "copy");
  const chunk = {
    range: { after: undefined, upTo: [10n], isLast: false },
    effect: (range: never, and?: never) =>
      sql`update ${table} set n = n + 1 where ${plan.matching(range)}${and === undefined ? sql`` : sql` and ${and}`}`,
    rows: 15,
    ends: 1,
    bound: [BigInt(rows)],
    spent: { spentMs: 1.5, yieldedMs: 2 },
  };
  const { together } = database.dialect;
  const perform = async () => {
    if (together === undefined) throw new Error("this dialect has no such statement");
    const query = () => chunkInOne(plan, lease, worker, chunk as never, together.bind(database.dialect));
    // What is looked at from elsewhere has to be committed.
    const found = await database.connection.inOne?.(query, "durable");
    if (found === undefined) throw new Error("this connection takes no such statement");
    return didInOne(lease, chunk as never, found);
  };
  const end = async () => {
    await database.connection.close();
    await link.end();
  };
  return { perform, end };
}

for (const [name, register] of [
  ["pg", serviceTest("postgres")],
  ["postgres", serviceTest("postgres")],
  ["mariadb", serviceTest("mariadb")],
] as const) {
  const isMysql = name === "mariadb";
  const prepared = () => stageOn(name, createStatements(isMysql ? "mysql" : "postgresql", rows));

  register(`${name}: it does its rows, counts them, moves the books and sees where the next one ends`, async () => {
    const stage = await prepared();
    const { perform, end } = await claimed(stage);
    const { row, done, ahead } = await perform();
    expect({ row, done, ahead }).toMatchObject({
      row: { state: "running", rowsDone: 10, rowsChanged: 10, chunks: 1, total: 10, spentMs: 1.5, yieldedMs: 2 },
      done: 10,
      ahead: [{ after: [10n], upTo: [25n], rows: 15, isLast: false }],
    });
    expect(await stage.query("select id from counters where n = 1 order by id")).toHaveLength(10);
    expect(await stage.query("select rows_done, chunks, is_exhausted from tidemark_migrations")).toEqual([[10, 1, 0]]);
    await end();
  });

  for (const [what, change, isHeld] of [
    ["a sign of life", "beat = beat + 1", true],
    ["another fence", "fence = fence + 1", false],
    ["another state", "state = 'paused'", false],
  ] as const) {
    register(`${name}: having waited for somebody who wrote ${what}, it goes by what the books say then`, async () => {
      const stage = await prepared();
      const { perform, end } = await claimed(stage);
      const other = await linkTo(stage.address as never);
      const database = await other.open();
      database.connection.limit?.({ idleTimeoutMs: 60_000 });
      const isWaiting = isMysql
        ? // Not `innodb_trx`, which stays as it is while it is read in a loop.
          `select 1 from information_schema.global_status
            where variable_name = 'INNODB_ROW_LOCK_CURRENT_WAITS' and variable_value > 0`
        : "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
      const outcome = await database.connection.transaction("write", async (executor) => {
        await executor.execute({ sql: `update tidemark_migrations set ${change}`, params: [] });
        const outcome = perform().catch((error: unknown) => error);
        while ((await stage.query(isWaiting)).length === 0);
        // Not to be waited for in here: it waits for the end of this transaction.
        return { outcome };
      });
      if (isHeld) expect(await outcome.outcome).toMatchObject({ done: 10, row: { rowsDone: 10 } });
      else expect(await outcome.outcome).toBeInstanceOf(LeaseLost);
      expect(await stage.query("select count(*) from counters where n = 1")).toEqual([[isHeld ? 10 : 0]]);
      expect(await stage.query("select rows_done from tidemark_migrations")).toEqual([[isHeld ? 10 : 0]]);
      await database.connection.close();
      await other.end();
      await end();
    });
  }

  register(`${name}: done already, by a statement that was given up for lost, it is not done again`, async () => {
    const stage = await prepared();
    const { perform, end } = await claimed(stage);
    await perform();
    await expect(perform()).rejects.toThrow(LeaseLost);
    expect(await stage.query("select n, count(*) from counters group by n order by n")).toEqual([
      [0, 20],
      [1, 10],
    ]);
    expect(await stage.query("select rows_done, chunks from tidemark_migrations")).toEqual([[10, 1]]);
    await end();
  });

  register(`${name}: what a row refuses takes all of it back`, async () => {
    const stage = await prepared();
    await stage.query("alter table counters add constraint small check (n < 5)");
    await stage.query("update counters set n = 4 where id = 7");
    const { perform, end } = await claimed(stage);
    await expect(perform()).rejects.toThrow();
    expect(await stage.query("select count(*) from counters where n = 1")).toEqual([[0]]);
    expect(await stage.query("select rows_done, chunks from tidemark_migrations")).toEqual([[0, 0]]);
    await stage.query("update counters set n = 0 where id = 7");
    // Nothing is left open.
    expect((await perform()).done).toBe(10);
    await end();
  });
}

for (const [name, register] of [
  ["pg", serviceTest("postgres")],
  ["mariadb", serviceTest("mariadb")],
] as const) {
  register(`${name}: a chunk in several statements begins where the books are, too`, async () => {
    const dialect = name === "pg" ? "postgresql" : "mysql";
    const stage = await stageOn(name, createStatements(dialect, rows));
    let calls = 0;
    const map = async ({ body }: { readonly body: string }) => {
      if (++calls === 15) {
        // The chunk that this one is in, by a connection that was given up for lost.
        await stage.query("update notes set length = length(body) where id between 11 and 20");
        const cursor = name === "mariadb" ? "`cursor`" : "cursor";
        await stage.query(
          `update tidemark_migrations set ${cursor} = '[["i","20"]]', rows_done = 20, rows_changed = 20`,
        );
      }
      return { length: body.length };
    };
    const table = tablesOf(dialect).notes;
    const common = { name: "lengths", table, key: "id", read: ["body"], write: ["length"], map };
    const size = { initialRows: 10, minRows: 10, maxRows: 10 };
    const engine = await stage.engine([defineMigration({ ...common, ...eager, ...size } as never) as Migration]);
    const events = engine.events();
    const retries: string[] = [];
    const told = (async () => {
      for await (const event of events)
        if (event.type === "trouble" && event.kind === "retry") retries.push(event.message);
    })();
    const [status] = await engine.run();
    expect(status).toMatchObject({ state: "done", rowsDone: rows, rowsChanged: rows });
    await engine.close();
    await told;
    expect(retries).toEqual([expect.stringContaining("not as it was taken to be")]);
    expect(await stage.query("select count(*) from notes where length = length(body)")).toEqual([[rows]]);
  });
}

serviceTest("postgres")(
  "PostgreSQL: a chunk does not wait for the disk unless that is asked for; how a run ends does",
  async () => {
    const stage = await stageOn("pg", createStatements("postgresql", 3));
    const table = tablesOf("postgresql").counters;
    await stage.query(`alter database ${(stage.address as { name: string }).name} set synchronous_commit = on`);
    await stage.query("create table ends (name text primary key, setting text)");
    await stage.query(
      `create function note_end() returns trigger as 'begin
        insert into ends values (new.name, current_setting(''synchronous_commit'')) on conflict do nothing;
        return null; end' language plpgsql`,
    );
    await using link = await connected(stage);
    const of = async (name: string, options: object): Promise<unknown> => {
      let setting: unknown;
      const run = async ({ execute }: MigrationChunk) => {
        setting = (await execute(sql`select current_setting('synchronous_commit')`)).rows[0]?.[0];
        return 0;
      };
      const database = { ...link.database, ...options } as never;
      const definition = defineMigration({ name, table, key: "id", remaining: sql`false`, run } as never);
      await using migrations = await openMigrations({ database, definitions: [definition] });
      await stage.query("drop trigger if exists noted on tidemark_migrations");
      await stage.query(
        "create trigger noted after update on tidemark_migrations for each row when (new.state = 'done') execute function note_end()",
      );
      await migrations.run();
      return setting;
    };
    expect(await of("lazy", {})).toBe("off");
    expect(await of("durable", { durableChunks: true })).toBe("on");
    // What is on the disk says nothing: others write to this server, too.
    expect(await stage.query("select name, setting from ends order by name")).toEqual([
      ["durable", "on"],
      ["lazy", "on"],
    ]);
  },
);
