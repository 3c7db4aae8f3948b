import { StatusCode } from "@tidemark/topic/internal";
import { expect, test } from "vitest";
import { CrashingFiles } from "./crashing-files.ts";
import {
  acceptPartition,
  commit,
  expectFailure,
  expectRead,
  message,
  openRead,
  openTestServer,
  openWrite,
  rawClient,
  readMessages,
  temporaryFolder,
  write,
} from "./support.ts";
import { beginTransaction, path } from "./support/set-up.ts";

test("X15: partitions are shared out evenly: gracefully to who joins, at once from who vanishes", async () => {
  const client = rawClient(await openTestServer());
  await client.createTopic(path, { partitioningSettings: { minActivePartitions: 2n } });
  const { stream: first } = await openRead(client, path);
  const parts = [await acceptPartition(first), await acceptPartition(first)];
  expect(parts.map(({ partition }) => partition).toSorted((a, b) => a - b)).toEqual([0, 1]);
  const { stream: second } = await openRead(client, path);
  const stop = await expectRead(first, "stopPartitionSessionRequest");
  expect(stop.graceful).toBe(true);
  const value = { partitionSessionId: stop.partitionSessionId };
  first.send({ clientMessage: { case: "stopPartitionSessionResponse", value } });
  const given = await acceptPartition(second);
  expect(given.partition).toBe(parts.find(({ id }) => id === stop.partitionSessionId)?.partition);
  first.abort();
  expect((await acceptPartition(second)).partition).toBe(1 - given.partition);
});

test("X13: credit: one message goes out however large it is, then nothing until there is room again", async () => {
  const client = rawClient(await openTestServer());
  await client.createTopic(path);
  const { stream: writer } = await openWrite(client, path);
  await write(writer, [message(1, new Uint8Array(5000)), message(2, new Uint8Array(10)), message(3)]);
  const { stream } = await openRead(client, path, { credit: 100 });
  await acceptPartition(stream);
  const { bytesSize, partitionData } = await expectRead(stream, "readResponse");
  expect(partitionData[0]?.batches[0]?.messageData).toHaveLength(1);
  stream.send({ clientMessage: { case: "readRequest", value: { bytesSize: bytesSize + 200n } } });
  expect((await readMessages(stream, 2)).map(({ offset }) => offset)).toEqual([1, 2]);
});

test("CommitOffset without a session interrupts the reader, with one it does not", async () => {
  const client = rawClient(await openTestServer());
  await client.createTopic(path);
  const { stream: writer } = await openWrite(client, path);
  await write(writer, [message(1), message(2), message(3)]);
  const { stream, sessionId } = await openRead(client, path);
  await acceptPartition(stream);
  await readMessages(stream, 3);
  const request = { path, partitionId: 0n, consumer: "c" };
  const with_ = await client.topics.commitOffset({ ...request, offset: 1n, readSessionId: sessionId });
  expect(with_.operation?.status).toBe(StatusCode.SUCCESS);
  const told = await expectRead(stream, "commitOffsetResponse");
  expect(told.partitionsCommittedOffsets[0]?.committedOffset).toBe(1n);
  await client.topics.commitOffset({ ...request, offset: 2n });
  const stop = await expectRead(stream, "stopPartitionSessionRequest");
  expect(stop.graceful).toBe(false);
  expect((await acceptPartition(stream)).committedOffset).toBe(2n);
  expect((await readMessages(stream, 1))[0]?.offset).toBe(2);
});

test("CommitOffset with a session completes what its reader committed beyond, and the reader commits on", async () => {
  const client = rawClient(await openTestServer());
  await client.createTopic(path);
  const { stream: writer } = await openWrite(client, path);
  await write(writer, [message(1), message(2), message(3), message(4)]);
  const { stream, sessionId } = await openRead(client, path);
  const part = await acceptPartition(stream);
  await readMessages(stream, 4);
  const committed = async () =>
    (await expectRead(stream, "commitOffsetResponse")).partitionsCommittedOffsets[0]?.committedOffset;
  void commit(stream, part.id, 2, 3);
  stream.send({
    clientMessage: { case: "partitionSessionStatusRequest", value: { partitionSessionId: part.id } },
  });
  await expectRead(stream, "partitionSessionStatusResponse");
  const request = { path, partitionId: 0n, consumer: "c", offset: 2n, readSessionId: sessionId };
  expect((await client.topics.commitOffset(request)).operation?.status).toBe(StatusCode.SUCCESS);
  expect([await committed(), await committed()]).toEqual([2n, 3n]);
  void commit(stream, part.id, 3, 4);
  expect(await committed()).toBe(4n);
});

test("a topic that was created before a restart is created again with SUCCESS, unless it differs", async () => {
  const dataDir = temporaryFolder();
  const settings = { retentionStorageMb: 5n, attributes: { a: "b" } };
  {
    const server = await openTestServer({ dataDir });
    expect(await rawClient(server).createTopic(path, settings)).toBe("SUCCESS");
    await server.close();
  }
  const client = rawClient(await openTestServer({ dataDir }));
  expect(await client.createTopic(path, settings)).toBe("SUCCESS");
  expect(await client.createTopic(path, { ...settings, retentionStorageMb: 6n })).toBe("ALREADY_EXISTS");
});

test("X5: a transaction across topics appears as a whole with its offsets, or not at all", async () => {
  const dataDir = temporaryFolder();
  const server = await openTestServer({ dataDir });
  const client = rawClient(server);
  for (const each of ["/local/a", "/local/b"]) await client.createTopic(each);
  const { stream: a } = await openWrite(client, "/local/a");
  const { stream: b } = await openWrite(client, "/local/b");
  expect(await write(a, [message(1)])).toEqual([0]);

  const { tx: dropped } = await beginTransaction(client);
  expect(await write(a, [message(2, "dropped")], dropped)).toEqual(["tx"]);
  await client.query.rollbackTransaction({ sessionId: dropped.session, txId: dropped.id });

  const kept = await beginTransaction(client, dropped.session);
  expect(await write(a, [message(2)], kept.tx)).toEqual(["tx"]);
  expect(await write(b, [message(1), message(2)], kept.tx)).toEqual(["tx", "tx"]);
  const partitions = [{ partitionId: 0n, partitionOffsets: [{ start: 0n, end: 1n }] }];
  const topics = [{ path: "/local/a", partitions }];
  await client.topics.updateOffsetsInTransaction({ tx: kept.tx, topics, consumer: "c" });
  expect((await client.describe("/local/b")).partitions[0]?.partitionStats?.partitionOffsets?.end).toBe(0n);
  expect(await kept.commit()).toBe(StatusCode.SUCCESS);

  const { stream: reader } = await openRead(client, "/local/a");
  expect((await acceptPartition(reader)).committedOffset).toBe(1n);
  expect((await readMessages(reader, 1)).map(({ text }) => text)).toEqual(["m2"]);
  expect((await client.describe("/local/b")).partitions[0]?.partitionStats?.partitionOffsets?.end).toBe(2n);

  const gap = await beginTransaction(client, dropped.session);
  await client.topics.updateOffsetsInTransaction({ tx: gap.tx, topics, consumer: "c" });
  expect(await gap.commit()).toBe(StatusCode.ABORTED);
});

test("X19: a split partition ends for its reader, its writer is told, and its producers go on in a child", async () => {
  const server = await openTestServer();
  const client = rawClient(server);
  await client.createTopic(path);
  const { stream: writer } = await openWrite(client, path, "p");
  await write(writer, [message(1), message(2)]);
  const topic = server.store.topic(path);
  if (topic === undefined) throw new Error("no topic");
  expect(await server.store.splitPartition(topic, 0)).toBe(true);
  expect(await expectFailure(writer)).toBe("OVERLOADED");
  const { stream: again, init } = await openWrite(client, path, "p");
  expect([1n, 2n]).toContain(init.partitionId);
  expect(init.lastSeqNo).toBe(2n);
  expect(await write(again, [message(2), message(3)])).toEqual(["skipped", 0]);
  const { partitions } = await client.describe(path);
  expect(partitions.map(({ active }) => active)).toEqual([false, true, true]);
  expect(partitions[0]?.childPartitionIds).toEqual([1n, 2n]);
  expect(partitions[1]?.keyRange?.toBound).toEqual(partitions[2]?.keyRange?.fromBound);

  const { stream: reader } = await openRead(client, path, { supportsSplits: true });
  const parent = await acceptPartition(reader);
  expect(parent.partition).toBe(0);
  expect((await readMessages(reader, 2)).map(({ text }) => text)).toEqual(["m1", "m2"]);
  expect((await expectRead(reader, "endPartitionSession")).childPartitionIds).toEqual([1n, 2n]);
  const children = [await acceptPartition(reader), await acceptPartition(reader)];
  expect(children.map(({ partition }) => partition).toSorted((a, b) => a - b)).toEqual([1, 2]);
  expect((await readMessages(reader, 1))[0]?.text).toBe("m3");
  void commit(reader, parent.id, 0, 2);
  expect((await expectRead(reader, "commitOffsetResponse")).partitionsCommittedOffsets[0]?.committedOffset).toBe(2n);
});

test("children stay with their parent's reader until it is committed: nobody gets a parent's messages after a child's", async () => {
  const server = await openTestServer();
  const client = rawClient(server);
  await client.createTopic(path);
  const { stream: writer } = await openWrite(client, path, "p");
  await write(writer, [message(1), message(2)]);
  const { stream: first } = await openRead(client, path, { supportsSplits: true });
  const parent = await acceptPartition(first);
  await readMessages(first, 2);
  const topic = server.store.topic(path);
  if (topic === undefined) throw new Error("no topic");
  await server.store.splitPartition(topic, 0);
  await expectRead(first, "endPartitionSession");
  const children = [await acceptPartition(first), await acceptPartition(first)];
  const { stream: again } = await openWrite(client, path, "p");
  await write(again, [message(3)]);
  expect((await readMessages(first, 1))[0]?.text).toBe("m3");
  // Somebody joins, and there is nothing that could be taken from the first without it going back in time.
  const { stream: second } = await openRead(client, path, { supportsSplits: true });
  const value = { partitionSessionId: parent.id };
  first.send({ clientMessage: { case: "partitionSessionStatusRequest", value } });
  await expectRead(first, "partitionSessionStatusResponse");
  void commit(first, parent.id, 0, 2);
  await expectRead(first, "commitOffsetResponse");
  const stop = await expectRead(first, "stopPartitionSessionRequest");
  expect(children.map(({ id }) => id)).toContain(stop.partitionSessionId);
  const answer = { partitionSessionId: stop.partitionSessionId };
  first.send({ clientMessage: { case: "stopPartitionSessionResponse", value: answer } });
  const given = await acceptPartition(second);
  expect(given.partition).toBe(children.find(({ id }) => id === stop.partitionSessionId)?.partition);
});

test("altering goes on under open streams, dropping ends them with SCHEME_ERROR", async () => {
  const client = rawClient(await openTestServer());
  await client.createTopic(path);
  expect(await client.createTopic(path)).toBe("SUCCESS");
  expect(await client.createTopic(path, { retentionStorageMb: 5n })).toBe("ALREADY_EXISTS");
  const { stream: writer } = await openWrite(client, path);
  const { stream: reader } = await openRead(client, path);
  await acceptPartition(reader);
  const alterPartitioningSettings = { setMinActivePartitions: 3n };
  await client.topics.alterTopic({ path, alterPartitioningSettings, addConsumers: [{ name: "d" }] });
  await acceptPartition(reader);
  await acceptPartition(reader);
  expect(await write(writer, [message(1)])).toEqual([0]);
  expect(await readMessages(reader, 1)).toHaveLength(1);
  await client.topics.dropTopic({ path });
  expect(await expectFailure(writer)).toBe("SCHEME_ERROR");
  expect(await expectFailure(reader)).toBe("SCHEME_ERROR");
});

test("a full disk refuses writes with OVERLOADED, keeps what it acknowledged, and goes on when there is room", async () => {
  const files = new CrashingFiles();
  const client = rawClient(await openTestServer({ files }));
  await client.createTopic(path);
  const { stream: first } = await openWrite(client, path);
  expect(await write(first, [message(1)])).toEqual([0]);
  files.roomBytes = 100;
  first.send({
    clientMessage: { case: "writeRequest", value: { codec: 1, messages: [message(2, new Uint8Array(500))] } },
  });
  expect(await expectFailure(first)).toBe("OVERLOADED");
  files.roomBytes = Number.POSITIVE_INFINITY;
  const { stream: second, init } = await openWrite(client, path);
  expect(init.lastSeqNo).toBe(1n);
  expect(await write(second, [message(2)])).toEqual([1]);
  const { stream: reader } = await openRead(client, path);
  await acceptPartition(reader);
  expect((await readMessages(reader, 2)).map(({ text }) => text)).toEqual(["m1", "m2"]);
});
