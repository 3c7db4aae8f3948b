import { closeSync, copyFileSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import type Database from "better-sqlite3";
import { expect, test } from "vitest";
import type { FsckFinding } from "../../src/history-types.ts";
import { check, DirectWriter } from "./direct.ts";
import { begin, bytes, commit, end, openedHistory, plain, put, remove, temporaryFolder } from "./helpers.ts";

/** A database in which every kind of row occurs, and versions were pruned. */
function sound(folder: string): string {
  const file = join(folder, "sound.db");
  const writer = new DirectWriter(file);
  writer.append([begin("e"), put("a", "1", 1), put("b", "1", 1), put("c", "1", 1), end(1)]);
  writer.append([put("a", "2", 2), remove("b", 2), commit(2)], 2000);
  writer.append([put("a", "3", 3), { type: "poison", key: bytes("p"), raw: bytes("?"), error: "no" }, commit(3)], 3000);
  writer.append([{ type: "gap", reason: "compacted", detail: "lost" }, begin("f"), put("a", "1", 1), end(1)], 4000);
  writer.append([put("b", "5", 5), put("a", "5", 5), commit(5)], 5000);
  writer.writer.setConsumer("one", 4, 5000);
  writer.close();
  return file;
}

// One for each way in which the rules can be broken.
const corruptions: readonly [name: string, invariant: FsckFinding["invariant"], sql: string][] = [
  [
    "a version twice",
    "V1",
    "UPDATE versions SET version = 'a2', epoch = 1 WHERE pos = (SELECT max(pos) FROM versions WHERE object = 1)",
  ],
  [
    "a key twice",
    "V1",
    "INSERT INTO objects (stream, key, head, is_deleted) SELECT 2, key, head, is_deleted FROM objects WHERE id = 1; UPDATE objects SET stream = 1 WHERE stream = 2",
  ],
  ["a parent that never was", "V2", "UPDATE versions SET parent = 99 WHERE pos = 5"],
  ["a wrong level", "V2", "UPDATE versions SET level = 7 WHERE pos = 4"],
  ["a parent of another object", "V2", "UPDATE versions SET parent = 3 WHERE pos = 4"],
  ["a head that is not the newest version", "V3", "UPDATE objects SET head = 1 WHERE id = 1"],
  ["two heads", "V3", "UPDATE versions SET parent = 1, level = 2 WHERE pos = 6"],
  [
    "two heads, beside a conflict of another object",
    "V3",
    "INSERT INTO conflicts SELECT id, head FROM objects WHERE id = 2; UPDATE versions SET parent = 1, level = 2 WHERE pos = 6",
  ],
  [
    "a head that is not the newest version, beside a conflict of another object",
    "V3",
    "INSERT INTO conflicts SELECT id, head FROM objects WHERE id = 2; UPDATE objects SET head = 1 WHERE id = 1",
  ],
  ["a conflict of a version that is not there", "V3", "INSERT INTO conflicts VALUES (1, 99)"],
  ["a version without an object", "V4", "DELETE FROM objects WHERE id = 3"],
  ["an object without a version", "V4", "INSERT INTO objects (stream, key, head, is_deleted) VALUES (1, x'7a', 99, 0)"],
  ["a hole in the log", "V5", "DELETE FROM versions WHERE pos = 4"],
  ["a hole in the generations", "V5", "UPDATE versions SET gen = gen + 10 WHERE pos > 5"],
  ["a parent after its child", "V5", "UPDATE versions SET parent = 9 WHERE pos = 4"],
  ["a cursor behind its data", "V6", "UPDATE streams SET cursor = 'a4'"],
  ["a wrong number of keys", "V6", "UPDATE streams SET keys = 17"],
  ["a wrong number of versions", "V6", "UPDATE streams SET versions = 17"],
  ["a wrong number of gaps", "V6", "UPDATE streams SET gaps = 17"],
  ["a wrong number of changes in quarantine", "V6", "UPDATE streams SET quarantined = 17"],
  ["a log that goes on after the last commit", "V6", "DELETE FROM commits WHERE id = (SELECT max(id) FROM commits)"],
  ["a clock that went back", "V6", "UPDATE commits SET committed_at = 1 WHERE id = 3"],
  ["half a batch", "V7", "UPDATE batches SET count = 4 WHERE id = 1"],
  ["a version in the wrong batch", "V7", "UPDATE versions SET batch = 1 WHERE pos = 6"],
  ["a deletion of nothing", "V8", "UPDATE versions SET value = NULL WHERE pos = 3"],
  ["a deleted object with a live head", "V8", "UPDATE objects SET is_deleted = 1 WHERE id = 1"],
  [
    "a version pruned that the floor still shows",
    "V9",
    "UPDATE streams SET floor = 3; DELETE FROM versions WHERE pos = 2",
  ],
  ["a consumer below the floor", "V9", "UPDATE consumers SET position = 0; UPDATE streams SET floor = 2"],
  ["a reference to nothing", "SQLITE", "UPDATE quarantine SET epoch = 99"],
];

test("fsck finds nothing in a sound database, and one corruption of every kind in a broken one", () => {
  const folder = temporaryFolder();
  const file = sound(folder);
  expect(check(file)).toMatchObject({ isClean: true, findings: [], keys: 2 });
  for (const [name, invariant, sql] of corruptions) {
    const broken = join(folder, "broken.db");
    copyFileSync(file, broken);
    plain(broken, (db) => {
      db.pragma("foreign_keys = OFF");
      db.exec("PRAGMA ignore_check_constraints = ON");
      allowDuplicateKeys(db, sql);
      db.exec(sql);
    });
    const report = check(broken);
    expect({ name, isClean: report.isClean }).toEqual({ name, isClean: false });
    expect({ name, found: report.findings.map((finding) => finding.invariant) }).toEqual({
      name,
      found: expect.arrayContaining([invariant]) as unknown,
    });
    for (const finding of report.findings) {
      expect({ name, finding }).toMatchObject({
        name,
        finding: { message: expect.stringMatching(/\w+ \w+/) as unknown },
      });
    }
  }
});

/** The same key twice needs a table without the constraint that forbids it. */
function allowDuplicateKeys(db: Database.Database, sql: string): void {
  if (!sql.includes("stream = 2")) return;
  db.pragma("legacy_alter_table = ON");
  db.exec("CREATE TABLE copy AS SELECT * FROM objects; DROP TABLE objects; ALTER TABLE copy RENAME TO objects");
}

test("fsck reports damaged pages instead of failing on them", () => {
  const file = sound(temporaryFolder());
  const damage = (object: string) => {
    const [page, size] = plain(file, (db) => [
      db.prepare("SELECT rootpage FROM sqlite_schema WHERE name = ?").pluck().get(object) as number,
      db.pragma("page_size", { simple: true }) as number,
    ]);
    const descriptor = openSync(file, "r+");
    writeSync(descriptor, Buffer.alloc(size, 0xaa), 0, size, (page - 1) * size);
    closeSync(descriptor);
  };
  damage("versions_by_object");
  expect(check(file).findings.map(({ invariant }) => invariant)).toContain("SQLITE");
  damage("versions");
  expect(check(file)).toMatchObject({ isClean: false, versions: 0 });
});

test("fsck of an open history runs beside its reads and writes, and ends when it is told to", async () => {
  const { history } = await openedHistory();
  expect(await history.fsck()).toMatchObject({ isClean: true, findings: [], versions: 0, keys: 0 });
  const controller = new AbortController();
  const reason = new Error("enough");
  const running = expect(history.fsck({ signal: controller.signal })).rejects.toBe(reason);
  controller.abort(reason);
  await running;
  const last = expect(history.fsck()).rejects.toMatchObject({ code: "CLOSED" });
  await history.close();
  await last;
  await expect(history.fsck()).rejects.toMatchObject({ code: "CLOSED" });
});
