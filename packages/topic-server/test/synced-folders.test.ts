import { readlinkSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { message, openTestServer, openWrite, rawClient, temporaryFolder, write } from "./support.ts";

/** Which folders and files are synced from now on, as the system names them. */
async function watchSyncs(folder: string): Promise<string[]> {
  const synced: string[] = [];
  const handle = await open(folder, "r");
  const prototype = Object.getPrototypeOf(handle) as FileHandle;
  await handle.close();
  const { sync } = prototype;
  const spy = vi.spyOn(prototype, "sync").mockImplementation(async function (this: FileHandle) {
    await sync.call(this);
    synced.push(readlinkSync(`/proc/self/fd/${this.fd}`));
  });
  onTestFinished(() => spy.mockRestore());
  return synced;
}

test.runIf(process.platform === "linux")("a power cut takes no folder that something acknowledged is in", async () => {
  const parent = temporaryFolder();
  const synced = await watchSyncs(parent);
  const dataDir = join(parent, "a", "data");
  const server = await openTestServer({ dataDir });
  const client = rawClient(server);
  // With the catalogue's files in it.
  expect(synced).toEqual(expect.arrayContaining([parent, join(parent, "a"), dataDir]));
  await client.createTopic("/local/t");
  synced.length = 0;
  const { stream } = await openWrite(client, "/local/t");
  await write(stream, [message(1)]);
  const made = ["topics", "topics/1", "topics/1/0"].map((name) => join(dataDir, name));
  expect(synced).toEqual(expect.arrayContaining([dataDir, ...made]));
});
