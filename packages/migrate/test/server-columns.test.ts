// Columns of every kind, through mappers and verification, on real servers.

import { defineMigration, type Migration } from "@tidemark/migrate";
import { pgMigrationEvents, pgMigrationQuarantine, pgMigrations } from "@tidemark/migrate";
import { mysqlMigrationEvents, mysqlMigrationQuarantine, mysqlMigrations } from "@tidemark/migrate";
import { serviceTest } from "@tidemark/tooling/services";
import { getTableColumns, getTableName, sql, type Table } from "drizzle-orm";
import { drizzle as drizzleMysql } from "drizzle-orm/mysql2";
import * as my from "drizzle-orm/mysql-core";
import { drizzle as drizzlePg } from "drizzle-orm/node-postgres";
import * as pg from "drizzle-orm/pg-core";
import { expect, test } from "vitest";
import { eager } from "./support/scratch.ts";
import { createStatements, definitionsFor } from "./support/shared-tables.ts";
import { type Stage, stageOn } from "./support/stage.ts";

const pgKinds = {
  amount: [
    "numeric(30,6)",
    (name: string) => pg.numeric(name, { precision: 30, scale: 6 }),
    ["'123456789012345678901234.000001'", "'-0.5'"],
  ],
  day: ["date", (name: string) => pg.date(name), ["'2026-02-28'", "'0001-01-01'"]],
  clock: ["time(6)", (name: string) => pg.time(name, { precision: 6 }), ["'23:59:59.999999'", "'00:00'"]],
  moment: [
    "timestamptz(6)",
    (name: string) => pg.timestamp(name, { precision: 6, withTimezone: true, mode: "string" }),
    ["'2026-03-29 02:30:00.123456+02'", "'1969-12-31T23:59:59Z'"],
  ],
  doc: ["jsonb", (name: string) => pg.jsonb(name), [`'{"b": [1, 2.5, null], "a": "ü\\"\\\\"}'`, "'[]'"]],
  raw: ["json", (name: string) => pg.json(name), [`'{"b":1,  "a":2}'`, "'\"text\"'"]],
  bytes: [
    "bytea",
    (name: string) => pg.customType<{ data: Buffer }>({ dataType: () => "bytea" })(name),
    ["'\\x00ff5c27'", "''"],
  ],
  uuid: ["uuid", (name: string) => pg.uuid(name), ["'6F9619FF-8B86-D011-B42D-00C04FC964FF'", "null"]],
  flag: ["boolean", (name: string) => pg.boolean(name), ["true", "false"]],
  flags: ["boolean[]", (name: string) => pg.boolean(name).array(), ["'{t,null,f}'", "'{}'"]],
  grid: ["boolean[]", (name: string) => pg.boolean(name).array().array(), ["'{{t,f},{f,null}}'", "null"]],
  numbers: ["integer[]", (name: string) => pg.integer(name).array(), ["'{3,NULL,-1}'", "'{}'"]],
  words: ["text[]", (name: string) => pg.text(name).array(), [`'{"NULL",NULL,"a \\"b\\", {c}\\\\"}'`, `'{ü,""}'`]],
  big: ["bigint", (name: string) => pg.bigint(name, { mode: "bigint" }), ["9007199254740993", "-9223372036854775808"]],
  ratio: ["double precision", (name: string) => pg.doublePrecision(name), ["0.1", "1e300"]],
  text: ["varchar(40)", (name: string) => pg.varchar(name, { length: 40 }), ["E'it''s \\\\ \\n ü 😀'", "''"]],
} as const;

const myKinds = {
  amount: [
    "decimal(30,6)",
    (name: string) => my.decimal(name, { precision: 30, scale: 6 }),
    ["'123456789012345678901234.000001'", "'-0.5'"],
  ],
  day: ["date", (name: string) => my.date(name, { mode: "string" }), ["'2026-02-28'", "'1000-01-01'"]],
  clock: ["time(6)", (name: string) => my.time(name, { fsp: 6 }), ["'23:59:59.999999'", "'-100:00:00'"]],
  moment: [
    "datetime(6)",
    (name: string) => my.datetime(name, { fsp: 6, mode: "string" }),
    ["'2026-03-29 02:30:00.123456'", "'1969-12-31 23:59:59'"],
  ],
  doc: ["json", (name: string) => my.json(name), [`'{"b":[1,2.5,null],"a":"ü"}'`, "'[]'"]],
  bytes: [
    "varbinary(20)", // The varbinary of Drizzle is text, which has no such bytes.
    (name: string) => my.customType<{ data: Buffer }>({ dataType: () => "varbinary(20)" })(name),
    ["x'00ff5c27'", "''"],
  ],
  flag: ["boolean", (name: string) => my.boolean(name), ["true", "false"]],
  big: [
    "bigint unsigned",
    (name: string) => my.bigint(name, { mode: "bigint", unsigned: true }),
    ["18446744073709551615", "0"],
  ],
  ratio: ["double", (name: string) => my.double(name), ["0.1", "1e300"]],
  text: [
    "varchar(40) character set utf8mb4",
    (name: string) => my.varchar(name, { length: 40 }),
    ["'it''s \\\\ \\n ü 😀'", "''"],
  ],
  blob: ["text character set utf8mb4", (name: string) => my.text(name), ["'trailing '", "''"]],
} as const;

type Kinds = Readonly<Record<string, readonly [string, (name: string) => unknown, readonly string[]]>>;

/** A column of each kind twice: `from_…` with values, and `to_…` for what a mapper makes of them, which is the same. */
async function copied(
  stage: Stage,
  kinds: Kinds,
): Promise<{ readonly migration: Migration; readonly names: string[] }> {
  const names = Object.keys(kinds);
  const declared = names.flatMap((name) => [`from_${name} ${kinds[name]?.[0]}`, `to_${name} ${kinds[name]?.[0]}`]);
  await stage.query(`create table kinds (id integer primary key not null, ${declared.join(", ")})`);
  for (const [row, id] of [0, 1, 2].entries()) {
    const values = names.map((name) => (row === 2 ? "null" : kinds[name]?.[2][row]));
    await stage.query(
      `insert into kinds (id, ${names.map((name) => `from_${name}`).join(", ")}) values (${id}, ${values.join(", ")})`,
    );
  }
  const made = Object.fromEntries(
    names.flatMap((name) => ["from", "to"].map((side) => [`${side}_${name}`, kinds[name]?.[1](`${side}_${name}`)])),
  );
  const table = (
    stage.dialect === "mysql"
      ? my.mysqlTable("kinds", {
          id: my.int("id").primaryKey(),
          ...(made as Record<string, my.MySqlColumnBuilderBase>),
        })
      : pg.pgTable("kinds", { id: pg.integer("id").primaryKey(), ...(made as Record<string, pg.PgColumnBuilderBase>) })
  ) as Table;
  const migration = defineMigration({
    name: "copy",
    table,
    key: "id",
    read: names.map((name) => `from_${name}`),
    write: names.map((name) => `to_${name}`),
    map: (row: Record<string, unknown>) => Object.fromEntries(names.map((name) => [`to_${name}`, row[`from_${name}`]])),
    ...eager,
  } as never);
  return { migration, names };
}

for (const [name, kinds, register] of [
  ["pg", pgKinds, serviceTest("postgres")],
  ["postgres", pgKinds, serviceTest("postgres")],
  ["mariadb", myKinds, serviceTest("mariadb")],
] as const) {
  register(
    `${name}: columns of every kind come through a mapper as they were, and verification sees one that does not`,
    async () => {
      const stage = await stageOn(name);
      const { migration, names } = await copied(stage, kinds as never);
      const engine = await stage.engine([migration]);
      const [status] = await engine.run();
      expect(status?.error).toBeUndefined();
      expect(status).toMatchObject({ state: "done", rowsDone: 3, rowsQuarantined: 0 });
      const isMysql = stage.dialect === "mysql";
      for (const each of names) {
        // By the server's own text, which is exact, apart from the spaces of JSON that is written anew.
        const text = (column: string) =>
          each === "raw" ? `${column}::jsonb::text` : isMysql ? `cast(${column} as char)` : `${column}::text`;
        const same = isMysql
          ? `${text(`from_${each}`)} <=> ${text(`to_${each}`)}`
          : `${text(`from_${each}`)} is not distinct from ${text(`to_${each}`)}`;
        expect([each, await stage.query(`select id from kinds where not (${same})`)]).toEqual([each, []]);
      }
      for (const each of names) {
        await stage.query(`update kinds set to_${each} = null where id = 0`);
        await stage.query("update tidemark_migrations set state = 'registered', owner = null, is_exhausted = 1");
        const checked = await engine.run();
        // Either it says so, or it puts right what it may.
        const [[left] = []] = await stage.query(`select count(*) from kinds where id = 0 and to_${each} is null`);
        const isSeen = checked[0]?.error?.code === "VERIFY_FAILED" || left === 0;
        expect([each, isSeen]).toEqual([each, true]);
        await stage.query(`update kinds set to_${each} = from_${each}`);
      }
    },
  );
}

serviceTest("postgres")("a mapper of PostgreSQL gets arrays of booleans as such", async () => {
  const stage = await stageOn("pg");
  await stage.query("create table choices (id integer primary key, flags boolean[], grid boolean[][], yes integer)");
  await stage.query("insert into choices values (1, '{t,null,f,t}', '{{t,f},{f,f}}'), (2, null, '{}')");
  const table = pg.pgTable("choices", {
    id: pg.integer("id").primaryKey(),
    flags: pg.boolean("flags").array(),
    grid: pg.boolean("grid").array().array(),
    yes: pg.integer("yes"),
  });
  const seen: unknown[] = [];
  const migration = defineMigration({
    name: "choices",
    table,
    key: "id",
    read: ["flags", "grid"],
    write: ["yes"],
    map: ({ flags, grid }) => {
      seen.push([flags, grid]);
      return { yes: (flags ?? []).filter((flag) => flag === true).length };
    },
    ...eager,
  });
  expect((await (await stage.engine([migration])).run())[0]).toMatchObject({ state: "done" });
  expect(seen.slice(0, 2)).toEqual([
    [
      [true, null, false, true],
      [
        [true, false],
        [false, false],
      ],
    ],
    [null, []],
  ]);
  expect(await stage.query("select yes from choices order by id")).toEqual([[2], [0]]);
});

test("MySQL's order of assignments is chosen so that each sees the row as it was, or refused", async () => {
  const table = my.mysqlTable("swap", { id: my.int().primaryKey(), a: my.int(), b: my.int(), c: my.int() });
  const stage = await stageOn("sqlite");
  const ring = defineMigration({
    name: "ring",
    table,
    key: "id",
    set: { a: sql`${table.b}`, b: sql`${table.a}` },
    remaining: sql`1 = 0`,
  });
  // Any other database sees the row as it was.
  await stage.query("create table swap (id integer primary key, a integer, b integer, c integer)");
  await stage.query("insert into swap values (1, 10, 20, 30)");
  const engine = await stage.engine([ring]);
  expect((await engine.run())[0]?.state).toBe("done");
  expect(await stage.query("select a, b from swap")).toEqual([[20, 10]]);
});

serviceTest("mariadb")("mariadb: assignments that read each other's columns see the row as it was", async () => {
  const table = my.mysqlTable("swap", { id: my.int().primaryKey(), a: my.int(), b: my.int(), c: my.int() });
  const stage = await stageOn("mariadb");
  await stage.query("create table swap (id integer primary key, a integer, b integer, c integer)");
  await stage.query("insert into swap values (1, 10, 20, 30)");
  const shifted = { a: sql`7`, b: sql`${table.a} + 1`, c: sql`${table.b} + 1` };
  const chain = defineMigration({ name: "chain", table, key: "id", set: shifted, remaining: sql`${table.c} = 30` });
  expect((await (await stage.engine([chain])).run())[0]?.state).toBe("done");
  expect(await stage.query("select a, b, c from swap")).toEqual([[7, 11, 21]]);
  const ring = defineMigration({
    name: "ring",
    table,
    key: "id",
    set: { a: sql`${table.b}`, b: sql`${table.a}` },
    remaining: sql`1 = 0`,
  });
  await expect(stage.engine([ring])).rejects.toThrow("MySQL assigns one after the other; use map");
});

for (const [name, tables, register] of [
  ["pg", [pgMigrations, pgMigrationQuarantine, pgMigrationEvents], serviceTest("postgres")],
  ["mariadb", [mysqlMigrations, mysqlMigrationQuarantine, mysqlMigrationEvents], serviceTest("mariadb")],
] as const) {
  register(`${name}: the Drizzle tables are what the engine creates`, async () => {
    const stage = await stageOn(name);
    for (const statement of createStatements(stage.dialect, 3)) await stage.query(statement);
    const engine = await stage.engine(definitionsFor(stage.dialect).slice(0, 2));
    await engine.run();
    const isMysql = stage.dialect === "mysql";
    for (const table of tables) {
      const from = isMysql ? "table_schema = database()" : "table_schema = current_schema()";
      const type = isMysql ? "if(data_type = 'varchar', column_type, data_type)" : "data_type";
      const made = await stage.query(
        `select column_name, ${type}, is_nullable from information_schema.columns
          where table_name = '${getTableName(table)}' and ${from} order by ordinal_position`,
      );
      const declared = Object.values(getTableColumns(table)).map((column) => [
        column.name,
        column.getSQLType(),
        column.notNull || column.primary ? "NO" : "YES",
      ]);
      expect(declared).toEqual(made);
    }
    const client = (stage.database as unknown as { readonly client: never }).client;
    const rows: unknown = isMysql
      ? await drizzleMysql(client).select().from(mysqlMigrations)
      : await drizzlePg(client).select().from(pgMigrations);
    expect(rows).toMatchObject([
      { name: "bump", state: "done", rowsDone: 3 },
      { name: "lengths", state: "done", rowsDone: 3 },
    ]);
  });
}
