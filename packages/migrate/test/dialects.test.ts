// What must be the same on every database, on every database.

import { hasService, serviceTest } from "@tidemark/tooling/services";
import { defineMigration, type Migration, openMigrations } from "@tidemark/migrate";
import { books } from "@tidemark/migrate/internal";
import { type Column, sql, type Table } from "drizzle-orm";
import * as my from "drizzle-orm/mysql-core";
import * as pg from "drizzle-orm/pg-core";
import * as lite from "drizzle-orm/sqlite-core";
import { expect, test, type TestFunction } from "vitest";
import { eager, upTo } from "./support/scratch.ts";
import { createStatements, definitionsFor, tablesOf } from "./support/shared-tables.ts";
import { type Stage, type StageName, stageOn } from "./support/stage.ts";

type Register = (name: string, run: TestFunction, timeoutMs?: number) => void;
const isLong = process.env["TIDEMARK_LONG"] === "1";
const stages: readonly (readonly [StageName, Register])[] = [
  ["sqlite", test],
  // The same dialect in this process, slowly: only where there is no server.
  ...(hasService("postgres") && !isLong ? [] : [["pglite", test] as const]),
  ["pg", serviceTest("postgres")],
  ["postgres", serviceTest("postgres")],
  ["mariadb", serviceTest("mariadb")],
];

/** A definition for a table of any dialect. */
const define = (definition: object): Migration => defineMigration({ ...eager, ...definition } as never);

const counters = (stage: Stage) => tablesOf(stage.dialect).counters;
const bump = (stage: Stage, more: object = {}) => {
  const table = counters(stage);
  const set = { n: sql`${table.n} + 1` };
  return define({ name: "bump", table, key: "id", set, remaining: sql`${table.n} = 0`, ...small, ...more });
};
// Also where a chunk takes far longer than it should: some tests count on the size.
const small = { initialRows: 10, minRows: 10, maxRows: 10 };
const lengths = (stage: Stage, map: (row: { body: string }) => unknown, more: object = {}) => {
  const table = tablesOf(stage.dialect).notes;
  return define({ name: "lengths", table, key: "id", read: ["body"], write: ["length"], map, ...small, ...more });
};
const column = async (stage: Stage, text: string) => (await stage.query(text)).map(([value]) => value);

/** Visits every row of `t` in chunks of three and expects each to be touched once. */
async function visits(stage: Stage, table: Table, key: readonly string[]): Promise<void> {
  const [rows] = await column(stage, "select count(*) from t");
  const { n } = table as unknown as { readonly n: Column };
  const set = { n: sql`${n} + 1` };
  const migration = define({ name: "visit", table, key, set, remaining: sql`${n} = 0`, initialRows: 3, maxRows: 3 });
  const engine = await stage.engine([migration]);
  const [status] = await engine.run();
  expect(status?.error).toBeUndefined();
  expect(status).toMatchObject({ state: "done", rowsDone: rows, rowsChanged: rows });
  expect(await column(stage, "select distinct n from t")).toEqual([1]);
}

for (const [name, register] of stages) {
  const on = (title: string, run: (stage: Stage) => Promise<void>) =>
    register(`${name}: ${title}`, async () => run(await stageOn(name)));
  const prepared = (title: string, rows: number, run: (stage: Stage) => Promise<void>) =>
    on(title, async (stage) => {
      for (const statement of createStatements(stage.dialect, rows)) await stage.query(statement);
      await run(stage);
    });

  prepared("one definition of each kind is done, verified and counted", 45, async (stage) => {
    const engine = await stage.engine(definitionsFor(stage.dialect));
    expect(await engine.run()).toMatchObject([
      { name: "bump", state: "done", rowsDone: 45, rowsChanged: 45, total: 45, totalKind: "exact" },
      { name: "largest", state: "done", rowsDone: 45, rowsChanged: 45 },
      { name: "lengths", state: "done", rowsDone: 45, rowsChanged: 45 },
      { name: "sums", state: "done", rowsDone: 45, rowsChanged: 45 },
    ]);
    expect(await column(stage, "select distinct n from counters")).toEqual([1]);
    expect(await column(stage, "select count(*) from notes where length <> length(body)")).toEqual([0]);
    expect(await column(stage, "select sum(total) - (select sum(amount) from parts) from totals")).toEqual([0]);
    expect((await engine.history("bump")).map(({ type }) => type)).toEqual([
      "registered",
      "claim",
      "counted",
      "exhaust",
      "verified",
    ]);
  });

  prepared("P1: books of an older version get what they lack and keep what they have", 5, async (stage) => {
    await (await stage.engine([bump(stage)])).close();
    for (const { name: table, columns } of books) {
      const drops = Object.keys(columns).map(
        (each) => `drop column ${stage.dialect === "mysql" ? `\`${each}\`` : each}`,
      );
      // SQLite drops one at a time, and servers rewrite the table each time.
      const changes = stage.dialect === "sqlite" ? drops : [drops.join(", ")];
      for (const change of changes) await stage.query(`alter table ${table} ${change}`);
    }
    const engine = await stage.engine([bump(stage)]);
    expect((await engine.run())[0]).toMatchObject({ state: "done", rowsDone: 5 });
  });

  prepared("rows that come below the bound raise the total by as many", 30, async (stage) => {
    await stage.query("update counters set id = id * 1000");
    await stage.query("delete from effects");
    // Counted as thirty, visited as thirty-two: the run waits in between.
    let utilisation = 2;
    const signals = [{ name: "gate", read: async () => ({ utilisation, reason: "closed" }) }];
    const engine = await stage.engine([bump(stage)], { signals });
    const events = engine.events();
    const run = engine.run();
    for await (const event of events) if (event.type === "state" && event.to === "throttled") break;
    expect((await engine.get("bump")).total).toBe(30);
    await stage.query("insert into counters (id) values (29500), (29501)");
    utilisation = 0;
    const [status] = await run;
    expect(status?.state).toBe("done");
    expect(status?.total).toBe(status?.rowsDone);
    expect(await column(stage, "select count(*) from counters where n > 1")).toEqual([0]);
  });

  prepared("a live write of a written column wins, and one of an input is mapped again", 3, async (stage) => {
    await stage.query("update notes set body = 'abc'");
    let isRaced = false;
    const migration = lengths(
      stage,
      async ({ body }) => {
        if (!isRaced) {
          isRaced = true;
          await stage.query("update notes set length = 99 where id = 1");
          // The same to a collation that does not look at cases.
          await stage.query("update notes set body = 'ABC' where id = 2");
        }
        return { length: body === "ABC" ? 1000 : body.length };
      },
      { remaining: sql`length is null` },
    );
    const engine = await stage.engine([migration]);
    expect((await engine.run())[0]).toMatchObject({ state: "done", rowsDone: 3, rowsChanged: 2 });
    expect(await column(stage, "select length from notes order by id")).toEqual([99, 1000, 3]);
  });

  prepared("a body of its own works in the chunk's transaction, and an error rolls it back", 20, async (stage) => {
    let chunks = 0;
    const table = counters(stage);
    const migration = define({
      name: "own",
      table,
      key: "id",
      remaining: sql`${table.n} = 0`,
      async run({ rows, execute }: { rows: never; execute: (text: unknown) => Promise<{ changes: number }> }) {
        const { changes } = await execute(sql`update ${table} set n = n + 1 where ${rows}`);
        if (++chunks === 2) throw new Error("boom");
        return changes;
      },
      ...small,
    });
    const engine = await stage.engine([migration]);
    expect((await engine.run())[0]).toMatchObject({ state: "failed", rowsDone: 10, error: { code: "BODY_FAILED" } });
    expect(await column(stage, "select sum(n) from counters")).toEqual([10]);
    await engine.retry("own");
    expect((await engine.run())[0]).toMatchObject({ state: "done", rowsDone: 20 });
    expect(await column(stage, "select distinct n from counters")).toEqual([1]);
  });

  prepared(
    "a row that the database refuses is found by halving, and that one alone is set aside",
    60,
    async (stage) => {
      await stage.query("alter table counters add column limited integer not null default 0 check (limited < 30)");
      const { id } = counters(stage);
      const migration = define({
        name: "limits",
        table: withLimited(stage),
        key: "id",
        set: { limited: sql`case when ${id} in (37, 38) then 30 else 1 end` },
        initialRows: 20,
        maxRows: 20,
      });
      const engine = await stage.engine([migration]);
      expect((await engine.run())[0]).toMatchObject({ state: "failed", rowsDone: 58, rowsQuarantined: 2 });
      expect((await engine.quarantined("limits")).map(({ key }) => key)).toEqual(['[["i","37"]]', '[["i","38"]]']);
      for (const { key } of await engine.quarantined("limits")) await engine.skipQuarantined("limits", key);
      await engine.retry("limits");
      expect((await engine.run())[0]).toMatchObject({ state: "done", rowsDone: 58, rowsQuarantined: 2, total: 60 });
    },
  );

  prepared("a slip in the SQL of a definition is blamed on the definition, not on rows", 10, async (stage) => {
    const slip = define({ name: "slip", table: counters(stage), key: "id", set: { n: sql`no_such_column` } });
    const engine = await stage.engine([slip]);
    const [status] = await engine.run();
    expect(status).toMatchObject({ state: "failed", rowsQuarantined: 0, error: { code: "SQL_FAILED" } });
    expect(status?.error?.message).toContain("no_such_column");
  });

  prepared("one wrong row keeps a migration from being done, and retry repairs that row alone", 5, async (stage) => {
    const migration = lengths(stage, ({ body }) => ({ length: body.length }));
    const engine = await stage.engine([migration]);
    await engine.run();
    await stage.query("update notes set length = 77 where id = 2");
    await stage.query("update tidemark_migrations set state = 'registered', owner = null");
    expect((await engine.run())[0]).toMatchObject({ state: "failed", error: { code: "VERIFY_FAILED" } });
    expect((await engine.get("lengths")).error?.message).toContain('1 rows are not as they should be: [["i","2"]]');
    await engine.retry("lengths");
    expect((await engine.run())[0]).toMatchObject({ state: "done" });
    expect(await column(stage, "select length from notes order by id")).toEqual([1, 2, 3, 4, 5]);
  });

  prepared("a value that only a collation takes for the right one is wrong", 1, async (stage) => {
    await stage.query("update notes set body = 'abc'");
    const table = tablesOf(stage.dialect).notes as unknown as { readonly body: Column } & Table;
    const migration = define({ name: "upper", table, key: "id", set: { body: "ABC" } });
    const engine = await stage.engine([migration]);
    await engine.run();
    await stage.query("update notes set body = 'aBc'");
    await stage.query("update tidemark_migrations set state = 'registered', owner = null");
    expect((await engine.run())[0]).toMatchObject({ state: "failed", error: { code: "VERIFY_FAILED" } });
  });

  prepared("M10: whoever lost the lease in the middle of a chunk writes nothing", 30, async (stage) => {
    let calls = 0;
    const migration = lengths(stage, async ({ body }) => {
      if (++calls === 15) {
        const text = "fence = fence + 1, owner = 'other', lease_expires_at = 9000000000000000";
        await stage.query(`update tidemark_migrations set ${text}`);
      }
      return { length: body.length };
    });
    const engine = await stage.engine([migration], { pollMs: 1_000_000 });
    const stop = new AbortController();
    const events = engine.events();
    const run = engine.run({ signal: stop.signal }).catch(() => {});
    for await (const event of events) if (event.type === "lost") break;
    stop.abort();
    await run;
    expect(await stage.query("select owner, rows_done from tidemark_migrations")).toEqual([["other", 10]]);
    expect(await column(stage, "select count(length) from notes")).toEqual([10]);
  });

  on("integers beyond 2^53 are visited once each, without a digit lost", async (stage) => {
    await stage.query("create table t (id bigint primary key not null, n integer not null default 0)");
    const ids = [-(2n ** 63n), -1n, 0n, 1n, ...[0n, 1n, 2n, 3n, 4n, 5n].map((i) => 2n ** 53n + i), 2n ** 63n - 1n];
    await stage.query(`insert into t (id) values ${ids.map((id) => `(${id})`).join(",")}`);
    const table = {
      sqlite: lite.sqliteTable("t", { id: lite.integer().primaryKey(), n: lite.integer().notNull() }),
      postgresql: pg.pgTable("t", { id: pg.bigint({ mode: "bigint" }).primaryKey(), n: pg.integer().notNull() }),
      mysql: my.mysqlTable("t", { id: my.bigint({ mode: "bigint" }).primaryKey(), n: my.int().notNull() }),
    }[stage.dialect];
    await visits(stage, table, ["id"]);
    expect(await column(stage, "select bound from tidemark_migrations")).toEqual(['[["i","9223372036854775807"]]']);
  });

  on("text is visited in the database's own order, whatever its collation says", async (stage) => {
    const type = stage.dialect === "mysql" ? "varchar(100) character set utf8mb4 collate utf8mb4_unicode_ci" : "text";
    await stage.query(`create table t (id ${type} primary key not null, n integer not null default 0)`);
    const ids = ["b", "A", "c", "Z", "a b", "é", "", "z~", "_", "😀", "0", "10", "9", "a%", "O''Hara", "ﬀ", "ü"];
    for (const id of [...ids, ...(stage.dialect === "mysql" ? [] : ["back\\slash"])]) {
      await stage.query(`insert into t (id) values ('${id}')`);
    }
    const table = {
      sqlite: lite.sqliteTable("t", { id: lite.text().primaryKey(), n: lite.integer().notNull() }),
      postgresql: pg.pgTable("t", { id: pg.text().primaryKey(), n: pg.integer().notNull() }),
      mysql: my.mysqlTable("t", { id: my.varchar({ length: 100 }).primaryKey(), n: my.int().notNull() }),
    }[stage.dialect];
    await visits(stage, table, ["id"]);
  });

  on("composite keys are visited once each, also where the first part is the same for many", async (stage) => {
    await stage.query(
      "create table t (a varchar(9) not null, b bigint not null, n integer not null default 0, unique (a, b))",
    );
    const pairs = ["x", "y", "Z", ""].flatMap((a) => upTo(11).map((b) => `('${a}', ${b - 4})`));
    await stage.query(`insert into t (a, b) values ${pairs.join(",")}`);
    // Drizzle keeps the columns without names of the first table of a name.
    const table = {
      sqlite: lite.sqliteTable("t", {
        a: lite.text("a").notNull(),
        b: lite.integer("b").notNull(),
        n: lite.integer("n"),
      }),
      postgresql: pg.pgTable("t", {
        a: pg.text("a").notNull(),
        b: pg.bigint("b", { mode: "number" }).notNull(),
        n: pg.integer("n"),
      }),
      mysql: my.mysqlTable("t", {
        a: my.varchar("a", { length: 9 }).notNull(),
        b: my.bigint("b", { mode: "number" }).notNull(),
        n: my.int("n"),
      }),
    }[stage.dialect];
    await visits(stage, table, ["a", "b"]);
  });

  on("a key that is not unique, may be NULL, or is not there, is refused before a row is touched", async (stage) => {
    const int = { sqlite: lite.integer, postgresql: pg.integer, mysql: my.int }[stage.dialect] as typeof pg.integer;
    const make = { sqlite: lite.sqliteTable, postgresql: pg.pgTable, mysql: my.mysqlTable }[
      stage.dialect
    ] as typeof pg.pgTable;
    const cases = [
      ["twice", "id integer not null, n integer", "no primary key or unique index"],
      ["missing", "other integer not null, n integer", 'no column "id"'],
      ["nulls", "id integer unique, n integer", "NULL"],
    ] as const;
    for (const [table, columns, message] of cases) {
      await stage.query(`create table ${table} (${columns})`);
      if (table === "nulls") await stage.query("insert into nulls (id) values (null)");
      const migration = define({
        name: table,
        table: make(table, { id: int().primaryKey(), n: int() }),
        key: "id",
        set: { n: 1 },
      });
      const [status] = (await (await stage.engine([migration])).run()).filter((each) => each.name === table);
      expect(status).toMatchObject({ state: "failed", error: { code: "KEY_INVALID" } });
      expect(status?.error?.message).toContain(message);
    }
  });

  prepared("openMigrations takes the driver as users give it", 5, async (stage) => {
    const definitions = [bump(stage)];
    await using migrations = await openMigrations({ database: stage.database, definitions, thread: "caller" });
    expect((await migrations.run())[0]).toMatchObject({ state: "done", rowsDone: 5 });
  });
}

function withLimited(stage: Stage): Table {
  const columns = { sqlite: lite.integer, postgresql: pg.integer, mysql: my.int }[stage.dialect] as typeof pg.integer;
  const make = { sqlite: lite.sqliteTable, postgresql: pg.pgTable, mysql: my.mysqlTable }[
    stage.dialect
  ] as typeof pg.pgTable;
  return make("counters", { id: columns().primaryKey(), n: columns(), limited: columns() });
}
