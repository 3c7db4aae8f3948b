import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { seededRng } from "@tidemark/clock";
import Database from "better-sqlite3";
import { expect, onTestFinished, test } from "vitest";
import { StoreWatchError } from "../../src/errors.ts";
import { schemaSteps } from "../../src/history/ddl.ts";
import { openHistory } from "../../src/history/history.ts";
import { openWriterDatabase } from "../../src/history/open-database.ts";
import {
  append,
  begin,
  bytes,
  commit,
  end,
  openedHistory,
  plain,
  put,
  state,
  streamOptions,
  temporaryFile,
  temporaryFolder,
} from "./helpers.ts";

const failure = async (work: Promise<unknown>): Promise<StoreWatchError> => {
  const error: unknown = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!StoreWatchError.is(error)) throw new Error(`expected a StoreWatchError, got ${String(error)}`);
  return error;
};

test("says what is wrong with a file that cannot be a history, and what to do", async () => {
  const folder = temporaryFolder();
  const at = (name: string) => join(folder, name);
  const missing = await failure(openHistory({ file: at("no/such/history.db") }));
  expect(missing).toMatchObject({ code: "DATABASE_UNREADABLE", retryable: false });
  expect(missing.message).toMatch(/no\/such of the history.s file does not exist; create it first/);
  mkdirSync(at("folder"));
  expect((await failure(openHistory({ file: at("folder") }))).message).toMatch(/DATABASE_UNREADABLE.*is a folder/);
  writeFileSync(at("text.db"), "this is not a database at all, but it is long enough to look at".repeat(10));
  expect((await failure(openHistory({ file: at("text.db") }))).message).toMatch(/is not a SQLite database/);
  const other = new Database(at("other.db"));
  other.exec("CREATE TABLE contacts (name TEXT)");
  other.close();
  expect((await failure(openHistory({ file: at("other.db") }))).message).toMatch(/of another program/);
  for (const [options, message] of [
    [{ file: "" }, /file must be a path/],
    [{ file: ":memory:" }, /file must be a path/],
    [{ file: "file://elsewhere/x.db" }, /expected a file: URL/],
    [{ file: at("x.db"), readers: 0 }, /readers must be a whole number in \[1, 16\], got 0/],
    [{ file: at("x.db"), synchronous: "off" as "full" }, /synchronous must be/],
  ] as const) {
    expect(await failure(openHistory(options))).toMatchObject({
      code: "OPTIONS_INVALID",
      message: expect.stringMatching(message) as string,
    });
  }
});

test.skipIf(process.getuid?.() === 0)("says that a file or a folder may not be written", async () => {
  const folder = temporaryFolder();
  chmodSync(folder, 0o500);
  const error = await failure(openHistory({ file: join(folder, "history.db") }));
  expect(error.message).toMatch(/DATABASE_UNREADABLE.*check its permissions/);
});

test("refuses a second writer clearly, in this process and in another, and lets it in afterwards", async ({
  signal,
}) => {
  const { history, file } = await openedHistory();
  const here = await failure(openHistory({ file }));
  expect(here).toMatchObject({ code: "DATABASE_LOCKED", retryable: true });
  expect(here.message).toContain(`process ${process.pid} on`);
  await history.close();
  await (await openHistory({ file })).close();

  const child = spawn(
    process.execPath,
    [...process.execArgv, new URL("./fixtures/hold-history.ts", import.meta.url).pathname, file],
    {
      stdio: ["ignore", "pipe", "inherit"],
      signal,
    },
  );
  onTestFinished(() => void child.kill("SIGKILL"));
  await once(child.stdout, "data");
  const there = await failure(openHistory({ file }));
  expect(there.message).toContain(`process ${child.pid} on`);
  // However it ends, nothing is left behind that has to be cleaned up.
  child.kill("SIGKILL");
  await once(child, "exit");
  await (await openHistory({ file })).close();
});

test("refuses a second writer that knows the file by another name", async () => {
  const folder = temporaryFolder();
  const [file, link] = [join(folder, "history.db"), join(folder, "link.db")];
  symlinkSync(file, link);
  const { history } = await openedHistory({ file });
  expect(await failure(openedHistory({ file: link }))).toMatchObject({ code: "DATABASE_LOCKED" });
  await history.close();
  await openedHistory({ file: link });
  expect(await failure(openedHistory({ file: pathToFileURL(file).href }))).toMatchObject({ code: "DATABASE_LOCKED" });
});

test("names the schema that it knows and the newer one that it found", async () => {
  const { history, file } = await openedHistory();
  await history.close();
  plain(file, (db) => db.pragma("user_version = 9"));
  const error = await failure(openHistory({ file }));
  expect(error.code).toBe("SCHEMA_NEWER");
  expect(error.message).toContain(`schema version 9, this Tidemark knows up to ${schemaSteps.length}`);
});

test("an older database is upgraded additively, all steps or none, and keeps its data", async () => {
  const { history, file } = await openedHistory();
  const stream = await history.openStream(streamOptions());
  await append(stream, [begin("e"), put("a", "1", 1), end(1)]);
  await history.close();
  const add = "ALTER TABLE streams ADD COLUMN colour TEXT NOT NULL DEFAULT 'blue'";
  expect(() => openWriterDatabase(file, "normal", [...schemaSteps, add, "no sql"])).toThrow(/syntax error/);
  expect(plain(file, (db) => db.pragma("user_version", { simple: true }))).toBe(schemaSteps.length);
  openWriterDatabase(file, "normal", [...schemaSteps, add]).close();
  plain(file, (db) => {
    expect(db.pragma("user_version", { simple: true })).toBe(schemaSteps.length + 1);
    expect(db.prepare("SELECT s.colour, c.value_text FROM streams s JOIN current c").raw().all()).toEqual([
      ["blue", "1"],
    ]);
  });
});

test("keeps its origin, its streams and their cursors across restarts, by path and by URL", async () => {
  const file = temporaryFile();
  const first = await openHistory({ file, rng: seededRng(7) });
  const stream = await first.openStream(streamOptions());
  expect(stream.resume).toBeUndefined();
  await append(stream, [begin("e"), put("a", "1", 1), end(1), put("b", "2", 2), commit(2)]);
  await first.close();
  const { history } = await openedHistory({ file: pathToFileURL(file).href, rng: seededRng(8) });
  expect(history.origin).toBe(first.origin);
  expect((await history.openStream(streamOptions())).resume).toEqual({ epoch: "e", cursor: "a2" });
  expect(await state(history)).toEqual({ a: "1", b: "2" });
  expect(await history.streams()).toMatchObject([
    { name: "s", epoch: "e", cursor: "a2", keys: 2, versions: 2, gaps: 0 },
  ]);
});

test("after close everything is in one file, and every call says CLOSED", async () => {
  const { history, file } = await openedHistory();
  const stream = await history.openStream(streamOptions());
  await append(stream, [begin("e"), put("a", "1", 1), end(1)]);
  const following = failure(
    (async () => {
      for await (const _ of history.follow(1n)) throw new Error("nothing was committed");
    })(),
  );
  await Promise.all([history.close(), history.close()]);
  expect((await following).code).toBe("CLOSED");
  for (const call of [
    history.position(),
    history.streams(),
    history.get("s", bytes("a")),
    history.openStream(streamOptions()),
    history.prune({ before: {} }),
    append(stream, [put("a", "2", 2), commit(2)]),
  ]) {
    expect((await failure(call)).code).toBe("CLOSED");
  }
  await history[Symbol.asyncDispose]();
  const copy = new Database(file, { readonly: true });
  expect(copy.prepare("SELECT key_text, value_text FROM current").raw().all()).toEqual([["a", "1"]]);
  copy.close();
});
