import { createSimulation } from "@tidemark/clock/testing";
import type { Source } from "@tidemark/store-watch/contract";
import { SourceProbe } from "@tidemark/store-watch/testing";
import { ReconnectLimiter } from "@tidemark/stream";
import { testSeed } from "@tidemark/tooling/seed";
import { systemClock } from "@tidemark/clock";
import { expect, onTestFinished, test } from "vitest";
import { SourceWatchError, watchSource, type WatchSourceOptions } from "../src/index.ts";
import { type Site, testRelay, testSite } from "./support.ts";

function testSource(
  address: string,
  options: Partial<WatchSourceOptions> = {},
): Source & Required<Pick<Source, "barrier">> {
  const limiter = new ReconnectLimiter({ ratePerSecond: 1000, burst: 1000 });
  // A machine that stands still for a while is no silence of the store's.
  const quick = { progressIntervalMs: 100, silenceTimeoutMs: 60_000, maxDelayMs: 200 };
  return watchSource({ address, limiter, ...quick, ...options });
}

function follow(source: Source, from?: SourceProbe): SourceProbe {
  const probe = new SourceProbe(systemClock, 50_000).start(source, from?.resume);
  onTestFinished(() => probe.stop());
  return probe;
}

function stateOf(probe: SourceProbe): string[] {
  return [...probe.state].map(([id, value]) => `${id}=${Buffer.from(value).toString()}`).toSorted();
}

/** Puts the same key again and again, so that its values in order are the whole history. */
async function write(site: Site, from: number, to: number, padding = ""): Promise<void> {
  await Promise.all(
    Array.from({ length: to - from + 1 }, (_, index) => site.store.put("n", `${from + index}${padding}`)),
  );
}

function numbers(probe: SourceProbe): number[] {
  return probe.groups.flatMap(({ changes }) =>
    changes.map(({ value }) => Number.parseInt(Buffer.from(value ?? "").toString(), 10)),
  );
}

function upTo(total: number, from = 1): number[] {
  return Array.from({ length: total - from + 1 }, (_, index) => from + index);
}

test("follows a store across its restarts without a gap and without a repetition", async () => {
  const site = await testSite();
  const probe = follow(testSource(site.address));
  await probe.until("the snapshot", () => probe.snapshots === 1);
  for (let round = 0; round < 4; round++) {
    await write(site, round * 50 + 1, round * 50 + 50);
    if (round % 2 === 0) await probe.until("the round", () => numbers(probe).length === round * 50 + 50);
    await site.restart();
  }
  await probe.until("everything", () => numbers(probe).length === 200);
  expect(numbers(probe)).toEqual(upTo(200));
  expect(probe.gaps).toEqual([]);
  expect(probe.snapshots).toBe(1);
});

test("says that it waits, why, and that it is live again", async () => {
  const site = await testSite();
  const probe = follow(testSource(site.address));
  await probe.until("live", () => probe.statuses.at(-1)?.state === "live");
  await site.down();
  await probe.until("waiting", () =>
    probe.statuses.some((status) => status.state === "waiting" && /Nothing listens/.test(status.error)),
  );
  expect(probe.statuses.find(({ state }) => state === "connecting")).toEqual({ state: "connecting", attempt: 1 });
  await site.up();
  await probe.until("live again", () => probe.statuses.at(-1)?.state === "live");
});

test("V7, H6: a connection cut after any number of bytes of a catch-up loses and repeats nothing", {
  timeout: 180_000,
}, async () => {
  const { rng } = createSimulation({ seed: testSeed });
  const site = await testSite();
  const keys = 200;
  for (let key = 0; key < keys; key++) void site.store.put(`k${key}`, "x".repeat(rng.int(0, 5000)));
  await site.store.put("n", "0");
  const relay = await testRelay(site.port);
  const probe = follow(testSource(relay.address));
  relay.cutAfter(rng.int(1, 400_000));
  await probe.until("the snapshot", () => probe.snapshots >= 1);
  const first = probe;
  await first.stop();

  await write(site, 1, 1500, ` ${"x".repeat(1000)}`);
  const next = follow(testSource(relay.address), first);
  while (numbers(next).length < 1500) {
    const seen = numbers(next).length;
    // Often less than what one message has.
    relay.cutAfter(rng.int(1, 100_000));
    await next.until("some more", () => numbers(next).length > seen);
  }
  expect(numbers(next), `seed ${testSeed}`).toEqual(upTo(1500));
  expect(next.gaps).toEqual([]);
  expect(next.snapshots).toBe(0);
  expect(relay.cuts).toBeGreaterThan(5);
});

test("a compaction while away is a gap from our cursor to the snapshot, and the epoch stays", async () => {
  const site = await testSite();
  await write(site, 1, 5);
  await site.store.put("gone", "1");
  const before = follow(testSource(site.address));
  await before.until("the snapshot", () => before.snapshots === 1);
  await before.stop();
  await site.store.delete("gone");
  await write(site, 6, 9);
  await site.store.compact(site.store.revision());
  const after = follow(testSource(site.address), before);
  await after.until("a snapshot", () => after.snapshots === 1);
  const { marker } = await site.store.status();
  expect(after.gaps).toMatchObject([{ reason: "compacted", from: before.cursor, to: marker }]);
  expect(after.epoch).toBe(before.epoch);
  expect(stateOf(after).map((line) => line.split("=")[1])).toEqual(["9"]);
});

test("a watch that falls behind a compaction while it is live is told and starts over", async () => {
  const site = await testSite();
  const probe = follow(testSource(site.address));
  await probe.until("the snapshot", () => probe.snapshots === 1);
  probe.hold();
  // More than the tail of the store and every buffer on the way hold.
  const value = "x".repeat(500_000);
  for (let n = 0; n < 100; n++) await site.store.put(`k${n % 3}`, value);
  await probe.until("it to ask for room", () => probe.roomRequests > 0);
  await site.store.compact(site.store.revision());
  probe.release();
  await probe.until("another snapshot", () => probe.snapshots === 2);
  expect(probe.gaps).toMatchObject([{ reason: "compacted" }]);
  await site.store.put("end", "1");
  await probe.until("the rest", () => probe.state.size === 4);
});

test("a wiped store is a gap and a new epoch, and what it no longer has is gone", async () => {
  const site = await testSite();
  await site.store.put("old", "1");
  const probe = follow(testSource(site.address));
  await probe.until("the snapshot", () => probe.snapshots === 1);
  const { epoch } = probe;
  await site.wipe();
  await site.store.put("new", "1");
  await probe.until("the new store", () => probe.snapshots === 2 && probe.state.size === 1);
  expect(probe.gaps).toMatchObject([{ reason: "epoch-changed" }]);
  expect(probe.epoch).not.toBe(epoch);
  expect(stateOf(probe)).toHaveLength(1);
});

test("a store restored from a backup is a new epoch although its id is the same", async () => {
  const { copyFileSync } = await import("node:fs");
  const site = await testSite();
  await write(site, 1, 3);
  await site.down();
  copyFileSync(site.file, `${site.file}.backup`);
  await site.up();
  const { storeId } = site.store;
  const probe = follow(testSource(site.address));
  await probe.until("the snapshot", () => probe.snapshots === 1);
  await write(site, 4, 6);
  await probe.until("the changes", () => numbers(probe).length === 3);
  const { epoch } = probe;
  await site.down();
  site.removeFiles();
  copyFileSync(`${site.file}.backup`, site.file);
  await site.up();
  expect(site.store.storeId).toBe(storeId);
  await write(site, 104, 109);
  await probe.until("the restored store", () => probe.snapshots === 2 && stateOf(probe).join().endsWith("=109"));
  expect(probe.gaps).toMatchObject([{ reason: "epoch-changed" }]);
  expect(probe.epoch).not.toBe(epoch);
  expect(probe.epoch?.split("/")[0]).toBe(storeId);
});

test("shows only its range, and moves on past the rest", async ({ signal }) => {
  const site = await testSite();
  for (const key of ["a", "b/1", "b/2", "c"]) await site.store.put(key, key);
  const cases: [Partial<WatchSourceOptions>, string[]][] = [
    [{ prefix: "b/" }, ["b/1", "b/2", "b/3"]],
    [{ start: "b/2" }, ["b/2", "b/3", "c", "d"]],
    [{ start: "b/", end: "c" }, ["b/1", "b/2", "b/3"]],
    [{ prefix: Buffer.from("none") }, []],
  ];
  const probes = cases.map(([options, keys]) => [testSource(site.address, options), keys] as const);
  const following = probes.map(([source, keys]) => [source, follow(source), keys] as const);
  await site.store.txn({
    ops: [
      { type: "put", key: "b/3", value: "b/3" },
      { type: "put", key: "d", value: "d" },
    ],
  });
  for (const [source, probe, keys] of following) {
    await probe.reached(await source.barrier(signal));
    expect([...probe.state.values()].map((value) => Buffer.from(value).toString()).toSorted()).toEqual(keys);
  }
  expect(new Set(probes.map(([{ scope }]) => scope)).size).toBe(4);
  expect(testSource(site.address, { prefix: "b/" }).scope).toBe(probes[0]?.[0].scope);
});

test("H11: a full sink stops the store's messages, not the connection, and loses nothing", async () => {
  const site = await testSite();
  const relay = await testRelay(site.port);
  const simulation = createSimulation({ seed: testSeed });
  const probe = follow(testSource(relay.address, { silenceTimeoutMs: 300, clock: simulation.clock }));
  await probe.until("the snapshot", () => probe.snapshots === 1);
  probe.hold();
  await site.store.put("first", "1");
  await probe.until("it to ask for room", () => probe.roomRequests > 0);
  const value = "x".repeat(1_000_000);
  for (let n = 0; n < 40; n++) await site.store.put(`k${n}`, value);
  // The windows bound what is under way; the rest stays in the store.
  expect(relay.bytes).toBeLessThan(16_000_000);
  expect(probe.framesWhileAsking).toBe(0);
  // Longer than the silence that would otherwise count as a broken connection.
  await simulation.advance(1000);
  expect(relay.connections).toBe(1);
  expect(probe.statuses.filter(({ state }) => state === "connecting")).toHaveLength(1);
  probe.release();
  await probe.until("everything", () => probe.state.size === 41);
  expect(probe.gaps).toEqual([]);
});

test("H12: a connection that froze is noticed by its silence and replaced", async () => {
  const site = await testSite();
  const relay = await testRelay(site.port);
  const simulation = createSimulation({ seed: testSeed });
  const probe = follow(testSource(relay.address, { silenceTimeoutMs: 300, clock: simulation.clock }));
  await probe.until("live", () => probe.statuses.at(-1)?.state === "live");
  relay.freeze();
  await site.store.put("n", "1");
  await simulation.advance(299);
  expect(probe.statuses.at(-1)?.state).toBe("live");
  await simulation.advance(1);
  await probe.until("it to notice", () =>
    probe.statuses.some((status) => status.state === "waiting" && /went silent/.test(status.error)),
  );
  // As long as it waits at most before it tries again.
  await simulation.advance(200);
  await probe.until("the change", () => numbers(probe).length === 1);
  expect(probe.gaps).toEqual([]);
});

test("a barrier covers what was written before it, waits for a connection, and ends with its signal", async ({
  signal,
}) => {
  const site = await testSite();
  const source = testSource(site.address);
  const early = source.barrier(signal);
  const reason = new Error("enough");
  const controller = new AbortController();
  const never = source.barrier(controller.signal);
  controller.abort(reason);
  await expect(never).rejects.toBe(reason);

  const probe = follow(source);
  await probe.reached(await early);
  await site.store.put("a", "1");
  await probe.reached(await source.barrier(signal));
  expect(probe.state.size).toBe(1);

  await site.down();
  const waiting = source.barrier(signal);
  await site.up();
  await site.store.put("b", "1");
  await probe.reached(await waiting);
  await probe.reached(await source.barrier(signal));
  expect(probe.state.size).toBe(2);
});

test("what is no store is said to be none, and tried again, slowly", async () => {
  const { createServer } = await import("node:http2");
  const server = createServer((_, response) => {
    response.writeHead(404);
    response.end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  const address = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
  const probe = follow(testSource(address));
  await probe.until("it to say so", () =>
    probe.statuses.some(
      (status) => status.state === "waiting" && status.error === `${address} answers, but it is no Tidemark store.`,
    ),
  );
});

test("options that make no sense are refused, and no secret gets into the description", () => {
  const refused = (options: object) => {
    try {
      watchSource({ address: "http://h:1", ...options });
      return undefined;
    } catch (error) {
      return SourceWatchError.is(error) ? error.message : error;
    }
  };
  expect(refused({ address: "ftp://h" })).toContain("address must look like http://127.0.0.1:7400");
  expect(refused({ prefix: "a", start: "b" })).toContain("either prefix or start and end");
  expect(refused({ progressIntervalMs: 50 })).toContain(
    "progressIntervalMs must be a whole number in [100, 2^32), got 50",
  );
  expect(refused({ silenceTimeoutMs: 1000 })).toContain(
    "silenceTimeoutMs must be above progressIntervalMs (5000), got 1000",
  );
  expect(watchSource({ address: "http://me:secret@h:1/", prefix: "p/" }).description).toBe("http://h:1 p/");
  expect(watchSource({ address: "http://h:1" }).description).toBe("http://h:1 (every key)");
  expect(watchSource({ address: "http://h:1", start: new Uint8Array([0xff]) }).description).toBe(
    "http://h:1 [0xff, end)",
  );
});
