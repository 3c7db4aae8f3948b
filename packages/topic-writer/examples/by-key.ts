// Writes to all partitions of a topic: messages with one key keep their order, also when a partition is split.

import { createTopicClient } from "@tidemark/topic";
import { openWriter } from "@tidemark/topic-writer";

const address = process.argv[2] ?? "grpc://127.0.0.1:2136/local";
await using client = createTopicClient(address);
await client.createTopic("visits", { partitions: 4 });

await using writer = await openWriter({ client, topic: "visits", producerId: "web-1", partitioning: { by: "key" } });
for (const user of ["ann", "bob", "cid"]) {
  writer.write({ key: user, data: `${user} came` });
  writer.write({ key: user, data: `${user} left` });
}
await writer.flush();

await client.transaction(async (transaction) => {
  const joined = await openWriter({ client, topic: "visits", transaction });
  // The commit waits for it, and without the commit it never was.
  joined.write("three visits");
});
console.log("written");
