import { expect } from "vitest";
import type { Frame } from "../../../src/contract.ts";
import type { StoreWatchError } from "../../../src/errors.ts";
import type { FrameBuffer } from "../../../src/frame-buffer.ts";
import {
  append,
  at,
  begin,
  brief,
  bytes,
  commit,
  discard,
  end,
  put,
  remove,
  reset,
  state,
  streamOptions,
} from "../helpers.ts";
import type { Backend } from "./backend.ts";

export function invariantsCompliance({ openedHistory, test }: Backend): void {
  const versionsOf = async (history: Awaited<ReturnType<typeof openedHistory>>["history"], key: string) =>
    (await history.log("s", bytes(key))).items.map(brief).reverse();

  test("V1: applying the same frames again, from any boundary, is a no-op", async () => {
    const { history, database } = await openedHistory();
    const stream = await history.openStream(streamOptions());
    const frames: Frame[] = [begin("e"), put("a", "1", 1), put("b", "1", 1), end(1)];
    for (let revision = 2; revision < 10; revision++) {
      frames.push(put("a", String(revision), revision), commit(revision));
      if (revision % 3 === 0) frames.push(remove("b", revision), commit(revision));
    }
    await append(stream, frames);
    const before = await history.position();
    for (let from = 0; from < frames.length; from++) {
      const previous = frames[from - 1]?.type;
      if (from > 0 && previous !== "commit" && previous !== "snapshot-end") continue;
      const result = await append(stream, frames.slice(from));
      expect(result).toMatchObject({ versions: 0, position: before });
      expect(result.duplicates).toBeGreaterThan(0);
    }
    const rows = await database.rows("SELECT count(*), count(DISTINCT object || version) FROM versions");
    expect(rows).toEqual([[Number(before), Number(before)]]);
  });

  test("V1: a version that is not greater is known already, and another epoch always wins", async () => {
    const { history } = await openedHistory();
    const stream = await history.openStream(streamOptions());
    await append(stream, [begin("one"), put("a", "old", 50), end(50)]);
    const stale = await append(stream, [put("a", "older", 49), put("a", "same", 50), commit(51)]);
    expect(stale).toMatchObject({ versions: 0, duplicates: 2 });
    await append(stream, [begin("two"), put("a", "new", 3), end(4)]);
    expect(await versionsOf(history, "a")).toEqual(["1 a = old (b50, snapshot)", "2 a = new (a3, snapshot)"]);
  });

  test("V2: every version has the one before it as its parent and is one level above it", async () => {
    const { history } = await openedHistory();
    const stream = await history.openStream(streamOptions());
    await append(stream, [begin("e"), put("a", "1", 1), end(1), put("b", "x", 2), put("a", "2", 2), commit(2)]);
    await append(stream, [put("a", "3", 3), put("a", "4", 4), commit(4)]);
    const { items } = await history.log("s", bytes("a"));
    expect(items.map(({ position, parents, level }) => [position, parents, level])).toEqual([
      [5n, [4n], 4],
      [4n, [3n], 3],
      [3n, [1n], 2],
      [1n, [], 1],
    ]);
  });

  test("V3: every key has exactly one head, the newest version, and nothing has the head as its parent", async () => {
    const { history, database } = await openedHistory();
    const stream = await history.openStream(streamOptions());
    await append(stream, [
      begin("e"),
      put("a", "1", 1),
      put("b", "1", 1),
      end(1),
      put("a", "2", 2),
      remove("b", 2),
      commit(2),
    ]);
    const heads = await database.rows(
      `SELECT o.key, o.head, (SELECT max(pos) FROM versions WHERE object = o.id),
      (SELECT count(*) FROM versions WHERE parent = o.head) FROM objects o ORDER BY o.key`,
    );
    expect(heads.map(([key, ...rest]) => [String(key), ...rest])).toEqual([
      ["a", 3, 3, 0],
      ["b", 4, 4, 0],
    ]);
  });

  test("V4: there is one log record for each version, and it is the version", async () => {
    const { history } = await openedHistory();
    const stream = await history.openStream(streamOptions());
    await append(stream, [
      begin("e"),
      put("a", "1", 1),
      put("b", "1", 1),
      end(1),
      put("a", "2", 2),
      remove("b", 3),
      commit(3),
    ]);
    const records = (await history.changes(0n)).items;
    expect(records.map(brief)).toEqual([
      "1 a = 1 (a1, snapshot)",
      "2 b = 1 (a1, snapshot)",
      "3 a = 2 (a2, stream)",
      "4 b deleted (a3, stream)",
    ]);
    for (const key of ["a", "b"]) {
      const { items } = await history.log("s", bytes(key));
      expect([...items].reverse()).toEqual(records.filter((record) => Buffer.compare(record.key, bytes(key)) === 0));
    }
  });

  test("V5: positions are dense over all streams, also after refused transactions, and parents come first", async () => {
    const { history, database } = await openedHistory();
    const one = await history.openStream(streamOptions("one"));
    const two = await history.openStream(streamOptions("two"));
    await append(one, [begin("e"), put("a", "1", 1), end(1)]);
    await append(two, [begin("f"), put("a", "1", 1), put("b", "1", 1), end(1)]);
    await database.refuse("UPDATE ON streams");
    await expect(append(one, [put("a", "2", 2), put("c", "2", 2), commit(2)])).rejects.toMatchObject({
      code: "COMMIT_FAILED",
    });
    await database.accept();
    await append(two, [remove("a", 3), commit(3)]);
    await append(one, [put("a", "2", 2), commit(2)]);
    const rows = await database.rows("SELECT pos, gen, parent FROM versions ORDER BY pos");
    expect(rows).toEqual([
      [1, 1, null],
      [2, 2, null],
      [3, 3, null],
      [4, 4, 2],
      [5, 5, 1],
    ]);
  });

  test("V6: cursor, versions, heads, log and batches change in one transaction, or none of them", async () => {
    const { history, database } = await openedHistory();
    const stream = await history.openStream(streamOptions());
    await append(stream, [begin("e"), put("a", "1", 1), end(1)]);
    const tables = ["versions", "objects", "batches", "commits", "streams", "gaps", "epochs", "quarantine"];
    const everything = async () => {
      const found: Record<string, unknown[][]> = {};
      for (const table of tables) found[table] = await database.rows(`SELECT * FROM ${table} ORDER BY 1`);
      return found;
    };
    const before = await everything();
    const frames: Frame[] = [
      put("a", "2", 2),
      put("b", "2", 2),
      commit(2),
      { type: "gap", reason: "compacted", detail: "lost", from: at(2), to: at(5) },
      begin("f"),
      put("c", "1", 5),
      { type: "poison", key: bytes("p"), raw: bytes("?"), error: "cannot decode", version: at(5) },
      end(5),
    ];
    // Whichever statement of the transaction fails, nothing of it is there.
    for (const event of [
      "INSERT ON batches",
      "INSERT ON commits",
      "UPDATE ON streams",
      "INSERT ON gaps",
      "INSERT ON epochs",
      "INSERT ON quarantine",
    ]) {
      await database.refuse(event);
      const outcome: unknown = await append(stream, frames).catch((error: unknown) => error);
      await database.accept();
      expect({ event, code: (outcome as StoreWatchError).code }).toEqual({ event, code: "COMMIT_FAILED" });
      expect(((outcome as StoreWatchError).buffer as FrameBuffer).decode()).toEqual(frames);
      expect({ event, rows: await everything() }).toEqual({ event, rows: before });
      expect(stream.resume).toEqual({ epoch: "e", cursor: at(1) });
    }
    const result = await append(stream, frames);
    expect(result).toMatchObject({ resume: { epoch: "f", cursor: at(5) }, versions: 5, gaps: 1, quarantined: 1 });
    expect((await history.fsck()).findings).toEqual([]);
  });

  test("V7: a group is visible all or nothing, wherever buffers are cut, and is discarded when the stream breaks", async () => {
    const { history } = await openedHistory();
    const stream = await history.openStream(streamOptions());
    await append(stream, [begin("e"), put("a", "1", 1)]);
    await append(stream, [put("b", "1", 1)]);
    expect(await state(history)).toEqual({});
    await append(stream, [end(1), put("a", "2", 2)]);
    expect(await state(history)).toEqual({ a: "1", b: "1" });
    await append(stream, [put("b", "2", 2)]);
    expect(await state(history)).toEqual({ a: "1", b: "1" });
    for (const broken of [discard, reset("e"), { type: "gap", reason: "disconnected", detail: "cut" } as const]) {
      await append(stream, [put("a", "void", 3), broken, put("c", "3", 3)]);
      await append(stream, [discard]);
      expect(await state(history)).toEqual({ a: "1", b: "1" });
    }
    const { versions } = await append(stream, [put("a", "2", 4), put("b", "2", 4), commit(4)]);
    expect(versions).toBe(2);
    const { items } = await history.changes(0n);
    expect(items.map(({ batch, cursor }) => [batch, cursor])).toEqual([
      [1n, "a1"],
      [1n, "a1"],
      [2n, "a4"],
      [2n, "a4"],
    ]);
  });

  test("V8: a deletion is a version with a parent, and what comes back has the tombstone as its parent", async () => {
    const { history } = await openedHistory();
    const stream = await history.openStream(streamOptions());
    await append(stream, [begin("e"), put("a", "1", 1), put("b", "1", 1), end(1)]);
    const result = await append(stream, [
      remove("a", 2),
      remove("a", 3),
      remove("never", 3),
      commit(3),
      put("a", "4", 4),
      commit(4),
    ]);
    expect(result).toMatchObject({ versions: 2, duplicates: 2 });
    // Vanished while nobody looked.
    await append(stream, [begin("e"), put("a", "4", 4), end(9)]);
    await append(stream, [put("b", "10", 10), commit(10)]);
    expect(await versionsOf(history, "a")).toEqual([
      "1 a = 1 (a1, snapshot)",
      "3 a deleted (a2, stream)",
      "4 a = 4 (a4, stream)",
    ]);
    const { items } = await history.log("s", bytes("b"));
    expect(items.map((item) => [brief(item), item.parents])).toEqual([
      ["6 b = 10 (b10, stream)", [5n]],
      ["5 b deleted (a9, sweep)", [2n]],
      ["2 b = 1 (a1, snapshot)", []],
    ]);
  });

  test("V9: pruning keeps what consumers need, the floor is durable first, and reading below it fails by name", async () => {
    const { history, database } = await openedHistory();
    const stream = await history.openStream(streamOptions());
    await append(stream, [begin("e"), put("a", "1", 1), put("b", "1", 1), end(1)]);
    for (let revision = 2; revision <= 6; revision++) {
      await append(stream, [put("a", String(revision), revision), commit(revision)]);
    }
    await history.setConsumer("slow", 4n);
    expect(await history.prune({ before: {} })).toEqual({ removed: 2, floor: 4n });
    expect(await versionsOf(history, "a")).toEqual([
      "4 a = 3 (a3, stream)",
      "5 a = 4 (a4, stream)",
      "6 a = 5 (a5, stream)",
      "7 a = 6 (a6, stream)",
    ]);
    expect((await history.changes(4n)).items).toHaveLength(3);
    expect(await state(history, { at: { position: 4n } })).toEqual({ a: "3", b: "1" });
    await expect(history.changes(3n)).rejects.toMatchObject({ code: "TOO_OLD" });
    await expect(history.get("s", bytes("a"), { at: { position: 3n } })).rejects.toMatchObject({ code: "TOO_OLD" });
    await expect(history.list({ stream: "s" }, { at: { cursor: at(2) } })).rejects.toMatchObject({ code: "TOO_OLD" });
    await expect(history.diff({ position: 3n }, {})).rejects.toMatchObject({ code: "TOO_OLD" });
    await expect(history.setConsumer("late", 3n)).rejects.toMatchObject({ code: "TOO_OLD" });
    expect((await history.fsck()).findings).toEqual([]);

    // The removal fails; that the history starts later is known all the same.
    await history.setConsumer("slow", undefined);
    await database.refuse("DELETE ON versions");
    await expect(history.prune({ before: {} })).rejects.toThrow(/refused/);
    await database.accept();
    await expect(history.changes(5n)).rejects.toMatchObject({ code: "TOO_OLD" });
    expect((await history.fsck()).findings).toEqual([]);
    expect(await history.prune({ before: {} })).toEqual({ removed: 3, floor: 7n });
    expect(await state(history)).toEqual({ a: "6", b: "1" });
    expect((await history.fsck()).findings).toEqual([]);
  });

  test("V9: what did not change up to the floor can still be read as of any moment, each cursor at the floor included", async () => {
    const { history } = await openedHistory();
    const idle = await history.openStream(streamOptions("idle"));
    const busy = await history.openStream(streamOptions("busy"));
    await append(idle, [begin("e"), put("a", "old", 1), end(1), put("a", "idle", 2), commit(2)]);
    // Many batches in one of our transactions.
    await append(busy, [begin("e"), put("a", "1", 1), end(1)]);
    await append(
      busy,
      [2, 3, 4, 5, 6].flatMap((revision) => [put("a", String(revision), revision), commit(revision)]),
    );
    expect(await history.prune({ before: { position: 6n } })).toEqual({ removed: 4, floor: 6n });
    expect(await state(history, { at: { cursor: at(2) } }, "idle")).toEqual({ a: "idle" });
    expect(await state(history, { at: { position: 2n } }, "idle")).toEqual({ a: "idle" });
    await expect(state(history, { at: { cursor: at(1) } }, "idle")).rejects.toMatchObject({ code: "TOO_OLD" });
    for (const revision of [4, 5, 6]) {
      expect(await state(history, { at: { cursor: at(revision) } }, "busy")).toEqual({ a: String(revision) });
    }
    await expect(state(history, { at: { cursor: at(3) } }, "busy")).rejects.toMatchObject({ code: "TOO_OLD" });
    expect((await history.fsck()).findings).toEqual([]);
  });
}
