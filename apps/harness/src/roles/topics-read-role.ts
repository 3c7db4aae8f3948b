import { liveHeapBytes } from "../process/live-heap.ts";
import type { ReadClient, ReadJob, ReadResult, ReadTarget } from "./topics/read-client.ts";

/** Who reads. */
const readers = ["tidemark", "ydb-sdk", "connect", "raw"] as const;
export type ReaderName = (typeof readers)[number];

export type TopicsReadRole = {
  open(options: ReadTarget & { readonly reader: ReaderName }): Promise<void>;
  read(job: ReadJob): Promise<ReadResult>;
  /** Bytes that are alive, on the heap and beside it. */
  heap(): number;
  close(): Promise<void>;
};

/** One client that reads, in a process where no other one is loaded. */
export function createTopicsReadRole(): TopicsReadRole {
  let client: ReadClient | undefined;
  const opened = () => {
    if (client === undefined) throw new Error("call open first");
    return client;
  };
  return {
    open: async ({ reader, ...target }) => {
      client = await openReadClient(reader, target);
    },
    read: (job) => opened().read(job),
    heap: liveHeapBytes,
    close: () => opened().close(),
  };
}

async function openReadClient(reader: ReaderName, target: ReadTarget): Promise<ReadClient> {
  switch (reader) {
    case "tidemark":
      return (await import("./topics/read-tidemark.ts")).readByTidemark(target);
    case "ydb-sdk":
      return (await import("./topics/read-ydb-sdk.ts")).readByYdbSdk(target);
    case "connect":
      return (await import("./topics/read-connect.ts")).readByConnect(target);
    case "raw":
      return (await import("./topics/read-raw.ts")).readByRaw(target);
  }
}
