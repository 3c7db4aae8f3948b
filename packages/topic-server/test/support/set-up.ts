// What tests of a service and its catalogue begin with.

import { type Clock, systemClock } from "@tidemark/clock";
import type { TopicServerOptions } from "../../src/index.ts";
import { memoryFiles, type TopicStore } from "../../src/internal.ts";
import type { LogFile, LogFiles } from "../../src/storage/log-files.ts";
import type { StoreOptions } from "../../src/storage/store-options.ts";
import { openTestServer, type RawClient, rawClient } from "../support.ts";

/** The topic of a test that needs one. */
export const path = "/local/t";

/** A server, its store and a client of it, with one topic. It is maintained when the test says so. */
export async function openWithTopic(
  options: TopicServerOptions & StoreOptions = {},
  settings: Parameters<RawClient["createTopic"]>[1] = {},
) {
  const server = await openTestServer({ maintenanceIntervalMs: 3_600_000, ...options });
  const client = rawClient(server);
  await client.createTopic(path, settings);
  return { server, store: server.store as TopicStore, client };
}

/** A transaction in a session, which is a new one unless it is given. */
export async function beginTransaction({ query }: RawClient, session?: string) {
  const sessionId = session ?? (await query.createSession({})).sessionId;
  const id = (await query.beginTransaction({ sessionId })).txMeta?.id ?? "";
  const commit = async () => (await query.commitTransaction({ sessionId, txId: id })).status;
  return { tx: { id, session: sessionId }, commit };
}

/** Files in memory that do some things in another way. */
export function memoryFilesWith(change: (file: LogFile, path: string) => Partial<LogFile>): LogFiles {
  const memory = memoryFiles();
  return {
    ...memory,
    async open(name, isNew) {
      const file = await memory.open(name, isNew);
      return {
        size: () => file.size(),
        write: (pieces, position) => file.write(pieces, position),
        writeThrough: (pieces, position) => file.writeThrough(pieces, position),
        sync: () => file.sync(),
        read: (target, position) => file.read(target, position),
        truncate: (size) => file.truncate(size),
        close: () => file.close(),
        ...change(file, name),
      };
    },
  };
}

/** The system's clock, but for what is given. */
export function systemClockWith(change: Partial<Clock>): Clock {
  return {
    now: () => systemClock.now(),
    monotonic: () => systemClock.monotonic(),
    setTimer: (delayMs, callback) => systemClock.setTimer(delayMs, callback),
    setImmediate: (callback) => systemClock.setImmediate(callback),
    sleep: (ms, options) => systemClock.sleep(ms, options),
    ...change,
  };
}

/** The system's clock, set forward by hand. */
export function shiftedClock(): { readonly clock: Clock; readonly forward: (ms: number) => void } {
  let shiftMs = 0;
  const clock = systemClockWith({
    now: () => systemClock.now() + shiftMs,
    monotonic: () => systemClock.monotonic() + shiftMs,
  });
  return { clock, forward: (ms) => void (shiftMs += ms) };
}
