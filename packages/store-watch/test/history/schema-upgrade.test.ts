import { readFileSync } from "node:fs";
import { serviceTest } from "@tidemark/tooling/services";
import Database from "better-sqlite3";
import { expect, onTestFinished, test } from "vitest";
import { schemaSteps } from "../../src/history/ddl.ts";
import { checkDatabase } from "../../src/history/fsck.ts";
import { openHistory } from "../../src/history/history.ts";
import { HistoryReader } from "../../src/history/reader.ts";
import { unpackVersions } from "../../src/history/version-packing.ts";
import { schemaSteps as postgresSteps } from "../../src/history-postgres/ddl.ts";
import type { PostgresClient } from "../../src/history-postgres/driver.ts";
import { openPostgresHistory } from "../../src/history-postgres/history.ts";
import { openSchema } from "../../src/history-postgres/open-schema.ts";
import { temporarySchema } from "./compliance/postgres-backend.ts";
import { append, at, bytes, commit, plain, put, remove, streamOptions, temporaryFile, text } from "./helpers.ts";

const postgresTest = serviceTest("postgres");

/** A file of the release before answers of a store could be lost: of two writes to the store nobody knows the result. */
function olderFile(): string {
  const file = temporaryFile();
  const db = new Database(file);
  // As the writer does, and rows are not in the order of their references.
  db.pragma("foreign_keys = OFF");
  db.exec(readFileSync(new URL("./fixtures/schema-3.sql", import.meta.url), "utf8"));
  db.close();
  return file;
}

test("a file of schema 3 goes on where it was, and its unknown writes are waited for", async () => {
  const file = olderFile();
  const history = await openHistory({ file });
  onTestFinished(() => history.close());
  const stream = await history.openStream(streamOptions("store", { kind: "test" }));
  const graph = await history.openGraph({ name: "g", description: "a test" });
  await graph.mirror("store");
  expect(await graph.unsettled()).toBe(true);
  await graph.lose(at(3));
  expect(await graph.storeWrites()).toEqual([]);
  // One of them was made and deleted by a user, the other one was not.
  await append(stream, [put("new", "of the peer", 2), commit(2), remove("new", 3), commit(3)]);
  expect(await graph.ingest()).toEqual({ versions: 1, echoes: 1, isEnd: true });
  const writes = (await graph.storeWrites()).flatMap((each) => each.writes);
  expect(writes.map(({ key, value, expected }) => [text(key), text(value), expected])).toEqual([
    ["x", "of the peer", at(1)],
  ]);
  expect((await history.fsck()).findings).toEqual([]);
  expect(plain(file, (db) => db.pragma("user_version", { simple: true }))).toBe(schemaSteps.length);
});

test("a file of schema 3 is read without being changed", async () => {
  const file = olderFile();
  const reader = new HistoryReader(file);
  onTestFinished(() => reader.close());
  expect(reader.position()).toBe(4);
  expect(unpackVersions(reader.get("g", bytes("x"), undefined))).toMatchObject([{ value: bytes("of the peer") }]);
  expect(checkDatabase(reader.connection).findings).toEqual([]);
  expect(reader.connection.pragma("user_version", { simple: true })).toBe(3);
});

postgresTest("a schema of version 2 gets what is known of lost writes, and keeps its own", async () => {
  const { options, client } = await temporarySchema({ isNew: true });
  const schema = options.schema as string;
  const raw = client as unknown as PostgresClient;
  const where = "the test";
  await openSchema(raw, { schema, where, origin: "old" }, postgresSteps.slice(0, 2));
  await client.query("INSERT INTO intents (object, version, written, is_unknown) VALUES (7, 8, NULL, true)");
  await (await openPostgresHistory(options)).close();
  const { rows } = await client.query("SELECT * FROM intents");
  expect(rows).toEqual([
    { object: 7, version: 8, written: null, is_unknown: true, expected: null, bound: null, epoch: null },
  ]);
});
