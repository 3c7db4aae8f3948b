import { systemClock } from "@tidemark/clock";
import { createTopicClient, type TopicClient } from "@tidemark/topic";
import { openTopicServer, type TopicServer } from "@tidemark/topic-server";
import { diskFiles, PartitionLog, type RecordOwner } from "@tidemark/topic-server/internal";
import { payloadsOf } from "../bench/topics/payloads.ts";

/** Where messages go, and when they count: in memory; on the disk; with the system, which syncs once a second. */
export type ServerStorage = "memory" | "durable" | "interval";

interface ServerTarget {
  readonly folder: string;
  readonly storage: ServerStorage;
  readonly topic: string;
  readonly partitions: number;
}

interface LogRun {
  readonly folder: string;
  readonly groupBytes: number;
  readonly ms: number;
}

export type TopicsServerRole = {
  listen(target: ServerTarget): Promise<{ readonly port: number }>;
  /** How many messages it has. */
  messages(): Promise<number>;
  /** Appends to a log as the server does, without a server. */
  append(run: LogRun): Promise<{ readonly bytes: number; readonly ms: number }>;
  close(): Promise<void>;
};

/** Our own server, alone in its process. */
export function createTopicsServerRole(): TopicsServerRole {
  let server: TopicServer | undefined;
  let client: TopicClient | undefined;
  let topic = "";
  return {
    listen: async (target) => {
      const { folder, storage, partitions } = target;
      ({ topic } = target);
      server = await openTopicServer({
        ...(storage !== "memory" && { dataDir: folder }),
        sync: storage === "interval" ? { intervalMs: 1_000 } : "always",
      });
      client = createTopicClient(server.connectionString);
      // Measured is the server, not the speed that a topic allows its writers.
      await client.createTopic(topic, {
        partitions,
        partitionWriteBytesPerSecond: 1e12,
        partitionWriteBurstBytes: 1e12,
      });
      return { port: server.port };
    },
    messages: async () => {
      const { partitions } = await (client as TopicClient).describeTopic(topic, { stats: true });
      return partitions.reduce((sum, { stats }) => sum + Number(stats?.endOffset ?? 0n), 0);
    },
    append,
    close: async () => {
      await client?.close();
      await server?.close();
    },
  };
}

async function append({ folder, groupBytes, ms }: LogRun) {
  const log = await PartitionLog.open({
    files: diskFiles(folder),
    folder: "log",
    clock: systemClock,
    sync: "always",
    segmentBytes: 256 << 20,
    tail: { maxBytes: 0, bytes: 0 },
    sealed: [],
    startOffset: 0,
    checkpointOffset: 0,
    onRecovered: () => {},
    onSealed: () => {},
    onTrim: async () => {},
    onVisible: () => {},
  });
  const payload = payloadsOf(groupBytes)[0] as Buffer;
  const over = Promise.withResolvers<void>();
  const startedMs = performance.now();
  const untilMs = startedMs + ms;
  let stored = 0;
  let seqNo = 0n;
  let underWay = 0;
  const owner: RecordOwner = {
    onStored: () => {
      stored++;
      underWay--;
      // Once the one that waited is on its way: otherwise it and the new one were one group, of twice the size.
      setImmediate(fill);
    },
    onLost: (_, error) => over.reject(error),
  };
  const none = new Uint8Array(0);
  // One waits behind those that are on their way to the disk: two where groups are large, else one.
  const most = groupBytes >= 128 * 1024 ? 3 : 2;
  const fill = () => {
    if (performance.now() >= untilMs) {
      if (underWay === 0) over.resolve();
      return;
    }
    while (underWay < most) {
      underWay++;
      seqNo++;
      const numbers = { count: 1, skip: 0, codec: 1, firstSeqNo: seqNo, lastSeqNo: seqNo, txId: 0 };
      log.append({ ...numbers, writtenAtMs: Date.now(), producer: none, meta: none }, payload, owner);
    }
  };
  fill();
  await over.promise;
  const tookMs = performance.now() - startedMs;
  await log.close();
  return { bytes: stored * groupBytes, ms: tookMs };
}
