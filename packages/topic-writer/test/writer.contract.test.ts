// The writer against the real topic server, over HTTP/2, through the real client.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { systemClock } from "@tidemark/clock";
import { createTopicClient, type TopicClient } from "@tidemark/topic";
import { openTopicServer, type TopicServer, type TopicServerOptions } from "@tidemark/topic-server";
import { createWriter, openWriter, WriterError } from "@tidemark/topic-writer";
import { freePorts } from "@tidemark/tooling/ports";
import { expect, test as base } from "vitest";
import { readTopic } from "./support/read-topic.ts";
import { openTokenGate } from "./support/token-gate.ts";

interface World {
  readonly data: string;
  readonly server: TopicServer;
  readonly client: TopicClient;
}

const fast = { initialDelayMs: 5, slowInitialDelayMs: 5, maxDelayMs: 100, slowMaxDelayMs: 100 };

async function openWorld(options: TopicServerOptions = {}): Promise<World & AsyncDisposable> {
  const data = await mkdtemp(join(tmpdir(), "tidemark-writer-"));
  // Nobody gets it while a server that comes back is away.
  const [port = 0] = await freePorts(1);
  const server = await openTopicServer({ dataDir: data, listen: { port }, ...options });
  const client = createTopicClient(server.connectionString);
  return {
    data,
    server,
    client,
    async [Symbol.asyncDispose]() {
      client.destroy();
      await server.close();
      await rm(data, { recursive: true, force: true });
    },
  };
}

const test = base.extend<{ world: World }>({
  // oxlint-disable-next-line no-empty-pattern -- the runner takes no other form
  world: async ({}, use) => {
    await using world = await openWorld();
    await use(world);
  },
});

test("writes what can be read, with everything that a message carries", async ({ world: { client } }) => {
  await client.createTopic("orders");
  await using writer = await openWriter({ client, topic: "orders", producerId: "p", sessionMeta: { host: "a" } });
  const createdAt = new Date("2026-01-02T03:04:05.678Z");
  const ack = await writer.writeAcked({ data: "first", createdAt, metadata: { trace: "1", raw: Uint8Array.of(65) } });
  expect(ack).toMatchObject({ status: "written", offset: 0n, seqNo: 1n, partitionId: 0n });
  writer.write(Buffer.from("second"));
  writer.write(["third", { data: "" }, "fünf"]);
  await writer.flush();
  const read = await readTopic(client, "orders", 5);
  expect(read.map(({ data }) => data)).toEqual(["first", "second", "third", "", "fünf"]);
  expect(read.map(({ seqNo }) => seqNo)).toEqual([1, 2, 3, 4, 5]);
  expect(read[0]).toMatchObject({
    producerId: "p",
    createdAtMs: createdAt.getTime(),
    metadata: { trace: "1", raw: "A" },
    sessionMeta: { host: "a" },
    uncompressedBytes: 5,
  });
});

test("the same producer goes on after its last number, and duplicates are skipped", async ({ world: { client } }) => {
  await client.createTopic("orders");
  {
    await using writer = await openWriter({ client, topic: "orders", producerId: "p" });
    writer.write(["1", "2", "3"]);
  }
  {
    await using writer = await openWriter({ client, topic: "orders", producerId: "p" });
    expect(await writer.writeAcked("4")).toMatchObject({ seqNo: 4n, offset: 3n });
  }
  await using manual = await openWriter({ client, topic: "orders", producerId: "p", seqNo: "manual" });
  const again = await manual.writeAcked({ data: "again", seqNo: 4 });
  expect(again).toMatchObject({ status: "skipped", offset: undefined, seqNo: 4n });
  const acks = await manual.writeAcked([
    { data: "5", seqNo: 10 },
    { data: "6", seqNo: 2n ** 60n },
  ]);
  expect(acks.map(({ seqNo, offset }) => [seqNo, offset])).toEqual([
    [10n, 4n],
    [2n ** 60n, 5n],
  ]);
  expect(() => manual.write({ data: "back", seqNo: 11 })).toThrow(/SEQ_NO_INVALID/);
});

test("P6, P16-P18: a server that is killed and comes back has everything once", async ({
  world: { client, server, data },
}) => {
  await client.createTopic("orders");
  const { port } = server;
  const writer = createWriter({ client, topic: "orders", producerId: "p", reconnect: fast });
  let written = 0;
  const acks: Promise<unknown>[] = [];
  let current = server;
  for (let round = 0; round < 4; round++) {
    for (let n = 0; n < 300; n++) acks.push(writer.writeAcked(`message ${written++}`));
    if (round % 2 === 0) await acks.at(-200);
    const closing = current.close();
    for (let n = 0; n < 50; n++) acks.push(writer.writeAcked(`message ${written++}`));
    await closing;
    writer.write(`message ${written++}`);
    current = await openTopicServer({ dataDir: data, listen: { port } });
  }
  try {
    await writer.close();
    await Promise.all(acks);
    const read = await readTopic(client, "orders", written);
    expect(read.map((message) => message.data)).toEqual(Array.from({ length: written }, (_, n) => `message ${n}`));
  } finally {
    client.destroy();
    await current.close();
  }
});

test("compresses with what the topic takes, off the event loop", async ({ world: { client } }) => {
  await client.createTopic("zipped", { codecs: ["gzip", "zstd"] });
  const bodies = Array.from({ length: 50 }, (_, n) => `${n} `.repeat(n * 50));
  for (const codec of ["gzip", "zstd", "auto"] as const) {
    await using writer = await openWriter({ client, topic: "zipped", codec });
    writer.write(bodies);
    await writer.flush();
  }
  const read = await readTopic(client, "zipped", 150);
  const decompress = { 2: gunzipSync, 4: zstdDecompressSync } as const;
  expect(read.map(({ codec }) => codec)).toEqual([...Array(50).fill(2), ...Array(100).fill(4)]);
  const texts = read.map(({ codec, bytes }) => decompress[codec as 2 | 4](bytes).toString());
  expect(texts).toEqual([...bodies, ...bodies, ...bodies]);
  expect(read.map(({ uncompressedBytes }) => uncompressedBytes)).toEqual(texts.map(({ length }) => length));
  await expect(openWriter({ client, topic: "zipped", codec: "raw" })).rejects.toMatchObject({
    code: "CODEC_UNSUPPORTED",
  });
});

test("P13: a topic that is not there ends the writer with the server's reason", async ({ world: { client } }) => {
  const writer = createWriter({ client, topic: "nowhere" });
  const ack = writer.writeAcked("lost");
  await expect(ack).rejects.toMatchObject({ code: "FAILED", unacknowledged: { messages: 1 } });
  await expect(ack).rejects.toThrow(/SCHEME_ERROR/);
  expect(() => writer.write("more")).toThrow(WriterError);
  expect([...writer.unacknowledged()].map(({ data }) => Buffer.from(data).toString())).toEqual(["lost"]);
  await expect(writer.close()).rejects.toMatchObject({ code: "FAILED" });
});

test("X18: a message of any allowed size goes through, larger ones fail alone", async ({ world: { client } }) => {
  await client.createTopic("large");
  await using writer = await openWriter({ client, topic: "large" });
  const large = Buffer.alloc(20 * 1024 * 1024, "x");
  const acks = Promise.all([writer.writeAcked("before"), writer.writeAcked(large), writer.writeAcked("after")]);
  await expect(writer.writeAcked(Buffer.alloc(49 * 1024 * 1024))).rejects.toMatchObject({ code: "MESSAGE_TOO_LARGE" });
  expect((await acks).map(({ offset }) => offset)).toEqual([0n, 1n, 2n]);
});

test("X19: writes by key while partitions are split; nothing is lost, doubled or out of order", async ({
  world: { client, server },
}) => {
  await client.createTopic("keyed", {
    partitions: 2,
    maxPartitions: 50,
    autoPartitioning: { strategy: "scale-up", stabilizationMs: 3_600_000 },
  });
  const writer = createWriter({
    client,
    topic: "keyed",
    producerId: "p",
    partitioning: { by: "key" },
    reconnect: fast,
  });
  const topic = server.store.topic("/local/keyed") as NonNullable<ReturnType<typeof server.store.topic>>;
  const keys = 23;
  let written = 0;
  const acks: Promise<unknown>[] = [];
  for (let round = 0; round < 6; round++) {
    for (let n = 0; n < 500; n++) {
      const key = `key ${written % keys}`;
      acks.push(writer.writeAcked({ key, data: `${key}:${Math.floor(written / keys)}` }));
      written++;
      if (n % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    // Each partition has some of the round's, and more are on their way.
    await Promise.all(acks.slice(-500, -500 + keys));
    const active = topic.partitions.filter(({ definition }) => definition.isActive);
    await server.store.splitPartition(topic, active[round % active.length]?.id as number);
  }
  const flushed = writer.flush();
  await Promise.all(acks);
  await flushed;
  await writer.close();
  const read = await readTopic(client, "keyed", written);
  const byKey = new Map<string, number[]>();
  for (const { data } of [...read].sort((one, other) => Number(one.partitionId - other.partitionId))) {
    const [key, number] = data.split(":") as [string, string];
    byKey.set(key, [...(byKey.get(key) ?? []), Number(number)]);
  }
  expect(byKey.size).toBe(keys);
  for (const numbers of byKey.values()) expect(numbers).toEqual(numbers.map((_, n) => n));
  expect(new Set(read.map(({ partitionId }) => partitionId)).size).toBeGreaterThan(4);
});

test("X19: a producer without a partition follows the server to a successor", async ({ world: { client, server } }) => {
  await client.createTopic("moved", {
    partitions: 1,
    maxPartitions: 10,
    autoPartitioning: { strategy: "scale-up", stabilizationMs: 3_600_000 },
  });
  await using writer = await openWriter({ client, topic: "moved", producerId: "p", reconnect: fast });
  const topic = server.store.topic("/local/moved") as NonNullable<ReturnType<typeof server.store.topic>>;
  for (let n = 0; n < 200; n++) writer.write(String(n));
  const splitting = server.store.splitPartition(topic, 0);
  for (let n = 200; n < 400; n++) writer.write(String(n));
  await splitting;
  await writer.flush();
  const read = await readTopic(client, "moved", 400);
  const ordered = [...read].sort((one, other) => Number(one.partitionId - other.partitionId));
  expect(ordered.map(({ data }) => Number(data))).toEqual(Array.from({ length: 400 }, (_, n) => n));
});

test("writes directly to the node of the partition", async ({ world: { client } }) => {
  await client.createTopic("direct", { partitions: 3 });
  for (const partitionId of [undefined, 2]) {
    await using writer = await openWriter({
      client,
      topic: "direct",
      isDirect: true,
      ...(partitionId !== undefined && { partitionId }),
    });
    const ack = await writer.writeAcked("straight");
    expect(ack.status).toBe("written");
    if (partitionId !== undefined) expect(ack.partitionId).toBe(2n);
  }
});

test("writes in a transaction: visible after the commit, gone after a rollback", async ({ world: { client } }) => {
  await client.createTopic("tx");
  const status = await client.transaction(async (transaction) => {
    const writer = await openWriter({ client, topic: "tx", transaction });
    const ack = writer.writeAcked("in");
    writer.write("too");
    // Nobody flushes: the commit does.
    return (await ack).status;
  });
  expect(status).toBe("written-in-tx");
  await expect(
    client.transaction(async (transaction) => {
      const writer = await openWriter({ client, topic: "tx", transaction });
      await writer.writeAcked("never");
      throw new Error("no");
    }),
  ).rejects.toThrow("no");
  await using writer = await openWriter({ client, topic: "tx" });
  await writer.writeAcked("last");
  const read = await readTopic(client, "tx", 3);
  expect(read.map(({ data }) => data)).toEqual(["in", "too", "last"]);
});

test("X17: an expired token is renewed once, and the writer goes on", async ({ world: { client, server } }) => {
  await client.createTopic("orders");
  await using gate = await openTokenGate(server.port);
  const asked: boolean[] = [];
  await using guarded = createTopicClient(`grpc://127.0.0.1:${gate.port}/local`, {
    discovery: false,
    credentials: {
      provider({ isForced }) {
        asked.push(isForced);
        // As providers do, it keeps its token until somebody says that it is no good.
        return `token ${asked.filter(Boolean).length}`;
      },
    },
  });
  gate.tokens.add("token 0");
  const writer = await openWriter({ client: guarded, topic: "orders", producerId: "p", reconnect: fast });
  const errors: unknown[] = [];
  const watching = (async () => {
    for await (const event of writer.events()) if (event.type === "disconnected") errors.push(event.error);
  })();
  expect(await writer.writeAcked("before")).toMatchObject({ offset: 0n });
  gate.tokens.clear();
  gate.tokens.add("token 1");
  gate.cut();
  expect(await writer.writeAcked("after")).toMatchObject({ status: "written", offset: 1n, seqNo: 2n });
  expect(gate.seen).toEqual(["token 0", "token 0", "token 1"]);
  expect(asked.filter(Boolean)).toHaveLength(1);
  // A token that is no good even when it is new ends the writer.
  gate.tokens.clear();
  gate.cut();
  await expect(writer.writeAcked("never")).rejects.toMatchObject({ code: "FAILED" });
  await watching;
  expect(errors.map(String).filter((error) => error.includes("token expired")).length).toBeGreaterThan(1);
  expect((await readTopic(client, "orders", 2)).map((each) => each.data)).toEqual(["before", "after"]);
});

test("X17: a writer with a login goes on although the server no longer takes its token", async () => {
  const data = await mkdtemp(join(tmpdir(), "tidemark-writer-"));
  const auth = { users: [{ name: "u", password: "secret", rights: "all" as const }], tokenLifetimeMs: 60_000 };
  const [port = 0] = await freePorts(1);
  const first = await openTopicServer({ dataDir: data, auth, listen: { port } });
  await using client = createTopicClient(first.connectionString, {
    discovery: false,
    credentials: { user: "u", password: "secret" },
  });
  await client.createTopic("orders");
  await using writer = await openWriter({ client, topic: "orders", producerId: "p", reconnect: fast });
  expect(await writer.writeAcked("before")).toMatchObject({ offset: 0n });
  await first.close();
  // To this one the token has expired long ago; the client cannot know.
  const clock = Object.assign(Object.create(systemClock), { now: () => systemClock.now() + 3_600_000 });
  await using _second = await openTopicServer({ dataDir: data, auth, clock, listen: { port } });
  expect(await writer.writeAcked("after")).toMatchObject({ offset: 1n, seqNo: 2n });
});

test("without a producer it writes, too, and numbers from 1", async ({ world: { client } }) => {
  await client.createTopic("plain");
  for (let n = 0; n < 2; n++) {
    await using writer = await openWriter({ client, topic: "plain", producerId: "" });
    expect(await writer.writeAcked("x")).toMatchObject({ seqNo: 1n, status: "written" });
  }
});
