import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { migrateSchema } from "@tidemark/migrate";
import { serviceTest } from "@tidemark/tooling/services";
import pg from "pg";
import { expect, onTestFinished, test } from "vitest";
import type { Address } from "./support/address.ts";
import { startProcess } from "./support/processes.ts";
import { migrateFolder, writeMigrations } from "./support/schema-migration.ts";
import { upTo } from "./support/scratch.ts";
import { createStatements, definitionsFor } from "./support/shared-tables.ts";
import { stageOn } from "./support/stage.ts";

function folderFor(dialect: Address["dialect"]): string {
  const folder = mkdtempSync(join(tmpdir(), "tidemark-schema-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  writeMigrations(folder, dialect, ["create table made (id integer primary key)", "insert into made values (1)"]);
  return folder;
}

for (const [name, register] of [
  ["sqlite", test],
  ["pg", serviceTest("postgres")],
  ["mariadb", serviceTest("mariadb")],
] as const) {
  register(`${name}: of eight processes that start at once, one migrates the schema and none fails`, async () => {
    const stage = await stageOn(name);
    const folder = folderFor(stage.dialect);
    const children = upTo(8).map(() => startProcess("worker", JSON.stringify(stage.address), "schema", folder));
    for (const child of children) expect((await child.exited).code).toBe(0);
    expect(await stage.query("select id from made")).toEqual([[1]]);
    const table = name === "pg" ? "drizzle.__drizzle_migrations" : "__drizzle_migrations";
    expect(await stage.query(`select count(*) from ${table}`)).toEqual([[1]]);
  });

  register(`${name}: the schema waits for the data it needs, in a database that is not new`, async () => {
    const stage = await stageOn(name);
    const address = stage.address as Address;
    for (const statement of createStatements(stage.dialect, 20)) await stage.query(statement);
    const engine = await stage.engine(definitionsFor(stage.dialect));
    const [first, second] = [folderFor(stage.dialect), folderFor(stage.dialect)];
    // New: there is nothing that could be lost.
    await migrateFolder(address, first, { requireDone: ["bump"] });
    await stage.query("drop table made");
    writeMigrations(second, stage.dialect, ["create table other (id integer)"]);
    const gated = () => migrateFolder(address, second, { requireDone: ["bump", "lengths"] });
    await expect(gated()).rejects.toMatchObject({ code: "NOT_DONE" });
    await expect(migrateFolder(address, second, { requireDone: ["no-such"] })).rejects.toThrow("nobody has registered");
    await engine.run();
    await gated();
  });

  register(`${name}: one at a time, in one process too; an error is the caller's and gives the lock back`, async () => {
    const { database } = await stageOn(name);
    let [now, most] = [0, 0];
    const migrate = async () => {
      most = Math.max(most, ++now);
      await new Promise((resolve) => setImmediate(resolve));
      now--;
      return 5;
    };
    const failing = migrateSchema({ database }, () => Promise.reject(new Error("of the caller")));
    await expect(failing).rejects.toThrow("of the caller");
    expect(await Promise.all([migrateSchema({ database }, migrate), migrateSchema({ database }, migrate)])).toEqual([
      5, 5,
    ]);
    expect(most).toBe(1);
  });

  register(`${name}: whoever waits too long is told, and whoever aborts waits no longer`, async () => {
    const { database } = await stageOn(name);
    const { promise, resolve } = Promise.withResolvers<void>();
    const entered = Promise.withResolvers<void>();
    const first = migrateSchema({ database }, () => {
      entered.resolve();
      return promise;
    });
    await entered.promise;
    await expect(migrateSchema({ database, waitMs: 1 }, () => 1)).rejects.toMatchObject({
      code: "SQL_FAILED",
      retryable: true,
    });
    const reason = new Error("enough");
    await expect(migrateSchema({ database, signal: AbortSignal.abort(reason) }, () => 1)).rejects.toBe(reason);
    resolve();
    await first;
  });
}

for (const [name, register] of [
  ["pg", serviceTest("postgres")],
  ["mariadb", serviceTest("mariadb")],
] as const) {
  register(`${name}: what the migration threw is told, also where the lock's connection is gone by then`, async () => {
    const stage = await stageOn(name);
    const { database, query } = stage;
    const cut = async () => {
      // All that this database has but the one that asks.
      const rows = await query(
        name === "pg"
          ? "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
          : "select id from information_schema.processlist where db = database() and id <> connection_id()",
      );
      for (const [id] of rows as number[][])
        await query(name === "pg" ? `select pg_terminate_backend(${id})` : `kill ${id}`);
      expect(rows).toHaveLength(1);
    };
    const failing = migrateSchema({ database }, async () => {
      await cut();
      throw new Error("of the caller");
    });
    await expect(failing).rejects.toThrow("of the caller");
    await expect(migrateSchema({ database }, cut)).rejects.toMatchObject({ code: "SQL_FAILED", retryable: true });
    expect(await migrateSchema({ database }, () => 5)).toBe(5);
  });
}

serviceTest("postgres")("pg: the books are found along the search path, where the engine finds them", async () => {
  const stage = await stageOn("pg");
  const { folder, name: database } = stage.address as Extract<Address, { readonly dialect: "postgresql" }>;
  for (const statement of createStatements("postgresql", 20)) await stage.query(statement);
  await (await stage.engine(definitionsFor("postgresql").slice(0, 1))).run();
  await stage.query("create schema drizzle");
  await stage.query("create table drizzle.__drizzle_migrations (id integer)");
  // Of an application that has its own schema since.
  await stage.query("create schema app");
  const client = new pg.Pool({ host: folder, user: "postgres", database, options: "-c search_path=app,public" });
  onTestFinished(() => client.end());
  const gated = migrateSchema({ database: { dialect: "postgresql", client }, requireDone: ["bump"] }, () => 5);
  expect(await gated).toBe(5);
});
