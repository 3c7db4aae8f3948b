import { liveHeapBytes } from "../process/live-heap.ts";
import type { WriteClient, WriteJob, WriteResult, WriteTarget } from "./topics/write-client.ts";

/** Who writes. */
const writers = ["tidemark", "ydb-sdk", "connect", "raw"] as const;
export type WriterName = (typeof writers)[number];

export type TopicsWriteRole = {
  open(options: WriteTarget & { readonly writer: WriterName }): Promise<void>;
  write(job: WriteJob): Promise<WriteResult>;
  /** Bytes that are alive, on the heap and beside it. */
  heap(): number;
  close(): Promise<void>;
};

/** One client that writes, in a process where no other one is loaded. */
export function createTopicsWriteRole(): TopicsWriteRole {
  let client: WriteClient | undefined;
  const opened = () => {
    if (client === undefined) throw new Error("call open first");
    return client;
  };
  return {
    open: async ({ writer, ...target }) => {
      client = await openWriteClient(writer, target);
    },
    write: (job) => opened().write(job),
    heap: liveHeapBytes,
    close: () => opened().close(),
  };
}

async function openWriteClient(writer: WriterName, target: WriteTarget): Promise<WriteClient> {
  switch (writer) {
    case "tidemark":
      return (await import("./topics/write-tidemark.ts")).writeByTidemark(target);
    case "ydb-sdk":
      return (await import("./topics/write-ydb-sdk.ts")).writeByYdbSdk(target);
    case "connect":
      return (await import("./topics/write-connect.ts")).writeByConnect(target);
    case "raw":
      return (await import("./topics/write-raw.ts")).writeByRaw(target);
  }
}
