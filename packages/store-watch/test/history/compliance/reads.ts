import { type Clock, seededRng, systemClock } from "@tidemark/clock";
import { expect } from "vitest";
import type { DiffRecord, History, Page, VersionRecord } from "../../../src/history-types.ts";
import {
  append,
  at,
  begin,
  brief,
  bytes,
  commit,
  end,
  progress,
  put,
  remove,
  reset,
  state,
  streamOptions,
  text,
} from "../helpers.ts";
import type { Backend } from "./backend.ts";

export function readsCompliance({ openedHistory, test }: Backend): void {
  /** Two streams, written at known times. */
  async function written() {
    let now = 0;
    const clock = Object.assign(Object.create(systemClock) as Clock, { now: () => now });
    const { history } = await openedHistory({ clock });
    const one = await history.openStream(streamOptions("one"));
    const two = await history.openStream(streamOptions("two"));
    now = 1000;
    await append(one, [begin("e"), put("a", "1", 1), put("b", "1", 1), put("c", "1", 1), end(1)]); // 1, 2, 3
    now = 2000;
    await append(two, [begin("x"), put("a", "two", 1), end(10)]); // 4
    now = 3000;
    await append(one, [put("a", "2", 2), commit(2), remove("b", 3), put("c", "3", 3), commit(3), progress(4)]); // 5, 6, 7
    now = 2500; // The clock goes back; the history does not.
    await append(one, [put("d", "5", 5), commit(5)]); // 8
    now = 4000;
    await append(one, [put("b", "6", 6), commit(6)]); // 9
    return { history, one, two };
  }

  async function allPages<T>(read: (after: string | undefined) => Promise<Page<T>>): Promise<T[]> {
    const items: T[] = [];
    for (let after: string | undefined; ; ) {
      const page = await read(after);
      items.push(...page.items);
      after = page.next;
      if (after === undefined) return items;
    }
  }

  test("shows the state now, at a time, at a position and at a cursor", async () => {
    const { history } = await written();
    expect(await state(history, {}, "one")).toEqual({ a: "2", b: "6", c: "3", d: "5" });
    expect(await state(history, {}, "two")).toEqual({ a: "two" });
    const shows = (moment: object) => state(history, { at: moment }, "one");
    expect(await shows({ timeMs: 999 })).toEqual({});
    expect(await shows({ timeMs: 1000 })).toEqual({ a: "1", b: "1", c: "1" });
    expect(await shows({ timeMs: 2999.5 })).toEqual({ a: "1", b: "1", c: "1" });
    expect(await shows({ timeMs: 3000 })).toEqual({ a: "2", c: "3", d: "5" });
    expect(await shows({ timeMs: 9e15 })).toEqual({ a: "2", b: "6", c: "3", d: "5" });
    expect(await shows({ position: 0n })).toEqual({});
    expect(await shows({ position: 5n })).toEqual({ a: "2", b: "1", c: "1" });
    expect(await shows({ cursor: at(1) })).toEqual({ a: "1", b: "1", c: "1" });
    expect(await shows({ cursor: at(2) })).toEqual({ a: "2", b: "1", c: "1" });
    for (const cursor of [3, 4]) expect(await shows({ cursor: at(cursor) })).toEqual({ a: "2", c: "3" });
    expect(await shows({ cursor: at(5) })).toEqual({ a: "2", c: "3", d: "5" });
    expect(await shows({ cursor: at(6) })).toEqual({ a: "2", b: "6", c: "3", d: "5" });
    expect(await state(history, { at: { timeMs: 1500 } }, "two")).toEqual({});
  });

  test("a moment that is unknown, still to come or ambiguous fails by name", async () => {
    const { history } = await written();
    const get = (moment: object) => history.get("one", bytes("a"), { at: moment });
    await expect(get({ cursor: at(0) })).rejects.toMatchObject({ code: "TOO_OLD" });
    await expect(get({ cursor: at(7) })).rejects.toMatchObject({ code: "NOT_REACHED", retryable: true });
    await expect(get({ position: 10n })).rejects.toMatchObject({ code: "NOT_REACHED", retryable: true });
    await expect(get({ position: 1n, timeMs: 1 })).rejects.toMatchObject({ code: "OPTIONS_INVALID" });
    await expect(get({ position: -1n })).rejects.toMatchObject({ code: "OPTIONS_INVALID" });
    await expect(get({ timeMs: Number.NaN })).rejects.toMatchObject({ code: "OPTIONS_INVALID" });
    await expect(history.list({}, { at: { cursor: at(1) } })).rejects.toMatchObject({ code: "OPTIONS_INVALID" });
    await expect(history.get("three", bytes("a"))).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(history.changes(10n)).rejects.toMatchObject({ code: "NOT_REACHED" });
  });

  test("a cursor belongs to the present epoch of its stream", async () => {
    const { history, one } = await written();
    await append(one, [reset("f")]);
    await expect(history.get("one", bytes("a"), { at: { cursor: at(2) } })).rejects.toMatchObject({
      code: "NOT_REACHED",
    });
    await append(one, [begin("f"), put("a", "new", 1), end(2)]);
    const found = await history.get("one", bytes("a"), { at: { cursor: at(2) } });
    expect(found && brief(found)).toBe("10 a = new (a1, snapshot)");
  });

  test("gets one key with everything that is known of it; a deleted key has no value", async () => {
    const { history } = await written();
    expect(await history.get("one", bytes("d"))).toEqual({
      position: 8n,
      stream: "one",
      key: bytes("d"),
      kind: "put",
      value: bytes("5"),
      version: at(5),
      epoch: "e",
      parents: [],
      level: 1,
      via: "stream",
      attributes: undefined,
      batch: 5n,
      cursor: at(5),
      committedAtMs: 3000,
      sourceTimeMs: undefined,
    } satisfies VersionRecord);
    expect(await history.get("one", bytes("b"), { at: { position: 6n } })).toBeUndefined();
    expect(await history.get("one", bytes("never"))).toBeUndefined();
  });

  test("keeps attributes and the source's time", async () => {
    const { history, one } = await written();
    await append(one, [
      put("l", "v", 7, { attributes: '{"lease":"7587"}', sourceTimeMs: 123.9 }),
      { type: "commit", cursor: at(7), sourceTimeMs: 200 },
    ]);
    expect(await history.get("one", bytes("l"))).toMatchObject({ attributes: '{"lease":"7587"}', sourceTimeMs: 123 });
  });

  test("keeps attributes of any characters, and knows them again", async () => {
    const { history, one } = await written();
    const texts = ["", "\0", "\u0001", "\u00010", "\0\u0001\0", '{"a":"\0"}', "é🙂\uffff"];
    const key = (index: number) => `attributes ${index}`;
    const changes = texts.map((attributes, index) => put(key(index), "v", 7, { attributes }));
    expect(await append(one, [...changes, commit(7)])).toMatchObject({ versions: texts.length, quarantined: 0 });
    for (const [index, attributes] of texts.entries()) {
      expect(await history.get("one", bytes(key(index)))).toMatchObject({ attributes });
      expect((await history.log("one", bytes(key(index)))).items).toMatchObject([{ attributes }]);
    }
    expect((await history.fsck()).findings).toEqual([]);
  });

  test("lists a range in key order, page by page, with deleted keys on demand", async () => {
    const { history } = await openedHistory();
    const stream = await history.openStream(streamOptions());
    const keys = ["", "\0", "a", "a\0", "a\0\0", "a/1", "a/2", "a0", "b", "\xfe", "\xff", "\xff\0", "\xff\xff"];
    await append(stream, [
      begin("e"),
      ...keys.map((key) => put(key, `=${key}`, 1)),
      end(1),
      remove("a/1", 2),
      commit(2),
    ]);
    const found = async (range: object, options: object = {}) => {
      const items = await allPages((after) =>
        history.list(range, { limit: 2, ...options, ...(after !== undefined && { after }) }),
      );
      return items.map(({ key }) => text(key));
    };
    const live = keys.filter((key) => key !== "a/1");
    expect(await found({})).toEqual(live);
    expect(await found({ stream: "s" }, { includeDeleted: true })).toEqual(keys);
    expect(await found({ stream: "s" }, { at: { position: BigInt(keys.length) } })).toEqual(keys);
    expect(await found({ stream: "s" }, { at: { position: BigInt(keys.length + 1) }, includeDeleted: true })).toEqual(
      keys,
    );
    expect(await found({ prefix: bytes("a") })).toEqual(live.filter((key) => key.startsWith("a")));
    expect(await found({ prefix: bytes("\xff") })).toEqual(live.filter((key) => key.startsWith("\xff")));
    expect(await found({ prefix: bytes("\xff\xff") })).toEqual(["\xff\xff"]);
    expect(await found({ prefix: bytes("") })).toEqual(live);
    expect(await found({ start: bytes("a\0"), end: bytes("b") })).toEqual(["a\0", "a\0\0", "a/2", "a0"]);
    expect(await found({ prefix: bytes("a"), start: bytes("a/") })).toEqual(["a/2", "a0"]);
    expect(await found({ prefix: bytes("a"), end: bytes("a/") })).toEqual(["a", "a\0", "a\0\0"]);
    expect(await found({ start: bytes("z"), end: bytes("b") })).toEqual([]);
    await expect(history.list({}, { after: "nonsense" })).rejects.toMatchObject({ code: "OPTIONS_INVALID" });
    await expect(history.list({}, { limit: 10_001 })).rejects.toMatchObject({ code: "OPTIONS_INVALID" });
  });

  test("pages of a past moment show that moment to the end, whatever is committed between them", async () => {
    const { history, one } = await written();
    const options = { limit: 1, at: { timeMs: 5000 } };
    const first = await history.list({ stream: "one" }, options);
    await append(one, [remove("b", 7), put("z", "7", 7), commit(7)]);
    const rest = await allPages((after) =>
      history.list({ stream: "one" }, { ...options, after: after ?? (first.next as string) }),
    );
    expect([...first.items, ...rest].map(brief)).toEqual([
      "5 a = 2 (a2, stream)",
      "9 b = 6 (a6, stream)",
      "7 c = 3 (a3, stream)",
      "8 d = 5 (a5, stream)",
    ]);
  });

  test("a page ends before its values fill the memory", async () => {
    const { history } = await openedHistory();
    const stream = await history.openStream(streamOptions());
    const large = "x".repeat(3_000_000);
    await append(stream, [begin("e"), ...["a", "b", "c", "d", "e", "f"].map((key) => put(key, large, 1)), end(1)]);
    const pages: number[] = [];
    const items = await allPages(async (after) => {
      const page = await history.list({}, after === undefined ? {} : { after });
      pages.push(page.items.length);
      return page;
    });
    expect(items).toHaveLength(6);
    expect(Math.max(...pages)).toBeLessThan(6);
    expect(
      (await allPages((after) => history.changes(0n, after === undefined ? {} : { after }))).map(
        ({ position }) => position,
      ),
    ).toEqual([1n, 2n, 3n, 4n, 5n, 6n]);
  });

  test("logs one key, newest first, page by page", async () => {
    const { history } = await written();
    const items = await allPages((after) =>
      history.log("one", bytes("b"), { limit: 1, ...(after !== undefined && { after }) }),
    );
    expect(items.map(brief)).toEqual(["9 b = 6 (a6, stream)", "6 b deleted (a3, stream)", "2 b = 1 (a1, snapshot)"]);
    expect(await history.log("one", bytes("never"))).toEqual({ items: [], next: undefined });
  });

  test("diff shows the keys that differ between two moments, in either direction", async () => {
    const { history } = await written();
    const show = ({ stream, key, change, before, after }: DiffRecord) =>
      `${stream} ${text(key)} ${change} ${text(before?.value)} -> ${text(after?.value)}`;
    const diff = async (...[from, to, range]: Parameters<History["diff"]>) =>
      (
        await allPages((after) => history.diff(from, to, range, { limit: 1, ...(after !== undefined && { after }) }))
      ).map(show);
    expect(await diff({ position: 3n }, { position: 8n })).toEqual([
      "one a changed 1 -> 2",
      "one b removed 1 -> undefined",
      "one c changed 1 -> 3",
      "one d added undefined -> 5",
      "two a added undefined -> two",
    ]);
    expect(await diff({ position: 8n }, { position: 3n }, { stream: "one" })).toEqual([
      "one a changed 2 -> 1",
      "one b added undefined -> 1",
      "one c changed 3 -> 1",
      "one d removed 5 -> undefined",
    ]);
    expect(await diff({ cursor: at(2) }, {}, { stream: "one", prefix: bytes("b") })).toEqual(["one b changed 1 -> 6"]);
    expect(await diff({ timeMs: 1000 }, { timeMs: 1000 })).toEqual([]);
  });

  test("diff passes over keys that changed and are the same again", async () => {
    const { history, one } = await written();
    await append(one, [
      put("a", "other", 7),
      commit(7),
      put("a", "2", 8),
      put("t", "t", 8),
      commit(8),
      remove("t", 9),
      commit(9),
    ]);
    expect((await history.diff({ position: 9n }, {})).items).toEqual([]);
  });

  test("changes are everything after a position in log order, of one stream or all", async () => {
    const { history } = await written();
    const positions = async (after: bigint, options: object) =>
      (
        await allPages((next) =>
          history.changes(after, { limit: 2, ...options, ...(next !== undefined && { after: next }) }),
        )
      ).map(({ position }) => position);
    expect(await positions(0n, {})).toEqual([1n, 2n, 3n, 4n, 5n, 6n, 7n, 8n, 9n]);
    expect(await positions(3n, { stream: "one" })).toEqual([5n, 6n, 7n, 8n, 9n]);
    expect(await positions(0n, { stream: "two" })).toEqual([4n]);
    expect(await positions(9n, {})).toEqual([]);
  });

  test("follow yields what is there and then what comes, and a slow consumer loses nothing", async () => {
    const { history, one, two } = await written();
    const controller = new AbortController();
    const seen: bigint[] = [];
    const reason = new Error("enough");
    const following = (async () => {
      for await (const page of history.follow(7n, { limit: 2, signal: controller.signal })) {
        seen.push(...page.map(({ position }) => position));
        if (seen.length === 2) {
          for (let revision = 7; revision < 20; revision++) {
            await append(revision % 2 === 0 ? one : two, [
              put(`k${revision}`, "v", 100 + revision),
              commit(100 + revision),
            ]);
          }
        }
        if (seen.at(-1) === 22n) setTimeout(() => controller.abort(reason));
      }
    })();
    await expect(following).rejects.toBe(reason);
    expect(seen).toEqual(Array.from({ length: 15 }, (_, index) => BigInt(8 + index)));
  });

  test("follow of one stream goes past the others' changes", async () => {
    const { history, one, two } = await written();
    const pages = history.follow(4n, { stream: "two" })[Symbol.asyncIterator]();
    const next = pages.next();
    await append(one, [put("a", "7", 7), commit(7)]);
    await append(two, [put("a", "8", 18), commit(18)]);
    expect((await next).value?.map(brief)).toEqual(["11 a = 8 (b18, stream)"]);
    await pages.return?.(undefined);
  });

  test("what an append reported can be read at once", async () => {
    const { history } = await openedHistory({ readers: 3 });
    const stream = await history.openStream(streamOptions());
    await append(stream, [reset("e")]);
    const random = seededRng(3);
    for (let revision = 1; revision < 60; revision++) {
      const key = `k${random.int(0, 5)}`;
      const { position } = await append(stream, [put(key, String(revision), revision), commit(revision)]);
      const [got, now] = await Promise.all([history.get("s", bytes(key)), history.position()]);
      expect([got?.position, text(got?.value), now]).toEqual([position, String(revision), position]);
    }
  });

  test("an aborted read rejects with the signal's reason", async () => {
    const { history } = await written();
    const reason = new Error("no longer");
    const signal = AbortSignal.abort(reason);
    await expect(history.get("one", bytes("a"), { signal })).rejects.toBe(reason);
    await expect(history.list({}, { signal })).rejects.toBe(reason);
    await expect(history.fsck({ signal })).rejects.toBe(reason);
  });
}
