import { testExamples } from "@tidemark/tooling/examples";
import { openTopicServer } from "@tidemark/topic-server";
import { afterAll } from "vitest";

// Each example has a service of its own.
const args: Record<string, string[]> = {};
for (const file of ["write.ts", "by-key.ts"]) {
  const server = await openTopicServer();
  afterAll(() => server.close());
  args[file] = [server.connectionString];
}

testExamples({ args });
