// What functions get of a column, and what verification takes for the value that was written, on real servers.

import { defineMigration } from "@tidemark/migrate";
import { serviceTest } from "@tidemark/tooling/services";
import { sql } from "drizzle-orm";
import * as my from "drizzle-orm/mysql-core";
import { expect } from "vitest";
import { eager } from "./support/scratch.ts";
import { stageOn } from "./support/stage.ts";

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
