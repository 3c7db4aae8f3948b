// A server for one test: in memory, on any free port, with rights. What it does now and then is done at once.
import assert from "node:assert/strict";
import { createTopicClient } from "@tidemark/topic";
import { openTopicServer } from "@tidemark/topic-server";

await using server = await openTopicServer({
  auth: {
    users: [
      { name: "ops", tokens: ["ops-token"], rights: "all" },
      { name: "shop", tokens: ["shop-token"], rights: [{ topic: "/local/orders", can: ["write"] }] },
    ],
  },
});
await using ops = createTopicClient(server.connectionString, { credentials: { token: "ops-token" } });
await ops.createTopic("orders", { consumers: ["billing"] });

const topic = server.store.topic("/local/orders");
assert(topic !== undefined);
await server.store.splitPartition(topic, 0);
await server.store.maintain();
assert.deepEqual(
  topic.partitions.map(({ definition }) => definition.isActive),
  [false, true, true],
);

await using shop = createTopicClient(server.connectionString, { credentials: { token: "shop-token" } });
await assert.rejects(shop.dropTopic("orders"), /UNAUTHORIZED/);
