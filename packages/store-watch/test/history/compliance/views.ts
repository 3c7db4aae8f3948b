import { type Clock, systemClock } from "@tidemark/clock";
import { expect } from "vitest";
import { append, at, begin, bytes, commit, end, put, remove, streamOptions } from "../helpers.ts";
import { readmeQueries } from "../readme-queries.ts";
import type { Backend } from "./backend.ts";

export function viewsCompliance({ openedHistory, test }: Backend): void {
  /** A history whose clock a test moves. */
  async function example() {
    let now = Date.UTC(2026, 0, 1, 12);
    const { history, database } = await openedHistory({ clock: clockAt(() => now) });
    const stream = await history.openStream(streamOptions("etcd"));
    const later = () => (now += 60_000);
    return { history, stream, rows: database.rows, later, database };
  }

  function clockAt(now: () => number): Clock {
    return Object.assign(Object.create(systemClock) as Clock, { now });
  }

  test("a person sees the state, the deleted keys, the history and the changes with any SQL tool", async () => {
    const { stream, rows, later } = await example();
    await append(stream, [begin("cluster"), put("/a", "1", 1), put("/b", "1", 1), end(1)]);
    later();
    await append(stream, [
      put("/a", "2", 2, { sourceTimeMs: Date.UTC(2026, 0, 1) }),
      remove("/b", 3),
      put("/c", "3", 3),
      commit(3),
    ]);
    later();
    await append(stream, [put("/b", "back", 4), commit(4)]);
    expect(
      await rows(
        "SELECT stream, key_text, value_text, version, position, committed_at, source_time FROM current ORDER BY key",
      ),
    ).toEqual([
      ["etcd", "/a", "2", "a2", 3, "2026-01-01T12:01:00.000Z", "2026-01-01T00:00:00.000Z"],
      ["etcd", "/b", "back", "a4", 6, "2026-01-01T12:02:00.000Z", null],
      ["etcd", "/c", "3", "a3", 5, "2026-01-01T12:01:00.000Z", null],
    ]);
    expect(
      await rows(
        "SELECT position, key_text, kind, value_text, via, parent, level, batch, cursor, epoch FROM history ORDER BY position",
      ),
    ).toEqual([
      [1, "/a", "put", "1", "snapshot", null, 1, 1, "a1", "cluster"],
      [2, "/b", "put", "1", "snapshot", null, 1, 1, "a1", "cluster"],
      [3, "/a", "put", "2", "stream", 1, 2, 2, "a3", "cluster"],
      [4, "/b", "delete", null, "stream", 2, 2, 2, "a3", "cluster"],
      [5, "/c", "put", "3", "stream", null, 1, 2, "a3", "cluster"],
      [6, "/b", "put", "back", "stream", 4, 3, 3, "a4", "cluster"],
    ]);
    expect(await rows("SELECT change, key_text, before_text, after_text FROM changes ORDER BY position")).toEqual([
      ["added", "/a", null, "1"],
      ["added", "/b", null, "1"],
      ["changed", "/a", "1", "2"],
      ["removed", "/b", "1", null],
      ["added", "/c", null, "3"],
      ["added", "/b", null, "back"],
    ]);
    await append(stream, [remove("/c", 5), commit(5)]);
    expect(await rows("SELECT key_text, value_text, version FROM deleted")).toEqual([["/c", null, "a5"]]);
    expect(await rows("SELECT stream, kind, epoch, cursor, keys, versions FROM stream_status")).toEqual([
      ["etcd", "test", "cluster", "a5", 2, 7],
    ]);
  });

  test("gaps and the quarantine are views too", async () => {
    const { stream, rows } = await example();
    await append(stream, [
      begin("one"),
      { type: "poison", key: bytes("/p"), raw: bytes("?"), error: "cannot decode", version: at(1) },
      end(1),
      { type: "gap", reason: "compacted", detail: "compacted at 9", from: at(1), to: at(9) },
    ]);
    expect(await rows("SELECT stream, reason, detail, from_cursor, to_cursor, position, epoch FROM gap_log")).toEqual([
      ["etcd", "compacted", "compacted at 9", "a1", "a9", 0, "one"],
    ]);
    expect(
      await rows("SELECT stream, state, key_text, kind, version, error, cursor, epoch FROM quarantine_log"),
    ).toEqual([["etcd", "open", "/p", "put", "a1", "cannot decode", "a1", "one"]]);
  });

  test("binary keys and values are kept byte for byte and do not break the views", async () => {
    const { history, stream, rows, database } = await example();
    const binary = ["", "\0", "\xff", "a\0b", "\x80\xfe", "'; DROP TABLE versions; --", "ü"];
    const frames = binary.map((key) => ({ ...put("", "", 1), key: bytes(key), value: bytes(`${key}\0\xff`) }) as const);
    await append(stream, [begin("e"), ...frames, end(1)]);
    for (const key of binary) {
      const found = await history.get("etcd", bytes(key));
      expect(found).toMatchObject({ key: bytes(key), value: bytes(`${key}\0\xff`) });
    }
    const shown = (await rows(
      `SELECT key_text, value_text, ${database.hex("key")}, ${database.hex("value")} FROM current ORDER BY key`,
    )) as string[][];
    expect(shown.map(([, , key]) => key)).toEqual(
      binary.map((key) => Buffer.from(key, "latin1").toString("hex").toUpperCase()).sort(),
    );
    const texts = Object.fromEntries(shown.map(([text, , hex]) => [hex, text]));
    expect(texts[""]).toBe("");
    expect(texts["00"]).toBe("X'00'");
    expect(texts["610062"]).toBe("X'610062'");
    expect(texts["FF"]).toBe("X'FF'");
    expect(shown.every(([, value]) => value?.startsWith("X'"))).toBe(true);
    for (const view of ["current", "history", "changes", "deleted"]) await rows(`SELECT * FROM ${view}`);
  });

  test("text that is no ASCII is shown as it is", async () => {
    const { stream, rows } = await example();
    const key = new Uint8Array(Buffer.from("/straße/日本/🙂"));
    await append(stream, [begin("e"), { type: "change", key, value: key, version: "a1" }, end(1)]);
    expect(await rows("SELECT key_text, value_text FROM current")).toEqual([["/straße/日本/🙂", "/straße/日本/🙂"]]);
  });

  test("the README's five queries answer what it says that they answer", async () => {
    const { stream, database, later } = await example();
    await append(stream, [
      begin("cluster"),
      put("/app/a", "1", 1),
      put("/app/b", "1", 1),
      put("/other", "1", 1),
      end(1),
    ]);
    later();
    await append(stream, [put("/app/a", "2", 2), remove("/app/b", 2), commit(2)]);
    later();
    await append(stream, [
      put("/app/a", "3", 3),
      commit(3),
      { type: "gap", reason: "compacted", detail: "x", from: at(3), to: at(4) },
    ]);
    const queries = readmeQueries();
    expect(queries).toHaveLength(5);
    const [current, log, asOf, busiest, gaps] = await Promise.all(
      queries.map((query) => database.rows(database.translate(query))),
    );
    expect(current).toEqual([["/app/a", "3", "a3", "2026-01-01T12:02:00.000Z"]]);
    expect(log).toEqual([
      ["2026-01-01T12:02:00.000Z", "changed", "2", "3", "a3"],
      ["2026-01-01T12:01:00.000Z", "changed", "1", "2", "a2"],
      ["2026-01-01T12:00:00.000Z", "added", null, "1", "a1"],
    ]);
    expect(asOf).toEqual([
      ["/app/a", "2"],
      ["/other", "1"],
    ]);
    expect(busiest).toEqual([
      ["/app/a", 3, "2026-01-01T12:02:00.000Z"],
      ["/app/b", 2, "2026-01-01T12:01:00.000Z"],
      ["/other", 1, "2026-01-01T12:00:00.000Z"],
    ]);
    expect(gaps).toEqual([["etcd", "compacted", "a3", "a4", "2026-01-01T12:02:00.000Z"]]);
  });
}
