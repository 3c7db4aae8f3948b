import { type JetStreamClient, jetstream, jetstreamManager, StorageType } from "@nats-io/jetstream";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { drivePromises } from "./topics/drive-promises.ts";
import type { WriteJob, WriteResult } from "./topics/write-client.ts";

interface NatsTarget {
  readonly port: number;
  readonly partitions: number;
}

export type TopicsNatsRole = {
  open(target: NatsTarget): Promise<void>;
  write(job: WriteJob): Promise<WriteResult>;
  /** How many messages the streams hold. */
  count(): Promise<number>;
  close(): Promise<void>;
};

/**
 * JetStream by its own client: one stream with file storage for each partition, and many publishes under way at a time,
 * each with the promise of its acknowledgment, which is the only way that its public interface has for single messages.
 */
export function createTopicsNatsRole(): TopicsNatsRole {
  let connection: NatsConnection | undefined;
  let js: JetStreamClient | undefined;
  let subjects: readonly string[] = [];
  const opened = () => {
    if (connection === undefined || js === undefined) throw new Error("call open first");
    return { connection, js };
  };
  return {
    open: async ({ port, partitions }) => {
      connection = await connect({ servers: `127.0.0.1:${port}`, reconnect: false });
      const manager = await jetstreamManager(connection);
      subjects = Array.from({ length: partitions }, (_, id) => `bench.${id}`);
      for (const [id, subject] of subjects.entries()) {
        await manager.streams.add({
          name: `bench-${id}`,
          subjects: [subject],
          storage: StorageType.File,
          num_replicas: 1,
        });
      }
      js = jetstream(connection, { timeout: 60_000 });
    },
    write: (job) => {
      const { js } = opened();
      const count = subjects.length;
      return drivePromises((payload, index) => js.publish(subjects[index % count] as string, payload), job);
    },
    count: async () => {
      const manager = await jetstreamManager(opened().connection);
      const names = await manager.streams.list().next();
      return names.reduce((sum, { state }) => sum + state.messages, 0);
    },
    close: () => opened().connection.close(),
  };
}
