import { expect } from "vitest";
import type { Frame } from "../../../src/contract.ts";
import { append, at, begin, brief, bytes, commit, end, put, remove, state, streamOptions, text } from "../helpers.ts";
import type { Backend, RawDatabase } from "./backend.ts";

export function quarantineCompliance({ openedHistory, test }: Backend): void {
  const poison = (key: string, version: number): Frame => ({
    type: "poison",
    key: bytes(key),
    raw: bytes("\xff?"),
    error: "cannot decode it",
    version: at(version),
  });

  /** From now on the database refuses values and deletions that a person says are poisonous. */
  const refuse = (database: RawDatabase, when: string) =>
    database.refuse("INSERT ON versions", {
      when: `new.value = ${database.bytes("bad")} OR ${when}`,
      message: "poisonous",
    });

  test("a change that the source could not decode is set aside, and the cursor moves past it", async () => {
    const { history } = await openedHistory();
    const stream = await history.openStream(streamOptions());
    await append(stream, [begin("e"), put("a", "1", 1), end(1)]);
    const result = await append(stream, [poison("a", 2), put("b", "2", 2), commit(2), put("a", "3", 3), commit(3)]);
    expect(result).toMatchObject({ quarantined: 1, versions: 2, resume: { cursor: at(3) } });
    expect(await history.quarantine("s")).toMatchObject([
      {
        id: 1,
        kind: "put",
        version: at(2),
        epoch: "e",
        cursor: at(2),
        error: "cannot decode it",
        state: "open",
        resolution: undefined,
      },
    ]);
    expect(await state(history)).toEqual({ a: "3", b: "2" });
    // It comes again: it is there already.
    const again = await append(stream, [put("a", "3", 3), commit(3)]);
    expect(again).toMatchObject({ quarantined: 0, versions: 0 });
    expect(await history.streams()).toMatchObject([{ quarantined: 1 }]);
  });

  test("a change that the database refuses is found in its savepoint; the rest of the buffer is committed as if it were not there", async () => {
    const { history, database } = await openedHistory();
    const stream = await history.openStream(streamOptions());
    await append(stream, [begin("e"), put("a", "1", 1), put("b", "1", 1), end(1)]);
    await refuse(database, "(new.value IS NULL AND new.object = 2)");
    const result = await append(stream, [
      put("a", "2", 2),
      put("new", "bad", 2),
      put("c", "2", 2),
      commit(2),
      put("a", "bad", 3),
      remove("b", 3),
      commit(3),
      put("new", "4", 4),
      put("a", "4", 4),
      commit(4),
    ]);
    expect(result).toMatchObject({ quarantined: 3, versions: 4, duplicates: 0, resume: { cursor: at(4) } });
    expect(await state(history)).toEqual({ a: "4", b: "1", c: "2", new: "4" });
    expect((await history.changes(2n)).items.map(brief)).toEqual([
      "3 a = 2 (a2, stream)",
      "4 c = 2 (a2, stream)",
      "5 new = 4 (a4, stream)",
      "6 a = 4 (a4, stream)",
    ]);
    const open = await history.quarantine();
    expect(open.map(({ key, kind, cursor, error }) => [text(key), kind, cursor, error])).toEqual([
      ["new", "put", at(2), "poisonous"],
      ["a", "put", at(3), "poisonous"],
      ["b", "delete", at(3), "poisonous"],
    ]);
    expect((await history.fsck()).findings).toEqual([]);
  });

  test("a snapshot sets aside what is poisonous, the vanished included, and does not sweep what it contained", async () => {
    const { history, database } = await openedHistory();
    const stream = await history.openStream(streamOptions());
    await append(stream, [begin("e"), put("a", "1", 1), put("b", "1", 1), put("c", "1", 1), end(1)]);
    await refuse(database, "(new.value IS NULL AND new.object = 2)");
    await append(stream, [begin("e"), put("a", "bad", 5), poison("c", 6), put("d", "7", 7), end(9)]);
    expect(await state(history)).toEqual({ a: "1", b: "1", c: "1", d: "7" });
    expect((await history.quarantine()).map(({ key, kind }) => [text(key), kind])).toEqual([
      ["a", "put"],
      ["c", "put"],
      ["b", "delete"],
    ]);
    expect((await history.fsck()).findings).toEqual([]);
  });

  test("retry applies the change now, with its own version, and says at which position", async () => {
    const { history, database } = await openedHistory();
    const stream = await history.openStream(streamOptions());
    await append(stream, [begin("e"), put("a", "1", 1), put("b", "1", 1), end(1)]);
    await refuse(database, "new.value IS NULL");
    await append(stream, [put("a", "bad", 2), put("new", "bad", 2), remove("b", 2), put("c", "2", 2), commit(2)]);
    await expect(history.retryQuarantined(1)).rejects.toMatchObject({ code: "COMMIT_FAILED", retryable: false });
    expect(await history.quarantine()).toHaveLength(3);
    await database.accept();
    expect(await history.retryQuarantined(1)).toMatchObject({ state: "retried", resolution: "4" });
    expect(await history.retryQuarantined(2)).toMatchObject({ state: "retried", resolution: "5" });
    expect(await history.retryQuarantined(3)).toMatchObject({ state: "retried", resolution: "6" });
    expect(await state(history)).toEqual({ a: "bad", new: "bad", c: "2" });
    const { items } = await history.log("s", bytes("a"));
    expect(items[0]).toMatchObject({ via: "retry", version: at(2), parents: [1n], cursor: at(2) });
    expect(await state(history, { at: { cursor: at(2) } }, "s")).toEqual({ a: "bad", new: "bad", c: "2" });
    await append(stream, [put("a", "3", 3), put("new", "3", 3), commit(3)]);
    expect(await state(history)).toEqual({ a: "3", new: "3", c: "2" });
    await expect(history.retryQuarantined(1)).rejects.toThrow(/NOT_FOUND.*it was retried/);
    expect(await history.streams()).toMatchObject([{ quarantined: 0, keys: 3, versions: 8 }]);
    expect((await history.fsck()).findings).toEqual([]);
  });

  test("retry does not bring back what something newer has replaced or removed", async () => {
    const { history } = await openedHistory();
    const stream = await history.openStream(streamOptions());
    await append(stream, [begin("e"), put("a", "1", 1), end(1)]);
    await append(stream, [poison("a", 2), poison("gone", 2), poison("vanished", 2), poison("kept", 2), commit(2)]);
    await append(stream, [put("a", "3", 3), remove("gone", 3), commit(3)]);
    expect(await history.retryQuarantined(1)).toMatchObject({
      state: "retried",
      resolution: "superseded by position 2",
    });
    await append(stream, [begin("e"), put("a", "3", 3), poison("kept", 2), end(5)]);
    const all = await history.quarantine("s", { includeResolved: true });
    expect(all.map(({ key, state: now, resolution }) => [text(key), now, resolution])).toEqual([
      ["a", "retried", "superseded by position 2"],
      ["gone", "skipped", "deleted at cursor a3"],
      ["vanished", "skipped", "gone in the snapshot at cursor a5"],
      ["kept", "open", undefined],
    ]);
    await append(stream, [begin("f"), put("a", "1", 1), end(1)]);
    expect(await history.quarantine()).toEqual([]);
    expect(await state(history)).toEqual({ a: "1" });
    expect((await history.fsck()).findings).toEqual([]);
  });

  test("retry brings a key into the present epoch, and what comes after it is news although versions begin anew", async () => {
    const { history, reopen } = await openedHistory();
    const stream = await history.openStream(streamOptions());
    await append(stream, [begin("e"), put("a", "1", 700), put("b", "1", 700), end(700)]);
    // Replaced by another store, whose versions are lower.
    await append(stream, [begin("f"), poison("a", 2), poison("b", 2), end(2)]);
    expect(await history.retryQuarantined(1)).toMatchObject({ state: "retried", resolution: "3" });
    // Known by now.
    expect(await append(stream, [begin("f"), put("a", "\xff?", 2), poison("b", 2), end(2)])).toMatchObject({
      versions: 0,
    });
    expect(await history.retryQuarantined(2)).toMatchObject({ state: "retried", resolution: "4" });
    const reopened = await reopen();
    const again = await reopened.openStream(streamOptions());
    expect(await append(again, [put("a", "3", 3), put("b", "3", 3), commit(3)])).toMatchObject({ versions: 2 });
    expect(await state(reopened)).toEqual({ a: "3", b: "3" });
    expect((await reopened.fsck()).findings).toEqual([]);
  });

  test("skip is a record with a reason", async () => {
    const { history } = await openedHistory();
    const stream = await history.openStream(streamOptions());
    await append(stream, [begin("e"), poison("a", 1), end(1)]);
    expect(await history.skipQuarantined(1, "nobody needs it")).toMatchObject({
      state: "skipped",
      resolution: "nobody needs it",
    });
    expect(await history.quarantine()).toEqual([]);
    expect(await history.quarantine("s", { includeResolved: true })).toHaveLength(1);
    await expect(history.skipQuarantined(1, "twice")).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(history.retryQuarantined(7)).rejects.toThrow(/NOT_FOUND.*there is none/);
  });
}
