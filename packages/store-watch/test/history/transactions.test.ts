import { expect, onTestFinished, test } from "vitest";
import { check, DirectWriter, dump } from "./direct.ts";
import { begin, commit, end, plain, put, temporaryFile } from "./helpers.ts";

test("a writer that cannot read what somebody else has written writes nothing until it can", () => {
  const file = temporaryFile();
  const writer = new DirectWriter(file);
  onTestFinished(() => writer.close());
  writer.append([begin("e"), put("a", "1", 1), end(1)]);
  // A person with a SQLite tool: what was written before is not what is remembered, and cannot be read.
  plain(file, (db) => db.exec("UPDATE streams SET gaps = 7; ALTER TABLE epochs RENAME TO moved"));
  for (let attempt = 0; attempt < 2; attempt++) {
    expect(() => writer.append([put("b", "1", 2), commit(2)])).toThrow("no such table: epochs");
  }
  plain(file, (db) => db.exec("ALTER TABLE moved RENAME TO epochs"));
  expect(dump(file)["objects"]).toHaveLength(1);
  writer.append([put("b", "1", 2), commit(2)]);
  expect(dump(file)["streams"]).toEqual([["s", 1, "a2", 2, 2, 7, 0]]);
  plain(file, (db) => db.exec("UPDATE streams SET gaps = 0"));
  expect(check(file).findings).toEqual([]);
});
