import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openTopicServer } from "@tidemark/topic-server";

const dataDir = await mkdtemp(join(tmpdir(), "topics-"));

const server = await openTopicServer({
  dataDir,
  listen: { host: "127.0.0.1", port: 0 },
});
console.log(`Point any YDB topic client at ${server.connectionString}`);

await server.close();
await rm(dataDir, { recursive: true });
