// What a server does to a chunk that is in somebody's way, or far too slow.

import {
  defineMigration,
  type MigrationChunk,
  type MigrationEvent,
  openMigrationReader,
  openMigrations,
} from "@tidemark/migrate";
import type { MigrationEngine } from "@tidemark/migrate/internal";
import { serviceTest } from "@tidemark/tooling/services";
import { sql } from "drizzle-orm";
import { createPool } from "mysql2/promise";
import pg from "pg";
import { expect, onTestFinished } from "vitest";
import { type Address, linkTo } from "./support/address.ts";
import { eager } from "./support/scratch.ts";
import { createStatements, tablesOf } from "./support/shared-tables.ts";
import { type Stage, stageOn } from "./support/stage.ts";

type Trouble = MigrationEvent & { readonly type: "trouble" };

/** Runs to the end and tells what got in the way; that it took long is no wonder. */
async function troubleOf(engine: MigrationEngine): Promise<Trouble[]> {
  const events = engine.events();
  const told: Trouble[] = [];
  const seen = (async () => {
    for await (const event of events) if (event.type === "trouble" && event.kind !== "panic") told.push(event);
  })();
  const [status] = await engine.run();
  expect(status?.error).toBeUndefined();
  expect(status).toMatchObject({ state: "done", rowsDone: 30 });
  await engine.close();
  await seen;
  return told;
}

/** A body of its own for each chunk; by rows, ten at a time. */
function migrationOf(stage: Stage, before: (chunk: MigrationChunk, nth: number) => Promise<void>) {
  const table = tablesOf(stage.dialect).counters;
  let chunks = 0;
  return defineMigration({
    name: "own",
    table,
    key: "id",
    remaining: sql`${table.n} = 0`,
    async run(chunk: MigrationChunk) {
      await before(chunk, ++chunks);
      return (await chunk.execute(sql`update ${table} set n = n + 1 where ${chunk.rows}`)).changes;
    },
    ...eager,
    initialRows: 10,
    minRows: 10,
    maxRows: 10,
  } as never);
}

/** An engine that waits for the locks of a connection that is dying, and whose statements nobody cuts. */
async function patientEngine(stage: Stage, migration: ReturnType<typeof migrationOf>): Promise<MigrationEngine> {
  const engine = await stage.engine([migration]);
  await engine.adjust({ lockTimeoutMs: 60_000, statementTimeoutMs: 120_000 });
  return engine;
}

async function expectOnce(stage: Stage): Promise<void> {
  expect(await stage.query("select distinct n from counters")).toEqual([[1]]);
  expect(await stage.query("select count(*), count(distinct id) from effects")).toEqual([[30, 30]]);
}

for (const [name, register] of [
  ["pg", serviceTest("postgres")],
  ["postgres", serviceTest("postgres")],
  ["mariadb", serviceTest("mariadb")],
] as const) {
  const prepared = async () => {
    const stage = await stageOn(name);
    for (const statement of createStatements(stage.dialect, 30)) await stage.query(statement);
    return stage;
  };
  const isMysql = name === "mariadb";

  register(
    `${name}: a connection that is lost in a transaction takes all of its chunk with it, and it is done again`,
    async () => {
      const stage = await prepared();
      const migration = migrationOf(stage, async ({ rows, execute }, nth) => {
        if (nth !== 2) return;
        const table = tablesOf(stage.dialect).counters;
        await execute(sql`update ${table} set n = n + 100 where ${rows}`);
        const asked = await execute(isMysql ? sql`select connection_id()` : sql`select pg_backend_pid()`);
        const id = String(asked.rows[0]?.[0]);
        await stage.query(isMysql ? `kill ${id}` : `select pg_terminate_backend(${id})`);
      });
      const trouble = await troubleOf(await patientEngine(stage, migration));
      expect(trouble.map(({ kind }) => kind)).toEqual(["retry"]);
      await expectOnce(stage);
    },
  );

  register(
    `${name}: a connection that is lost while a statement is under way takes all of its chunk with it`,
    async () => {
      const stage = await prepared();
      const migration = migrationOf(stage, async ({ rows, execute }, nth) => {
        if (nth !== 2) return;
        const table = tablesOf(stage.dialect).counters;
        await execute(sql`update ${table} set n = n + 100 where ${rows}`);
        const asked = await execute(isMysql ? sql`select connection_id()` : sql`select pg_backend_pid()`);
        const id = String(asked.rows[0]?.[0]);
        const slow = execute(isMysql ? sql`select sleep(60)` : sql`select pg_sleep(60)`);
        slow.catch(() => {});
        const isUnderWay = isMysql
          ? `select 1 from information_schema.processlist where id = ${id} and info like 'select sleep%'`
          : `select 1 from pg_stat_activity where pid = ${id} and state = 'active' and query like 'select pg_sleep%'`;
        while ((await stage.query(isUnderWay)).length === 0);
        await stage.query(isMysql ? `kill ${id}` : `select pg_terminate_backend(${id})`);
        await slow;
      });
      const trouble = await troubleOf(await patientEngine(stage, migration));
      expect(trouble.map(({ kind }) => kind)).toEqual(["retry"]);
      await expectOnce(stage);
    },
  );

  register(`${name}: a chunk in a deadlock is done once, whoever of the two has to give way`, async () => {
    const stage = await prepared();
    // The one who notices gives way, so it should be one who waits for short.
    if (!isMysql)
      await stage.query(`alter database ${(stage.address as { name: string }).name} set deadlock_timeout = '30ms'`);
    const other = await linkTo(stage.address as never);
    const database = await other.open();
    let victim: Promise<"other" | "chunk"> | undefined;
    const migration = migrationOf(stage, async ({ execute }, nth) => {
      if (nth !== 1) return;
      const table = tablesOf(stage.dialect).counters;
      const hasRow = Promise.withResolvers<void>();
      const held = database.transaction("write", async (executor) => {
        // More rows than the chunk has, so that InnoDB sees less to lose in the chunk.
        await executor.execute({ sql: "update counters set n = n where id between 11 and 30", params: [] });
        await executor.execute({ sql: "update counters set n = n where id = 2", params: [] });
        hasRow.resolve();
        await executor.execute({ sql: "update counters set n = n where id = 1", params: [] });
      });
      victim = held.then(
        () => "chunk",
        () => "other",
      );
      await execute(sql`update ${table} set n = n where id = 1`);
      await hasRow.promise;
    });
    const engine = await stage.engine([migration]);
    // Else the wait for the lock would end before the deadlock is seen.
    await engine.adjust({ lockTimeoutMs: 60_000 });
    database.connection.limit?.({ lockTimeoutMs: 60_000 });
    // What the other one does to rows is no effect of ours.
    await stage.query("delete from effects");
    const trouble = await troubleOf(engine);
    expect(trouble.length).toBe((await victim) === "chunk" ? 1 : 0);
    for (const { kind, message } of trouble) {
      expect(kind).toBe("retry");
      expect(message.toLowerCase()).toContain("deadlock");
    }
    expect(await stage.query("select distinct n from counters")).toEqual([[1]]);
    await database.connection.close();
    await other.end();
  });

  register(`${name}: a chunk that waits for a lock for too long lets others go first, and is done once`, async () => {
    const stage = await prepared();
    const other = await linkTo(stage.address as never);
    const database = await other.open();
    database.connection.limit?.({ idleTimeoutMs: 60_000 });
    const released = Promise.withResolvers<void>();
    const hasRow = Promise.withResolvers<void>();
    const held = database.transaction("write", async (executor) => {
      const text = isMysql
        ? "select * from counters where id = 15 for update"
        : "select * from counters where id = 15 for share";
      await executor.execute({ sql: text, params: [] });
      hasRow.resolve();
      await released.promise;
    });
    await hasRow.promise;
    const engine = await stage.engine([migrationOf(stage, async () => {})]);
    await engine.adjust({ lockTimeoutMs: 50 });
    const events = engine.events();
    const ran = troubleOf(engine);
    for await (const event of events) if (event.type === "trouble" && event.kind === "retry") break;
    released.resolve();
    await held;
    const trouble = await ran;
    expect(new Set(trouble.map(({ kind }) => kind))).toEqual(new Set(["retry"]));
    await expectOnce(stage);
    await database.connection.close();
    await other.end();
  });

  register(`${name}: a statement that takes too long is cut into halves until it does not`, async () => {
    const stage = await prepared();
    const table = tablesOf(stage.dialect).counters;
    // Rows of 20 ms each.
    const slow = isMysql ? sql`n + 1 + sleep(0.02)` : sql`n + 1 + length(pg_sleep(0.02)::text)`;
    const migration = defineMigration({
      name: "slow",
      table,
      key: "id",
      set: { n: slow },
      remaining: sql`${table.n} = 0`,
      ...eager,
      targetMs: 10_000,
      maxChunkMs: 10_000,
      initialRows: 30,
      maxRows: 30,
    } as never);
    const engine = await stage.engine([migration]);
    await engine.adjust({ statementTimeoutMs: 250 });
    const trouble = await troubleOf(engine);
    // Thirty take 600 ms, fifteen 300, seven 140; on a slow machine more of them are too many, and what is no chunk is
    // asked again.
    const kinds = trouble.map(({ kind }) => kind).filter((kind) => kind !== "retry");
    expect(kinds.length).toBeGreaterThanOrEqual(2);
    expect(new Set(kinds)).toEqual(new Set(["split"]));
    await expectOnce(stage);
  });
}

serviceTest("postgres")("pg: a chunk that the pool gave up waiting for is done once", async () => {
  const stage = await stageOn("pg");
  for (const statement of createStatements("postgresql", 30)) await stage.query(statement);
  await stage.query("create sequence calls");
  await stage.query(`create function slowly() returns integer language plpgsql as
    $$ begin if nextval('calls') = 1 then perform pg_sleep(2); end if; return 1; end $$`);
  const { folder, name: database } = stage.address as Extract<Address, { readonly dialect: "postgresql" }>;
  const client = new pg.Pool({ host: folder, user: "postgres", database, max: 3, query_timeout: 1000 });
  onTestFinished(() => client.end());
  const table = tablesOf("postgresql").counters;
  const migration = defineMigration({
    name: "slow",
    table,
    key: "id",
    set: { n: sql`${table.n} + slowly()` },
    remaining: sql`${table.n} = 0`,
    ...eager,
    initialRows: 10,
    maxRows: 10,
  } as never);
  await using migrations = await openMigrations({
    database: { dialect: "postgresql", client },
    definitions: [migration],
  });
  const [status] = await migrations.run();
  expect(status?.error).toBeUndefined();
  expect(status).toMatchObject({ state: "done", rowsDone: 30 });
  await expectOnce(stage);
});

for (const options of [{ waitForConnections: false }, { queueLimit: 1 }]) {
  serviceTest("mariadb")(`mariadb: a pool with ${JSON.stringify(options)} that is busy is asked again`, async () => {
    const { socket, name } = (await stageOn("mariadb")).address as Extract<Address, { readonly dialect: "mysql" }>;
    const client = createPool({ socketPath: socket, user: "root", database: name, connectionLimit: 1, ...options });
    onTestFinished(() => client.end());
    const held = await client.getConnection();
    const waiting = "queueLimit" in options ? client.query("select 1") : undefined;
    const reader = await openMigrationReader({ database: { dialect: "mysql", client } });
    await expect(reader.list()).rejects.toMatchObject({ code: "SQL_FAILED", retryable: true });
    held.release();
    await waiting;
    expect(await reader.list()).toEqual([]);
    await reader.close();
  });
}
