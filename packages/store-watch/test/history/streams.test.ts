import { existsSync, readdirSync } from "node:fs";
import { dirname } from "node:path";
import Database from "better-sqlite3";
import { expect, onTestFinished, test } from "vitest";
import { FrameBuffer } from "../../src/frame-buffer.ts";
import {
  append,
  at,
  begin,
  commit,
  discard,
  end,
  openedHistory,
  plain,
  progress,
  put,
  streamOptions,
} from "./helpers.ts";

// What holds on SQLite alone; the rest is in `compliance`.

test("what somebody else writes into the database is noticed", async () => {
  const { history, file } = await openedHistory();
  const stream = await history.openStream(streamOptions());
  await append(stream, [begin("e"), put("a", "1", 1), end(1), put("a", "2", 2), commit(2)]);
  // As a person would take back the last commit: what the writer remembers is no longer so.
  plain(file, (db) =>
    db.exec(`UPDATE objects SET head = 1; DELETE FROM versions WHERE pos = 2; DELETE FROM batches WHERE id = 2;
      UPDATE commits SET position = 1, batch = 1; UPDATE streams SET versions = 1, cursor = 'a1'`),
  );
  expect(await append(stream, [put("a", "2", 2), commit(2)])).toMatchObject({ versions: 1, position: 2n });
  expect((await history.fsck()).findings).toEqual([]);
});

test("an empty buffer and an idle stream write nothing", async () => {
  const { history, file } = await openedHistory();
  const stream = await history.openStream(streamOptions());
  await append(stream, [begin("e"), end(1)]);
  const watching = new Database(file);
  onTestFinished(() => void watching.close());
  const changes = () => watching.pragma("data_version", { simple: true });
  const before = changes();
  expect(await stream.append(new FrameBuffer())).toMatchObject({ versions: 0, resume: { epoch: "e", cursor: at(1) } });
  await append(stream, [progress(1), discard, commit(1)]);
  await append(stream, [put("a", "1", 2)]);
  expect(changes()).toBe(before);
  await append(stream, [commit(2)]);
  expect(changes()).not.toBe(before);
});

test("the file in which an open group waits is gone when the history is closed", async () => {
  const { history, file } = await openedHistory();
  const stream = await history.openStream(streamOptions());
  await append(stream, [begin("e"), put("a", "1", 1)]);
  await append(stream, [put("b", "1", 1)]);
  await history.close();
  expect(readdirSync(dirname(file)).filter((name) => name.includes("stage"))).toEqual([]);
  expect(existsSync(`${file}-wal`)).toBe(false);
});
