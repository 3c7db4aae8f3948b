import { StatusCode } from "@tidemark/topic/internal";
import { expect, test } from "vitest";
import { heldFiles } from "./held-files.ts";
import { message, openTestServer, openWrite, rawClient, type RawClient, write, type WriteStream } from "./support.ts";

const path = "/local/t";
/** By this number SDKs tell a split from a server that is busy: YDB's `WRITE_ERROR_PARTITION_INACTIVE`. */
const partitionInactive = 500029;

async function openSplit() {
  const server = await openTestServer();
  const client = rawClient(server);
  await client.createTopic(path);
  const split = async (partition: number) => {
    const topic = server.store.topic(path);
    if (topic === undefined) throw new Error("no topic");
    expect(await server.store.splitPartition(topic, partition)).toBe(true);
  };
  return { client, split };
}

async function expectInactive(stream: WriteStream): Promise<void> {
  const { status, issues, serverMessage } = await stream.next();
  expect(status).toBe(StatusCode.OVERLOADED);
  expect(serverMessage.case).toBeUndefined();
  expect(issues).toMatchObject([
    { issueCode: partitionInactive, message: expect.stringMatching(/inactive/) as string },
  ]);
  expect(await stream.isOver()).toBe(true);
}

function open(client: RawClient, producerId: string, partitioning: "partitionId" | "partitionWithGeneration") {
  const stream = client.write();
  const value = { partitionId: 0n, generation: 1n };
  const chosen = partitioning === "partitionId" ? { case: partitioning, value: 0n } : { case: partitioning, value };
  stream.send({ clientMessage: { case: "initRequest", value: { path, producerId, partitioning: chosen as never } } });
  return stream;
}

test("a session on a split partition is refused in the words that SDKs resolve it anew by", async () => {
  const { client, split } = await openSplit();
  const { stream: live } = await openWrite(client, path, "p");
  await write(live, [message(1)]);
  await split(0);
  await expectInactive(live);
  for (const producerId of ["p", "new", ""]) {
    await expectInactive(open(client, producerId, "partitionId"));
    await expectInactive(open(client, producerId, "partitionWithGeneration"));
  }
});

test("a producer goes on in what its partition was split into, with its numbers, whatever else the topic has", async () => {
  const { client, split } = await openSplit();
  const producers = Array.from({ length: 20 }, (_, index) => `producer-${index}`);
  for (const producer of producers) {
    const { stream } = await openWrite(client, path, producer);
    await write(stream, [message(1), message(2)]);
  }
  // Partitions that cover the same keys as the one that is split.
  await client.topics.alterTopic({ path, alterPartitioningSettings: { setMinActivePartitions: 4n } });
  await split(0);
  await split(4);
  const found = new Set<number>();
  for (const producer of producers) {
    const { stream, init } = await openWrite(client, path, producer);
    expect(init.lastSeqNo, producer).toBe(2n);
    found.add(Number(init.partitionId));
    expect((await write(stream, [message(2), message(3)]))[0]).toBe("skipped");
  }
  expect([...found].toSorted((a, b) => a - b)).toEqual([5, 6, 7]);
});

test("what comes while a partition is being split is refused, and not stored behind its end", async () => {
  const disk = heldFiles();
  const server = await openTestServer({ files: disk.files });
  const client = rawClient(server);
  await client.createTopic(path);
  const { stream: early } = await openWrite(client, path, "early");
  const { stream: late } = await openWrite(client, path, "late");
  const topic = server.store.topic(path);
  if (topic === undefined) throw new Error("no topic");
  disk.isHolding = true;
  early.send({ clientMessage: { case: "writeRequest", value: { messages: [message(1)], codec: 1 } } });
  const release = await disk.held();
  const splitting = server.store.splitPartition(topic, 0);
  while (topic.partitions[0]?.definition.isActive === true) await client.describe(path);
  late.send({ clientMessage: { case: "writeRequest", value: { messages: [message(1)], codec: 1 } } });
  await expectInactive(late);
  disk.isHolding = false;
  release();
  expect(await splitting).toBe(true);
  expect((await early.next()).serverMessage.case).toBe("writeResponse");
  const { partitions } = await client.describe(path);
  expect(partitions[0]?.partitionStats?.partitionOffsets?.end).toBe(1n);
});
