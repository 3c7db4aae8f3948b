// Reads a topic from where its consumer stands, as long as you let it.

import { createTopicClient } from "@tidemark/topic";
import { openReader } from "@tidemark/topic-reader";

const address = process.argv[2] ?? "grpc://127.0.0.1:2136/local";
await using client = createTopicClient(address);
await client.createTopic("orders", { consumers: ["billing"] });

await using reader = await openReader({ client, topics: "orders", consumer: "billing" });
process.once("SIGINT", () => void reader.close());

for await (const batch of reader) {
  for (const message of batch) console.log(`${message.offset} ${message.text()}`);
  await batch.commit();
  if (process.argv.includes("--once")) break;
}
