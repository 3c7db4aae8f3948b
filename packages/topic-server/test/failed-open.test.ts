import { expect, test } from "vitest";
import { topicAdminWire } from "@tidemark/topic/internal";
import { TopicStore } from "../src/internal.ts";
import type { LogFile, LogFiles } from "../src/storage/log-files.ts";
import { memoryFiles } from "../src/storage/memory-files.ts";
import { message, openTestServer, openWrite, rawClient, temporaryFolder, write } from "./support.ts";

/** Files in memory that know which of them are open, and whose syncs can be made to fail. */
function countedFiles() {
  const memory = memoryFiles();
  const open: string[] = [];
  const it = {
    open,
    failsToSync: "",
    files: {
      ...memory,
      async open(path: string, isNew: boolean) {
        const file = await memory.open(path, isNew);
        open.push(path);
        const counted: LogFile = {
          size: () => file.size(),
          write: (pieces, position) => file.write(pieces, position),
          writeThrough: (pieces, position) => file.writeThrough(pieces, position),
          read: (target, position) => file.read(target, position),
          truncate: (size) => file.truncate(size),
          async sync() {
            if (it.failsToSync === path) throw new Error("the disk fails");
            await file.sync();
          },
          async close() {
            open.splice(open.indexOf(path), 1);
            await file.close();
          },
        };
        return counted;
      },
    } satisfies LogFiles,
  };
  return it;
}

/** A topic of two partitions, each with a segment that is full and one that takes more. */
async function fill(files: LogFiles, dataDir: string): Promise<void> {
  const server = await openTestServer({ dataDir, files, segmentBytes: 4096 });
  const client = rawClient(server);
  const partitioningSettings = { minActivePartitions: 2n } satisfies Partial<topicAdminWire.PartitioningSettings>;
  await client.createTopic("/local/t", { partitioningSettings });
  for (const partition of [0, 1]) {
    const { stream } = await openWrite(client, "/local/t", `p${partition}`, partition);
    for (const seqNo of [1, 2]) await write(stream, [message(seqNo, new Uint8Array(5000))]);
  }
  await server.close();
}

test.each([
  ["a full segment was cut short", "0000000000000000.log", "CORRUPT"],
  ["the last segment was cut short", "0000000000000001.log", "CORRUPT"],
  ["the last segment cannot be synced", "0000000000000001.log", "the disk fails"],
])("a store that cannot be opened, because %s, leaves no file open", async (why, name, error) => {
  const dataDir = temporaryFolder();
  const counted = countedFiles();
  const { files, open } = counted;
  await fill(files, dataDir);
  expect(open).toEqual([]);
  const path = `1/1/${name}`;
  if (error === "CORRUPT") {
    const file = await files.open(path, false);
    await file.truncate(100);
    await file.close();
  } else counted.failsToSync = path;
  await expect(TopicStore.open({ dataDir, files }), why).rejects.toThrow(error);
  expect(open).toEqual([]);
});
