// Commits what was read together with everything else in a transaction.

import { createTopicClient } from "@tidemark/topic";
import { openReader } from "@tidemark/topic-reader";

await using client = createTopicClient(process.argv[2] ?? "grpc://127.0.0.1:2136/local");
await client.createTopic("orders", { consumers: ["billing"] });
await using reader = await openReader({ client, topics: "orders", consumer: "billing" });

await client.transaction(async (tx) => {
  const batch = await reader.receive({ maxMessages: 100 });
  batch.commitIn(tx);
  console.log(`${batch.length} messages, up to ${batch.endOffset}`);
});
