import { writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { defineMigration, openMigrations } from "@tidemark/migrate";
import { openSqlite } from "@tidemark/migrate/internal";
import Database from "better-sqlite3";
import { expect, onTestFinished, test, vi } from "vitest";
import { SqliteConnection } from "../src/sqlite/sqlite-connection.ts";
import { counters, createCounters } from "./support/schema.ts";
import { eager, scratch } from "./support/scratch.ts";

const fill = defineMigration({ name: "fill", table: counters, key: "id", set: { n: 1 }, ...eager });
const open = (database: object, options: object = {}) =>
  openMigrations({
    database: { dialect: "sqlite", ...database } as never,
    definitions: [fill],
    thread: "caller",
    ...options,
  });

test("a database that is not in WAL mode is refused with the statement that helps", async () => {
  const { file } = scratch("delete");
  await expect(open({ file })).rejects.toMatchObject({ code: "DATABASE_UNFIT" });
  await expect(open({ file })).rejects.toThrow("PRAGMA journal_mode=WAL");
});

test("a busy timeout of nothing is refused", async () => {
  const { file } = scratch();
  await expect(open({ file, busyTimeoutMs: 0 })).rejects.toThrow("busyTimeoutMs must be a whole number above 0");
});

test("a database that is not in a file, is not there, or is none, is refused", async () => {
  const { file } = scratch();
  await expect(open({ file: ":memory:" })).rejects.toMatchObject({ code: "OPTIONS_INVALID" });
  for (const driver of ["better-sqlite3", "node:sqlite"]) {
    await expect(open({ file: `${file}.missing`, driver })).rejects.toMatchObject({ code: "SQL_FAILED" });
  }
  writeFileSync(`${file}.text`, "this is not a database, however long this sentence may be made to be");
  await expect(open({ file: `${file}.text` })).rejects.toThrow();
});

for (const driver of ["better-sqlite3", "node:sqlite"] as const) {
  test(`it works with ${driver}`, async () => {
    const { file, db } = scratch();
    createCounters(db, 100);
    await using migrations = await open({ file, driver });
    expect((await migrations.run())[0]).toMatchObject({ state: "done", rowsDone: 100 });
    expect(db.prepare("select distinct n from counters").pluck().all()).toEqual([1]);
  });
}

for (const driver of ["better-sqlite3", "node:sqlite"] as const) {
  test(`a relative path, and one with signs that mean something in URIs, opens with ${driver}`, async () => {
    const { file, db } = scratch();
    createCounters(db, 3);
    const strange = join(dirname(file), "a b#c?d%20é.db");
    db.prepare("vacuum into ?").run(strange);
    const copy = new Database(strange);
    copy.pragma("journal_mode = wal");
    copy.close();
    for (const path of [strange, relative(process.cwd(), strange)]) {
      await using migrations = await open({ file: path, driver });
      expect((await migrations.run())[0]).toMatchObject({ state: "done", rowsDone: 3 });
    }
  });
}

for (const driver of ["better-sqlite3", "node:sqlite"] as const) {
  test(`with ${driver} only a commit that says so waits for the disk`, async () => {
    const { file } = scratch();
    const { connection } = await openSqlite({ dialect: "sqlite", file, driver });
    const level = { sql: "pragma synchronous", params: [] };
    const levelIn = (commit: "lazy" | "durable") =>
      connection.transactionFrom?.(
        () => level,
        async (_, { rows }) => rows[0]?.[0],
        commit,
      );
    const [normal, full] = [1n, 2n];
    expect(await levelIn("lazy")).toBe(normal);
    expect(await levelIn("durable")).toBe(full);
    expect(await levelIn("lazy")).toBe(normal);
    const failing = connection.transactionFrom?.(
      () => level,
      () => Promise.reject(new Error("no")),
      "durable",
    );
    await expect(failing).rejects.toThrow("no");
    expect((await connection.execute(level)).rows).toEqual([[normal]]);
    await connection.close();
  });
}

test("only chunks of effects outside of the database wait for the disk", async () => {
  const { file, db } = scratch();
  createCounters(db, 100);
  const commits = vi.spyOn(SqliteConnection.prototype, "transactionFrom");
  onTestFinished(() => commits.mockRestore());
  const levels = async (definition: typeof fill) => {
    commits.mockClear();
    await using migrations = await open({ file }, { definitions: [definition] });
    expect((await migrations.run())[0]).toMatchObject({ state: "done", rowsDone: 100 });
    return new Set(commits.mock.calls.map(([, , commit]) => commit));
  };
  const send = { name: "send", table: counters, key: "id", delivery: "at-least-once", read: ["n"], ...eager } as const;
  expect(await levels(fill)).toEqual(new Set(["lazy"]));
  expect(await levels(defineMigration({ ...send, effect() {} }))).toEqual(new Set(["durable"]));
});

test("definitions cannot be sent to a thread, and the refusal says what can", async () => {
  const { file } = scratch();
  await expect(open({ file }, { thread: "worker" })).rejects.toThrow("the path or URL of a module or folder");
});

test("options out of bounds are refused", async () => {
  const { file } = scratch();
  await expect(open({ file }, { leaseMs: 0 })).rejects.toThrow("leaseMs must be above 0");
  await expect(open({ file }, { leaseMs: 300, heartbeatMs: 200 })).rejects.toThrow("at most a third of leaseMs");
  await expect(open({ file }, { resumeBelow: 2 })).rejects.toThrow("resumeBelow must be at most 1");
  const signal = { name: "wal", read: async () => ({ utilisation: 0, reason: "" }) };
  await expect(open({ file }, { signals: [signal] })).rejects.toThrow('"wal" is taken');
});
