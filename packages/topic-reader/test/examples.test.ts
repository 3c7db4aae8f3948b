import { testExamples } from "@tidemark/tooling/examples";
import { createTopicClient } from "@tidemark/topic";
import { openTopicServer } from "@tidemark/topic-server";
import { afterAll } from "vitest";
import { write } from "./support/live.ts";

// Each example has a service of its own with something to read.
const args: Record<string, string[]> = {};
for (const file of ["read.ts", "listen.ts", "transaction.ts"]) {
  const server = await openTopicServer();
  afterAll(() => server.close());
  await using client = createTopicClient(server.connectionString);
  await client.createTopic("orders", { consumers: ["billing"] });
  await write(client, "orders", 3);
  args[file] = [server.connectionString, "--once"];
}

testExamples({ args });
