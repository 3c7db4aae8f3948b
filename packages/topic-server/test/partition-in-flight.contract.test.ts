import { expect, test } from "vitest";
import {
  acceptPartition,
  commit,
  expectRead,
  message,
  openTestServer,
  openWrite,
  rawClient,
  type RawClient,
  type ReadStream,
  readMessages,
  write,
} from "./support.ts";

const path = "/local/t";
const kilobyte = (seqNo: number) => message(seqNo, new Uint8Array(1000));
/** Two messages of a kilobyte reach it. */
const limit = 2000n;

async function openLimited(client: RawClient, consumer = "c") {
  const stream = client.read();
  const topicsReadSettings = [{ path, partitionIds: consumer === "" ? [0n] : [] }];
  const value = { topicsReadSettings, consumer, partitionMaxInFlightBytes: limit };
  stream.send({ clientMessage: { case: "initRequest", value } });
  const { sessionId } = await expectRead(stream, "initResponse");
  stream.send({ clientMessage: { case: "readRequest", value: { bytesSize: 1_000_000n } } });
  return { stream, sessionId };
}

/** Where the server is with a partition. It answers in order, so nothing else was sent before. */
async function readOffset(stream: ReadStream, partitionSessionId: bigint): Promise<number> {
  stream.send({ clientMessage: { case: "partitionSessionStatusRequest", value: { partitionSessionId } } });
  return Number((await expectRead(stream, "partitionSessionStatusResponse")).readOffset);
}

async function committed(stream: ReadStream): Promise<number> {
  const { partitionsCommittedOffsets } = await expectRead(stream, "commitOffsetResponse");
  return Number(partitionsCommittedOffsets[0]?.committedOffset);
}

test("a partition pauses at what is delivered and not committed, its neighbour does not, and a commit lets it go on", async () => {
  const client = rawClient(await openTestServer());
  await client.createTopic(path, { partitioningSettings: { minActivePartitions: 2n } });
  const { stream: zero } = await openWrite(client, path, "zero", 0);
  const { stream: one } = await openWrite(client, path, "one", 1);
  const { stream } = await openLimited(client);
  const parts = [await acceptPartition(stream), await acceptPartition(stream)];
  const idOf = (partition: number) => parts.find((part) => part.partition === partition)?.id ?? 0n;
  for (const seqNo of [1, 2, 3, 4, 5]) await write(zero, [kilobyte(seqNo)]);
  expect((await readMessages(stream, 2)).map(({ offset }) => offset)).toEqual([0, 1]);
  expect(await readOffset(stream, idOf(0))).toBe(2);
  await write(one, [kilobyte(1)]);
  expect(await readMessages(stream, 1)).toHaveLength(1);

  // Half of it makes room for one more.
  void commit(stream, idOf(0), 0, 1);
  expect(await committed(stream)).toBe(1);
  expect((await readMessages(stream, 1)).map(({ offset }) => offset)).toEqual([2]);
  expect(await readOffset(stream, idOf(0))).toBe(3);

  // So does what is behind a hole, once the hole is committed, and not before.
  void commit(stream, idOf(0), 2, 3);
  expect(await readOffset(stream, idOf(0))).toBe(3);
  void commit(stream, idOf(0), 1, 2);
  expect(await committed(stream)).toBe(3);
  expect((await readMessages(stream, 2)).map(({ offset }) => offset)).toEqual([3, 4]);
});

test("one message is delivered however large it is, and others' commits make room, too", async () => {
  const client = rawClient(await openTestServer());
  await client.createTopic(path);
  const { stream: writer } = await openWrite(client, path);
  await write(writer, [message(1, new Uint8Array(50_000)), kilobyte(2)]);
  const { stream, sessionId } = await openLimited(client);
  const { id } = await acceptPartition(stream);
  expect((await readMessages(stream, 1)).map(({ offset }) => offset)).toEqual([0]);
  expect(await readOffset(stream, id)).toBe(1);
  await client.topics.commitOffset({ path, partitionId: 0n, consumer: "c", offset: 1n, readSessionId: sessionId });
  expect(await committed(stream)).toBe(1);
  expect((await readMessages(stream, 1)).map(({ offset }) => offset)).toEqual([1]);
});

test("without a consumer nothing can be committed, so that the limit holds for each response", async () => {
  const client = rawClient(await openTestServer());
  await client.createTopic(path);
  const { stream: writer } = await openWrite(client, path);
  await write(
    writer,
    [1, 2, 3, 4, 5].map((seqNo) => kilobyte(seqNo)),
  );
  const { stream } = await openLimited(client, "");
  await acceptPartition(stream, { readOffset: 0n });
  const { bytesSize } = await expectRead(stream, "readResponse");
  expect(Number(bytesSize)).toBeLessThan(2000);
  expect((await readMessages(stream, 4)).at(-1)?.offset).toBe(4);
});
