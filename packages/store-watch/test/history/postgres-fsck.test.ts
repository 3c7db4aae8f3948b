import { type Clock, systemClock } from "@tidemark/clock";
import { serviceTest } from "@tidemark/tooling/services";
import { expect } from "vitest";
import { openPostgresHistory } from "../../src/history-postgres/history.ts";
import { checkPostgres } from "../../src/history-postgres/fsck.ts";
import type { PostgresClient } from "../../src/history-postgres/driver.ts";
import type { FsckFinding } from "../../src/history-types.ts";
import { temporarySchema } from "./compliance/postgres-backend.ts";
import { append, begin, bytes, commit, end, put, remove, streamOptions } from "./helpers.ts";

// One for each way in which the rules can be broken.
const corruptions: readonly [name: string, invariant: FsckFinding["invariant"], sql: string][] = [
  [
    "a version twice",
    "V1",
    "UPDATE versions SET version = 'a2', epoch = 1 WHERE pos = (SELECT max(pos) FROM versions WHERE object = 1)",
  ],
  ["a key twice", "V1", "INSERT INTO objects SELECT 99, stream, key, head, is_deleted, seen FROM objects WHERE id = 1"],
  ["a parent that never was", "V2", "UPDATE versions SET parent = 99 WHERE pos = 5"],
  ["a wrong level", "V2", "UPDATE versions SET level = 7 WHERE pos = 4"],
  ["a parent of another object", "V2", "UPDATE versions SET parent = 3 WHERE pos = 4"],
  ["a head that is not the newest version", "V3", "UPDATE objects SET head = 1 WHERE id = 1"],
  ["two heads", "V3", "UPDATE versions SET parent = 1, level = 2 WHERE pos = 6"],
  ["a version without an object", "V4", "DELETE FROM objects WHERE id = 3"],
  ["an object without a version", "V4", "INSERT INTO objects VALUES (99, 1, '\\x7a', 99, false, NULL)"],
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
  ["a deleted object with a live head", "V8", "UPDATE objects SET is_deleted = true WHERE id = 1"],
  [
    "a version pruned that the floor still shows",
    "V9",
    "UPDATE streams SET floor = 3; DELETE FROM versions WHERE pos = 2",
  ],
  ["a consumer below the floor", "V9", "UPDATE consumers SET position = 0; UPDATE streams SET floor = 2"],
  ["a reference to nothing", "POSTGRES", "UPDATE quarantine SET epoch = 99"],
  ["a table that cannot be read", "POSTGRES", "ALTER TABLE consumers RENAME TO gone"],
];

serviceTest("postgres")(
  "fsck finds nothing in a sound database on PostgreSQL, and one corruption of every kind in a broken one",
  async () => {
    const { options, client } = await temporarySchema();
    {
      let now = 1000;
      const clock = Object.assign(Object.create(systemClock) as Clock, { now: () => now });
      await using history = await openPostgresHistory({ ...options, clock });
      const stream = await history.openStream(streamOptions());
      const poison = { type: "poison", key: bytes("p"), raw: bytes("?"), error: "no" } as const;
      for (const frames of [
        [begin("e"), put("a", "1", 1), put("b", "1", 1), put("c", "1", 1), end(1)],
        [put("a", "2", 2), remove("b", 2), commit(2)],
        [put("a", "3", 3), poison, commit(3)],
        [{ type: "gap", reason: "compacted", detail: "lost" } as const, begin("f"), put("a", "1", 1), end(1)],
        [put("b", "5", 5), put("a", "5", 5), commit(5)],
      ]) {
        await append(stream, frames);
        now += 1000;
      }
      await history.setConsumer("one", 4n);
      expect(await history.fsck()).toMatchObject({ isClean: true, findings: [], keys: 2 });
    }
    const check = () => checkPostgres(client as unknown as PostgresClient, undefined);
    for (const [name, invariant, sql] of corruptions) {
      await client.query("BEGIN");
      await client.query(sql);
      const report = await check();
      await client.query("ROLLBACK");
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
    await client.query("BEGIN");
    expect(await check()).toMatchObject({ isClean: true });
    await client.query("ROLLBACK");
  },
);
