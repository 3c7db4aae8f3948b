// What fails in one place stays there, is told to who has to know, and stops nothing else.

import { readdirSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { type Clock, systemClock } from "@tidemark/clock";
import { StatusCode } from "@tidemark/topic/internal";
import { expect, test, vi } from "vitest";
import { TopicServerError } from "../src/index.ts";
import { memoryFiles, type TopicStore } from "../src/internal.ts";
import type { LogFile, LogFiles } from "../src/storage/log-files.ts";
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

const path = "/local/t";
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
  const server = await openTestServer({ dataDir, maintenanceIntervalMs: never });
  const client = rawClient(server);
  await client.createTopic(path);
  const { stream } = await openWrite(client, path);
  await write(stream, [message(1)]);
  vi.spyOn((server.store as TopicStore).catalog, "checkpoint").mockImplementation(() => {
    throw full();
  });
  await server.close();
  const again = await openTestServer({ dataDir });
  const { init } = await openWrite(rawClient(again), path);
  expect(init.lastSeqNo).toBe(1n);
});
