import { create } from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { type Clock, systemClock } from "@tidemark/clock";
import { topicAdminWire } from "@tidemark/topic/internal";
import { expect, test } from "vitest";
import type { Partition } from "../src/storage/partition.ts";
import type { TopicStore } from "../src/storage/topic-store.ts";
import { heldFiles } from "./held-files.ts";
import { message, openTestServer, openWrite, rawClient, write, type WriteStream } from "./support.ts";

const path = "/local/t";
const slow = { partitionWriteSpeedBytesPerSecond: 1000n, partitionWriteBurstBytes: 1000n };
const kilobytes = (seqNo: number, count = 5) => message(seqNo, new Uint8Array(count * 1000));

interface Sleeper {
  readonly ms: number;
  wake(): void;
}

/** The system's clock, except that who sleeps for a quota sleeps until it is woken, and so much later it is then. */
function steppedClock() {
  let aheadMs = 0;
  const sleepers: Sleeper[] = [];
  let arrived: (() => void) | undefined;
  const clock: Clock = {
    now: () => systemClock.now(),
    monotonic: () => 1_000_000 + aheadMs,
    setTimer: systemClock.setTimer.bind(systemClock),
    setImmediate: systemClock.setImmediate.bind(systemClock),
    sleep: (ms, options) =>
      new Promise<void>((resolve, reject) => {
        const wake = () => {
          aheadMs += ms;
          resolve();
        };
        options?.signal?.addEventListener("abort", () => reject(options.signal?.reason as Error), { once: true });
        sleepers.push({ ms, wake });
        arrived?.();
      }),
  };
  return {
    clock,
    step: (ms: number) => void (aheadMs += ms),
    /** The next one that sleeps. */
    async sleeper(): Promise<Sleeper> {
      if (sleepers.length === 0) await new Promise<void>((resolve) => (arrived = resolve));
      return sleepers.shift() as Sleeper;
    },
  };
}

async function openTopic(clock: Clock, settings: Parameters<ReturnType<typeof rawClient>["createTopic"]>[1] = slow) {
  const client = rawClient(await openTestServer({ clock }));
  await client.createTopic(path, settings);
  return client;
}

function send(stream: WriteStream, messages: ReturnType<typeof message>[]): void {
  stream.send({ clientMessage: { case: "writeRequest", value: { messages, codec: 1 } } });
}

/** What the next acks say of the time that the write took, in milliseconds. */
async function times(stream: WriteStream) {
  const { serverMessage, issues } = await stream.next();
  if (serverMessage.case !== "writeResponse") throw new Error(`expected acks: ${issues[0]?.message}`);
  const { writeStatistics: it } = serverMessage.value;
  const ms = (value: Parameters<typeof durationMs>[0] | undefined) => (value === undefined ? -1 : durationMs(value));
  return {
    persisting: ms(it?.persistingTime),
    queue: [ms(it?.minQueueWaitTime), ms(it?.maxQueueWaitTime)],
    quota: [ms(it?.partitionQuotaWaitTime), ms(it?.topicQuotaWaitTime)],
  };
}

test("the quota is the partition's: what one session takes another waits for, and is told how long", async () => {
  const { clock, sleeper } = steppedClock();
  const client = await openTopic(clock, { ...slow, partitioningSettings: { minActivePartitions: 2n } });
  const { stream: one } = await openWrite(client, path, "one", 0);
  const { stream: two } = await openWrite(client, path, "two", 0);
  const { stream: other } = await openWrite(client, path, "other", 1);
  send(one, [kilobytes(1)]);
  expect((await times(one)).quota).toEqual([0, 0]);
  send(two, [message(1)]);
  const { ms, wake } = await sleeper();
  expect(ms).toBeGreaterThan(4000);
  expect(ms).toBeLessThan(4200);
  // Its neighbour has a quota of its own.
  send(other, [kilobytes(1)]);
  expect((await times(other)).quota).toEqual([0, 0]);
  // What waits is not stored, and neither is what follows it.
  send(two, [message(2)]);
  const end = async () => (await client.describe(path)).partitions[0]?.partitionStats?.partitionOffsets?.end;
  expect(await end()).toBe(1n);
  wake();
  const told = await times(two);
  expect(told.quota[0]).toBeCloseTo(ms, 2);
  // What was written before takes nothing from it.
  send(one, [kilobytes(1)]);
  expect((await times(one)).quota).toEqual([0, 0]);
  const second = await sleeper();
  expect(second.ms).toBeLessThan(100);
  second.wake();
  expect((await times(two)).quota[0]).toBeCloseTo(second.ms, 2);
  expect(await end()).toBe(3n);
});

test("who waits goes on when the topic gets faster, and gives back what it took when it goes away", async () => {
  const { clock, sleeper } = steppedClock();
  const server = await openTestServer({ clock });
  const client = rawClient(server);
  await client.createTopic(path, slow);
  const { stream: one } = await openWrite(client, path, "one");
  send(one, [kilobytes(1)]);
  await times(one);
  const { stream: gone } = await openWrite(client, path, "gone");
  send(gone, [kilobytes(1, 50)]);
  expect((await sleeper()).ms).toBeLessThan(4200);
  gone.abort();
  while (server.openStreams > 1) await client.describe(path);
  const { stream: two } = await openWrite(client, path, "two");
  send(two, [message(1)]);
  expect((await sleeper()).ms).toBeLessThan(4200);
  const request = create(topicAdminWire.AlterTopicRequestSchema, {
    path,
    setPartitionWriteSpeedBytesPerSecond: 0n,
  });
  await client.topics.alterTopic(request);
  expect((await times(two)).quota[0]).toBe(0);
});

test("acks say how long a write waited for others, and how long the disk took", async () => {
  const { clock, step } = steppedClock();
  const disk = heldFiles();
  const server = await openTestServer({ clock, files: disk.files });
  const client = rawClient(server);
  await client.createTopic(path);
  const partition = (server.store as TopicStore).topic(path)?.partitions[0] as Partition;
  const { stream: one } = await openWrite(client, path, "one");
  const { stream: two } = await openWrite(client, path, "two");
  await write(one, [message(1)]);
  disk.isHolding = true;
  send(one, [message(2)]);
  const release = await disk.held();
  step(7);
  send(two, [message(1), message(2)]);
  while (partition.log.nextOffset < 4) await client.describe(path);
  step(5);
  release();
  expect(await times(one)).toEqual({ persisting: 12, queue: [0, 0], quota: [0, 0] });
  const releaseTwo = await disk.held();
  step(3);
  releaseTwo();
  expect(await times(two)).toEqual({ persisting: 3, queue: [5, 5], quota: [0, 0] });
  disk.isHolding = false;
  // What was there already took nobody any time.
  send(one, [message(2)]);
  expect(await times(one)).toEqual({ persisting: 0, queue: [0, 0], quota: [0, 0] });
});
