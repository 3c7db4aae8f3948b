// Signals of real servers, each against what it is about.

import { systemClock } from "@tidemark/clock";
import type { SignalOption } from "@tidemark/migrate";
import { openSignals, resolveSignals } from "@tidemark/migrate/internal";
import { serviceTest } from "@tidemark/tooling/services";
import { expect, onTestFinished } from "vitest";
import { linkTo } from "./support/address.ts";
import { createStatements, definitionsFor, tablesOf } from "./support/shared-tables.ts";
import { type Stage, type StageName, stageOn } from "./support/stage.ts";

const stages = [
  ["pg", serviceTest("postgres")],
  ["postgres", serviceTest("postgres")],
  ["mariadb", serviceTest("mariadb")],
] as const;

async function signalsOn(name: StageName, rows: number, options: readonly SignalOption[]) {
  const stage = await stageOn(name);
  for (const statement of createStatements(stage.dialect, rows)) await stage.query(statement);
  // The books are what the reader reads.
  await (await stage.engine(definitionsFor(stage.dialect))).close();
  const link = await linkTo(stage.address as never);
  const database = await link.open();
  const resolved = resolveSignals(stage.dialect, options, { maxWalBytes: 1 });
  const own = openSignals(resolved, database, systemClock);
  onTestFinished(async () => {
    await own.close();
    await database.connection.close();
    await link.end();
  });
  const table = tablesOf(stage.dialect).counters;
  const read = async (signal: string, rowsChanged = 0) => {
    const found = own.signals.find((each) => each.name === signal);
    if (found === undefined) throw new Error(`no ${signal}`);
    return found.read({ table, rowsChanged: () => rowsChanged });
  };
  return { stage, read, database, limits: resolved.limits };
}

/** Reads until the reading is what is waited for. InnoDB tells something new only to who has not asked for 100 ms. */
async function until<T>(read: () => Promise<T>, isRight: (value: T) => boolean): Promise<T> {
  for (;;) {
    const value = await read();
    if (isRight(value)) return value;
    await systemClock.sleep(110);
  }
}

for (const [name, register] of stages) {
  register(`${name}: whoever waits for a lock of a chunk is seen, and nobody else`, async () => {
    const { stage, read, database } = await signalsOn(name, 5, [{ name: "blocked", limit: 30 }]);
    expect((await read("blocked")).utilisation).toBe(0);
    const other = await linkTo(stage.address as never);
    let waiting: Promise<unknown> | undefined;
    await database.transaction("write", async (executor) => {
      await executor.execute({ sql: "update counters set n = 1 where id = 2", params: [] });
      waiting = other.query("update counters set n = 2 where id = 2");
      const { reason } = await until(
        () => read("blocked"),
        ({ utilisation }) => utilisation > 1,
      );
      expect(reason).toMatch(/^1 sessions wait for a lock of a chunk, the first for \d+ ms, limit 30 ms$/);
    });
    await waiting;
    await until(
      () => read("blocked"),
      ({ utilisation }) => utilisation === 0,
    );
    // Two others, one of whom waits for the other.
    await blockedByOthers(stage, () => read("blocked"));
    await other.end();
  });

  register(`${name}: the probes measure a read and a write beside the chunks`, async () => {
    const { stage, read, limits } = await signalsOn(name, 5, ["reader", "writer"]);
    for (const probe of ["reader", "writer"]) {
      limits.set(probe, 1e6);
      const { utilisation, reason } = await read(probe);
      expect(utilisation).toBeGreaterThan(0);
      expect(utilisation).toBeLessThan(0.01);
      expect(reason).toMatch(/^a small (read|write) took \d+\.\d ms, limit 1000000 ms$/);
    }
    if (stage.dialect === "mysql")
      expect(await stage.query("select count(*) from tidemark_migration_probe")).toEqual([[1]]);
  });

  register(`${name}: limits of the server can be changed while transactions come and go`, async () => {
    const { database } = await signalsOn(name, 1, []);
    const ask = async () => {
      const text =
        database.dialect.name === "postgresql"
          ? "select extract(epoch from current_setting('lock_timeout')::interval)::int"
          : "select @@innodb_lock_wait_timeout";
      return database.transaction("write", async (executor) => {
        const { rows } = await executor.execute({ sql: text, params: [] });
        return Number(rows[0]?.[0]);
      });
    };
    database.connection.limit?.({ lockTimeoutMs: 3000 });
    expect(await ask()).toBe(3);
    database.connection.limit?.({ lockTimeoutMs: 7000 });
    expect(await ask()).toBe(7);
  });
}

async function blockedByOthers(stage: Stage, read: () => Promise<{ readonly utilisation: number }>): Promise<void> {
  const [holder, waiter] = [await linkTo(stage.address as never), await linkTo(stage.address as never)];
  const database = await holder.open();
  let ended: Promise<unknown> | undefined;
  // The label of another engine is another one.
  await database.transaction("write", async (executor) => {
    await executor.execute({ sql: "update counters set n = 1 where id = 3", params: [] });
    const waiting = waiter.query("update counters set n = 2 where id = 3");
    const count =
      stage.dialect === "mysql"
        ? "select count(*) from information_schema.innodb_lock_waits"
        : "select count(*) from pg_locks where not granted and pid <> pg_backend_pid()";
    await until(
      () => stage.query(count),
      ([row]) => Number(row?.[0]) > 0,
    );
    expect((await read()).utilisation).toBe(0);
    ended = waiting.then(() => waiter.end());
  });
  await ended;
  await database.connection.close();
  await holder.end();
}

serviceTest("postgres")("pg: the WAL of a server is a rate, and idling has none", async () => {
  const { stage, read } = await signalsOn("pg", 5, [{ name: "wal-rate", limit: 1000 }]);
  // Nothing to compare with.
  expect((await read("wal-rate")).utilisation).toBe(0);
  await stage.query("create table heavy as select repeat('x', 1000) as text from generate_series(1, 3000)");
  const busy = await read("wal-rate");
  expect(busy.utilisation).toBeGreaterThan(1);
  expect(busy.reason).toMatch(/^the server writes \d+\.\d MB of WAL a second, limit 0\.0 MB$/);
});

serviceTest("postgres")("pg: what the run's session has not told the server of counts as dead rows, too", async () => {
  const { stage, read } = await signalsOn("pg", 4000, [{ name: "vacuum", limit: 0.2 }]);
  await stage.query("alter table counters set (autovacuum_enabled = false)");
  // What this session has to tell comes before, not between two readings.
  await stage.query("select pg_stat_force_next_flush()");
  await stage.query("analyze counters");
  // What another run has changed before.
  expect((await read("vacuum", 500)).utilisation).toBe(0);
  const untold = await read("vacuum", 2500);
  expect(untold.utilisation).toBeGreaterThan(1);
  // A session tells its numbers later by itself.
  await stage.query(
    "do $$ begin update counters set n = 5 where id <= 2000; perform pg_stat_force_next_flush(); end $$",
  );
  const told = await until(
    () => read("vacuum", 500),
    ({ utilisation }) => utilisation > 0,
  );
  expect(told).toEqual(untold);
  expect(await read("vacuum", 2500)).toEqual(untold);
  // Nor is it dead any more behind a vacuum, whoever's that was and whenever the session will tell of it.
  expect((await read("vacuum", 4500)).utilisation).toBeGreaterThan(1);
  await stage.query("vacuum counters");
  await until(
    () => read("vacuum", 4500),
    ({ utilisation }) => utilisation === 0,
  );
  expect((await read("vacuum", 6500)).utilisation).toBeGreaterThan(1);
  await stage.query("select pg_stat_reset_single_table_counters('counters'::regclass)");
  await until(
    () => read("vacuum", 2500),
    ({ utilisation }) => utilisation === 0,
  );
});

serviceTest("postgres")(
  "pg: dead rows stop a run until somebody has cleaned up, if asked to the engine itself",
  async () => {
    const vacuum = { name: "vacuum", limit: 0.2, vacuums: true } as const;
    const { stage, read, limits } = await signalsOn("pg", 4000, [vacuum]);
    await stage.query("alter table counters set (autovacuum_enabled = false)");
    await stage.query("analyze counters");
    expect((await read("vacuum")).utilisation).toBe(0);
    limits.set("vacuum", 1e9);
    // A session tells its numbers later by itself.
    await stage.query("do $$ begin update counters set n = 5; perform pg_stat_force_next_flush(); end $$");
    const dirty = await until(
      () => read("vacuum"),
      ({ utilisation }) => utilisation > 0,
    );
    expect(dirty.reason).toMatch(/^\d+ % of "counters" is dead rows, limit 100000000000 %; vacuum starts$/);
    // Nobody but the signal vacuums here.
    limits.set("vacuum", 0.2);
    await until(
      () => read("vacuum"),
      ({ utilisation }) => utilisation <= 0.1,
    );
    expect(await stage.query("select vacuum_count > 0 from pg_stat_all_tables where relname = 'counters'")).toEqual([
      [true],
    ]);
  },
);
