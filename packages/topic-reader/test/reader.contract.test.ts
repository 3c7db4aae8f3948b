// The reader against the service itself.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { createTopicClient, type TopicClient } from "@tidemark/topic";
import { openReader, type Reader, type ReaderBatch, type ReaderOptions } from "@tidemark/topic-reader";
import { freePorts } from "@tidemark/tooling/ports";
import { expect, onTestFinished, test } from "vitest";
import { live, temporaryFolder, write } from "./support/live.ts";

async function open(client: TopicClient, options: Partial<ReaderOptions> = {}): Promise<Reader> {
  const reader = await openReader({ client, topics: "orders", consumer: "billing", ...options } as ReaderOptions);
  onTestFinished(() => reader.destroy());
  return reader;
}

const orders = (client: TopicClient, settings: object = {}) =>
  client.createTopic("orders", { consumers: ["billing"], ...settings });

const texts = (batch: ReaderBatch): string[] => [...batch].map((message) => message.text());

/** Reads until there are so many messages. */
async function take(reader: Reader, count: number, onBatch: (batch: ReaderBatch) => unknown = () => {}) {
  const messages: { readonly key: string; readonly offset: number; readonly text: string }[] = [];
  for await (const batch of reader) {
    for (const message of batch) {
      const key = `${batch.topic}/${batch.partitionId}`;
      messages.push({ key, offset: Number(message.offset), text: message.text() });
    }
    await onBatch(batch);
    if (messages.length >= count) break;
  }
  return messages;
}

async function committed(client: TopicClient, partitionId = 0, path = "orders"): Promise<bigint | undefined> {
  const { partitions } = await client.describeConsumer(path, "billing", { stats: true });
  return partitions.find((each) => each.partitionId === BigInt(partitionId))?.progress?.committedOffset;
}

test("what was written is read once and in order, and what was committed does not come again", async () => {
  const { client } = await live();
  await orders(client);
  await write(client, "orders", 1_000);
  const reader = await open(client, { readerName: "reader-1" });
  const messages = await take(reader, 1_000, (batch) => batch.commit());
  expect(messages.map(({ offset }) => offset)).toEqual(Array.from({ length: 1_000 }, (_, n) => n));
  expect(messages[999]?.text).toBe("orders/0:1000");
  expect(await committed(client)).toBe(1_000n);
  const { partitions } = await client.describeConsumer("orders", "billing", { stats: true });
  expect(partitions[0]?.progress).toMatchObject({ readerName: "reader-1", readSessionId: reader.sessionId });
  await reader.close();
  await write(client, "orders", 1, { firstSeqNo: 1_001 });
  const next = await open(client);
  expect(await take(next, 1)).toMatchObject([{ offset: 1_000 }]);
});

test("whoever opens a reader is told why there is no connection yet, and what comes after", async () => {
  // Nobody answers there.
  const [port] = (await freePorts(1)) as [number];
  const client = createTopicClient(`grpc://127.0.0.1:${port}/local`);
  onTestFinished(() => client.close());
  const stop = new AbortController();
  const told: string[] = [];
  const waiting = Promise.withResolvers<unknown>();
  const opening = openReader({
    client,
    topics: "orders",
    consumer: "billing",
    signal: stop.signal,
    onEvent(event) {
      told.push(event.type);
      if (event.type === "waiting") waiting.resolve(event.error);
    },
  });
  expect(String(await waiting.promise)).toContain(`${port}`);
  stop.abort(new Error("no more"));
  await expect(opening).rejects.toThrow("no more");
  expect(told.slice(0, 3)).toEqual(["connecting", "disconnected", "waiting"]);
  expect(told.at(-1)).toBe("closed");
});

test("metadata of messages and sessions comes through", async () => {
  const { client } = await live();
  await orders(client);
  await write(client, "orders", 1);
  const reader = await open(client);
  const [message] = await reader.receive();
  expect(message).toMatchObject({
    seqNo: 1n,
    producerId: "producer-0",
    createdAt: new Date(1_700_000_000_000),
    writeSessionMeta: { from: "test" },
  });
  expect(message?.writtenAt.getTime()).toBeGreaterThan(1_700_000_000_000);
});

test("X4: two topics with equal partition ids are read and committed each for itself", async () => {
  const { client } = await live();
  for (const path of ["orders", "returns"]) {
    await client.createTopic(path, { consumers: ["billing"] });
    await write(client, path, 50);
  }
  const reader = await open(client, { topics: ["orders", "returns"] });
  const messages = await take(reader, 100, (batch) => batch.commit());
  for (const path of ["orders", "returns"]) {
    expect(messages.filter(({ key }) => key.includes(path)).map(({ text }) => text)).toEqual(
      Array.from({ length: 50 }, (_, n) => `${path}/0:${n + 1}`),
    );
    expect(await committed(client, 0, path)).toBe(50n);
  }
});

test("compressed messages come out as they went in", async () => {
  const { client } = await live();
  await orders(client);
  await write(client, "orders", 20, { codec: 2, data: (n) => gzipSync(`gzip ${n}`) });
  await write(client, "orders", 20, { codec: 4, data: (n) => zstdCompressSync(`zstd ${n}`), producerId: "other" });
  const reader = await open(client);
  const messages = await take(reader, 40);
  expect(messages.map(({ text }) => text)).toEqual([
    ...Array.from({ length: 20 }, (_, n) => `gzip ${n}`),
    ...Array.from({ length: 20 }, (_, n) => `zstd ${n}`),
  ]);
});

test("readers of one consumer share the partitions, and take over from each other without a loss", async () => {
  const { client } = await live();
  await orders(client, { partitions: 4 });
  const seen = new Map<string, number>();
  const note = (batch: ReaderBatch) => {
    for (const message of batch) seen.set(message.text(), (seen.get(message.text()) ?? 0) + 1);
  };
  const first = await open(client);
  const second = await open(client);
  const listening = [first, second].map((reader) => reader.listen(note));
  for (let partition = 0; partition < 4; partition++) await write(client, "orders", 100, { partition });
  await expect.poll(() => seen.size).toBe(400);
  await expect
    .poll(async () => {
      const { partitions } = await client.describeConsumer("orders", "billing", { stats: true });
      return new Set(partitions.map(({ progress }) => progress?.readSessionId)).size;
    })
    .toBe(2);
  await first.close();
  for (let partition = 0; partition < 4; partition++) {
    await write(client, "orders", 100, { partition, firstSeqNo: 101 });
  }
  await expect.poll(() => seen.size).toBe(800);
  await second.close();
  await Promise.all(listening);
  for (let partition = 0; partition < 4; partition++) expect(await committed(client, partition)).toBe(200n);
});

test("a split partition is read to its end before its children", async () => {
  const { client, server } = await live();
  await orders(client, { autoPartitioning: { strategy: "scale-up" }, maxPartitions: 4 });
  await write(client, "orders", 100);
  const topic = server.store.topics()[0];
  if (topic === undefined) throw new Error("there is no topic");
  expect(await server.store.splitPartition(topic, 0)).toBe(true);
  await write(client, "orders", 10, { partition: 1, producerId: "one" });
  await write(client, "orders", 10, { partition: 2, producerId: "two" });
  const reader = await open(client);
  const messages = await take(reader, 120, (batch) => batch.commit());
  expect(messages.slice(0, 100).every(({ key }) => key.endsWith("/0"))).toBe(true);
  expect(messages.slice(100).filter(({ key }) => key.endsWith("/1"))).toHaveLength(10);
});

test("committing from outside, with the session's id and without, moves the reader on and ends nothing", async () => {
  const { client } = await live();
  await orders(client);
  await write(client, "orders", 10);
  const reader = await open(client);
  const batch = await reader.receive();
  await client.commitOffset("orders", 0, "billing", 4, { readSessionId: reader.sessionId ?? "" });
  await batch.commit();
  expect(await committed(client)).toBe(10n);
  await write(client, "orders", 10, { firstSeqNo: 11 });
  const until = async (offset: bigint) => {
    for await (const each of reader.read({ maxMessages: 1 })) if (each.offset(0) >= offset) return each.offset(0);
    return undefined;
  };
  expect(await until(10n)).toBe(10n);
  // Without it, whoever reads the partition begins anew from there.
  await client.commitOffset("orders", 0, "billing", 18);
  expect(await until(18n)).toBe(18n);
});

test("what the start hook commits is committed, and what it skips does not come", async () => {
  const { client } = await live();
  await orders(client);
  await write(client, "orders", 10);
  const reader = await open(client, { onPartitionStart: () => ({ commitOffset: 4n }) });
  const batch = await reader.receive();
  expect(batch.offset(0)).toBe(4n);
  await reader.close();
  expect(await committed(client)).toBe(4n);
});

test("X5: a transaction commits what was read in it; rolled back, it is read again (P23)", async () => {
  const { client } = await live();
  await orders(client);
  await write(client, "orders", 10);
  const reader = await open(client);
  await client.transaction(async (tx) => {
    const batch = await reader.receive({ maxMessages: 4 });
    batch.commitIn(tx);
  });
  expect(await committed(client)).toBe(4n);
  const failed = client.transaction(async (tx) => {
    const batch = await reader.receive({ maxMessages: 4 });
    expect(batch.offset(0)).toBe(4n);
    batch.commitIn(tx);
    throw new Error("changed my mind");
  });
  await expect(failed).rejects.toThrow("changed my mind");
  expect(await committed(client)).toBe(4n);
  const again = await reader.receive();
  expect(again.offset(0)).toBe(4n);
  await again.commit();
  expect(await committed(client)).toBe(10n);
});

test("without a consumer, from given offsets", async () => {
  const { client } = await live();
  await client.createTopic("orders", { partitions: 2 });
  await write(client, "orders", 10, { partition: 0 });
  await write(client, "orders", 10, { partition: 1 });
  const topics = { path: "orders", partitions: [{ id: 1, offset: 7n }] };
  const reader = await open(client, { noConsumer: true, consumer: undefined, topics } as never);
  expect(texts(await reader.receive())).toEqual(["orders/1:8", "orders/1:9", "orders/1:10"]);
});

test("a start hook moves the start, and commits behind it count", async () => {
  const { client } = await live();
  await orders(client);
  await write(client, "orders", 10);
  const reader = await open(client, { onPartitionStart: () => ({ readOffset: 6n }) });
  const batch = await reader.receive();
  expect(batch.offset(0)).toBe(6n);
  await batch.commit();
  expect(await committed(client)).toBe(10n);
});

test("P13: a topic that is not there, and one that is dropped, end the reader with what the server said", async () => {
  const { client } = await live();
  await expect(open(client, { topics: "nowhere" })).rejects.toMatchObject({ code: "FAILED" });
  await orders(client);
  const reader = await open(client);
  const waiting = reader.receive();
  waiting.catch(() => {});
  await client.dropTopic("orders");
  await expect(waiting).rejects.toMatchObject({ code: "FAILED", message: expect.stringContaining("SCHEME_ERROR") });
});

async function startServer(dataDir: string, port: number): Promise<{ child: ChildProcess; address: string }> {
  const path = fileURLToPath(new URL("support/server-main.ts", import.meta.url));
  const conditions = ["--conditions=@tidemark/source", "--disable-warning=ExperimentalWarning"];
  const child = spawn(process.execPath, [...conditions, path, dataDir, `${port}`], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const [address] = (await once(createInterface(child.stdout), "line")) as [string];
  return { child, address };
}

test("P16: a reader and its commits survive a server that is killed and started again", async () => {
  const dataDir = temporaryFolder();
  const [port = 0] = await freePorts(1);
  let { child, address } = await startServer(dataDir, port);
  const client = createTopicClient(address);
  onTestFinished(() => client.close());
  await orders(client, { partitions: 2 });
  const reader = await open(client, { initialDelayMs: 20, maxDelayMs: 200 });
  const seen: string[] = [];
  let uncommitted: ReaderBatch | undefined;
  for (let round = 0; round < 3; round++) {
    const firstSeqNo = round * 50 + 1;
    for (const partition of [0, 1]) await write(client, "orders", 50, { partition, firstSeqNo });
    const before = seen.length;
    for await (const batch of reader) {
      // What was delivered and not committed comes again.
      const fresh = texts(batch).filter((text) => !seen.includes(text));
      seen.push(...fresh);
      batch.commitAndForget();
      uncommitted = batch;
      if (seen.length - before >= 100) break;
    }
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
    const commit = uncommitted?.commit();
    ({ child } = await startServer(dataDir, port));
    await commit;
  }
  for (const partition of [0, 1]) {
    expect(seen.filter((text) => text.startsWith(`orders/${partition}:`))).toEqual(
      Array.from({ length: 150 }, (_, n) => `orders/${partition}:${n + 1}`),
    );
  }
  await reader.close();
});
