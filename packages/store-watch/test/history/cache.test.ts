import { expect, test } from "vitest";
import { type CachedObject, ObjectCache } from "../../src/history/object-cache.ts";
import { ObjectLookup } from "../../src/history/object-lookup.ts";
import { check, DirectWriter, dump } from "./direct.ts";
import { begin, commit, end, plain, put, remove, temporaryFile } from "./helpers.ts";

const object = (id: number): CachedObject => ({
  id,
  head: id,
  level: 1,
  epoch: 1,
  version: "a1",
  seen: "a1",
  isDeleted: false,
  newKey: undefined,
  isDirty: false,
});

test("remembers what was touched since the time before last, and then knows that it does not know everything", () => {
  const cache = new ObjectCache({ maxBytes: 900, isComplete: true });
  cache.set("a", object(1));
  cache.set("b", object(2));
  expect(cache.isCrowded).toBe(false);
  cache.set("c", object(3));
  expect(cache.isCrowded).toBe(true);
  cache.forget();
  expect([cache.isCrowded, cache.isComplete]).toEqual([false, true]);
  expect(cache.get("a")?.id).toBe(1);
  cache.forget();
  expect(cache.isComplete).toBe(false);
  expect(["a", "b", "c"].map((key) => cache.get(key)?.id)).toEqual([1, undefined, undefined]);
});

test("a cache that forgets everything all the time changes nothing", () => {
  const keys = Array.from({ length: 700 }, (_, index) => `key ${index}`);
  const write = (cacheBytes: number) => {
    const file = temporaryFile();
    const writer = new DirectWriter(file, { cacheBytes });
    // One buffer, so that what is looked up early is used after sweeps of hundreds of keys.
    writer.append([begin("e"), ...keys.map((key) => put(key, "1", 1)), end(1)]);
    writer.append([
      begin("e"),
      put("key 0", "1", 1),
      end(5),
      ...keys.slice(0, 60).map((key) => put(key, "6", 6)),
      commit(6),
      begin("e"),
      end(7),
      ...keys.slice(30, 90).map((key) => put(key, "8", 8)),
      ...keys.slice(50, 70).map((key) => remove(key, 9)),
      commit(9),
    ]);
    writer.close();
    expect(check(file).findings).toEqual([]);
    return dump(file);
  };
  expect(write(1)).toEqual(write(2 ** 25));
});

test("knows every key of a small stream after a start, and not of a large one", () => {
  const file = temporaryFile();
  const writer = new DirectWriter(file);
  writer.append([begin("e"), put("a", "1", 1), put("b", "1", 1), end(1)]);
  writer.append([remove("b", 2), put("c", "1", 2), commit(2)]);
  writer.close();
  plain(file, (db) => {
    const lookup = new ObjectLookup(db);
    const small = lookup.cacheOf(1, 3, 1e6);
    expect(small.isComplete).toBe(true);
    expect(small.get("b")).toMatchObject({ isDeleted: true, head: 3, level: 2 });
    expect(small.get("d")).toBeUndefined();
    const large = lookup.cacheOf(1, 2, 1e6);
    expect([large.isComplete, large.get("a")]).toEqual([false, undefined]);
    expect(lookup.cacheOf(2, 3, 1e6).isComplete).toBe(true);
  });
});
