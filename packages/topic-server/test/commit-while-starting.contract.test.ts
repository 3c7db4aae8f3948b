import { StatusCode } from "@tidemark/topic/internal";
import { expect, test } from "vitest";
import {
  acceptPartition,
  commit,
  expectRead,
  message,
  openRead,
  openTestServer,
  openWrite,
  rawClient,
  readMessages,
  write,
} from "./support.ts";

const path = "/local/t";

async function openTopic(messages: number) {
  const client = rawClient(await openTestServer());
  await client.createTopic(path);
  const { stream: writer } = await openWrite(client, path);
  for (let seqNo = 1; seqNo <= messages; seqNo++) await write(writer, [message(seqNo)]);
  return client;
}

test("a reader that is starting a partition hears of a commit by somebody else, and goes on from there", async () => {
  const client = await openTopic(4);
  const { stream, sessionId } = await openRead(client, path);
  const start = await expectRead(stream, "startPartitionSessionRequest");
  expect(start.committedOffset).toBe(0n);
  const partitionSessionId = start.partitionSession?.partitionSessionId ?? 0n;
  const { operation } = await client.topics.commitOffset({
    path,
    partitionId: 0n,
    consumer: "c",
    offset: 2n,
    readSessionId: sessionId,
  });
  expect(operation?.status).toBe(StatusCode.SUCCESS);
  // It may ask for what it was told of: the commit that it did not know is no fault of its own.
  const value = { partitionSessionId, readOffset: 1n, commitOffset: 1n };
  stream.send({ clientMessage: { case: "startPartitionSessionResponse", value } });
  const { partitionsCommittedOffsets } = await expectRead(stream, "commitOffsetResponse");
  expect(partitionsCommittedOffsets).toMatchObject([{ partitionSessionId, committedOffset: 2n }]);
  expect((await readMessages(stream, 2)).map(({ offset }) => offset)).toEqual([2, 3]);
  void commit(stream, partitionSessionId, 2, 4);
  expect((await expectRead(stream, "commitOffsetResponse")).partitionsCommittedOffsets[0]?.committedOffset).toBe(4n);
});

test("without naming the session, a commit takes the partition away and gives it back from there", async () => {
  const client = await openTopic(4);
  const { stream } = await openRead(client, path);
  const start = await expectRead(stream, "startPartitionSessionRequest");
  await client.topics.commitOffset({ path, partitionId: 0n, consumer: "c", offset: 3n });
  const stop = await expectRead(stream, "stopPartitionSessionRequest");
  expect(stop).toMatchObject({ partitionSessionId: start.partitionSession?.partitionSessionId, graceful: false });
  const again = await acceptPartition(stream);
  expect(again.committedOffset).toBe(3n);
  expect((await readMessages(stream, 1)).map(({ offset }) => offset)).toEqual([3]);
});
