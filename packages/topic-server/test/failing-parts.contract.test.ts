// What fails in one place stays there, is told to who has to know, and stops nothing else.

import { readdirSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "@tidemark/clock";
import { StatusCode } from "@tidemark/topic/internal";
import { expect, test, vi } from "vitest";
import { TopicServerError } from "../src/index.ts";
import { memoryFiles, type TopicStore } from "../src/internal.ts";
import type { LogFiles } from "../src/storage/log-files.ts";
import {
  acceptPartition,
  expectFailure,
  message,
  openRead,
  openTestServer,
  openWrite,
  rawClient,
  readMessages,
  temporaryFolder,
  write,
} from "./support.ts";
import { beginTransaction, memoryFilesWith, openWithTopic, path, systemClockWith } from "./support/set-up.ts";

const full = () => new TopicServerError("DISK_FULL", "no room", { retryable: true });
const never = 3_600_000;

test("a partition that cannot be maintained keeps no other one, and no chore, from its turn", async () => {
  const memory = memoryFiles();
  let isBroken = false;
  const files: LogFiles = {
    ...memory,
    async remove(name) {
      if (isBroken && name.startsWith("1/")) throw new TopicServerError("DISK_FAILED", "Could not remove");
      await memory.remove(name);
    },
  };
  const server = await openTestServer({ files, segmentBytes: 4096, maintenanceIntervalMs: never });
  const store = server.store as TopicStore;
  const client = rawClient(server);
  for (const name of ["/local/broken", "/local/well"]) {
    await client.createTopic(name, { consumers: [] });
    const { stream } = await openWrite(client, name);
    for (let seqNo = 1; seqNo <= 3; seqNo++) await write(stream, [message(seqNo, new Uint8Array(5000))]);
    const topic = store.topic(name);
    if (topic === undefined) throw new Error("no topic");
    await store.alterTopic(topic, { ...topic.definition, retentionBytes: 1 });
  }
  let chores = 0;
  store.addChore(() => {
    throw full();
  });
  store.addChore(() => void chores++);
  isBroken = true;
  await expect(store.maintain()).rejects.toMatchObject({ code: "DISK_FAILED" });
  expect(store.topic("/local/well")?.partitions[0]?.log.startOffset).toBe(2);
  expect(chores).toBe(1);
});

test("a server whose catalogue takes no more lets go of its data all the same, and loses nothing by it", async () => {
  const dataDir = temporaryFolder();
  const { server, store, client } = await openWithTopic({ dataDir });
  const { stream } = await openWrite(client, path);
  await write(stream, [message(1)]);
  vi.spyOn(store.catalog, "checkpoint").mockImplementation(() => {
    throw full();
  });
  await server.close();
  const again = await openTestServer({ dataDir });
  const { init } = await openWrite(rawClient(again), path);
  expect(init.lastSeqNo).toBe(1n);
});

test("a segment that cannot be closed for writing is no matter of those who write", async () => {
  const holding = Promise.withResolvers<void>();
  let cut: PromiseWithResolvers<void> | undefined;
  const files = memoryFilesWith((file) => ({
    async truncate(size) {
      if (cut === undefined) return file.truncate(size);
      holding.resolve();
      await cut.promise;
      return undefined;
    },
  }));
  let aheadMs = 0;
  const clock = systemClockWith({ now: () => systemClock.now() + aheadMs });
  const settings = { consumers: [], retentionPeriod: { seconds: 1n } };
  const { store, client } = await openWithTopic({ files, clock }, settings);
  const { stream } = await openWrite(client, path);
  expect(await write(stream, [message(1)])).toEqual([0]);
  aheadMs = 1_000_000;
  cut = Promise.withResolvers();
  const maintained = store.maintain();
  await holding.promise;
  // A duplicate has nothing to write, and waits for those before it.
  const again = write(stream, [message(1)]);
  await client.describe(path);
  cut.reject(full());
  cut = undefined;
  await expect(maintained).rejects.toMatchObject({ code: "DISK_FULL" });
  expect(await again).toEqual(["skipped"]);
  expect(await write(stream, [message(2)])).toEqual([1]);
});

test.each([0, 4000, 7000])(
  "a segment that somebody cut to %i bytes is damage that its reader is told of",
  async (bytes) => {
    const dataDir = temporaryFolder();
    const { client } = await openWithTopic({ dataDir, tailCacheBytes: 0 });
    const { stream } = await openWrite(client, path);
    for (let seqNo = 1; seqNo <= 2; seqNo++) await write(stream, [message(seqNo, new Uint8Array(5000))]);
    const folder = join(dataDir, "topics", "1", "0");
    truncateSync(join(folder, readdirSync(folder)[0] as string), bytes);
    const { stream: reader } = await openRead(client, path);
    await acceptPartition(reader);
    expect(await expectFailure(reader)).toBe("INTERNAL_ERROR");
  },
);

test("X5: a transaction that is in the logs is committed, also where the catalogue cannot forget it yet", async () => {
  const { store, client } = await openWithTopic({ dataDir: temporaryFolder() });
  const { tx, commit } = await beginTransaction(client);
  const { stream } = await openWrite(client, path);
  await write(stream, [message(1, "once")], tx);
  const spy = vi.spyOn(store.catalog, "deleteTxWrites").mockImplementation(() => {
    throw full();
  });
  expect(await commit()).toBe(StatusCode.SUCCESS);
  expect(store.catalog.txWrites()).toHaveLength(1);
  spy.mockRestore();
  await store.maintain();
  expect(store.catalog.txWrites()).toHaveLength(0);
  const { stream: reader } = await openRead(client, path);
  await acceptPartition(reader);
  expect((await readMessages(reader, 1)).map(({ text }) => text)).toEqual(["once"]);
  expect(store.topic(path)?.partitions[0]?.log.endOffset).toBe(1);
});

test("a writer that said its last word hears that the disk failed with it", async () => {
  const arrived = Promise.withResolvers<void>();
  let writing: PromiseWithResolvers<void> | undefined;
  const files = memoryFilesWith((file) => ({
    async writeThrough(pieces, position) {
      arrived.resolve();
      await writing?.promise;
      await file.writeThrough(pieces, position);
    },
  }));
  const { client } = await openWithTopic({ files });
  const { stream } = await openWrite(client, path);
  writing = Promise.withResolvers();
  stream.send({ clientMessage: { case: "writeRequest", value: { codec: 1, messages: [message(1)] } } }).end();
  await arrived.promise;
  // Over the same connection, so the end of the stream has come as well.
  await client.describe(path);
  writing.reject(full());
  expect(await expectFailure(stream)).toBe("OVERLOADED");
});
