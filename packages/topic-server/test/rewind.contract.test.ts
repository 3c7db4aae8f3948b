import { StatusCode, topicAdminWire } from "@tidemark/topic/internal";
import { expect, test } from "vitest";
import { type GroupMember, ReadGroups } from "../src/service/read-groups.ts";
import type { Topic } from "../src/storage/topic.ts";
import {
  acceptPartition,
  commit,
  expectRead,
  message,
  openRead,
  openTestServer,
  openWrite,
  type RawClient,
  rawClient,
  readMessages,
  temporaryFolder,
  unpack,
  write,
} from "./support.ts";

const path = "/local/t";

async function commitOffset(
  client: RawClient,
  offset: number,
  more: { partitionId?: bigint; readSessionId?: string } = {},
) {
  const { operation } = await client.topics.commitOffset({ path, consumer: "c", offset: BigInt(offset), ...more });
  return operation?.status;
}

async function committed(client: RawClient): Promise<number[]> {
  const { operation } = await client.topics.describeConsumer({ path, consumer: "c", includeStats: true });
  const { partitions } = unpack(topicAdminWire.DescribeConsumerResultSchema, operation);
  return partitions.map(({ partitionConsumerStats }) => Number(partitionConsumerStats?.committedOffset));
}

/** A topic with five messages, of which four are committed by the reader that has the partition. */
async function openWorld(dataDir?: string) {
  const server = await openTestServer(dataDir === undefined ? {} : { dataDir });
  const client = rawClient(server);
  await client.createTopic(path);
  const { stream: writer } = await openWrite(client, path);
  await write(
    writer,
    [1, 2, 3, 4, 5].map((seqNo) => message(seqNo)),
  );
  const { stream, sessionId } = await openRead(client, path, { supportsSplits: true });
  const { id } = await acceptPartition(stream);
  await readMessages(stream, 5);
  void commit(stream, id, 0, 4);
  await expectRead(stream, "commitOffsetResponse");
  return { server, client, stream, sessionId, id };
}

const offsets = (messages: readonly { readonly offset: number }[]) => messages.map(({ offset }) => offset);

test("a commit below what is committed takes the partition away, and it is read again from there", async () => {
  const dataDir = temporaryFolder();
  const { server, client, stream, id } = await openWorld(dataDir);
  expect(await commitOffset(client, 1)).toBe(StatusCode.SUCCESS);
  expect(await committed(client)).toEqual([1]);
  const stopped = await expectRead(stream, "stopPartitionSessionRequest");
  expect(stopped).toMatchObject({ partitionSessionId: id, graceful: false });
  const again = await acceptPartition(stream);
  expect(again.committedOffset).toBe(1n);
  expect(again.id).not.toBe(id);
  expect(offsets(await readMessages(stream, 4))).toEqual([1, 2, 3, 4]);
  void commit(stream, again.id, 1, 2);
  await expectRead(stream, "commitOffsetResponse");
  expect(await committed(client)).toEqual([2]);
  expect(await commitOffset(client, 0)).toBe(StatusCode.SUCCESS);
  await server.close();
  // It is on the disk.
  expect(await committed(rawClient(await openTestServer({ dataDir })))).toEqual([0]);
});

test("nobody gets a partition while its consumer is moved, not even who comes meanwhile", async () => {
  const server = await openTestServer();
  await rawClient(server).createTopic(path);
  const topic = server.store.topic(path) as Topic;
  const groups = new ReadGroups();
  const said: string[] = [];
  const member = (id: string): GroupMember => ({
    id,
    readerName: "",
    seesSplits: false,
    onAssigned: () => said.push(`${id} has it`),
    onStop(_, partition, isGraceful) {
      said.push(`${id} stops${isGraceful ? " in its time" : ""}`);
      groups.group(topic, "c").released(this, partition);
    },
    onMoved: () => {},
    onConsumerGone: () => {},
    position: () => undefined,
  });
  const [first, second] = [member("first"), member("second")];
  groups.group(topic, "c").join(first, []);
  await groups.interrupt(topic, "c", [0], async () => {
    said.push("moving");
    groups.group(topic, "c").join(second, []);
    // The last one of a group that is not forgotten for that.
    groups.leave(groups.group(topic, "c"), first);
    groups.leave(groups.group(topic, "c"), second);
    groups.group(topic, "c").join(second, []);
    // Two at a time: only when both are done.
    await groups.interrupt(topic, "c", [0], async () => {});
    said.push("moved");
  });
  expect(said).toEqual(["first has it", "first stops", "moving", "moved", "second has it"]);
  const failing = groups.interrupt(topic, "c", [0], () => Promise.reject(new Error("full")));
  await expect(failing).rejects.toThrow("full");
  expect(said.slice(5)).toEqual(["second stops", "second has it"]);
});

test("a session that commits what it has committed hears yes, and nothing moves; another session is expired", async () => {
  const { client, sessionId } = await openWorld();
  expect(await commitOffset(client, 1, { readSessionId: sessionId })).toBe(StatusCode.SUCCESS);
  expect(await committed(client)).toEqual([4]);
  expect(await commitOffset(client, 5, { readSessionId: "somebody" })).toBe(StatusCode.SESSION_EXPIRED);
  expect(await commitOffset(client, 6, { readSessionId: sessionId })).toBe(StatusCode.BAD_REQUEST);
  expect(await commitOffset(client, 6)).toBe(StatusCode.BAD_REQUEST);
  expect(await commitOffset(client, -1)).toBe(StatusCode.BAD_REQUEST);
  expect(await committed(client)).toEqual([4]);
});

test("who goes back in a partition that was split reads it first, and then its children again", async () => {
  const { server, client, stream, id } = await openWorld();
  const topic = server.store.topic(path);
  if (topic === undefined) throw new Error("no topic");
  await server.store.splitPartition(topic, 0);
  await expectRead(stream, "endPartitionSession");
  void commit(stream, id, 4, 5);
  const children = [await acceptPartition(stream), await acceptPartition(stream)];
  await expectRead(stream, "commitOffsetResponse");
  expect(
    children.map(({ partitionSession }) => Number(partitionSession?.partitionId)).toSorted((a, b) => a - b),
  ).toEqual([1, 2]);
  const { stream: writer } = await openWrite(client, path, "q", 1);
  await write(writer, [message(1)]);
  expect(offsets(await readMessages(stream, 1))).toEqual([0]);
  expect(await commitOffset(client, 1, { partitionId: 1n })).toBe(StatusCode.SUCCESS);
  expect(await committed(client)).toEqual([5, 1, 0]);
  expect(await commitOffset(client, 3)).toBe(StatusCode.SUCCESS);
  expect(await committed(client)).toEqual([3, 0, 0]);
});
