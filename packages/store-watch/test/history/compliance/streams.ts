import { expect } from "vitest";
import type { Frame } from "../../../src/contract.ts";
import { FrameBuffer } from "../../../src/frame-buffer.ts";
import {
  append,
  at,
  begin,
  bufferOf,
  bytes,
  commit,
  end,
  progress,
  put,
  remove,
  reset,
  state,
  streamOptions,
} from "../helpers.ts";
import type { Backend } from "./backend.ts";

export function streamsCompliance({ openedHistory, test }: Backend): void {
  test("only the newest writer of a stream may append, and one append at a time", async () => {
    const { history } = await openedHistory();
    const first = await history.openStream(streamOptions());
    const one = append(first, [begin("e"), put("a", "1", 1), end(1)]);
    await expect(append(first, [put("a", "2", 2), commit(2)])).rejects.toMatchObject({ code: "STREAM_BUSY" });
    await one;
    const second = await history.openStream(streamOptions());
    const buffer = bufferOf([put("a", "2", 2), commit(2)]);
    await expect(first.append(buffer)).rejects.toMatchObject({ code: "STREAM_BUSY", buffer });
    expect(buffer.decode()).toEqual([put("a", "2", 2), commit(2)]);
    expect(await second.append(buffer)).toMatchObject({ buffer, versions: 1 });
  });

  test("what a writer left open is void for the next one", async () => {
    const { history } = await openedHistory();
    const first = await history.openStream(streamOptions());
    await append(first, [begin("e"), put("a", "1", 1), end(1), put("b", "2", 2)]);
    const second = await history.openStream(streamOptions());
    expect(second.resume).toEqual({ epoch: "e", cursor: at(1) });
    await append(second, [put("c", "2", 2), commit(2)]);
    expect(await state(history)).toEqual({ a: "1", c: "2" });
  });

  test("an opening that the database refuses takes nothing from the writer before it", async () => {
    const { history, database } = await openedHistory();
    const first = await history.openStream(streamOptions());
    await append(first, [begin("e"), put("a", "1", 1), end(1), put("b", "2", 2)]);
    await database.refuse("INSERT ON gaps");
    await expect(history.openStream(streamOptions("s", { scope: "other" }))).rejects.toThrow("refused");
    await database.accept();
    await append(first, [put("c", "2", 2), commit(2)]);
    expect(await state(history)).toEqual({ a: "1", b: "2", c: "2" });
  });

  test("another scope invalidates the cursor, is recorded as a gap, and the next snapshot prunes", async () => {
    const { history } = await openedHistory();
    const stream = await history.openStream(streamOptions("s", { scope: "/a" }));
    await append(stream, [begin("e"), put("/a/1", "1", 1), put("/a/2", "1", 1), end(1)]);
    const same = await history.openStream(streamOptions("s", { scope: "/a", description: "elsewhere" }));
    expect(same.resume).toEqual({ epoch: "e", cursor: at(1) });
    const other = await history.openStream(streamOptions("s", { scope: "/a/2" }));
    expect(other.resume).toBeUndefined();
    expect(await history.gaps("s")).toMatchObject([
      { reason: "scope-changed", from: at(1), to: undefined, epoch: "e", position: 2n },
    ]);
    // Nothing is known of the new scope yet, so opening it again adds nothing.
    expect((await history.openStream(streamOptions("s", { scope: "/a/2" }))).resume).toBeUndefined();
    expect(await history.gaps()).toHaveLength(1);
    const last = await history.openStream(streamOptions("s", { scope: "/a/2" }));
    await append(last, [begin("e"), put("/a/2", "1", 1), end(3)]);
    expect(await state(history)).toEqual({ "/a/2": "1" });
    expect(await history.streams()).toMatchObject([{ scope: "/a/2", gaps: 1, keys: 1 }]);
  });

  test("a snapshot after the gap that the replica differs corrects it, and makes no version of what is right", async () => {
    const { history, database } = await openedHistory();
    const stream = await history.openStream(streamOptions());
    const all = [put("a", "1", 1), put("b", "2", 1), put("c", "3", 1), put("d", "4", 1, { attributes: "{}" })];
    await append(stream, [begin("e"), ...all, end(1)]);
    const { rows, bytes: literal } = database;
    await rows(`UPDATE versions SET value = ${literal("wrong")} WHERE pos = 2 RETURNING pos`);
    await rows("UPDATE versions SET attributes = NULL WHERE pos = 4 RETURNING pos");
    await append(stream, [begin("e"), ...all, end(1)]);
    expect((await state(history))["b"]).toBe("wrong");
    // A version that the source never gave: without a repair, all to come would be older.
    await rows("UPDATE versions SET version = 'zzz' WHERE pos = 3 RETURNING pos");
    const reopened = await history.openStream(streamOptions());
    const gap: Frame = { type: "gap", reason: "replica-differed", detail: "an audit" };
    await append(reopened, [gap]);
    expect(await append(reopened, [begin("e"), ...all, end(1)])).toMatchObject({ versions: 3, duplicates: 1 });
    expect(await state(history)).toEqual({ a: "1", b: "2", c: "3", d: "4" });
    expect((await history.get("s", bytes("d")))?.attributes).toBe("{}");
    await append(reopened, [put("c", "5", 2), commit(2)]);
    expect((await state(history))["c"]).toBe("5");
    // The next snapshot is one like any other.
    expect(await append(reopened, [begin("e"), put("c", "5", 2), end(2)])).toMatchObject({ versions: 3 });
    expect(await history.gaps("s")).toMatchObject([{ reason: "replica-differed" }]);
  });

  test("streams do not see each other's keys", async () => {
    const { history } = await openedHistory();
    const one = await history.openStream(streamOptions("one"));
    const two = await history.openStream(streamOptions("two"));
    await append(one, [begin("e"), put("a", "one", 1), end(1)]);
    await append(two, [begin("e"), put("a", "two", 1), put("b", "two", 1), end(1)]);
    await append(one, [begin("e"), end(2)]);
    expect(await state(history, {}, "one")).toEqual({});
    expect(await state(history, {}, "two")).toEqual({ a: "two", b: "two" });
  });

  test("a gap is recorded once, with where the stream stood", async () => {
    const { history } = await openedHistory();
    const stream = await history.openStream(streamOptions());
    await append(stream, [begin("e"), put("a", "1", 1), end(1)]);
    const gap: Frame = { type: "gap", reason: "disconnected", detail: "cut" };
    const exact: Frame = { type: "gap", reason: "compacted", detail: "compacted", from: at(1), to: at(9) };
    expect(await append(stream, [gap, exact])).toMatchObject({ gaps: 2 });
    expect(await append(stream, [gap, exact])).toMatchObject({ gaps: 0 });
    await append(stream, [put("a", "2", 10), commit(10)]);
    // The same interval again is the same loss; another disconnection is another one.
    expect(await append(stream, [exact, gap])).toMatchObject({ gaps: 1 });
    expect(await history.gaps()).toMatchObject([
      { id: 1, reason: "disconnected", from: at(1), to: undefined, position: 1n },
      { id: 2, reason: "compacted", from: at(1), to: at(9), position: 1n },
      { id: 3, reason: "disconnected", from: at(10), position: 2n },
    ]);
  });

  test("an epoch that changes without a word leaves a gap, and the source's own words replace it", async () => {
    const { history } = await openedHistory();
    const stream = await history.openStream(streamOptions());
    await append(stream, [reset("one"), put("a", "1", 1), commit(1)]);
    await append(stream, [begin("two"), put("a", "1", 1), end(1)]);
    await append(stream, [reset("three")]);
    expect(stream.resume).toBeUndefined();
    await append(stream, [
      { type: "gap", reason: "epoch-changed", detail: "restored from a backup", from: at(1), to: at(0) },
    ]);
    await append(stream, [begin("three"), end(5)]);
    expect((await history.gaps()).map(({ reason, detail, from, to }) => [reason, detail, from, to])).toEqual([
      ["epoch-changed", "the source's history is now two, it was one", at(1), undefined],
      ["epoch-changed", "restored from a backup", at(1), at(0)],
    ]);
    expect(await history.streams()).toMatchObject([{ epoch: "three", gaps: 2 }]);
  });

  test("frames that break the contract are refused by name, and nothing of their buffer is kept", async () => {
    const { history } = await openedHistory();
    const stream = await history.openStream(streamOptions());
    await expect(append(stream, [put("a", "1", 1), commit(1)])).rejects.toMatchObject({
      code: "PROTOCOL",
      retryable: false,
    });
    await append(stream, [begin("e"), put("a", "1", 1)]);
    await expect(append(stream, [put("b", "1", 1), commit(1)])).rejects.toThrow(
      /PROTOCOL.*expected snapshot-end or discard.*"a1"/,
    );
    await append(stream, [put("c", "1", 1), end(1)]);
    expect(await state(history)).toEqual({ a: "1", c: "1" });
  });

  test("a progress within a group and a boundary twice move nothing that they should not", async () => {
    const { history } = await openedHistory();
    const stream = await history.openStream(streamOptions());
    await append(stream, [begin("e"), put("a", "1", 1), end(1), end(1), put("b", "2", 2), progress(9)]);
    expect(stream.resume).toEqual({ epoch: "e", cursor: at(1) });
    await append(stream, [commit(2), commit(2), progress(1)]);
    expect(stream.resume).toEqual({ epoch: "e", cursor: at(2) });
    await append(stream, [progress(4)]);
    expect(stream.resume).toEqual({ epoch: "e", cursor: at(4) });
    expect(await state(history)).toEqual({ a: "1", b: "2" });
  });

  test("a position that the database refuses is not reached, however often it is offered", async () => {
    const { history, database } = await openedHistory();
    const stream = await history.openStream(streamOptions());
    await append(stream, [begin("e"), put("a", "1", 1), end(1)]);
    await database.refuse("UPDATE ON streams");
    const buffer = bufferOf([progress(5)]);
    for (const _ of ["once", "twice"]) {
      await expect(stream.append(buffer)).rejects.toMatchObject({ code: "COMMIT_FAILED" });
    }
    await database.accept();
    expect(await stream.append(buffer)).toMatchObject({ resume: { cursor: at(5) } });
    expect(await history.streams()).toMatchObject([{ cursor: at(5) }]);
  });

  test("a source that cannot resume may have cursors that say nothing", async () => {
    const { history } = await openedHistory();
    const capabilities = { ...streamOptions().capabilities, resumable: false, versioned: false };
    const stream = await history.openStream(streamOptions("s", { capabilities }));
    await append(stream, [
      begin("e"),
      put("a", "1"),
      end(5),
      put("a", "2"),
      commit(3),
      put("a", "3"),
      put("a", "3"),
      commit(3),
    ]);
    expect((await history.log("s", bytes("a"))).items.map(({ value, version }) => [value, version])).toEqual([
      [bytes("3"), "a3"],
      [bytes("2"), "a2"],
      [bytes("1"), "a1"],
    ]);
    await append(stream, [remove("a"), commit(3), put("a", "3"), commit(3)]);
    expect(await state(history)).toEqual({ a: "3" });
  });

  test("a commit that fails in the middle of staged groups can be repeated, with nothing lost or doubled", async () => {
    const { history, database } = await openedHistory();
    const stream = await history.openStream(streamOptions());
    await append(stream, [begin("e"), put("a", "1", 1)]);
    await database.refuse("UPDATE ON streams");
    const buffer = bufferOf([put("b", "1", 1), end(1), put("c", "2", 2)]);
    for (let attempt = 0; attempt < 3; attempt++) {
      await expect(stream.append(buffer)).rejects.toMatchObject({ code: "COMMIT_FAILED" });
    }
    await database.accept();
    expect(await stream.append(buffer)).toMatchObject({ versions: 2 });
    // What each attempt had staged was taken back.
    expect(await append(stream, [put("d", "2", 2), commit(2)])).toMatchObject({ versions: 2, duplicates: 0 });
    expect(await state(history)).toEqual({ a: "1", b: "1", c: "2", d: "2" });
    expect((await history.fsck()).findings).toEqual([]);
  });

  test("during a long commit reads answer and the event loop turns", async () => {
    const { history } = await openedHistory();
    const stream = await history.openStream(streamOptions());
    await append(stream, [begin("e"), put("a", "1", 1), end(1)]);
    const buffer = new FrameBuffer();
    for (let key = 0; key < 150_000; key++) buffer.write(put(`key ${key}`, "x".repeat(200), 2));
    buffer.write(commit(2));
    let isCommitted = false;
    const committing = stream.append(buffer).then((result) => {
      isCommitted = true;
      return result;
    });
    let turns = 0;
    const turn = () => {
      turns++;
      if (!isCommitted) setImmediate(turn);
    };
    turn();
    let reads = 0;
    while (!isCommitted) {
      const { items } = await history.list({ stream: "s" });
      const page = await history.log("s", bytes("a"));
      expect(page.items).toHaveLength(1);
      // Committed, and the word of it is on its way.
      if (items.length > 1) break;
      reads++;
    }
    const { versions } = await committing;
    expect(versions).toBe(150_000);
    // One of each could slip in before or after a commit that held them up; this many cannot.
    expect(reads).toBeGreaterThan(10);
    expect(turns).toBeGreaterThan(10);
  }, 120_000);

  test("a group larger than any buffer waits outside of the history until it is complete", async () => {
    const { history } = await openedHistory();
    const stream = await history.openStream(streamOptions());
    const pieces = 40;
    for (let piece = 0; piece < pieces; piece++) {
      const frames: Frame[] = piece === 0 ? [begin("e")] : [];
      for (let key = 0; key < 50; key++) frames.push(put(`${piece}/${key}`, "x".repeat(1000), 1));
      expect(await append(stream, frames)).toMatchObject({ versions: 0, resume: undefined });
    }
    expect(await append(stream, [end(1)])).toMatchObject({ versions: pieces * 50, resume: { cursor: at(1) } });
    // The same in the middle of what else happens: the tail of one buffer belongs to the group after.
    await append(stream, [put("a", "1", 2), commit(2), begin("e"), put("0/0", "x".repeat(1000), 1)]);
    await append(stream, [put("0/1", "x".repeat(1000), 1)]);
    await append(stream, [put("0/2", "y", 3), end(3), put("0/3", "z", 4)]);
    expect(Object.keys(await state(history))).toEqual(["0/0", "0/1", "0/2"]);
    await append(stream, [commit(4)]);
    expect(Object.keys(await state(history))).toEqual(["0/0", "0/1", "0/2", "0/3"]);
    expect((await history.fsck()).findings).toEqual([]);
  });
}
