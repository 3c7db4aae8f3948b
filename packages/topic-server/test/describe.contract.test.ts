import { durationMs, timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { type Clock, systemClock } from "@tidemark/clock";
import { StatusCode, topicAdminWire } from "@tidemark/topic/internal";
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
  unpack,
  write,
} from "./support.ts";

const path = "/local/t";
const start = 1_700_000_000_000;

/** Stands still unless it is moved. */
function standingClock() {
  let nowMs = start;
  const clock: Clock = {
    now: () => nowMs,
    monotonic: () => nowMs,
    setTimer: systemClock.setTimer.bind(systemClock),
    setImmediate: systemClock.setImmediate.bind(systemClock),
    sleep: systemClock.sleep.bind(systemClock),
  };
  return { clock, forward: (ms: number) => void (nowMs += ms), now: () => nowMs };
}

async function world(partitions = 1) {
  const time = standingClock();
  const server = await openTestServer({ clock: time.clock });
  const client = rawClient(server);
  await client.createTopic(path, { partitioningSettings: { minActivePartitions: BigInt(partitions) } });
  const consumer = async (include = true) => {
    const request = { path, consumer: "c", includeStats: include, includeLocation: include };
    const { operation } = await client.topics.describeConsumer(request);
    return unpack(topicAdminWire.DescribeConsumerResultSchema, operation);
  };
  const partition = async (partitionId: bigint, include = true) => {
    const request = { path, partitionId, includeStats: include, includeLocation: include };
    return (await client.topics.describePartition(request)).operation;
  };
  return { ...time, server, client, consumer, partition };
}

/** A kilobyte that says when it was made. */
const madeAt = (seqNo: number, ms: number): ReturnType<typeof message> =>
  Object.assign(message(seqNo, new Uint8Array(1000)), { createdAt: timestampFromMs(ms) });

const ms = (value: Parameters<typeof timestampMs>[0] | undefined) =>
  value === undefined ? undefined : timestampMs(value);
const lag = (value: Parameters<typeof durationMs>[0] | undefined) =>
  value === undefined ? undefined : durationMs(value);
const windows = (value: topicAdminWire.MultipleWindowsStat | undefined) =>
  [value?.perMinute, value?.perHour, value?.perDay].map(Number);

test("a partition is described alone, as it is within its topic", async () => {
  const { client, partition } = await world(2);
  const { stream } = await openWrite(client, path, "p", 1);
  await write(stream, [message(1)]);
  const described = unpack(topicAdminWire.DescribePartitionResultSchema, await partition(1n)).partition;
  expect(described).toMatchObject({ partitionId: 1n, active: true });
  expect(described?.partitionStats?.partitionOffsets).toMatchObject({ start: 0n, end: 1n });
  expect(described).toEqual((await client.describe(path)).partitions[1]);
  const bare = unpack(topicAdminWire.DescribePartitionResultSchema, await partition(1n, false)).partition;
  expect(bare?.partitionStats).toBeUndefined();
  expect(bare?.partitionLocation).toBeUndefined();
});

test("a partition or a topic that is not there is refused as YDB does", async () => {
  const { client, partition } = await world();
  expect((await partition(7n))?.status).toBe(StatusCode.BAD_REQUEST);
  const { operation } = await client.topics.describePartition({ path: "/local/no", partitionId: 0n });
  expect(operation?.status).toBe(StatusCode.SCHEME_ERROR);
});

test("who may only write describes a partition, for direct writing; who may nothing does not", async () => {
  const users = [
    { name: "w", tokens: ["wt"], rights: [{ topic: path, can: ["write"] as const }] },
    { name: "n", tokens: ["nt"], rights: [] },
    { name: "a", tokens: ["at"], rights: "all" as const },
  ];
  const server = await openTestServer({ auth: { users } });
  const client = rawClient(server, { "x-ydb-auth-ticket": "at" });
  await client.createTopic(path);
  const describe = async (token: string) => {
    const headers = { "x-ydb-auth-ticket": token };
    return (await client.topics.describePartition({ path, partitionId: 0n }, { headers })).operation?.status;
  };
  expect(await describe("wt")).toBe(StatusCode.SUCCESS);
  expect(await describe("nt")).toBe(StatusCode.UNAUTHORIZED);
});

test("statistics are there when they are asked for, and nothing is said of what never happened", async () => {
  const { client, consumer, now } = await world(2);
  const bare = unpack(
    topicAdminWire.DescribeTopicResultSchema,
    (await client.topics.describeTopic({ path })).operation,
  );
  expect(bare.topicStats).toBeUndefined();
  expect(bare.consumers[0]?.consumerStats).toBeUndefined();
  const [unread] = (await consumer(false)).partitions;
  expect([unread?.partitionStats, unread?.partitionConsumerStats, unread?.partitionLocation]).toEqual(
    Array.from({ length: 3 }, () => undefined),
  );

  const empty = await client.describe(path);
  expect(ms(empty.consumers[0]?.readFrom)).toBe(0);
  expect(ms(empty.topicStats?.minLastWriteTime)).toBe(0);
  expect(ms(empty.partitions[0]?.partitionStats?.lastWriteTime)).toBe(0);
  expect(ms(empty.consumers[0]?.consumerStats?.minPartitionsLastReadTime)).toBe(0);
  const nobody = (await consumer()).partitions[0]?.partitionConsumerStats;
  expect(ms(nobody?.lastReadTime)).toBe(0);
  expect(ms(nobody?.partitionReadSessionCreateTime)).toBe(0);
  expect(lag(nobody?.maxCommittedTimeLag)).toBe(0);

  // One that was never written says nothing of the other one.
  const { stream } = await openWrite(client, path, "p", 1);
  await write(stream, [message(1)]);
  const written = await client.describe(path);
  expect(ms(written.topicStats?.minLastWriteTime)).toBe(now());
  expect(ms(written.partitions[0]?.partitionStats?.lastWriteTime)).toBe(0);
  expect(ms(written.partitions[1]?.partitionStats?.lastWriteTime)).toBe(now());

  const readFrom = timestampFromMs(start);
  await client.topics.alterTopic({ path, alterConsumers: [{ name: "c", setReadFrom: readFrom }] });
  expect(ms((await client.describe(path)).consumers[0]?.readFrom)).toBe(start);
});

test("bytes and lags of what was written, for as long as they say", async () => {
  const { client, forward, now } = await world();
  const { stream } = await openWrite(client, path);
  const late = madeAt(1, start - 3000);
  await write(stream, [late]);
  const stats = async () => {
    const { partitions, topicStats } = await client.describe(path);
    const it = partitions[0]?.partitionStats;
    expect(windows(topicStats?.bytesWritten)).toEqual(windows(it?.bytesWritten));
    expect(lag(topicStats?.maxWriteTimeLag)).toBe(lag(it?.maxWriteTimeLag));
    return { windows: windows(it?.bytesWritten), lag: lag(it?.maxWriteTimeLag) };
  };
  const [bytes = 0] = (await stats()).windows;
  expect(bytes).toBeGreaterThanOrEqual(1000);
  expect(await stats()).toEqual({ windows: [bytes, bytes, bytes], lag: 3000 });
  // What was there already was not written again.
  await write(stream, [late]);
  expect((await stats()).windows).toEqual([bytes, bytes, bytes]);
  forward(61_000);
  expect(await stats()).toEqual({ windows: [0, bytes, bytes], lag: 0 });
  await write(stream, [madeAt(2, now())]);
  const [second = 0, both] = (await stats()).windows;
  expect(both).toBe(bytes + second);
  forward(3_660_000);
  expect((await stats()).windows).toEqual([0, 0, both]);
  forward(25 * 3_600_000);
  expect((await stats()).windows).toEqual([0, 0, 0]);
});

test("what a consumer reads: when, how much, how far behind, and who does it", async () => {
  const { client, consumer, forward, now } = await world();
  const { stream: writer } = await openWrite(client, path);
  await write(writer, [madeAt(1, start - 500)]);
  forward(2000);
  await write(writer, [message(2), message(3)]);
  forward(5000);
  const createdMs = now();
  const { stream, sessionId } = await openRead(client, path);
  const { id } = await acceptPartition(stream);
  await readMessages(stream, 3);
  const readMs = now();
  forward(1000);
  void commit(stream, id, 0, 1);
  await expectRead(stream, "commitOffsetResponse");
  const described = await consumer();
  const it = described.partitions[0]?.partitionConsumerStats;
  expect(it).toMatchObject({ lastReadOffset: 3n, committedOffset: 1n, readSessionId: sessionId, connectionNodeId: 1 });
  expect(ms(it?.partitionReadSessionCreateTime)).toBe(createdMs);
  expect(ms(it?.lastReadTime)).toBe(readMs);
  expect(lag(it?.maxReadTimeLag)).toBe(7000);
  expect(lag(it?.maxWriteTimeLag)).toBe(500);
  // The first message that is not committed was written so long ago.
  expect(lag(it?.maxCommittedTimeLag)).toBe(6000);
  const [bytes] = windows(it?.bytesRead);
  expect(bytes).toBeGreaterThanOrEqual(1000);

  const all = described.consumer?.consumerStats;
  expect(ms(all?.minPartitionsLastReadTime)).toBe(readMs);
  expect([all?.maxReadTimeLag, all?.maxWriteTimeLag, all?.maxCommittedTimeLag].map(lag)).toEqual([7000, 500, 6000]);
  expect(windows(all?.bytesRead)).toEqual([bytes, bytes, bytes]);
  expect((await client.describe(path)).consumers[0]?.consumerStats).toEqual(all);

  // Who has left is not there any more; what was read was.
  stream.abort();
  while ((await consumer()).partitions[0]?.partitionConsumerStats?.readSessionId !== "");
  const left = (await consumer()).partitions[0]?.partitionConsumerStats;
  expect(ms(left?.partitionReadSessionCreateTime)).toBe(0);
  expect(ms(left?.lastReadTime)).toBe(readMs);
  expect(windows(left?.bytesRead)).toEqual([bytes, bytes, bytes]);
});

test("the process that serves a topic can tell how it stands without the network", async () => {
  const { server, client, forward } = await world(2);
  const { stream } = await openWrite(client, path, "p", 0);
  await write(stream, [message(1), message(2), message(3)]);
  const { stream: reader } = await openRead(client, path, { partitionIds: [0] });
  const session = await acceptPartition(reader);
  await readMessages(reader, 3);
  await commit(reader, session.id, 0, 1);
  await expectRead(reader, "commitOffsetResponse");
  forward(5_000);
  expect(await server.report(path)).toEqual({
    path,
    partitions: [
      { id: 0, isActive: true, startOffset: 0, endOffset: 3, storedBytes: expect.any(Number), lastWriteAtMs: start },
      { id: 1, isActive: true, startOffset: 0, endOffset: 0, storedBytes: 0, lastWriteAtMs: undefined },
    ],
    consumers: [
      {
        name: "c",
        isImportant: false,
        progress: [
          { committedOffset: 1, lagMs: 5_000, readerName: "" },
          { committedOffset: 0, lagMs: 0, readerName: undefined },
        ],
      },
    ],
  });
  expect(await server.report("/local/no")).toBeUndefined();
});
