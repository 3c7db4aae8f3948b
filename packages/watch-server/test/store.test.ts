import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Worker } from "node:worker_threads";
import { systemClock } from "@tidemark/clock";
import Database from "better-sqlite3";
import { expect, onTestFinished, test } from "vitest";
import { openStore, type Store, StoreError } from "../src/index.ts";
import { codeOf, storeFile, testStore, text, watchUntil } from "./support.ts";

test("counts revisions from 1, one for each write that changes something", async () => {
  const store = await testStore();
  expect(store.revision()).toBe(0n);
  expect(await store.put("a", "1")).toEqual({ revision: 1n });
  expect(await store.delete("nothing")).toEqual({ revision: 1n, existed: false });
  expect(await store.txn({ ops: [{ type: "delete", key: "nothing" }] })).toEqual({ succeeded: true, revision: 1n });
  expect(await store.put("a", "1")).toEqual({ revision: 2n });
  expect(await store.delete("a")).toEqual({ revision: 3n, existed: true });
  expect(store.revision()).toBe(3n);
});

test("keeps binary keys and values byte for byte and in byte order", async () => {
  const store = await testStore();
  const keys = [
    new Uint8Array([0]),
    new Uint8Array([0, 0]),
    new Uint8Array([1]),
    new Uint8Array([0xff, 0]),
    new Uint8Array([0xff, 0xff]),
  ];
  for (const key of keys.toReversed()) await store.put(key, key);
  await store.put("empty", "");
  const { kvs } = await store.list();
  expect(kvs.map(({ key }) => [...key])).toEqual([
    [0],
    [0, 0],
    [1],
    [...Buffer.from("empty")],
    [0xff, 0],
    [0xff, 0xff],
  ]);
  expect(kvs.find(({ key }) => text(key) === "empty")?.value).toHaveLength(0);
  expect((await store.get(new Uint8Array([0xff, 0]))).kv?.value).toEqual(new Uint8Array([0xff, 0]));
});

test("owns its bytes: a caller may reuse a buffer as soon as put returned", async () => {
  const store = await testStore();
  const buffer = Buffer.from("k=first");
  const put = store.put(buffer.subarray(0, 1), buffer.subarray(2));
  buffer.fill(0);
  await put;
  expect(text((await store.get("k")).kv?.value)).toBe("first");
});

test("tells for every key which revision created it, which changed it last, and how often", async () => {
  const store = await testStore();
  await store.put("a", "1");
  await store.put("b", "1");
  await store.put("a", "2");
  const { kv } = await store.get("a");
  expect(kv).toMatchObject({ createRevision: 1n, modRevision: 3n, version: 2n });
  await store.delete("a");
  await store.put("a", "3");
  expect((await store.get("a")).kv).toMatchObject({ createRevision: 5n, modRevision: 5n, version: 1n });
});

test("puts only over the version that the caller saw", async () => {
  const store = await testStore();
  expect(await store.compareAndPut("a", "1", 0n)).toEqual({ succeeded: true, revision: 1n, actual: undefined });
  const lost = await store.compareAndPut("a", "2", 0n);
  expect(lost).toMatchObject({ succeeded: false, revision: 1n, actual: { modRevision: 1n } });
  expect(text(lost.actual?.value)).toBe("1");
  expect(await store.compareAndPut("a", "2", 1n)).toMatchObject({ succeeded: true, revision: 2n });
  await store.delete("a");
  expect(await store.compareAndPut("a", "3", 2n)).toEqual({ succeeded: false, revision: 3n, actual: undefined });
  expect(await store.compareAndPut("a", "3", 0n)).toMatchObject({ succeeded: true });
});

test("of compares that run at once on one key exactly one succeeds", async () => {
  const store = await testStore();
  const attempts = await Promise.all(Array.from({ length: 50 }, (_, n) => store.compareAndPut("lock", `${n}`, 0n)));
  expect(attempts.filter(({ succeeded }) => succeeded)).toHaveLength(1);
  expect(store.revision()).toBe(1n);
});

test("applies a transaction whole at one revision or not at all", async () => {
  const store = await testStore();
  await store.put("a", "1");
  const ops = [
    { type: "put", key: "b", value: "2" },
    { type: "delete", key: "a" },
    { type: "delete", key: "absent" },
  ] as const;
  expect(await store.txn({ compares: [{ key: "a", expectedModRevision: 9n }], ops })).toEqual({
    succeeded: false,
    revision: 1n,
  });
  expect(await store.txn({ compares: [{ key: "a", expectedModRevision: 1n }], ops })).toEqual({
    succeeded: true,
    revision: 2n,
  });
  const { log } = await watchUntil(store.watch({ resumeMarker: (await store.status()).oldestMarker }), 2n);
  expect(log).toEqual(["1 a=1", "2 b=2", "2 a"]);
});

test("refuses what it could not keep, and says what it expected", async () => {
  const store = await testStore({ maxKeyBytes: 10, maxValueBytes: 20, maxTxnOps: 2, maxTxnBytes: 40 });
  await expect(store.put("", "x")).rejects.toThrow("[ARGUMENT_INVALID] a key must not be empty");
  await expect(store.put("12345678901", "x")).rejects.toThrow(
    "[TOO_LARGE] a key may have 10 bytes (maxKeyBytes), got 11",
  );
  await expect(store.put("k", "x".repeat(21))).rejects.toThrow(
    '[TOO_LARGE] a value may have 20 bytes (maxValueBytes), got 21 for key "k"',
  );
  const put = (key: string, value = "") => ({ type: "put", key, value }) as const;
  await expect(store.txn({ ops: [put("a"), put("b"), put("c")] })).rejects.toThrow("2 operations (maxTxnOps), got 3");
  await expect(store.txn({ ops: [put("a", "x".repeat(20)), put("b", "x".repeat(20))] })).rejects.toThrow("got 42");
  await expect(store.txn({ ops: [put("a"), put("a")] })).rejects.toThrow('may name a key once, got "a" twice');
  await expect(store.list({ limit: 0 })).rejects.toThrow("limit must be a whole number in [1, 10000], got 0");
  await expect(store.list({ range: { prefix: "a", start: "b" } })).rejects.toThrow("either a prefix or start and end");
  await expect(store.list({ revision: 7n })).rejects.toThrow("revision must be one that exists, at most 0, got 7");
  await expect(store.compact(1n)).rejects.toThrow("at most 0, got 1");
  expect(() => store.watch({ progressIntervalMs: 99 })).toThrow("progressIntervalMs must be at least 100, got 99");
  expect(store.revision()).toBe(0n);
});

test("lists pages at one revision while others write", async () => {
  const store = await testStore();
  await Promise.all(Array.from({ length: 25 }, (_, n) => store.put(`k${String(n).padStart(2, "0")}`, "old")));
  const first = await store.list({ limit: 10 });
  expect(first).toMatchObject({ hasMore: true, revision: 25n });
  await store.delete("k20");
  await store.put("k11", "new");
  await store.put("k99", "new");
  const seen = [...first.kvs];
  for (let page = first; page.hasMore; ) {
    page = await store.list({ limit: 10, after: page.kvs.at(-1)?.key, revision: first.revision });
    seen.push(...page.kvs);
  }
  expect(seen.map(({ key }) => text(key))).toEqual(
    Array.from({ length: 25 }, (_, n) => `k${String(n).padStart(2, "0")}`),
  );
  expect(new Set(seen.map(({ value }) => text(value)))).toEqual(new Set(["old"]));
});

test("whatever revision a read was told exists, also while the writer is still busy with what it committed", async () => {
  const store = await testStore();
  await store.put("small", "1");
  let isWriting = true;
  const write = async () => {
    // Every fourth of them has SQLite copy its log back, after the commit and before anybody hears of it.
    for (let n = 0; n < 40; n++) await store.put("large", "x".repeat(1_000_000));
    isWriting = false;
  };
  const read = async () => {
    while (isWriting) {
      const { revision } = await store.list({ range: { prefix: "s" } });
      expect((await store.list({ range: { prefix: "s" }, revision })).revision).toBe(revision);
    }
  };
  await Promise.all([write(), read()]);
});

test("lists ranges and prefixes, the last prefix of all included", async () => {
  const store = await testStore();
  for (const key of ["a", "a/1", "a/2", "a0", "b"]) await store.put(key, key);
  await store.put(new Uint8Array([0xff, 1]), "last");
  const keys = async (range: object) => (await store.list({ range })).kvs.map(({ key }) => text(key));
  expect(await keys({ prefix: "a/" })).toEqual(["a/1", "a/2"]);
  expect(await keys({ start: "a/", end: "a0" })).toEqual(["a/1", "a/2"]);
  expect(await keys({ start: "a0" })).toEqual(["a0", "b", text(new Uint8Array([0xff, 1]))]);
  expect((await store.list({ range: { prefix: new Uint8Array([0xff]) } })).kvs).toHaveLength(1);
  expect((await store.list({ after: "a/1", limit: 1 })).kvs.map(({ key }) => text(key))).toEqual(["a/2"]);
});

test("ends a page at 4 MiB and a snapshot page much earlier", async () => {
  const store = await testStore();
  const value = new Uint8Array(1024 * 1024);
  for (let n = 0; n < 6; n++) await store.put(`k${n}`, value);
  const page = await store.list();
  expect(page.kvs).toHaveLength(4);
  expect(page.hasMore).toBe(true);
  expect((await store.list({ after: "k3" })).kvs).toHaveLength(2);
  const pages: number[] = [];
  for await (const event of store.watch()) {
    if (event.type === "snapshot-page") pages.push(event.kvs.length);
    if (event.type === "snapshot-end") break;
  }
  expect(pages.filter((count) => count > 0)).toEqual([1, 1, 1, 1, 1, 1]);
});

test("finds the live keys behind any number of deleted ones", async () => {
  const store = await testStore();
  const names = Array.from({ length: 12_000 }, (_, n) => `gone/${n}`);
  for (let at = 0; at < names.length; at += 1000) {
    const part = names.slice(at, at + 1000);
    await store.txn({ ops: part.map((key) => ({ type: "put", key, value: "" })) });
    await store.txn({ ops: part.map((key) => ({ type: "delete", key })) });
  }
  await store.put("here", "1");
  expect((await store.list({ limit: 1 })).kvs.map(({ key }) => text(key))).toEqual(["here"]);
  const watched = await watchUntil(store.watch(), store.revision());
  expect([...watched.state.keys()]).toEqual(["here"]);
});

test("compaction forbids reads below the floor and keeps every state from it on", async () => {
  const store = await testStore();
  await store.put("a", "1");
  await store.put("a", "2");
  await store.put("b", "1");
  await store.delete("b");
  await store.put("a", "3");
  expect(await store.compact(3n)).toEqual({ floor: 3n });
  expect(await codeOf(store.list({ revision: 2n }))).toBe("TOO_OLD");
  const at = async (revision: bigint) =>
    (await store.list({ revision })).kvs.map(({ key, value }) => `${text(key)}=${text(value)}`);
  expect(await at(3n)).toEqual(["a=2", "b=1"]);
  expect(await at(4n)).toEqual(["a=2"]);
  expect(await at(5n)).toEqual(["a=3"]);
  expect(await store.compact(1n)).toEqual({ floor: 3n });
  expect((await store.status()).floor).toBe(3n);
});

test("a list of what is there now is not told that it is too old, however much is compacted meanwhile", async () => {
  const store = await testStore();
  const names = Array.from({ length: 40_000 }, (_, n) => `gone/${n}`);
  for (let at = 0; at < names.length; at += 1000) {
    const part = names.slice(at, at + 1000);
    await store.txn({ ops: part.map((key) => ({ type: "put", key, value: "" })) });
    await store.txn({ ops: part.map((key) => ({ type: "delete", key })) });
  }
  await store.put("here", "0");
  let isListing = true;
  const compact = async () => {
    while (isListing) await store.compact((await store.put("here", "1")).revision);
  };
  // Looks at a bounded number of keys at a time, so there are compactions between its own reads.
  const list = async () => {
    try {
      return await store.list();
    } finally {
      isListing = false;
    }
  };
  const [{ kvs, revision }] = await Promise.all([list(), compact()]);
  expect(kvs.map(({ key, modRevision }) => [text(key), modRevision <= revision])).toEqual([["here", true]]);
  expect((await store.status()).floor).toBeGreaterThan(revision);
});

test("a compaction whose caller went away is known to have happened", async () => {
  const store = await testStore();
  for (const value of ["1", "2", "3"]) await store.put("a", value);
  const controller = new AbortController();
  const reason = new Error("enough");
  const compacting = store.compact(2n, { signal: controller.signal });
  controller.abort(reason);
  await expect(compacting).rejects.toBe(reason);
  // What is written now comes after it.
  await store.put("b", "1");
  expect(await codeOf(store.list({ revision: 1n }))).toBe("TOO_OLD");
  expect(await store.status()).toMatchObject({ floor: 2n, oldestMarker: expect.stringMatching(/^a2\./) });
  await expect(store.compact(3n, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  expect(await store.status()).toMatchObject({ floor: 2n });
});

test("compaction removes superseded and deleted rows from the file", async () => {
  const file = storeFile();
  const store = await testStore({ file });
  for (let n = 0; n < 1000; n++) void store.put(`k${n % 10}`, `${n}`);
  for (let n = 0; n < 5; n++) void store.delete(`k${n}`);
  await store.put("last", "1");
  await store.compact(store.revision());
  // Probably interrupts the removal, which the next start takes up again.
  await store.close();
  const again = await testStore({ file });
  // One table after the other, in pieces.
  const left = () => ["changes", "keys", "transactions"].map((table) => rows(file, table));
  await expect.poll(left).toEqual([6, 6, 1]);
  expect((await again.list()).kvs).toHaveLength(6);
});

test("one turn's writes share a commit, and each has its own revision in call order", async () => {
  const store = await testStore();
  const results = await Promise.all(Array.from({ length: 200 }, (_, n) => store.put(`k${n}`, `${n}`)));
  expect(results.map(({ revision }) => revision)).toEqual(Array.from({ length: 200 }, (_, n) => BigInt(n + 1)));
  const times = new Set<number>();
  for await (const event of store.watch({ resumeMarker: (await store.status()).oldestMarker })) {
    if (event.type !== "transactions") continue;
    for (const { committedAtMs } of event.transactions) times.add(committedAtMs);
    if (event.transactions.at(-1)?.revision === 200n) break;
  }
  expect(times.size).toBe(1);
});

test("refuses more writes than may wait for the disk, retryably, and loses none of the others", async () => {
  const store = await testStore({ maxKeyBytes: 10, maxValueBytes: 1000, maxTxnBytes: 2000, maxPendingBytes: 4000 });
  const results = await Promise.allSettled(Array.from({ length: 20 }, (_, n) => store.put(`k${n}`, "x".repeat(990))));
  const refused = results.filter(({ status }) => status === "rejected") as PromiseRejectedResult[];
  expect(refused.length).toBeGreaterThan(0);
  expect(refused.every(({ reason }) => StoreError.is(reason) && reason.code === "OVERLOADED" && reason.retryable)).toBe(
    true,
  );
  expect(store.revision()).toBe(BigInt(20 - refused.length));
  await store.put("later", "1");
});

test("publishes what each group of writes took", async () => {
  const store = await testStore();
  const seen: { writes: number; bytes: number; durationMs: number }[] = [];
  const onMessage = (message: unknown) => seen.push(message as (typeof seen)[number]);
  subscribe("tidemark:watch-server.group.committed", onMessage);
  await Promise.all(Array.from({ length: 10 }, (_, n) => store.put(`k${n}`, "12345")));
  unsubscribe("tidemark:watch-server.group.committed", onMessage);
  expect(seen).toMatchObject([{ writes: 10, bytes: 70 }]);
  expect(seen[0]?.durationMs).toBeGreaterThan(0);
});

test("the time of a commit never goes back, whatever the clock does", async () => {
  const file = storeFile();
  const times = [5000, 1000, 7000];
  const clock = { ...systemClock, now: () => times.shift() ?? 2000 };
  const first = await openStore({ file, clock });
  for (let n = 0; n < 3; n++) await first.put("a", `${n}`);
  await first.close();
  const store = await testStore({ file, clock });
  await store.put("a", "last");
  const seen: number[] = [];
  for await (const event of store.watch({ resumeMarker: (await store.status()).oldestMarker })) {
    if (event.type === "transactions") seen.push(...event.transactions.map(({ committedAtMs }) => committedAtMs));
    if (seen.length === 4) break;
  }
  expect(seen).toEqual([5000, 5000, 7000, 7000]);
});

test("a second opener is refused by name until the first closed", async () => {
  const file = storeFile();
  const first = await openStore({ file });
  await expect(openStore({ file })).rejects.toMatchObject({ code: "STORE_LOCKED", retryable: true });
  await first.close();
  const second = await openStore({ file });
  await second.close();
});

test("a second opener is refused although it knows the file by another name", async () => {
  const file = storeFile();
  const link = join(dirname(file), "link.db");
  symlinkSync(file, link);
  const store = await testStore({ file });
  expect(await codeOf(testStore({ file: link }))).toBe("STORE_LOCKED");
  await store.close();
  const other = await testStore({ file: link });
  expect(await codeOf(testStore({ file }))).toBe("STORE_LOCKED");
  expect(await other.put("a", "1")).toEqual({ revision: 1n });
});

test("a file that another program has locked is busy, which passes, and not a file of the wrong kind", async () => {
  const file = storeFile();
  await (await openStore({ file })).close();
  const other = new Database(file);
  onTestFinished(() => void other.close());
  // As a tool does that copies or repairs a file.
  other.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; COMMIT");
  await expect(openStore({ file })).rejects.toMatchObject({
    code: "STORE_LOCKED",
    retryable: true,
    message: `[STORE_LOCKED] ${file} is in use by another program, a SQLite tool perhaps. Try again once that is done`,
  });
  other.close();
  await testStore({ file });
});

test("refuses files that are not its own with the reason", async () => {
  const file = storeFile();
  await expect(openStore({ file: join(dirname(file), "no/such/folder/s.db") })).rejects.toMatchObject({
    code: "FILE_UNUSABLE",
  });
  writeFileSync(
    file,
    "This is a letter to my aunt, and longer than a page header of SQLite is, by quite a bit of text.",
  );
  await expect(openStore({ file })).rejects.toThrow("it is no SQLite database");
  const other = join(dirname(file), "other.db");
  new Database(other).exec("CREATE TABLE mine (x)").close();
  await expect(openStore({ file: other })).rejects.toThrow("not one of a Tidemark store");
  const newer = join(dirname(file), "newer.db");
  await (await openStore({ file: newer })).close();
  const database = new Database(newer);
  database.pragma("user_version = 99");
  database.close();
  await expect(openStore({ file: newer })).rejects.toMatchObject({ code: "SCHEMA_NEWER" });
  const folder = join(dirname(file), "folder.db");
  mkdirSync(folder);
  await expect(openStore({ file: folder })).rejects.toMatchObject({ code: "FILE_UNUSABLE" });
  expect(existsSync(file)).toBe(true);
});

test("close finishes accepted writes, ends watches with CLOSED, and refuses everything after", async () => {
  const file = storeFile();
  const store = await openStore({ file });
  const watch = store.watch();
  await watch.next();
  const ended = codeOf(drain(watch));
  const writes = Array.from({ length: 50 }, (_, n) => store.put(`k${n}`, "1"));
  await Promise.all([store.close(), store.close()]);
  expect(await ended).toBe("CLOSED");
  await Promise.all(writes);
  expect(await codeOf(store.put("late", "1"))).toBe("CLOSED");
  expect(await codeOf(store.get("late"))).toBe("CLOSED");
  expect(() => store.watch()).toThrow("[CLOSED]");
  const again = await testStore({ file });
  expect(again.revision()).toBe(50n);
});

test("close waits for a thread that hangs no longer than it was told, and nobody else waits for it either", async () => {
  const file = storeFile();
  const store = await openStore({ file, closeTimeoutMs: 20 });
  // Keeps the thread that writes within SQLite, where nothing can end it, as a disk does that does not answer.
  const other = new Database(file);
  onTestFinished(() => void other.close());
  other.exec("BEGIN IMMEDIATE");
  const writes = [codeOf(store.put("a", "1")), codeOf(store.compact(0n)), codeOf(store.put("b", "1"))];
  await store.close();
  expect(await Promise.all(writes)).toEqual(["CLOSED", "CLOSED", "CLOSED"]);
  expect(await codeOf(openStore({ file }))).toBe("STORE_LOCKED");
});

test("once a thread died, a watch that begins ends as those that were there did", async () => {
  const threads: Worker[] = [];
  const onWorker = (worker: Worker) => threads.push(worker);
  process.on("worker", onWorker);
  onTestFinished(() => void process.off("worker", onWorker));
  const store = await testStore();
  const watch = store.watch();
  await watch.next();
  const ended = drain(watch).catch((error: unknown) => error);
  // The writer's.
  await threads[0]?.terminate();
  expect(await ended).toMatchObject({ code: "STORE_FAILED", retryable: false });
  await expect(store.watch().next()).rejects.toBe(await ended);
  await expect(store.watch({ resumeMarker: (await store.status()).marker }).next()).rejects.toBe(await ended);
  expect(store.watchers).toBe(0);
});

test("a writer that cannot read back where its file is refuses writes until it can", async () => {
  const file = storeFile();
  const store = await testStore({ file });
  await store.put("a", "1");
  const tool = new Database(file);
  onTestFinished(() => void tool.close());
  tool.exec(`
    CREATE TRIGGER refuse BEFORE INSERT ON changes WHEN new.key = x'63' BEGIN SELECT RAISE(ABORT, 'no c here'); END;
    ALTER TABLE incarnations RENAME TO moved`);
  // One group: what it did before it failed is remembered until the file is read.
  const group = await Promise.allSettled([store.put("b", "22"), store.put("c", "333")]);
  for (const write of group) {
    expect(write).toMatchObject({ reason: { code: "STORE_FAILED", message: expect.stringContaining("no c here") } });
  }
  await expect(store.put("d", "1")).rejects.toThrow("[STORE_FAILED] the database refused: no such table");
  tool.exec("ALTER TABLE moved RENAME TO incarnations");
  expect(await store.put("d", "1")).toEqual({ revision: 2n });
  expect(await store.size()).toEqual({ keys: 2, bytes: 4 });
});

test("whoever reads is done before the writer closes, which leaves everything in one file", async () => {
  const file = storeFile();
  // Nothing is cut short, however slow the machine is.
  const store = await openStore({ file, closeTimeoutMs: 600_000 });
  const ops = Array.from({ length: 1000 }, (_, n) => ({ type: "put", key: `k${n}`, value: "x".repeat(500) }) as const);
  await store.txn({ ops });
  // The thread that reads has more to do than the one that writes.
  let reading = 0;
  const reads = Array.from({ length: 40 }, async () => {
    reading++;
    await store.list();
    reading--;
  });
  const closing = store.close();
  // Free as soon as the writer has closed.
  const open = async (): Promise<Store> => {
    const next = await openStore({ file }).catch((error: unknown) => {
      if (!StoreError.is(error) || error.code !== "STORE_LOCKED") throw error;
    });
    return next ?? open();
  };
  const next = await open();
  expect(reading).toBe(0);
  await Promise.all([...reads, closing]);
  await next.close();
  expect(existsSync(`${file}-wal`)).toBe(false);
  expect(rows(file, "keys")).toBe(1000);
});

test("an aborted call throws the signal's reason, and leaves no listener behind", async () => {
  const store = await testStore();
  const reason = new Error("changed my mind");
  await expect(store.put("a", "1", { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  const controller = new AbortController();
  const put = store.put("a", "1", { signal: controller.signal });
  controller.abort(reason);
  await expect(put).rejects.toBe(reason);
  await expect(store.get("a", { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
});

async function drain(iterable: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of iterable);
}

function rows(file: string, table: string): unknown {
  const database = new Database(file, { readonly: true });
  try {
    return database.prepare(`SELECT count(*) FROM ${table}`).pluck().get();
  } finally {
    database.close();
  }
}
