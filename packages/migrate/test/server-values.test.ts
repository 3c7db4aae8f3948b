// What functions get of a column, and what verification takes for the value that was written, on real servers.

import { defineMigration } from "@tidemark/migrate";
import { serviceTest } from "@tidemark/tooling/services";
import { sql, type Table } from "drizzle-orm";
import { drizzle as drizzleMysql } from "drizzle-orm/mysql2";
import * as my from "drizzle-orm/mysql-core";
import { drizzle as drizzlePg } from "drizzle-orm/node-postgres";
import * as pg from "drizzle-orm/pg-core";
import { expect } from "vitest";
import { eager } from "./support/scratch.ts";
import { type Stage, stageOn } from "./support/stage.ts";

type Column = readonly [type: string, make: (name: string) => unknown, value: string];

const pgColumns: Readonly<Record<string, Column>> = {
  interval: ["interval", (name) => pg.interval(name), "'1 day 02:03:04'"],
  intervals: ["interval[]", (name) => pg.interval(name).array(), "'{01:00:00,02:00:00}'"],
  inet: ["inet", (name) => pg.inet(name), "'10.0.0.1'"],
  net: ["inet", (name) => pg.inet(name), "'10.0.0.1/8'"],
  char: ["char(5)", (name) => pg.char(name, { length: 5 }), "'ab'"],
  point: ["point", (name) => pg.point(name), "'(1,2.5)'"],
  moment: ["timestamptz", (name) => pg.timestamp(name, { withTimezone: true }), "'2026-01-02 03:04:05.678+05'"],
  small: ["smallint", (name) => pg.smallint(name), "5"],
  real: ["real", (name) => pg.real(name), "1.1"],
};

const myColumns: Readonly<Record<string, Column>> = {
  day: ["date", (name) => my.date(name), "'2020-01-02'"],
  moment: ["datetime(3)", (name) => my.datetime(name, { fsp: 3 }), "'2020-01-02 03:04:05.678'"],
  stamp: ["timestamp null", (name) => my.timestamp(name), "'2020-01-02 03:04:05'"],
  clock: ["time", (name) => my.time(name), "'01:02:03'"],
  char: ["char(5)", (name) => my.char(name, { length: 5 }), "'ab'"],
  kind: ["enum('x', 'a')", (name) => my.mysqlEnum(name, ["x", "a"]), "'x'"],
  float: ["float", (name) => my.float(name), "1.1"],
  year: ["year", (name) => my.year(name), "2020"],
};

for (const [name, columns, register] of [
  ["pg", pgColumns, serviceTest("postgres")],
  ["mariadb", myColumns, serviceTest("mariadb")],
] as const) {
  register(`${name}: a function gets what Drizzle gets, and what it gives back is verified`, async () => {
    const stage = await stageOn(name);
    const names = Object.keys(columns);
    const declared = names.flatMap((each) => ["a", "b"].map((side) => `${side}_${each} ${columns[each]?.[0]}`));
    await stage.query(`create table t (id integer primary key, ${declared.join(", ")})`);
    const values = names.map((each) => columns[each]?.[2]).join(", ");
    await stage.query(`insert into t (id, ${names.map((each) => `a_${each}`).join(", ")}) values (1, ${values})`);
    const made = Object.fromEntries(
      names.flatMap((each) => ["a", "b"].map((side) => [`${side}_${each}`, columns[each]?.[1](`${side}_${each}`)])),
    );
    const table = (
      stage.dialect === "mysql"
        ? my.mysqlTable("t", { id: my.int("id").primaryKey(), ...(made as Record<string, my.MySqlColumnBuilderBase>) })
        : pg.pgTable("t", { id: pg.integer("id").primaryKey(), ...(made as Record<string, pg.PgColumnBuilderBase>) })
    ) as Table;
    let seen: Readonly<Record<string, unknown>> = {};
    const migration = defineMigration({
      name: "copy",
      table,
      key: "id",
      read: names.map((each) => `a_${each}`),
      write: names.map((each) => `b_${each}`),
      map(row: Readonly<Record<string, unknown>>) {
        seen = row;
        return Object.fromEntries(names.map((each) => [`b_${each}`, row[`a_${each}`]]));
      },
      ...eager,
    } as never);
    const [status] = await (await stage.engine([migration])).run();
    expect(status?.error).toBeUndefined();
    expect(status).toMatchObject({ state: "done", rowsDone: 1 });
    const client = (stage.database as unknown as { readonly client: never }).client;
    const [row] = (
      stage.dialect === "mysql"
        ? await drizzleMysql(client)
            .select()
            .from(table as never)
        : await drizzlePg(client)
            .select()
            .from(table as never)
    ) as Readonly<Record<string, unknown>>[];
    for (const each of names) {
      expect([each, seen[`a_${each}`]]).toEqual([each, row?.[`a_${each}`]]);
      expect([each, row?.[`b_${each}`]]).toEqual([each, row?.[`a_${each}`]]);
    }
  });
}

/** Runs a `set` of one value that its column does not keep as it is, and then looks whether a wrong one is seen. */
async function keeps(stage: Stage, table: Table, value: unknown, wrong: string): Promise<void> {
  await stage.query("insert into t (id) values (1)");
  const migration = defineMigration({ name: "fill", table, key: "id", set: { a: value }, ...eager } as never);
  const engine = await stage.engine([migration]);
  const [status] = await engine.run();
  expect(status?.error).toBeUndefined();
  expect(status).toMatchObject({ state: "done", rowsDone: 1 });
  await stage.query(`update t set a = ${wrong}`);
  await stage.query("update tidemark_migrations set state = 'registered', owner = null, is_exhausted = 1");
  expect((await engine.run())[0]).toMatchObject({ state: "failed", error: { code: "VERIFY_FAILED" } });
}

for (const [type, make, value, wrong] of [
  ["time", (name: string) => my.time(name), sql`'9:05'`, "'09:06'"],
  ["time(1)", (name: string) => my.time(name, { fsp: 1 }), sql`sec_to_time(5.51)`, "'00:00:05'"],
  ["date", (name: string) => my.date(name), sql`timestamp('2020-01-02 10:11:12')`, "'2020-01-03'"],
  ["char(5)", (name: string) => my.char(name, { length: 5 }), sql`concat('ab', ' ')`, "'abc'"],
  ["binary(4)", (name: string) => my.binary(name, { length: 4 }), sql`'ab'`, "'abc'"],
  ["double(10,2)", (name: string) => my.double(name, { precision: 10, scale: 2 }), sql`1.239e0`, "1.23"],
  ["float(10,2)", (name: string) => my.float(name, { precision: 10, scale: 2 }), sql`1.239e0`, "1.23"],
] as const) {
  serviceTest("mariadb")(`mariadb: what a ${type} makes of a value is right, and nothing else`, async () => {
    const stage = await stageOn("mariadb", [`create table t (id integer primary key, a ${type})`]);
    const table = my.mysqlTable("t", { id: my.int("id").primaryKey(), a: make("a") as my.MySqlColumnBuilderBase });
    await keeps(stage, table, value, wrong);
  });
}

for (const [type, make, value, wrong] of [
  ["interval", (name: string) => pg.interval(name), sql`interval '90 minutes'`, "'1 hour'"],
  ["char(5)", (name: string) => pg.char(name, { length: 5 }), sql`'ab '`, "'abc'"],
  ["inet", (name: string) => pg.inet(name), sql`'10.0.0.1/32'`, "'10.0.0.2'"],
  ["point", (name: string) => pg.point(name), sql`point(1, 2)`, "'(1,3)'"],
  // Its equality is that of areas.
  ["box", (name: string) => pg.customType({ dataType: () => "box" })(name), sql`'(1,1),(0,0)'`, "'(2,2),(1,1)'"],
  ["xml", (name: string) => pg.customType({ dataType: () => "xml" })(name), sql`'<x>1</x>'`, "'<x>2</x>'"],
] as const) {
  serviceTest("postgres")(`pg: what a column of ${type} makes of a value is right, and nothing else`, async () => {
    const stage = await stageOn("pg", [`create table t (id integer primary key, a ${type})`]);
    const table = pg.pgTable("t", { id: pg.integer("id").primaryKey(), a: make("a") as pg.PgColumnBuilderBase });
    await keeps(stage, table, value, wrong);
  });
}

serviceTest("mariadb")(
  "mariadb: rows are visited once each by a key of an enum, whose order is not that of letters",
  async () => {
    const stage = await stageOn("mariadb", [
      "create table t (kind enum('zebra', 'apple') not null, id integer not null, n integer not null default 0, primary key (kind, id))",
    ]);
    for (let id = 0; id < 5; id++)
      await stage.query(`insert into t (kind, id) values ('zebra', ${id}), ('apple', ${id})`);
    const table = my.mysqlTable("t", {
      kind: my.mysqlEnum("kind", ["zebra", "apple"]).notNull(),
      id: my.int("id").notNull(),
      n: my.int("n").notNull(),
    });
    const migration = defineMigration({
      name: "visit",
      table,
      key: ["kind", "id"],
      set: { n: sql`${table.n} + 1` },
      remaining: sql`${table.n} = 0`,
      ...eager,
      initialRows: 3,
      maxRows: 3,
    });
    const [status] = await (await stage.engine([migration])).run();
    expect(status).toMatchObject({ state: "done", rowsDone: 10, rowsChanged: 10 });
    expect(await stage.query("select n, count(*) from t group by n")).toEqual([[1, 10]]);
  },
);

serviceTest("postgres")("pg: bytes are bytes, whatever the server writes them as", async () => {
  const stage = await stageOn("pg", ["create table t (id bytea primary key, n integer)"]);
  const [[name] = []] = await stage.query("select current_database()");
  await stage.query(`alter database ${String(name)} set bytea_output = 'escape'`);
  await stage.query("insert into t values ('\\x00ff5c27'), ('\\x61'), ('')");
  // A connection has it from when it is opened, and the pool has kept one.
  await expect(stage.query("select pg_terminate_backend(pg_backend_pid())")).rejects.toThrow("terminat");
  const bytes = pg.customType<{ data: Buffer }>({ dataType: () => "bytea" });
  const table = pg.pgTable("t", { id: bytes("id").primaryKey(), n: pg.integer("n") });
  const seen: string[] = [];
  const migration = defineMigration({
    name: "lengths",
    table,
    key: "id",
    read: ["id"],
    write: ["n"],
    map({ id }) {
      seen.push(id.toString("hex"));
      return { n: id.length };
    },
    ...eager,
  });
  const [status] = await (await stage.engine([migration])).run();
  expect(status?.error).toBeUndefined();
  expect(status).toMatchObject({ state: "done", rowsDone: 3 });
  expect(new Set(seen)).toEqual(new Set(["", "00ff5c27", "61"]));
});
