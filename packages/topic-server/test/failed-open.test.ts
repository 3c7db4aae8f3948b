import { expect, test } from "vitest";
import { TopicStore } from "../src/internal.ts";
import type { LogFiles } from "../src/storage/log-files.ts";
import { message, openWrite, temporaryFolder, write } from "./support.ts";
import { memoryFilesWith, openWithTopic, path } from "./support/set-up.ts";

/** Files in memory that know which of them are open, and whose syncs can be made to fail. */
function countedFiles() {
  const open: string[] = [];
  const it = {
    open,
    failsToSync: "",
    files: memoryFilesWith((file, path) => {
      open.push(path);
      return {
        async sync() {
          if (it.failsToSync === path) throw new Error("the disk fails");
          await file.sync();
        },
        async close() {
          open.splice(open.indexOf(path), 1);
          await file.close();
        },
      };
    }),
  };
  return it;
}

/** A topic of two partitions, each with a segment that is full and one that takes more. */
async function fill(files: LogFiles, dataDir: string): Promise<void> {
  const settings = { partitioningSettings: { minActivePartitions: 2n } };
  const { server, client } = await openWithTopic({ dataDir, files, segmentBytes: 4096 }, settings);
  for (const partition of [0, 1]) {
    const { stream } = await openWrite(client, path, `p${partition}`, partition);
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
  const damaged = `1/1/${name}`;
  if (error === "CORRUPT") {
    const file = await files.open(damaged, false);
    await file.truncate(100);
    await file.close();
  } else counted.failsToSync = damaged;
  await expect(TopicStore.open({ dataDir, files }), why).rejects.toThrow(error);
  expect(open).toEqual([]);
});
