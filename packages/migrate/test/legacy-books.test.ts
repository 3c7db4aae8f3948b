// The seed's runner kept one row for each migration. Whoever moves from it loses nothing it had done.

import { defineMigration } from "@tidemark/migrate";
import { serviceTest } from "@tidemark/tooling/services";
import { sql } from "drizzle-orm";
import { expect, test } from "vitest";
import { eager } from "./support/scratch.ts";
import { createStatements, tablesOf } from "./support/shared-tables.ts";
import { type Stage, stageOn } from "./support/stage.ts";

const bump = (stage: Stage, name: string) => {
  const table = tablesOf(stage.dialect).counters;
  const set = { n: sql`${table.n} + 1` };
  return defineMigration({ name, table, key: "id", set, remaining: sql`${table.n} = 0`, ...eager } as never);
};

for (const [name, register] of [
  ["sqlite", test],
  ["pg", serviceTest("postgres")],
  ["mariadb", serviceTest("mariadb")],
] as const) {
  register(`${name}: rows of the seed's table are taken over once, done ones as done`, async () => {
    const stage = await stageOn(name);
    for (const statement of createStatements(stage.dialect, 10)) await stage.query(statement);
    const text = stage.dialect === "mysql" ? "varchar(100)" : "text";
    await stage.query(
      `create table _async_migrations (name ${text} primary key, status ${text} not null, started_at ${text} not null,
        ended_at ${text}, error ${text}, rows_processed integer not null default 0,
        rows_total integer not null default 0, last_update_at ${text})`,
    );
    await stage.query(`insert into _async_migrations values
      ('was-done', 'done', '2026-01-02T03:04:05Z', '2026-01-02 03:05:00', null, 9, 9, null),
      ('was-failed', 'failed', '2026-01-02T03:04:05Z', '2026-01-02 03:05:00', 'disk full', 4, 9, null),
      ('was-running', 'pending_async', 'yesterday', null, null, 3, 9, null),
      ('was-strange', 'odd', '2026-01-02T03:04:05Z', null, null, 0, 0, null)`);
    const definitions = ["was-done", "was-failed", "was-running"].map((each) => bump(stage, each));
    const engine = await stage.engine(definitions);
    const times = { startedAt: Date.parse("2026-01-02T03:04:05Z"), endedAt: Date.parse("2026-01-02T03:05:00Z") };
    expect(await engine.list()).toMatchObject([
      { name: "was-done", state: "done", rowsDone: 9, total: 9, isDrifted: false, ...times },
      { name: "was-failed", state: "failed", rowsDone: 0, error: { message: "disk full" }, ...times },
      { name: "was-running", state: "registered", rowsDone: 0, startedAt: undefined },
    ]);
    await engine.requireDone("was-done");
    expect((await engine.history("was-failed"))[0]).toMatchObject({
      type: "adopted",
      detail: { state: "failed", rowsProcessed: 4, rowsTotal: 9 },
    });
    // What was done is not done again; what was under way starts anew.
    await engine.run();
    expect((await engine.get("was-running")).state).toBe("done");
    expect(await stage.query("select distinct n from counters")).toEqual([[1]]);
    // And it is taken over once: what the books say counts from now on.
    await stage.query("update _async_migrations set status = 'failed'");
    const later = await stage.engine([...definitions, bump(stage, "new")]);
    expect((await later.get("was-done")).state).toBe("done");
    expect((await later.history("was-done")).map(({ type }) => type)).toEqual(["adopted"]);
  });
}

test("a table of the same name and another shape is none", async () => {
  const stage = await stageOn("sqlite", [
    ...createStatements("sqlite", 3),
    "create table async_migrations (id integer)",
  ]);
  const engine = await stage.engine([bump(stage, "mine")]);
  expect((await engine.list()).map((each) => each.name)).toEqual(["mine"]);
});
