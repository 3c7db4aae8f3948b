// Handles every partition on its own: one batch at a time each, all at once.

import { createTopicClient } from "@tidemark/topic";
import { openReader, type ReaderBatch } from "@tidemark/topic-reader";

await using client = createTopicClient(process.argv[2] ?? "grpc://127.0.0.1:2136/local");
await client.createTopic("orders", { consumers: ["billing"] });
await using reader = await openReader({ client, topics: "orders", consumer: "billing" });

let bytes = 0;
async function bill(batch: ReaderBatch, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  // Columns: no object for any message.
  for (let n = 0; n < batch.length; n++) bytes += batch.data(n).length;
  if (process.argv.includes("--once")) void reader.close();
}

// What was handled is committed; what throws comes again, and only its partition waits.
await reader.listen(async (batch, signal) => {
  await bill(batch, signal);
});
console.log(`${bytes} bytes`);
