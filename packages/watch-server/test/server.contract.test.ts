import http2 from "node:http2";
import net from "node:net";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { createSimulation } from "@tidemark/clock/testing";
import { freePorts } from "@tidemark/tooling/ports";
import { expect, test } from "vitest";
import { WatchService } from "../src/gen/tidemark/watch/v1/watch_pb.ts";
import { createStoreClient, serveWatch, StoreError, type WatchEvent } from "../src/index.ts";
import { relay, say, served, testClient } from "./server-support.ts";
import { codeOf, testStore, text, Watched, watchUntil } from "./support.ts";

test("a client does everything that the store does", async () => {
  const { client, store } = await served();
  expect(await client.put("a", "1")).toEqual({ revision: 1n });
  expect(await client.compareAndPut("a", "2", 1n)).toEqual({ succeeded: true, revision: 2n, actual: undefined });
  const lost = await client.compareAndPut("a", "3", 1n);
  expect([lost.succeeded, lost.actual?.modRevision, text(lost.actual?.value)]).toEqual([false, 2n, "2"]);
  expect(
    await client.txn({
      ops: [
        { type: "put", key: "b", value: "1" },
        { type: "delete", key: "a" },
      ],
    }),
  ).toEqual({
    succeeded: true,
    revision: 3n,
  });
  expect(await client.txn({ compares: [{ key: "a", expectedModRevision: 2n }], ops: [] })).toEqual({
    succeeded: false,
    revision: 3n,
  });
  expect(await client.get("a")).toEqual({ kv: undefined, revision: 3n });
  expect(text((await client.get("b")).kv?.value)).toBe("1");
  expect(await client.delete("b")).toEqual({ revision: 4n, existed: true });
  expect(await client.delete("b")).toEqual({ revision: 4n, existed: false });
  expect((await client.list({ revision: 3n })).kvs.map(({ key }) => text(key))).toEqual(["b"]);
  expect(await client.compact(4n)).toEqual({ floor: 4n });
  expect(await client.status()).toEqual(await store.status());
  await expect(client.list({ revision: 3n })).rejects.toMatchObject({ code: "TOO_OLD" });
  await expect(client.put("", "x")).rejects.toThrow("[ARGUMENT_INVALID] a key must not be empty");
  await expect(client.put("k", new Uint8Array(2 * 1024 * 1024))).rejects.toThrow(
    "[TOO_LARGE] a value may have 1048576 bytes",
  );
  await expect(client.put("k", new Uint8Array(20 * 1024 * 1024))).rejects.toMatchObject({ code: "TOO_LARGE" });
  expect(store.revision()).toBe(4n);
});

test("revision 0 is the empty store, from afar as in process, and is gone once it was compacted away", async () => {
  const { client, store } = await served();
  const { revision } = await client.status();
  await client.put("a", "1");
  for (const each of [store, client]) {
    expect(await each.list({ revision })).toEqual({ kvs: [], hasMore: false, revision: 0n });
  }
  await client.compact(1n);
  const { oldestMarker } = await client.status();
  const { incarnation } = store;
  for (const each of [store, client]) {
    await expect(each.list({ revision })).rejects.toMatchObject({ code: "TOO_OLD", oldestMarker, incarnation });
  }
});

test("a watch over the wire has the snapshot, then every transaction, then progress", async () => {
  const { client } = await served();
  await client.put("a/1", "old");
  await client.put("b", "not ours");
  const events: WatchEvent[] = [];
  const watch = client.watch({ range: { prefix: "a/" }, progressIntervalMs: 100 });
  for await (const event of watch) {
    events.push(event);
    if (event.type === "snapshot-end") {
      await client.txn({
        ops: [
          { type: "put", key: "a/2", value: "new" },
          { type: "put", key: "b", value: "" },
        ],
      });
      await client.delete("a/1");
    }
    // One from before the transactions may still be on its way. Markers begin with the revision.
    if (event.type === "progress" && event.marker.startsWith("a4.")) break;
  }
  const watched = new Watched();
  for (const event of events) watched.take(event);
  expect(watched.log).toEqual(["snapshot", "3 a/2=new", "4 a/1"]);
  expect([...watched.state]).toEqual([["a/2", "new"]]);
  const resumed = await watchUntil(
    client.watch({ range: { prefix: "a/" }, resumeMarker: (await client.status()).oldestMarker }),
    4n,
  );
  expect(resumed.log).toEqual(["1 a/1=old", "3 a/2=new", "4 a/1"]);
});

test("errors cross the wire with their codes and details", async () => {
  const { client, store } = await served();
  for (let n = 0; n < 5; n++) await client.put("a", `${n}`);
  const { oldestMarker } = await client.status();
  await client.compact(3n);
  const floor = (await client.status()).oldestMarker;
  const tooOld = { code: "TOO_OLD", oldestMarker: floor, incarnation: store.incarnation, retryable: false };
  await expect(client.watch({ resumeMarker: oldestMarker }).next()).rejects.toMatchObject(tooOld);
  const replaced = { code: "STORE_REPLACED", storeId: store.storeId };
  await expect(client.watch({ resumeMarker: "a1.elsewhere" }).next()).rejects.toMatchObject(replaced);
  await expect(client.watch({ resumeMarker: "nonsense" }).next()).rejects.toMatchObject({ code: "ARGUMENT_INVALID" });
  await expect(client.watch({ progressIntervalMs: 7 }).next()).rejects.toMatchObject({ code: "ARGUMENT_INVALID" });
});

test("serves gRPC, gRPC-Web and Connect on one port, HTTP/1.1 included", async () => {
  const { server } = await served();
  const baseUrl = server.address;
  const transports = [
    createGrpcTransport({ baseUrl }),
    createGrpcWebTransport({ baseUrl, httpVersion: "2" }),
    createGrpcWebTransport({ baseUrl, httpVersion: "1.1" }),
    createConnectTransport({ baseUrl, httpVersion: "2" }),
    createConnectTransport({ baseUrl, httpVersion: "1.1" }),
  ];
  for (const transport of transports) {
    const client = createClient(WatchService, transport);
    const { revision } = await client.put({ key: Buffer.from("k"), value: Buffer.from("v") });
    const controller = new AbortController();
    for await (const { kind, storeId } of client.watch({}, { signal: controller.signal })) {
      expect(storeId).not.toBe("");
      expect(kind.case).toBe("snapshotBegin");
      break;
    }
    controller.abort();
    expect(revision).toBeGreaterThan(0n);
  }
  const answer = await fetch(`${baseUrl}/tidemark.watch.v1.WatchService/Get`, {
    method: "POST",
    headers: { "content-type": "application/json", connection: "close" },
    body: JSON.stringify({ key: Buffer.from("k").toString("base64") }),
  });
  expect(await answer.json()).toMatchObject({ kv: { value: Buffer.from("v").toString("base64") } });
});

test("compresses nothing, also for clients that ask for it", async () => {
  const { server, client } = await served();
  await client.put("k", "x".repeat(10_000));
  const headers: (string | null)[] = [];
  const asking = createClient(
    WatchService,
    createGrpcTransport({
      baseUrl: server.address,
      interceptors: [
        (next) => async (request) => {
          const response = await next(request);
          headers.push(response.header.get("grpc-encoding"));
          return response;
        },
      ],
    }),
  );
  await asking.get({ key: Buffer.from("k") });
  expect(headers).toEqual([null]);
});

test("turns pages in a browser away", async () => {
  const { server } = await served();
  const answer = await fetch(`${server.address}/tidemark.watch.v1.WatchService/Status`, {
    method: "POST",
    headers: { "content-type": "application/json", origin: "https://example.com", connection: "close" },
    body: "{}",
  });
  expect(answer.status).toBe(403);
});

test("garbage at the port gets an answer or a hang-up, and harms nobody else", async () => {
  const { server, client, store } = await served();
  const watch = client.watch({ progressIntervalMs: 100 });
  await watch.next();
  const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  expect(await say(server.port, "\x00\x01\x02 what is this\r\n\r\n")).toMatch(/^HTTP\/1\.1 400/);
  expect(await say(server.port, "GET / HTTP/1.0\r\n\r\n")).toMatch(/^HTTP\/1\.1 404/);
  const post = "POST /tidemark.watch.v1.WatchService/Get HTTP";
  expect(await say(server.port, `${post}/1.0\r\ncontent-type: text/html\r\n\r\n`)).toMatch(/^HTTP\/1\.1 415/);
  expect(await say(server.port, `${post}/1.1\r\nhost: a b\r\nconnection: close\r\n\r\n`)).toMatch(/^HTTP\/1\.1 4/);
  expect(await say(server.port, `${preface}and then nonsense that is no frame at all`)).toContain("SETTINGS expected");
  expect(await say(server.port, Buffer.concat([Buffer.from(preface), Buffer.alloc(200_000, 0xff)]))).toBeDefined();

  const headers = {
    ":method": "POST",
    ":path": "/tidemark.watch.v1.WatchService/Put",
    "content-type": "application/grpc",
  };
  for (const body of [
    Buffer.from("no envelope"),
    Buffer.from([0, 0xff, 0xff, 0xff, 0xff, 1]),
    Buffer.from([0, 0, 0, 0, 3, 0xff, 0xff, 0xff]),
  ]) {
    const session = http2.connect(server.address);
    const stream = session.request(headers);
    const trailers = new Promise<Record<string, unknown>>((resolve) => {
      stream.on("response", (response) => "grpc-status" in response && resolve(response));
      stream.on("trailers", resolve);
    });
    stream.resume();
    stream.end(body);
    expect(Number((await trailers)["grpc-status"])).toBeGreaterThan(0);
    session.destroy();
  }
  expect(store.revision()).toBe(0n);
  await client.put("still", "here");
  const { log } = await watchUntil(watch, 1n);
  expect(log).toEqual(["1 still=here"]);
});

test("a deadline longer than any timer is no deadline", async () => {
  const { server } = await served();
  const client = createClient(
    WatchService,
    createGrpcTransport({
      baseUrl: server.address,
      interceptors: [
        (next) => (request) => {
          request.header.set("grpc-timeout", "99999999H");
          return next(request);
        },
      ],
    }),
  );
  const responses = client.watch({ progressIntervalMs: 100 });
  let count = 0;
  for await (const _ of responses) if (++count === 5) break;
  expect(count).toBe(5);
});

test("writes from many clients at once have dense revisions, and every watch shows them in that order", async () => {
  const { server, client, store } = await served();
  const watches = [client.watch(), testClient(server.address).watch(), store.watch()];
  for (const watch of watches) await watch.next();
  const clients = Array.from({ length: 8 }, () => testClient(server.address));
  const keys = new Map<bigint, string>();
  const write = async (who: number) => {
    for (let n = 0; n < 100; n++) {
      const key = `${who}/${n}`;
      const { revision } = await (clients[who] as (typeof clients)[number]).put(key, "v");
      expect(keys.has(revision)).toBe(false);
      keys.set(revision, key);
    }
  };
  const reading = watches.map((watch) => watchUntil(watch, 800n));
  await Promise.all(clients.map((_, who) => write(who)));
  const expected = Array.from({ length: 800 }, (_, index) => `${index + 1} ${keys.get(BigInt(index + 1))}=v`);
  for (const { log } of await Promise.all(reading)) expect(log).toEqual(expected);
});

test("a thousand idle watch connections cost little, and each hears of the next change", {
  timeout: 120_000,
}, async () => {
  const count = 1000;
  const { server, store } = await served();
  const clients = Array.from({ length: count }, () => testClient(server.address));
  const before = process.memoryUsage().heapUsed;
  const watches = clients.map((client) => client.watch({ progressIntervalMs: 3_600_000 }));
  for (let at = 0; at < count; at += 50) {
    const part = watches.slice(at, at + 50);
    await Promise.all(part.map((watch) => watchUntilIdle(watch)));
  }
  expect(store.watchers).toBe(count);
  expect(server.connections).toBe(count);
  // Both ends are in this process.
  expect((process.memoryUsage().heapUsed - before) / count).toBeLessThan(300_000);
  const heard = Promise.all(watches.map((watch) => watch.next()));
  await store.put("news", "1");
  for (const { value } of await heard) expect((value as WatchEvent).type).toBe("transactions");
  await Promise.all(clients.map((client) => client.close()));
  await expect.poll(() => store.watchers).toBe(0);
});

async function drain(watch: AsyncIterable<WatchEvent>): Promise<void> {
  for await (const _ of watch);
}

async function watchUntilIdle(watch: AsyncIterator<WatchEvent>): Promise<void> {
  for (;;) {
    const { value } = (await watch.next()) as IteratorYieldResult<WatchEvent>;
    if (value.type === "snapshot-end") return;
  }
}

test("connections above the limit are refused until one leaves", async () => {
  const { server, client } = await served({ maxConnections: 2 });
  await client.status();
  const second = createStoreClient({ address: server.address });
  await second.status();
  expect(await codeOf(testClient(server.address).status())).toBe("UNAVAILABLE");
  await second.close();
  await expect.poll(() => server.connections).toBe(1);
  await testClient(server.address).status();
});

test("a client that vanished without a word is found by pings, and its watch ended", async () => {
  const simulation = createSimulation({ seed: 1 });
  const { server, store } = await served({ clock: simulation.clock, pingIntervalMs: 1000 });
  const path = await relay(server.port);
  const watch = testClient(path.address).watch();
  await watch.next();
  expect(store.watchers).toBe(1);
  path.freeze();
  await simulation.advance(1000);
  // It is asked now, and may take its time.
  expect(server.connections).toBe(1);
  await simulation.advance(1000);
  await expect.poll(() => server.connections).toBe(0);
  await expect.poll(() => store.watchers).toBe(0);
});

test("a cut connection ends its watch on both sides", async () => {
  const { server, store } = await served();
  const path = await relay(server.port);
  const watch = testClient(path.address).watch();
  await watchUntilIdle(watch);
  path.cut();
  await expect(watch.next()).rejects.toMatchObject({ code: "UNAVAILABLE", retryable: true });
  await expect.poll(() => store.watchers).toBe(0);
});

test("leaving the loop of a remote watch ends it at the store", async () => {
  const { client, store } = await served();
  for await (const _ of client.watch()) break;
  await expect.poll(() => store.watchers).toBe(0);
});

test("leaving a remote watch ends a next() that is waiting, and the watch at the store", async () => {
  const { client, store } = await served();
  const watch = client.watch({ progressIntervalMs: 3_600_000 });
  await watchUntilIdle(watch);
  const waiting = watch.next();
  expect(await watch.return?.()).toEqual({ done: true, value: undefined });
  expect(await waiting).toEqual({ done: true, value: undefined });
  expect(await watch.next()).toEqual({ done: true, value: undefined });
  await expect.poll(() => store.watchers).toBe(0);
  const unread = client.watch();
  expect(await unread.return?.()).toEqual({ done: true, value: undefined });
  expect(await unread.next()).toEqual({ done: true, value: undefined });
});

test("close ends watches with UNAVAILABLE, lets writes finish, and frees the port", async () => {
  const store = await testStore();
  // Nobody else gets it once it is free.
  const [port] = (await freePorts(1)) as [number];
  const server = await serveWatch({ store, listen: { port } });
  const client = testClient(server.address);
  const watch = client.watch();
  await watchUntilIdle(watch);
  await fetch(`${server.address}/`, { method: "GET" });
  const ended = codeOf(drain(watch));
  const writes = Array.from({ length: 20 }, (_, n) => client.put(`k${n}`, "1"));
  await expect.poll(() => store.revision()).toBeGreaterThan(0n);
  await Promise.all([server.close(), server.close()]);
  expect(await ended).toBe("UNAVAILABLE");
  await Promise.all(writes);
  const down = await client.put("x", "1").catch((error: unknown) => error as StoreError);
  expect(StoreError.is(down) && down.message).toBe(
    `[UNAVAILABLE] no answer from the store at ${server.address}: nothing listens there. Is the store running?`,
  );
  const again = await serveWatch({ store, listen: { port } });
  expect(await client.put("x", "1")).toEqual({ revision: 21n });
  await again.close();
});

test("a port that is taken, and options that make no sense, are refused with the fix", async () => {
  const { server, store } = await served();
  const taken = serveWatch({ store, listen: { port: server.port } });
  await expect(taken).rejects.toThrow(
    "another program listens there. Stop it, or choose another port (0: any free one)",
  );
  expect(await codeOf(taken)).toBe("LISTEN_FAILED");
  expect(await codeOf(serveWatch({ store, listen: { host: "192.0.2.1" } }))).toBe("LISTEN_FAILED");
  expect(await codeOf(serveWatch({ store, listen: { port: 70_000 } }))).toBe("OPTIONS_INVALID");
  expect(() => createStoreClient({ address: "localhost:80" })).toThrow("address must look like http://127.0.0.1:7400");
});

test("listens on this machine alone unless told otherwise, and on IPv6 too", async () => {
  const { server, store } = await served();
  expect(server.address).toBe(`http://127.0.0.1:${server.port}`);
  const six = await serveWatch({ store, listen: { host: "::1" } }).catch(() => undefined);
  if (six === undefined) return;
  expect(six.address).toBe(`http://[::1]:${six.port}`);
  await testClient(six.address).status();
  await six.close();
});

test("a connection that says nothing, or half a preface, holds nobody up", async () => {
  const { server, client } = await served();
  const silent = net.connect(server.port, "127.0.0.1");
  const half = net.connect(server.port, "127.0.0.1", () => half.write("PR"));
  await expect.poll(() => server.connections).toBe(2);
  await client.put("a", "1");
  half.write("I * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  const answer = await new Promise<Buffer>((resolve) => half.once("data", resolve));
  // A SETTINGS frame: type 4.
  expect(answer[3]).toBe(4);
  silent.destroy();
  half.destroy();
});

test("whoever takes longer than ten seconds for its first words is sent away", async () => {
  const simulation = createSimulation({ seed: 1 });
  const { server } = await served({ clock: simulation.clock, pingIntervalMs: 3_600_000 });
  const connections = ["", "PR", "POST /tidemark.watch", "GET / HTTP/1.1\r\nhost: h\r\n"].map((words) =>
    say(server.port, words),
  );
  const polite = net.connect(server.port, "127.0.0.1", () => polite.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
  await new Promise((resolve) => polite.once("data", resolve));
  await expect.poll(() => server.connections).toBe(5);
  await simulation.advance(9000);
  expect(server.connections).toBe(5);
  await simulation.advance(1000);
  await Promise.all(connections);
  await expect.poll(() => server.connections).toBe(1);
  polite.destroy();
});
