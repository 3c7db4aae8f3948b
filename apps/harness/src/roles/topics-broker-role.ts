import { createTopicClient } from "@tidemark/topic";
import { openTopicServer, type TopicServer } from "@tidemark/topic-server";
import { consumerName, partitionCount, topicName } from "../chaos/topics/topic-messages.ts";
import type { TopicsBrokerRole } from "./topics-peer-options.ts";

const day = 24 * 3_600_000;

/** The topic service on a disk, alone in its process, to be killed. */
export function createTopicsBrokerRole(): TopicsBrokerRole {
  let server: TopicServer | undefined;
  return {
    async listen({ folder, port, tls }) {
      server = await openTopicServer({
        dataDir: folder,
        listen: { port },
        ...(tls !== undefined && { tls: { cert: tls.cert, key: tls.key } }),
        // Small, so that segments are sealed all the time.
        segmentBytes: 256 << 10,
        closeTimeoutMs: 500,
      });
      // Made here and not by a client: what the network does to that is not what is tested.
      if (server.store.topic(`/local/${topicName}`) !== undefined) return;
      await using client = createTopicClient(server.connectionString, {
        ...(tls !== undefined && { tls: { ca: tls.ca } }),
      });
      await client.createTopic(topicName, {
        partitions: partitionCount,
        // Longer than any clock jumps.
        retentionMs: 1_000 * day,
        consumers: [consumerName],
      });
    },
    async jumpClock(byMs) {
      const { jumpWallClock } = await import("../process/shifted-clock.ts");
      jumpWallClock(byMs);
    },
    async close() {
      await server?.close();
    },
  };
}
