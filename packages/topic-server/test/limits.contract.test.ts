import { Code } from "@connectrpc/connect";
import { durationFromMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { systemClock } from "@tidemark/clock";
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
const kilobytes = (seqNo: number) => message(seqNo, new Uint8Array(5000));

/** The system's clock, set forward by hand. */
function shiftedClock() {
  let shiftMs = 0;
  return {
    clock: { ...bound(), now: () => systemClock.now() + shiftMs },
    forward: (ms: number) => void (shiftMs += ms),
  };
}

function bound() {
  return {
    monotonic: () => systemClock.monotonic(),
    setTimer: systemClock.setTimer.bind(systemClock),
    setImmediate: systemClock.setImmediate.bind(systemClock),
    sleep: systemClock.sleep.bind(systemClock),
  };
}

test("X14: retention overtakes a reader: it goes on behind the gap and commits across it", async () => {
  const { clock, forward } = shiftedClock();
  const server = await openTestServer({ clock, segmentBytes: 4096, tailCacheBytes: 0 });
  const client = rawClient(server);
  await client.createTopic(path, { retentionPeriod: durationFromMs(60_000) });
  const { stream: writer } = await openWrite(client, path);
  for (const seqNo of [1, 2, 3]) await write(writer, [kilobytes(seqNo)]);
  const { stream } = await openRead(client, path, { credit: 100 });
  const part = await acceptPartition(stream);
  expect((await readMessages(stream, 1))[0]?.offset).toBe(0);
  forward(120_000);
  await write(writer, [kilobytes(4)]);
  await server.store.maintain();
  stream.send({ clientMessage: { case: "readRequest", value: { bytesSize: 100_000n } } });
  expect((await readMessages(stream, 1))[0]?.offset).toBe(3);
  void commit(stream, part.id, 0, 4);
  expect((await expectRead(stream, "commitOffsetResponse")).partitionsCommittedOffsets[0]?.committedOffset).toBe(4n);
});

test("an important consumer holds retention until it has committed", async () => {
  const { clock, forward } = shiftedClock();
  const server = await openTestServer({ clock, segmentBytes: 4096 });
  const client = rawClient(server);
  const consumers = [{ name: "c", important: true }];
  await client.createTopic(path, { retentionPeriod: durationFromMs(60_000), consumers });
  const { stream: writer } = await openWrite(client, path);
  for (const seqNo of [1, 2, 3]) await write(writer, [kilobytes(seqNo)]);
  forward(120_000);
  const start = async () => {
    await server.store.maintain();
    return (await client.describe(path)).partitions[0]?.partitionStats?.partitionOffsets?.start;
  };
  expect(await start()).toBe(0n);
  await client.topics.commitOffset({ path, partitionId: 0n, consumer: "c", offset: 2n });
  expect(await start()).toBe(2n);
});

test("a consumer with an availability period holds retention for as long as that, and no longer", async () => {
  const { clock, forward } = shiftedClock();
  const server = await openTestServer({ clock, segmentBytes: 4096 });
  const client = rawClient(server);
  const consumers = [{ name: "c", availabilityPeriod: durationFromMs(3_600_000) }, { name: "d" }];
  const created = await client.createTopic(path, { retentionPeriod: durationFromMs(60_000), consumers } as never);
  expect(created).toBe("SUCCESS");
  const { stream: writer } = await openWrite(client, path);
  for (const seqNo of [1, 2, 3, 4, 5, 6]) await write(writer, [kilobytes(seqNo)]);
  const start = async () => {
    await server.store.maintain();
    return (await client.describe(path)).partitions[0]?.partitionStats?.partitionOffsets?.start;
  };
  forward(120_000);
  // Long after the topic's own period; that the other consumer has read nothing does not matter.
  expect(await start()).toBe(0n);
  await client.topics.commitOffset({ path, partitionId: 0n, consumer: "c", offset: 2n });
  expect(await start()).toBe(2n);
  forward(3_600_000);
  expect(await start()).toBe(6n);

  for (const seqNo of [7, 8, 9]) await write(writer, [kilobytes(seqNo)]);
  forward(120_000);
  expect(await start()).toBe(6n);
  // Without it the topic's period is all there is.
  const alterConsumers = [{ name: "c", availabilityPeriodAction: { case: "resetAvailabilityPeriod", value: {} } }];
  await client.topics.alterTopic({ path, alterConsumers } as never);
  expect(await start()).toBe(9n);
});

test("max_lag and read_from begin at the first message that is new enough", async () => {
  const { clock, forward } = shiftedClock();
  const client = rawClient(await openTestServer({ clock }));
  await client.createTopic(path);
  const { stream: writer } = await openWrite(client, path);
  await write(writer, [message(1)]);
  forward(3_600_000);
  await write(writer, [message(2)]);
  const since = timestampFromMs(clock.now() - 60_000);
  for (const settings of [{ maxLag: durationFromMs(60_000) }, { readFrom: since }]) {
    const stream = client.read();
    const value = { topicsReadSettings: [{ path, partitionIds: [0n], ...settings }], consumer: "" };
    stream.send({ clientMessage: { case: "initRequest", value } });
    await expectRead(stream, "initResponse");
    stream.send({ clientMessage: { case: "readRequest", value: { bytesSize: 1000n } } });
    await acceptPartition(stream);
    expect((await readMessages(stream, 1))[0]?.offset).toBe(1);
  }
});

test("a write beyond the quota is acknowledged with its wait, and the next one waits for it", async () => {
  const waits: number[] = [];
  // Nothing passes between the two, however slow the machine is.
  const clock = {
    ...bound(),
    monotonic: () => 1_000_000,
    now: () => systemClock.now(),
    sleep: async (ms: number) => void waits.push(ms),
  };
  const client = rawClient(await openTestServer({ clock }));
  const speed = { partitionWriteSpeedBytesPerSecond: 1000n, partitionWriteBurstBytes: 1000n };
  await client.createTopic(path, speed);
  const { stream } = await openWrite(client, path);
  expect(await write(stream, [kilobytes(1)])).toEqual([0]);
  expect(await write(stream, [message(2)])).toEqual([1]);
  expect(waits[0]).toBeGreaterThan(4000);
  expect(waits[0]).toBeLessThan(4200);
});

test("X17: a token is updated on open streams, and answered also when it is the same; a bad one ends them", async () => {
  const users = [{ name: "u", tokens: ["one", "two"], rights: "all" as const }];
  const client = rawClient(await openTestServer({ auth: { users } }), { "x-ydb-auth-ticket": "one" });
  await client.createTopic(path);
  const { stream: writer } = await openWrite(client, path);
  const { stream: reader } = await openRead(client, path);
  await acceptPartition(reader);
  for (const token of ["one", "two", "two"]) {
    writer.send({ clientMessage: { case: "updateTokenRequest", value: { token } } });
    expect((await writer.next()).serverMessage.case).toBe("updateTokenResponse");
    reader.send({ clientMessage: { case: "updateTokenRequest", value: { token } } });
    await expectRead(reader, "updateTokenResponse");
  }
  writer.send({ clientMessage: { case: "updateTokenRequest", value: { token: "three" } } });
  await expect(writer.next()).rejects.toMatchObject({ code: Code.Unauthenticated });
  reader.send({ clientMessage: { case: "updateTokenRequest", value: { token: "three" } } });
  await expect(reader.next()).rejects.toMatchObject({ code: Code.Unauthenticated });
});

test("partition_with_generation writes to just that partition", async () => {
  const client = rawClient(await openTestServer());
  await client.createTopic(path, { partitioningSettings: { minActivePartitions: 3n } });
  const generation = (await client.describe(path)).partitions[2]?.partitionLocation?.generation ?? 0n;
  const stream = client.write();
  const partitioning = { case: "partitionWithGeneration", value: { partitionId: 2n, generation } } as const;
  stream.send({ clientMessage: { case: "initRequest", value: { path, producerId: "p", partitioning } } });
  const { serverMessage, status } = await stream.next();
  expect(status).toBe(StatusCode.SUCCESS);
  expect(serverMessage.case === "initResponse" && serverMessage.value.partitionId).toBe(2n);
  expect(await write(stream, [message(1)])).toEqual([0]);
});
