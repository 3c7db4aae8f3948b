// Makes a topic, looks at it, and moves a consumer. Needs a server: `npx tidemark topics --data ./topics`.

import { createTopicClient } from "@tidemark/topic";

await using client = createTopicClient(process.argv[2] ?? "grpc://127.0.0.1:2136/local");

await client.createTopic("orders", {
  partitions: 4,
  retentionMs: 36 * 3_600_000,
  codecs: ["raw", "zstd"],
  consumers: ["billing", { name: "audit", important: true }],
});

const topic = await client.describeTopic("orders", { stats: true });
for (const { partitionId, stats } of topic.partitions) {
  console.log(`partition ${partitionId}: ${stats?.startOffset} to ${stats?.endOffset}`);
}

// Everything up to the end counts as done.
const last = topic.partitions[0]?.stats?.endOffset ?? 0n;
await client.commitOffset("orders", 0, "billing", last);
