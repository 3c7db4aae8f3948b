import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { systemClock } from "@tidemark/clock";
import { topicAdminWire } from "@tidemark/topic/internal";
import { expect, test } from "vitest";
import { expectFailure, message, openTestServer, openWrite, rawClient, write } from "./support.ts";

const path = "/local/t";
/** What may be written to a partition in a second. */
const speed = 64 * 1024;
const { DISABLED, PAUSED, SCALE_UP, SCALE_UP_AND_DOWN } = topicAdminWire.AutoPartitioningStrategy;

/** A server whose time goes on when it is told, and looks at its partitions then. */
async function openWatched(
  strategy: topicAdminWire.AutoPartitioningStrategy,
  upPercent = 50,
  maxActivePartitions = 0,
  windowMs = 10_000,
) {
  let atMs = 0;
  const clock = {
    now: () => systemClock.now(),
    monotonic: () => atMs,
    setTimer: systemClock.setTimer.bind(systemClock),
    setImmediate: systemClock.setImmediate.bind(systemClock),
    sleep: systemClock.sleep.bind(systemClock),
  };
  const server = await openTestServer({ clock, maintenanceIntervalMs: 3_600_000, closeTimeoutMs: 100 });
  const client = rawClient(server);
  const partitionWriteSpeed = {
    stabilizationWindow: durationFromMs(windowMs),
    upUtilizationPercent: BigInt(upPercent),
  };
  const created = await client.createTopic(path, {
    partitioningSettings: {
      minActivePartitions: 1n,
      maxActivePartitions: BigInt(maxActivePartitions),
      autoPartitioningSettings: { strategy, partitionWriteSpeed },
    } as never,
    partitionWriteSpeedBytesPerSecond: BigInt(speed),
    partitionWriteBurstBytes: BigInt(1024 * speed),
  });
  expect(created).toBe("SUCCESS");
  let seqNo = 0;
  let opened = await openWrite(client, path);
  return {
    client,
    /** Writes so many bytes, half a second's at most in a message, then lets the time go on. */
    async pass(seconds: number, bytes: number) {
      for (let rest = bytes; rest > 0; rest -= speed / 2) {
        seqNo++;
        await write(opened.stream, [message(seqNo, new Uint8Array(Math.min(rest, speed / 2)))]);
      }
      for (let second = 0; second < seconds; second++) {
        atMs += 1000;
        await server.store.maintain();
      }
    },
    async reopen() {
      expect(await expectFailure(opened.stream)).toBe("OVERLOADED");
      opened = await openWrite(client, path);
      expect(opened.init.lastSeqNo).toBe(BigInt(seqNo));
    },
    active: async () => (await client.describe(path)).partitions.map(({ active }) => active),
  };
}

test("a partition is split once its speed over the window reaches the share, and its producer goes on in a child", async () => {
  const watched = await openWatched(SCALE_UP);
  await watched.pass(1, 0);
  // 40 % of what may be written, for longer than the window.
  for (let second = 0; second < 15; second++) await watched.pass(1, 0.4 * speed);
  expect(await watched.active()).toEqual([true]);
  for (let second = 0; second < 10; second++) {
    await watched.pass(1, 0.7 * speed);
    if ((await watched.active()).length > 1) break;
  }
  expect(await watched.active()).toEqual([false, true, true]);
  await watched.reopen();
  await watched.pass(1, 1000);
});

test("Go: what comes in bursts counts by its mean over the window", async () => {
  const watched = await openWatched(SCALE_UP_AND_DOWN, 2, 0, 2000);
  await watched.pass(2, 0);
  // Nothing for two seconds is nothing.
  await watched.pass(4, 1000);
  expect(await watched.active()).toEqual([true]);
  await watched.pass(2, speed);
  expect(await watched.active()).toEqual([false, true, true]);
});

test("what was written before anybody watched, or long ago, splits nothing", async () => {
  const watched = await openWatched(DISABLED);
  await watched.pass(10, 50 * speed);
  const become = (setStrategy: number) => {
    const alterPartitioningSettings = { alterAutoPartitioningSettings: { setStrategy } };
    return watched.client.topics.alterTopic({ path, alterPartitioningSettings } as never);
  };
  await become(SCALE_UP);
  await watched.pass(10, 0);
  expect(await watched.active()).toEqual([true]);
  await become(PAUSED);
  await watched.pass(10, 50 * speed);
  expect(await watched.active()).toEqual([true]);
  await become(SCALE_UP);
  await watched.pass(1, 0);
  await watched.pass(20, 0);
  expect(await watched.active()).toEqual([true]);
});

test("no partition is split above max_active_partitions", async () => {
  const watched = await openWatched(SCALE_UP, 50, 2);
  for (let round = 0; round < 3; round++) {
    await watched.pass(1, 0);
    await watched.pass(2, 20 * speed);
    if (round === 0) await watched.reopen();
  }
  expect(await watched.active()).toEqual([false, true, true]);
});
