import { create, toBinary } from "@bufbuild/protobuf";
import { topicWire } from "@tidemark/topic/internal";
import { type Clock, seededRng, systemClock } from "@tidemark/clock";
import { createSimulation } from "@tidemark/clock/testing";
import { expect, test } from "vitest";
import { PartitionLog, TopicStore } from "../src/internal.ts";
import { TailBudget } from "../src/storage/tail-cache.ts";
import { CrashingFiles } from "./crashing-files.ts";
import {
  acceptPartition,
  message,
  openRead,
  openTestServer,
  openWrite,
  rawClient,
  readMessages,
  temporaryFolder,
  write,
} from "./support.ts";

const path = "/local/t";

test("a transaction that was decided before a crash, and not appended, appears once after it", async () => {
  const dataDir = temporaryFolder();
  {
    const server = await openTestServer({ dataDir, closeTimeoutMs: 50 });
    const client = rawClient(server);
    await client.createTopic(path);
    const { stream } = await openWrite(client, path);
    await write(stream, [message(1)]);
    await server.close();
  }
  {
    await using store = await TopicStore.open({ dataDir });
    const topicId = store.topic(path)?.id ?? 0;
    const value = { messages: [message(2), message(3)], codec: 1 };
    const sent = create(topicWire.StreamWriteMessage_FromClientSchema, {
      clientMessage: { case: "writeRequest", value },
    });
    const frame = toBinary(topicWire.StreamWriteMessage_FromClientSchema, sent);
    const decided = { topicId, partition: 0, fromOffset: 1, producer: "p", meta: new Uint8Array(0), frame };
    store.catalog.commitTransaction([{ topicId, consumer: "c", partition: 0, offset: 1 }], [decided]);
  }
  for (let start = 0; start < 2; start++) {
    const server = await openTestServer({ dataDir, closeTimeoutMs: 50 });
    const client = rawClient(server);
    const { stream: reader } = await openRead(client, path);
    const part = await acceptPartition(reader);
    expect(part.committedOffset).toBe(1n);
    expect(part.partitionOffsets?.end).toBe(3n);
    expect((await readMessages(reader, 2)).map(({ text }) => text)).toEqual(["m2", "m3"]);
    expect((await openWrite(client, path)).init.lastSeqNo).toBe(3n);
    await server.close();
  }
});

test("a partition's size limit gives up its oldest segments, and its newest messages stay", async () => {
  const server = await openTestServer({ segmentBytes: 300_000 });
  const client = rawClient(server);
  await client.createTopic(path, { retentionStorageMb: 1n });
  const { stream: writer } = await openWrite(client, path);
  for (let seqNo = 1; seqNo <= 8; seqNo++) await write(writer, [message(seqNo, new Uint8Array(300_000))]);
  await server.store.maintain();
  const offsets = (await client.describe(path)).partitions[0]?.partitionStats?.partitionOffsets;
  // What is kept is the limit and less than one segment more.
  expect(offsets).toMatchObject({ start: 4n, end: 8n });
});

/** A log that syncs every 250 ms. */
const openLog = (files: CrashingFiles, clock: Clock) =>
  PartitionLog.open({
    files,
    folder: "1/0",
    clock,
    sync: { intervalMs: 250 },
    segmentBytes: 65_536,
    tail: new TailBudget(0),
    sealed: [],
    startOffset: 0,
    checkpointOffset: 0,
    onRecovered: () => {},
    onSealed: () => {},
    onTrim: async () => {},
    onVisible: () => {},
  });

/** A disk that kept nothing of what it was not told to sync. */
const losing = () => Object.assign(seededRng(1), { float: () => 0 });

const none = new Uint8Array(0);
const seqNos = { firstSeqNo: 1n, lastSeqNo: 1n };
const head = { count: 1, skip: 0, codec: 1, ...seqNos, writtenAtMs: 1, txId: 0, producer: none, meta: none };

test("with sync: { intervalMs } a power failure takes back what the interval has not synced, and nothing before", async () => {
  const intervals: [number, () => void][] = [];
  const clock = {
    now: () => systemClock.now(),
    monotonic: () => systemClock.monotonic(),
    setImmediate: systemClock.setImmediate.bind(systemClock),
    sleep: systemClock.sleep.bind(systemClock),
    setTimer(delayMs: number, callback: () => void) {
      intervals.push([delayMs, callback]);
      const timer = { cancel: () => {}, ref: () => timer, unref: () => timer };
      return timer;
    },
  };
  const files = new CrashingFiles();
  const endAfterCrash = async () => (await openLog(files.crash(losing()), clock)).endOffset;
  const log = await openLog(files, clock);
  const acknowledged: number[] = [];
  const owner = { onStored: () => void acknowledged.push(log.endOffset), onLost: () => {} };
  log.append(head, new Uint8Array(100), owner);
  await log.flush();
  expect(acknowledged).toEqual([1]);
  expect(await endAfterCrash()).toBe(0);
  expect(intervals.map(([delayMs]) => delayMs)).toEqual([250]);
  intervals[0]?.[1]();
  expect(await endAfterCrash()).toBe(1);
  log.append(head, new Uint8Array(100), owner);
  await log.flush();
  expect(acknowledged).toEqual([1, 2]);
  expect(await endAfterCrash()).toBe(1);
});

test("what a start finds after the process was killed is on the disk from then on, also where it never was synced", async () => {
  const { clock } = createSimulation({ seed: 1 });
  const files = new CrashingFiles();
  const log = await openLog(files, clock);
  log.append(head, new Uint8Array(100), { onStored() {}, onLost() {} });
  await log.flush();
  expect((await openLog(files.crash(losing()), clock)).endOffset).toBe(0);
  // The system lives, and has all that was written.
  expect((await openLog(files, clock)).endOffset).toBe(1);
  expect((await openLog(files.crash(losing()), clock)).endOffset).toBe(1);
});

test("with sync: { intervalMs } a log that is closed leaves no timer behind, also where something waited to be written", async () => {
  const simulation = createSimulation({ seed: 1 });
  const log = await openLog(new CrashingFiles(), simulation.clock);
  log.append(head, new Uint8Array(100), { onStored() {}, onLost() {} });
  expect(await log.close()).toBe(true);
  await simulation.settle();
  expect(simulation.pending()).toEqual([]);
});
