// A disk that could not sync may have let go of what it had, and says of the next sync that it is well. So after a failed
// one nothing that needs it is acknowledged.

import { systemClock } from "@tidemark/clock";
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { expect, onTestFinished, test } from "vitest";
import { TopicServerError } from "../src/index.ts";
import {
  acceptPartition,
  commit,
  expectFailure,
  expectRead,
  message,
  openRead,
  openTestServer,
  openWrite,
  rawClient,
  readMessages,
  temporaryFolder,
  write,
} from "./support.ts";
import { memoryFilesWith, openWithTopic, path, systemClockWith } from "./support/set-up.ts";

/** From now on the kernel says once that a catalogue's log cannot be synced. @returns how often it still has to. */
function failOnce(): () => number {
  const { fdatasync } = fs;
  let times = 1;
  const failing = (fd: number, callback: fs.NoParamCallback) => {
    if (times > 0 && fs.readlinkSync(`/proc/self/fd/${fd}`).endsWith("catalog.db-wal")) {
      times--;
      callback(Object.assign(new Error("i/o error"), { code: "EIO" }));
    } else fdatasync(fd, callback);
  };
  const set = (each: typeof fdatasync) => {
    fs.fdatasync = each;
    syncBuiltinESMExports();
  };
  set(failing as typeof fdatasync);
  onTestFinished(() => set(fdatasync));
  return () => times;
}

test("after a failed sync of the catalogue nothing in it is acknowledged, until the server is started anew", async ({
  skip,
}) => {
  skip(process.platform !== "linux", "which file a descriptor is of is looked up in /proc");
  const dataDir = temporaryFolder();
  const { server, client } = await openWithTopic({ dataDir });
  const { stream } = await openWrite(client, path);
  await write(stream, [message(1), message(2), message(3)]);
  const read = async (count: number, from = client) => {
    const { stream: reader } = await openRead(from, path);
    const { id, committedOffset } = await acceptPartition(reader);
    const [first] = await readMessages(reader, count);
    const start = Number(committedOffset);
    void commit(reader, id, start, (first?.offset ?? 0) + 1);
    return reader;
  };
  const left = failOnce();
  expect(await expectFailure(await read(3))).toBe("UNAVAILABLE");
  expect(left()).toBe(0);
  expect(await expectFailure(await read(1))).toBe("UNAVAILABLE");
  expect(await client.createTopic("/local/another")).toBe("UNAVAILABLE");
  await server.close();
  const again = await openTestServer({ dataDir });
  const reader = await read(1, rawClient(again));
  await expectRead(reader, "commitOffsetResponse");
});

test("after a failed sync of a log that is synced now and then, it takes no more, and is not called clean", async () => {
  let isFailing = false;
  const files = memoryFilesWith(() => ({
    async sync() {
      if (!isFailing) return;
      isFailing = false;
      throw new TopicServerError("DISK_FAILED", "Could not sync");
    },
  }));
  const intervalMs = 12_345;
  let due = () => {};
  const clock = systemClockWith({
    setTimer(delayMs, callback) {
      if (delayMs === intervalMs) due = callback;
      return systemClock.setTimer(delayMs, callback);
    },
  });
  const { store, client } = await openWithTopic({ files, clock, sync: { intervalMs } });
  const { stream } = await openWrite(client, path);
  expect(await write(stream, [message(1)])).toEqual([0]);
  isFailing = true;
  due();
  await client.describe(path);
  expect(isFailing).toBe(false);
  stream.send({ clientMessage: { case: "writeRequest", value: { codec: 1, messages: [message(2)] } } });
  expect(await expectFailure(stream)).toBe("UNAVAILABLE");
  // What it has is read all the same.
  const { stream: reader } = await openRead(client, path);
  await acceptPartition(reader);
  expect(await readMessages(reader, 1)).toHaveLength(1);
  expect(await store.topic(path)?.partitions[0]?.log.close()).toBe(false);
});
