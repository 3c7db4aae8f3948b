// X20: nothing is left behind by any number of lifecycles.

import { getEventListeners } from "node:events";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import {
  AsyncQueue,
  createListBuffer,
  Handoff,
  ReconnectLimiter,
  StreamConnection,
  StreamReconnector,
} from "@tidemark/stream";
import { afterAll, expect, test } from "vitest";
import { LineError, lineProtocol, lineServer } from "./support/line-protocol.ts";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;
const isLong = process.env["TIDEMARK_LONG"] === "1";

const unhandled: unknown[] = [];
const onUnhandled = (reason: unknown) => void unhandled.push(reason);
process.on("unhandledRejection", onUnhandled);
afterAll(() => void process.off("unhandledRejection", onUnhandled));

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Heap after everything that can go is gone, in bytes. */
async function heapBytes(): Promise<number> {
  for (let n = 0; n < 3; n++) {
    await turn();
    collect();
  }
  return process.memoryUsage().heapUsed;
}

/** Runs it often, and measures what the second half leaves behind that the first did not. */
async function growthBytes(count: number, lifecycle: (n: number) => Promise<void>): Promise<number> {
  for (let n = 0; n < count / 2; n++) await lifecycle(n);
  const half = await heapBytes();
  for (let n = 0; n < count / 2; n++) await lifecycle(n);
  return (await heapBytes()) - half;
}

test("X20: lifecycles of connections leave no heap, no listener and no rejection behind", async () => {
  const limiter = new ReconnectLimiter({ burst: 1e9 });
  const longLived = new AbortController();
  const lifecycle = async (n: number) => {
    const server = lineServer((peer) => {
      if (n % 7 === 0) peer.fail(new LineError("fatal"));
      else peer.send("message");
    });
    const reconnector = new StreamReconnector(lineProtocol(server), { limiter, closeGraceMs: 0 });
    const waiting = reconnector.connected({ signal: longLived.signal }).catch(() => {});
    void reconnector.events();
    if (n % 3 !== 0) reconnector.start();
    if (n % 5 !== 0) for (let k = 0; k < n % 40; k++) await Promise.resolve();
    if (n % 2 === 0) reconnector.destroy(new Error("enough"));
    else await reconnector.close();
    await waiting;
    expect(server.open).toBe(0);
  };
  const growth = await growthBytes(isLong ? 50_000 : 4_000, lifecycle);
  expect(growth).toBeLessThan(600_000);
  expect(getEventListeners(longLived.signal, "abort")).toHaveLength(0);
  expect(unhandled).toEqual([]);
});

test("X20: single connections that are cut anywhere leave nothing behind", async () => {
  const growth = await growthBytes(isLong ? 50_000 : 4_000, async (n) => {
    const server = lineServer();
    const connection = new StreamConnection(lineProtocol(server), { closeGraceMs: 0 });
    if (n % 4 !== 0) connection.open().catch(() => {});
    for (let k = 0; k < n % 30; k++) await Promise.resolve();
    if (n % 2 === 0) connection.fail(new Error("enough"));
    await connection.close();
  });
  expect(growth).toBeLessThan(600_000);
  expect(unhandled).toEqual([]);
});

test("X20: waiting again and again on one long-lived signal leaves no listener", async () => {
  const { signal } = new AbortController();
  const queue = new AsyncQueue<number>({ highWaterMark: 1 });
  const limiter = new ReconnectLimiter({ ratePerSecond: 1e6, burst: 1 });
  const handoff = new Handoff({
    createBuffer: () => createListBuffer<number>(),
    commit: async () => {},
    maxBytes: 1,
  });
  for (let n = 0; n < 1_000; n++) {
    const readable = queue.readable(signal);
    queue.push(n);
    await readable;
    const ready = queue.ready(signal);
    queue.takeAll();
    await ready;
    await limiter.acquire(signal);
    handoff.buffer.push(n);
    handoff.sealed();
    await Promise.all([handoff.ready(signal), handoff.flush(signal)]);
  }
  await handoff.close();
  expect(getEventListeners(signal, "abort")).toHaveLength(0);
});

test("X20: a stream of many messages through a hand-off keeps the heap flat", async () => {
  const messages = isLong ? 1_000_000 : 100_000;
  const server = lineServer(async (peer) => {
    for (let n = 0; n < messages; n++) if (!peer.send(`${n}`)) await peer.drained();
    peer.send("last");
  });
  let committed = 0;
  const handoff = new Handoff({
    createBuffer: () => createListBuffer<string>(),
    async commit(buffer) {
      await turn();
      for (const item of buffer.items) if (item !== "last") expect(Number(item)).toBe(committed++);
    },
    maxBytes: 500,
  });
  let last = () => {};
  const done = new Promise<void>((resolve) => (last = resolve));
  const protocol = lineProtocol(server, {
    onMessage(message) {
      handoff.buffer.push(message);
      const isReady = handoff.sealed();
      if (message === "last") last();
      return isReady ? undefined : handoff.ready();
    },
  });
  const reconnector = new StreamReconnector(protocol, { closeGraceMs: 0 });
  const before = await heapBytes();
  reconnector.start();
  await done;
  await reconnector.close();
  await handoff.close();
  expect(committed).toBe(messages);
  expect((await heapBytes()) - before).toBeLessThan(1_000_000);
  expect(handoff.stats.peakBytes).toBeLessThanOrEqual(500);
  expect(unhandled).toEqual([]);
});

test("nothing keeps the process alive once it is over", async () => {
  const limiter = new ReconnectLimiter({ burst: 1e9 });
  const active = () => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
  const before = active();
  const server = lineServer();
  const reconnectors = Array.from({ length: 10 }, () => {
    const reconnector = new StreamReconnector(lineProtocol(server), { limiter });
    reconnector.start();
    return reconnector;
  });
  await Promise.all(reconnectors.map((reconnector) => reconnector.connected()));
  // Watchdogs and stable timers of live streams are not counted among them.
  expect(active()).toBe(before);
  await Promise.all(reconnectors.map((reconnector) => reconnector.close()));
  expect(active()).toBe(before);
});
