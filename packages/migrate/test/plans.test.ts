// Every statement on the table of a user: which there are, and how the database finds its rows.

import { defineMigration } from "@tidemark/migrate";
import { MigrationEngine, resolveEngine } from "@tidemark/migrate/internal";
import { seededRng, systemClock } from "@tidemark/clock";
import { serviceTest } from "@tidemark/tooling/services";
import { sql, type Table } from "drizzle-orm";
import * as my from "drizzle-orm/mysql-core";
import * as pg from "drizzle-orm/pg-core";
import * as lite from "drizzle-orm/sqlite-core";
import { expect, onTestFinished, test } from "vitest";
import { linkTo } from "./support/address.ts";
import { eager } from "./support/scratch.ts";
import { createStatements, definitionsFor } from "./support/shared-tables.ts";
import { type Stage, stageOn } from "./support/stage.ts";

type Database = Awaited<ReturnType<Awaited<ReturnType<typeof linkTo>>["open"]>>;
interface Query {
  readonly sql: string;
  readonly params: readonly unknown[];
}

/** An engine, and every statement it says. */
async function recorded(stage: Stage, definitions: Parameters<Stage["engine"]>[0]) {
  const link = await linkTo(stage.address as never);
  const database = await link.open();
  const said: Query[] = [];
  const record = <T extends object>(executor: T): T =>
    new Proxy(executor, {
      get(target, property) {
        const value: unknown = Reflect.get(target, property, target);
        if (typeof value !== "function") return value;
        return (...args: unknown[]) => {
          if (property === "execute") said.push(args[0] as Query);
          if (property === "executeEach") {
            said.push({ sql: args[0] as string, params: (args[1] as unknown[][])[0] ?? [] });
          }
          if (property !== "transaction") return (value as (...given: unknown[]) => unknown).apply(target, args);
          const work = args[1] as (inner: object) => unknown;
          return (target as never as { transaction(mode: unknown, work: unknown): unknown }).transaction(
            args[0],
            (inner: object) => work(record(inner)),
          );
        };
      },
    });
  const watched = new Proxy(database, {
    get: (target, property) =>
      property === "connection"
        ? record(target.connection)
        : property === "transaction"
          ? (mode: "write", work: never) => record(target.connection).transaction(mode, work)
          : property === "execute"
            ? (statement: never, executor = record(target.connection)) => target.execute(statement, executor)
            : (Reflect.get(target, property, target) as unknown),
  }) as Database;
  const engine = await MigrationEngine.open({
    database: watched,
    definitions,
    options: resolveEngine({ pollMs: 5 }),
    clock: systemClock,
    rng: seededRng(1),
    owner: "test",
    signals: [],
    isShared: false,
  });
  onTestFinished(async () => {
    await engine.close();
    await link.end();
  });
  return {
    engine,
    said,
    explain: async (query: Query) => database.connection.execute(database.dialect.explain(query)),
  };
}

const stages = [
  ["sqlite", test],
  ["pg", serviceTest("postgres")],
  ["mariadb", serviceTest("mariadb")],
] as const;

for (const [name, register] of stages) {
  register(`${name}: M16: opening and asking says a few statements, and none about a table of the user's`, async () => {
    const stage = await stageOn(name);
    for (const statement of createStatements(stage.dialect, 500)) await stage.query(statement);
    const definitions = definitionsFor(stage.dialect);
    await (await stage.engine(definitions)).close();
    const { engine, said } = await recorded(stage, definitions);
    await engine.list();
    // The books' three tables, what is registered; then the list and the time of a server.
    expect(said.length).toBeLessThanOrEqual(6);
    for (const { sql: text } of said) {
      expect(text).not.toMatch(/counters|notes|effects/);
      expect(text).not.toMatch(/count\s*\(/i);
      expect(text).not.toMatch(/^\s*(insert|update|delete|create|alter)/i);
    }
  });

  register(`${name}: every statement of a run finds its rows by the key, also by a composite one`, async () => {
    const stage = await stageOn(name);
    const isMysql = stage.dialect === "mysql";
    await stage.query(
      "create table pairs (a integer not null, b integer not null, n integer, m integer, primary key (a, b))",
    );
    for (let from = 0; from < 20_000; from += 2000) {
      const rows = Array.from(
        { length: 2000 },
        (_, index) => `(${Math.trunc((from + index) / 1000)}, ${from + index}, 0)`,
      );
      await stage.query(`insert into pairs (a, b, n) values ${rows.join(",")}`);
    }
    await stage.query(isMysql ? "analyze table pairs" : "analyze pairs");
    const int = { sqlite: lite.integer, postgresql: pg.integer, mysql: my.int }[stage.dialect] as typeof pg.integer;
    const make = { sqlite: lite.sqliteTable, postgresql: pg.pgTable, mysql: my.mysqlTable }[
      stage.dialect
    ] as typeof pg.pgTable;
    const columns = { a: int("a").notNull(), b: int("b").notNull(), n: int("n"), m: int("m") };
    const table = make("pairs", columns) as Table;
    const size = { ...eager, initialRows: 400, minRows: 400, maxRows: 400 };
    const set = defineMigration({ name: "set", table, key: ["a", "b"], set: { n: 1 }, ...size } as never);
    const map = defineMigration({
      name: "map",
      table,
      key: ["a", "b"],
      where: sql`a = 7`,
      read: ["b"],
      write: ["m"],
      map: ({ b }: { readonly b: number }) => ({ m: b + 1 }),
      ...size,
    } as never);
    const { engine, said, explain } = await recorded(stage, [set, map]);
    const statuses = await engine.run();
    expect(statuses.map(({ state, rowsDone }) => [state, rowsDone])).toEqual([
      ["done", 1000],
      ["done", 20_000],
    ]);
    const kinds = new Map<string, Query[]>();
    for (const query of said) {
      if (
        !/pairs/.test(query.sql) ||
        /information_schema|pg_class|pg_index|pg_attribute|pragma_|explain/i.test(query.sql)
      )
        continue;
      kinds.set(query.sql, [...(kinds.get(query.sql) ?? []), query]);
    }
    expect(kinds.size).toBeGreaterThan(5);
    // The end of a scan in the order of the key is no scan.
    const scans = {
      sqlite: /SCAN pairs(?! USING (COVERING )?INDEX)/,
      postgresql: /Seq Scan on pairs/,
      mysql: /pairs \| (.* \| )?ALL \|/,
    };
    const isScan = scans[stage.dialect];
    const planOf = async (query: Query) => {
      const { rows } = await explain(query);
      return `${query.sql}\n${rows.map((row) => row.map(String).join(" | ")).join("\n")}`;
    };
    expect(await planOf({ sql: "select a from pairs where n = 5", params: [] })).toMatch(isScan);
    for (const queries of kinds.values()) {
      // One from the middle: the ends of a table are quick to find in any way.
      const plan = await planOf(queries[Math.trunc(queries.length / 2)] as Query);
      expect(plan).not.toMatch(isScan);
      expect(plan).not.toMatch(/USE TEMP B-TREE|Sort Key|filesort/);
    }
  });
}
