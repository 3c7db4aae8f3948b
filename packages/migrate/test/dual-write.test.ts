// Triggers that write the new columns while a migration writes them for the old rows.

import { defineMigration, dualWrite, type Migration } from "@tidemark/migrate";
import { serviceTest } from "@tidemark/tooling/services";
import { type SQL, sql, type Table } from "drizzle-orm";
import * as my from "drizzle-orm/mysql-core";
import * as pg from "drizzle-orm/pg-core";
import * as lite from "drizzle-orm/sqlite-core";
import { expect, onTestFinished, test } from "vitest";
import { type Stage, stageOn } from "./support/stage.ts";

const people = {
  sqlite: lite.sqliteTable("people", {
    id: lite.integer("id").primaryKey(),
    first: lite.text("first_name").notNull(),
    last: lite.text("last_name"),
    full: lite.text("full_name"),
    marks: lite.integer("marks").notNull().default(0),
  }),
  postgresql: pg.pgTable("people", {
    id: pg.integer("id").primaryKey(),
    first: pg.text("first_name").notNull(),
    last: pg.text("last_name"),
    full: pg.text("full_name"),
    marks: pg.integer("marks").notNull().default(0),
  }),
  mysql: my.mysqlTable("people", {
    id: my.int("id").primaryKey(),
    first: my.varchar("first_name", { length: 50 }).notNull(),
    last: my.varchar("last_name", { length: 50 }),
    full: my.varchar("full_name", { length: 100 }),
    marks: my.int("marks").notNull().default(0),
  }),
} as const;

const between = " \\ it's ";

function definition(dialect: keyof typeof people, where?: (table: (typeof people)["sqlite"]) => SQL): Migration {
  const table = people[dialect] as (typeof people)["sqlite"];
  // A value, not SQL: what a backslash means there differs.
  const joined =
    dialect === "mysql"
      ? sql`concat(${table.first}, ${between}, coalesce(${table.last}, ''))`
      : sql`${table.first} || ${between} || coalesce(${table.last}, '')`;
  return defineMigration({
    name: "2026-11.full",
    table: table as Table,
    key: "id",
    set: { full: joined, marks: sql`(select count(*) from grades g where g.person = ${table.id})` },
    ...(where !== undefined && { where: where(table) }),
  } as never);
}

async function prepared(name: "sqlite" | "pg" | "mariadb"): Promise<Stage> {
  const stage = await stageOn(name);
  const text = stage.dialect === "mysql" ? "varchar(100)" : "text";
  await stage.query(
    `create table people (id integer primary key, first_name ${text} not null, last_name ${text}, full_name ${text},
      marks integer not null default 0)`,
  );
  await stage.query("create table grades (person integer not null)");
  await stage.query("insert into grades values (1), (2), (2), (5)");
  await stage.query("insert into people (id, first_name, last_name) values (1, 'Ada', 'L')");
  return stage;
}

for (const [name, register] of [
  ["sqlite", test],
  ["pg", serviceTest("postgres")],
  ["mariadb", serviceTest("mariadb")],
] as const) {
  register(`${name}: rows that come or change while a migration runs are as if it had visited them`, async () => {
    const stage = await prepared(name);
    const migration = definition(stage.dialect);
    const { up, down } = dualWrite(migration, stage.dialect);
    for (const statement of up) await stage.query(statement);
    await stage.query("insert into people (id, first_name, last_name) values (2, 'Bo', 'B'), (3, 'Cy', null)");
    // A newer application knows better.
    await stage.query("insert into people (id, first_name, full_name) values (4, 'Di', 'Diana')");
    await stage.query("insert into people (id, first_name, full_name) values (5, 'Ed', 'Edgar')");
    await stage.query("update people set last_name = 'E' where id = 5");
    // Not an input: nothing happens.
    await stage.query("update people set full_name = 'mine' where id = 3");
    const rows = "select id, full_name, marks from people where id > 1 order by id";
    expect(await stage.query(rows)).toEqual([
      [2, `Bo${between}B`, 2],
      [3, "mine", 0],
      [4, "Diana", 0],
      [5, `Ed${between}E`, 1],
    ]);
    await stage.query("update people set full_name = null where id = 3");
    const engine = await stage.engine([migration]);
    await stage.query("update people set full_name = 'x', marks = 9");
    expect((await engine.run())[0]).toMatchObject({ state: "done", rowsDone: 5 });
    for (const statement of down) await stage.query(statement);
    await stage.query("insert into people (id, first_name) values (9, 'Old')");
    expect(await stage.query("select full_name from people where id = 9")).toEqual([[null]]);
  });

  register(`${name}: rows the migration is not about are left alone by its triggers`, async () => {
    const stage = await prepared(name);
    const migration = definition(stage.dialect, (table) => sql`${table.last} is not null`);
    for (const statement of dualWrite(migration, stage.dialect).up) await stage.query(statement);
    await stage.query("insert into people (id, first_name, last_name) values (2, 'Bo', 'B'), (3, 'Cy', null)");
    await stage.query("update people set first_name = 'Cyd' where id = 3");
    expect(await stage.query("select id from people where full_name is not null order by id")).toEqual([[2]]);
  });
}

for (const [name, register] of [
  ["pg", serviceTest("postgres")],
  ["mariadb", serviceTest("mariadb")],
] as const) {
  register(`${name}: a table of a schema of its own has its triggers there`, async () => {
    const stage = await stageOn(name);
    const isMysql = stage.dialect === "mysql";
    const schema = `side_${process.pid}`;
    await stage.query(`create schema ${schema}`);
    onTestFinished(async () => void (await stage.query(`drop schema ${schema}${isMysql ? "" : " cascade"}`)));
    const table = (isMysql
      ? my.mysqlSchema(schema).table("people", { id: my.int("id").primaryKey(), a: my.int("a"), b: my.int("b") })
      : pg.pgSchema(schema).table("people", {
          id: pg.integer("id").primaryKey(),
          a: pg.integer("a"),
          b: pg.integer("b"),
        })) as unknown as lite.SQLiteTableWithColumns<never> & Readonly<Record<"id" | "a" | "b", lite.SQLiteColumn>>;
    await stage.query(`create table ${schema}.people (id integer primary key, a integer, b integer)`);
    // Another one of the same name, where unqualified names lead to.
    await stage.query("create table people (id integer primary key, a integer, b integer)");
    const migration = defineMigration({
      name: "double",
      table: table as Table,
      key: "id",
      set: { b: sql`${table.a} * 2` },
      where: sql`${table.a} > 0`,
    } as never);
    const { up, down } = dualWrite(migration, stage.dialect);
    for (const statement of up) await stage.query(statement);
    await stage.query(`insert into ${schema}.people (id, a) values (1, 4), (2, -4)`);
    await stage.query("insert into people (id, a) values (1, 4)");
    await stage.query(`update ${schema}.people set a = 5 where id = 1`);
    const rows = (from: string) => stage.query(`select id, a, b from ${from} order by id`);
    expect(await rows(`${schema}.people`)).toEqual([
      [1, 5, 10],
      [2, -4, null],
    ]);
    expect(await rows("people")).toEqual([[1, 4, null]]);
    for (const statement of down) await stage.query(statement);
    await stage.query(`insert into ${schema}.people (id, a) values (3, 4)`);
    expect(await stage.query(`select b from ${schema}.people where id = 3`)).toEqual([[null]]);
  });
}

for (const [name, register] of [
  ["sqlite", test],
  ["pg", serviceTest("postgres")],
] as const) {
  register(`${name}: values of every kind are in a trigger as they would be in a chunk`, async () => {
    const isLite = name === "sqlite";
    const stage = await stageOn(name, [
      `create table t (id integer primary key, a integer, big bigint, bytes ${isLite ? "blob" : "bytea"}, at text)`,
    ]);
    const columns = { a: "a", big: "big", at: "at" } as const;
    const table = isLite
      ? lite.sqliteTable("t", {
          id: lite.integer("id").primaryKey(),
          a: lite.integer(columns.a),
          big: lite.integer(columns.big),
          bytes: lite.blob("bytes", { mode: "buffer" }),
          at: lite.text(columns.at),
        })
      : pg.pgTable("t", {
          id: pg.integer("id").primaryKey(),
          a: pg.integer(columns.a),
          big: pg.bigint(columns.big, { mode: "bigint" }),
          bytes: pg.customType<{ data: Buffer }>({ dataType: () => "bytea" })("bytes"),
          at: pg.text(columns.at),
        });
    const migration = defineMigration({
      name: "values",
      table: table as Table,
      key: "id",
      set: {
        big: sql`${(table as { readonly a: lite.SQLiteColumn }).a}-${-1}+${2n ** 60n}`,
        bytes: Buffer.from([0, 255, 39]),
        at: sql`${new Date(0)}`,
      },
    } as never);
    for (const statement of dualWrite(migration, stage.dialect).up) await stage.query(statement);
    await stage.query("insert into t (id, a) values (1, 5)");
    const hex = isLite ? "hex(bytes)" : "upper(encode(bytes, 'hex'))";
    expect(await stage.query(`select cast(big as text), ${hex}, at from t`)).toEqual([
      [String(2n ** 60n + 6n), "00FF27", "1970-01-01T00:00:00.000Z"],
    ]);
  });
}

test("migrations whose names begin alike have triggers of their own", async () => {
  const stage = await prepared("sqlite");
  const begin = "2026-11-27-give-people-their-full-names-in-the-new";
  const made = ["first", "second"].map((end) => {
    return dualWrite({ ...definition("sqlite"), name: `${begin}-${end}` }, "sqlite");
  });
  for (const { up } of made) for (const statement of up) await stage.query(statement);
  const count = "select count(*) from sqlite_schema where type = 'trigger'";
  expect(await stage.query(count)).toEqual([[4]]);
  for (const statement of made[1]?.down ?? []) await stage.query(statement);
  expect(await stage.query(count)).toEqual([[2]]);
});

test("what cannot be a trigger is refused, and a mapper can be given one", () => {
  const table = people.sqlite;
  const mapper = defineMigration({
    name: "mapper",
    table,
    key: "id",
    read: ["first"],
    write: ["full"],
    map: ({ first }) => ({ full: first.toUpperCase() }),
  });
  expect(() => dualWrite(mapper, "sqlite")).toThrow("give `set` with an expression");
  const { up } = dualWrite(mapper, "sqlite", { set: { full: sql`upper(${table.first})` } });
  expect(up[1]).toContain('after update of "first_name" on "people"');
  const own = sql`coalesce(${table.full}, ${table.first})`;
  expect(() => dualWrite(mapper, "sqlite", { set: { full: own } })).toThrow("computed from itself");
});
