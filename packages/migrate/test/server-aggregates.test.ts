// Aggregates on servers: the children of a chunk are brought together at once, and what comes of it is what SQL says.

import { systemClock } from "@tidemark/clock";
import { defineMigration } from "@tidemark/migrate";
import { openDatabase, verifyAgain } from "@tidemark/migrate/internal";
import { serviceTest } from "@tidemark/tooling/services";
import { sql } from "drizzle-orm";
import { bigint as mysqlBigint, int, mysqlTable } from "drizzle-orm/mysql-core";
import { bigint, integer, pgTable } from "drizzle-orm/pg-core";
import { expect } from "vitest";
import { eager } from "./support/scratch.ts";
import { stageOn } from "./support/stage.ts";

const pg = {
  accounts: pgTable("accounts", {
    id: bigint("id", { mode: "bigint" }).primaryKey(),
    latest: integer("latest").notNull().default(7),
    least: integer("least"),
    total: bigint("total", { mode: "bigint" }),
    counted: integer("counted").notNull().default(7),
    given: integer("given").notNull().default(7),
  }),
  entries: pgTable("entries", { account: integer("account"), amount: integer("amount") }),
};
const mysql = {
  accounts: mysqlTable("accounts", {
    id: mysqlBigint("id", { mode: "bigint" }).primaryKey(),
    latest: int("latest").notNull().default(7),
    least: int("least"),
    total: mysqlBigint("total", { mode: "bigint" }),
    counted: int("counted").notNull().default(7),
    given: int("given").notNull().default(7),
  }),
  entries: mysqlTable("entries", { account: int("account"), amount: int("amount") }),
};

/** Rows that are not what their children say; compared by the database, which has the last word. */
function wrong(isMysql: boolean): string {
  const same = isMysql ? "<=>" : "is not distinct from";
  const from = `from entries where account = accounts.id and not (amount ${same} 13)`;
  return `select id from accounts where id = -3 and latest <> 7 or id > -3 and not (
    latest ${same} coalesce((select max(amount) ${from}), 0) and least ${same} (select min(amount) ${from})
    and total ${same} (select sum(amount) ${from}) and counted ${same} (select count(*) ${from})
    and given ${same} (select count(amount) ${from}))`;
}

for (const [name, register] of [
  ["pg", serviceTest("postgres")],
  ["postgres", serviceTest("postgres")],
  ["pglite", serviceTest("postgres")],
  ["mariadb", serviceTest("mariadb")],
] as const) {
  const isMysql = name === "mariadb";

  register(`${name}: rows with many children, with one, with NULLs alone and without any`, async () => {
    const insert = (id: number, amounts: readonly (number | null)[]) => [
      `insert into accounts (id) values (${id})`,
      ...amounts.map((amount) => `insert into entries values (${id}, ${amount})`),
    ];
    const stage = await stageOn(name, [
      `create table accounts (id bigint primary key, latest int not null default 7, least int, total bigint,
        counted int not null default 7, given int not null default 7)`,
      "create table entries (account int, amount int)",
      "create index entries_account on entries (account)",
      ...insert(-2, [5, 9, -4]),
      ...insert(-1, []),
      ...insert(1, [null, null]),
      ...insert(2, [13]),
      ...insert(3, [1, null, 13, 2]),
      ...insert(9, [0]),
      ...insert(10, [2, 2, 2]),
      // Children of nobody, and of a row that the migration is not about.
      "insert into entries values (null, 5), (4, 5), (-3, 5)",
      "insert into accounts (id) values (-3)",
    ]);
    const { accounts, entries } = (isMysql ? mysql : pg) as typeof pg;
    const migration = defineMigration({
      name: "totals",
      table: accounts,
      key: "id",
      where: sql`${accounts.id} > -3`,
      aggregate: {
        child: entries,
        parentKey: "account",
        where: isMysql ? sql`not (${entries.amount} <=> 13)` : sql`${entries.amount} is distinct from 13`,
        set: {
          latest: { max: "amount", otherwise: 0 },
          least: { min: "amount" },
          total: { sum: "amount" },
          counted: { count: true },
          given: { count: "amount" },
        },
      },
      ...eager,
      initialRows: 3,
      minRows: 3,
      maxRows: 3,
    });
    const [status] = await (await stage.engine([migration])).run();
    expect(status?.error).toBeUndefined();
    expect(status).toMatchObject({ state: "done", rowsDone: 7, rowsChanged: 7, total: 7 });
    expect(await stage.query(wrong(isMysql))).toEqual([]);

    // Looked at again, each way of being wrong is found, and nothing else.
    const database = await openDatabase(stage.database, systemClock);
    const verified = async () => (await verifyAgain(database, migration)).problem;
    expect(await verified()).toBeUndefined();
    for (const [id, change, back] of [
      [-2, "latest = 8", "latest = 9"],
      [-1, "latest = 1", "latest = 0"],
      [1, "least = 0", "least = null"],
      [2, "counted = 1", "counted = 0"],
      [3, "total = null", "total = 3"],
      [9, "least = null", "least = 0"],
      [10, "given = 2", "given = 3"],
    ] as const) {
      await stage.query(`update accounts set ${change} where id = ${id}`);
      expect(await verified()).toBe(`1 rows are not as they should be: [["i","${id}"]]`);
      await stage.query(`update accounts set ${back} where id = ${id}`);
    }
    await stage.query("update accounts set latest = 5 where id = -3");
    expect(await verified()).toBeUndefined();
    await database.connection.close();
  });
}
