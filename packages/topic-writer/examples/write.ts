// Writes a million messages, and then one of which it wants to know where it is.

import { createTopicClient } from "@tidemark/topic";
import { openWriter } from "@tidemark/topic-writer";

const address = process.argv[2] ?? "grpc://127.0.0.1:2136/local";
await using client = createTopicClient(address);
await client.createTopic("orders");

await using writer = await openWriter({ client, topic: "orders", producerId: "shop-1" });

for (let n = 0; n < 1_000_000; n++) {
  // False: the buffer is full.
  if (!writer.write(`order ${n}`)) await writer.ready();
}
await writer.flush();

const ack = await writer.writeAcked({ data: "the last order", metadata: { trace: "4711" } });
console.log(`${ack.status} at offset ${ack.offset}`);
