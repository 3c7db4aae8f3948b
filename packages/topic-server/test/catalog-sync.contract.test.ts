// What cannot be taken back waits until the catalogue is on the disk, and nobody else waits with it.

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { StatusCode } from "@tidemark/topic/internal";
import { expect, onTestFinished, test, vi } from "vitest";
import { TopicServerError } from "../src/index.ts";
import { TopicStore } from "../src/internal.ts";
import { topicDefaults } from "../src/storage/definition.ts";
import {
  acceptPartition,
  expectFailure,
  message,
  openRead,
  openWrite,
  readMessages,
  temporaryFolder,
  write,
} from "./support.ts";
import { beginTransaction, openWithTopic, path } from "./support/set-up.ts";

const failure = () => new TopicServerError("DISK_FAILED", "Could not sync");

/** From now on a catalogue's disk takes as long as it is told to. */
function holdSyncs(store: TopicStore) {
  const syncs: PromiseWithResolvers<void>[] = [];
  let arrived = Promise.withResolvers<void>();
  const spy = vi.spyOn(store.catalog, "sync").mockImplementation(() => {
    const sync = Promise.withResolvers<void>();
    syncs.push(sync);
    arrived.resolve();
    return sync.promise;
  });
  onTestFinished(() => spy.mockRestore());
  return {
    /** The disk is asked. */
    async asked(): Promise<PromiseWithResolvers<void>> {
      if (syncs.length === 0) await arrived.promise;
      arrived = Promise.withResolvers();
      return syncs.shift() as PromiseWithResolvers<void>;
    },
    release: () => spy.mockRestore(),
  };
}

async function openStore(dataDir: string): Promise<TopicStore> {
  const store = await TopicStore.open({ dataDir, segmentBytes: 4096, maintenanceIntervalMs: 3_600_000 });
  onTestFinished(() => store.close());
  return store;
}

const definition = { ...topicDefaults, path };

/** A transaction with one message, about to be committed. */
async function startTransaction() {
  const { store, client } = await openWithTopic({ dataDir: temporaryFolder() });
  const { tx, commit } = await beginTransaction(client);
  const { stream } = await openWrite(client, path, "p");
  await write(stream, [message(1)]);
  await write(stream, [message(2)], tx);
  const { stream: other } = await openWrite(client, path, "other");
  const end = () => store.topic(path)?.partitions[0]?.log.endOffset;
  return { client, store, stream, other, commit, end };
}

test("X5: nothing of a transaction is written before its decision is on the disk, and nothing overtakes it", async () => {
  const { client, store, other, commit, end } = await startTransaction();
  const syncs = holdSyncs(store);
  const committed = commit();
  const sync = await syncs.asked();
  const written = write(other, [message(1, "behind")]);
  // Others are served meanwhile.
  await client.describe(path);
  expect(end()).toBe(1);
  sync.resolve();
  expect(await committed).toBe(StatusCode.SUCCESS);
  expect(await written).toEqual([2]);
  const { stream: reader } = await openRead(client, path);
  await acceptPartition(reader);
  expect((await readMessages(reader, 3)).map(({ text }) => text)).toEqual(["m1", "m2", "behind"]);
});

test("X5: a disk that fails leaves a transaction undetermined, and it appears as a whole once the disk is well", async () => {
  const { client, store, other, commit, end } = await startTransaction();
  const syncs = holdSyncs(store);
  const committed = commit();
  const sync = await syncs.asked();
  other.send({ clientMessage: { case: "writeRequest", value: { codec: 1, messages: [message(1)] } } });
  await client.describe(path);
  sync.reject(failure());
  expect(await committed).toBe(StatusCode.UNDETERMINED);
  expect(end()).toBe(1);
  syncs.release();
  await store.maintain();
  expect(end()).toBe(2);
});

test("a topic is there once the disk has it, and not at all where it failed", async () => {
  const store = await openStore(temporaryFolder());
  const syncs = holdSyncs(store);
  const failed = store.createTopic(definition);
  (await syncs.asked()).reject(failure());
  await expect(failed).rejects.toMatchObject({ code: "DISK_FAILED" });
  const created = store.createTopic(definition);
  const sync = await syncs.asked();
  expect(store.topic(path)).toBeUndefined();
  sync.resolve();
  expect(await created).toBe(store.topic(path));
});

test("the files of a dropped topic, and of what retention takes, stay until the disk has it that they are gone", async () => {
  const dataDir = temporaryFolder();
  const store = await openStore(dataDir);
  const topic = await store.createTopic({ ...definition, retentionBytes: 1 });
  const log = topic?.partitions[0]?.log;
  if (topic === undefined || log === undefined) throw new Error("no topic");
  const none = new Uint8Array(0);
  const numbers = { count: 1, skip: 0, codec: 1, firstSeqNo: 1n, lastSeqNo: 1n, txId: 0 };
  const head = { ...numbers, writtenAtMs: store.clock.now(), producer: none, meta: none };
  for (let n = 0; n < 3; n++) {
    log.append(head, new Uint8Array(5000), { onStored() {}, onLost() {} });
    await log.flush();
  }
  const folder = join(dataDir, "topics", String(topic.id));
  const files = () => readdirSync(join(folder, "0")).length;
  const syncs = holdSyncs(store);
  expect(files()).toBe(3);
  // Two at once, as a timer and a call can be.
  const retained = [store.maintain(), store.maintain()];
  const held = [await syncs.asked(), await syncs.asked()];
  expect([files(), log.startOffset]).toEqual([3, 0]);
  for (const sync of held) sync.resolve();
  await Promise.all(retained);
  expect([files(), log.startOffset, log.endOffset]).toEqual([1, 2, 3]);

  const dropped = store.dropTopic(topic);
  const sync = await syncs.asked();
  expect([store.topic(path), existsSync(folder)]).toEqual([undefined, true]);
  sync.resolve();
  await dropped;
  expect(existsSync(folder)).toBe(false);
});

test("a partition whose split cannot be written down stays open for writing", async () => {
  const store = await openStore(temporaryFolder());
  const topic = await store.createTopic(definition);
  if (topic === undefined) throw new Error("no topic");
  const spy = vi.spyOn(store.catalog, "savePartitions").mockImplementation(() => {
    throw failure();
  });
  await expect(store.splitPartition(topic, 0)).rejects.toMatchObject({ code: "DISK_FAILED" });
  spy.mockRestore();
  expect(topic.partitions.map(({ definition: { isActive } }) => isActive)).toEqual([true]);
  expect(await store.splitPartition(topic, 0)).toBe(true);
});

test("while a partition is split its keys are nobody else's: its producers are refused, and find its children", async () => {
  const settings = { partitioningSettings: { minActivePartitions: 2n } };
  const { store, client } = await openWithTopic({ dataDir: temporaryFolder() }, settings);
  const { stream, init } = await openWrite(client, path, "p");
  await write(stream, [message(1)]);
  const topic = store.topic(path);
  if (topic === undefined) throw new Error("no topic");
  const syncs = holdSyncs(store);
  const splitting = store.splitPartition(topic, Number(init.partitionId));
  const sync = await syncs.asked();
  const refused = client.write();
  refused.send({ clientMessage: { case: "initRequest", value: { path, producerId: "p" } } });
  expect(await expectFailure(refused)).toBe("OVERLOADED");
  syncs.release();
  sync.resolve();
  expect(await splitting).toBe(true);
  const { init: again } = await openWrite(client, path, "p");
  expect([
    again.lastSeqNo,
    topic.isHeir(Number(init.partitionId), topic.partitions[Number(again.partitionId)] as never),
  ]).toEqual([1n, true]);
});
