// Rows of a mapper are written many at a time; none of them may notice.

import { defineMigration } from "@tidemark/migrate";
import { serviceTest } from "@tidemark/tooling/services";
import { sql } from "drizzle-orm";
import * as my from "drizzle-orm/mysql-core";
import * as pg from "drizzle-orm/pg-core";
import { expect } from "vitest";
import { eager } from "./support/scratch.ts";
import { stageOn } from "./support/stage.ts";

const texts = {
  mysql: my.mysqlTable("texts", {
    id: my.int("id").primaryKey(),
    body: my.longtext("body"),
    copy: my.longtext("copy"),
  }),
  postgresql: pg.pgTable("texts", { id: pg.integer("id").primaryKey(), body: pg.text("body"), copy: pg.text("copy") }),
};
const nasty = ["'; drop table texts; --", "\\', \\\\", "$1 $2 ?", 'ü\n😀\t"', ""];

for (const [name, register] of [
  ["pg", serviceTest("postgres")],
  ["postgres", serviceTest("postgres")],
  ["mariadb", serviceTest("mariadb")],
] as const) {
  // The condition has what looks like a parameter, which must stay what it is.
  for (const condition of ["id > 0", "coalesce(body, '') <> '$1'"]) {
    register(
      `${name}: rows written together, where ${condition}, keep every character, and live writes win`,
      async () => {
        const stage = await stageOn(name);
        const isMysql = stage.dialect === "mysql";
        const type = isMysql ? "longtext character set utf8mb4" : "text";
        await stage.query(`create table texts (id integer primary key, body ${type}, copy ${type})`);
        const table = (isMysql ? texts.mysql : texts.postgresql) as typeof texts.postgresql;
        // More than goes in one text, and less.
        const bodies = (id: number) => `${nasty[id % nasty.length]}${"x".repeat(id % 3 === 0 ? 100_000 : 0)}`;
        const ids = Array.from({ length: 40 }, (_, index) => index + 1);
        for (const id of ids) {
          const hex = Buffer.from(bodies(id)).toString("hex");
          const value = isMysql ? `convert(x'${hex}' using utf8mb4)` : `convert_from(decode('${hex}', 'hex'), 'UTF8')`;
          await stage.query(`insert into texts (id, body) values (${id}, ${value})`);
        }
        let isRaced = false;
        const migration = defineMigration({
          name: "copy",
          table,
          key: "id",
          where: sql.raw(condition),
          read: ["body"],
          write: ["copy"],
          async map({ body }) {
            if (!isRaced) {
              isRaced = true;
              await stage.query("update texts set copy = 'live' where id in (2, 39)");
            }
            return { copy: body };
          },
          remaining: sql`${table.copy} is null`,
          ...eager,
          initialRows: 40,
          minRows: 40,
        });
        const [status] = await (await stage.engine([migration])).run();
        expect(status?.error).toBeUndefined();
        expect(status).toMatchObject({ state: "done", rowsDone: 40, rowsChanged: 38 });
        const differ = isMysql ? "not (cast(body as binary) <=> cast(copy as binary))" : "body is distinct from copy";
        expect(await stage.query(`select id, copy from texts where ${differ} order by id`)).toEqual([
          [2, "live"],
          [39, "live"],
        ]);
      },
    );
  }
}
