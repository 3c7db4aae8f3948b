import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openHistory } from "@tidemark/store-watch";
import { openSite, topicChannel } from "@tidemark/sync";
import { createTopicClient } from "@tidemark/topic";
import { openTopicServer } from "@tidemark/topic-server";

const folder = mkdtempSync(join(tmpdir(), "tidemark-sync-"));
// Stands for a service of your own: `tidemark topics --data ./topics`, or a YDB cluster.
await using service = await openTopicServer({ dataDir: join(folder, "topics") });
await using client = createTopicClient(service.connectionString);
await client.createTopic("config", { consumers: ["paris", "oslo"] });

async function startSite(name: string) {
  const history = await openHistory({ file: join(folder, `${name}.db`), synchronous: "full" });
  const graph = await history.openGraph({ name: "config", description: `shared with ${name}` });
  const site = openSite({ graph, channel: topicChannel({ client, topic: "config", consumer: name }) });
  return { site, history };
}

const paris = await startSite("paris");
const oslo = await startSite("oslo");

const color = Buffer.from("color");
const isThere = (place: typeof paris, value: string) =>
  new Promise<void>((resolve) => {
    const look = async () => {
      const shown = await place.history.get("config", color);
      if (shown?.value !== undefined && Buffer.from(shown.value).toString() === value) resolve();
    };
    place.site.onEvent(() => void look());
    void look();
  });

// One transaction: the other sites see all of it or nothing.
await paris.site.write([
  { key: color, value: Buffer.from("blue") },
  { key: Buffer.from("size"), value: Buffer.from("10") },
]);
await isThere(oslo, "blue");

await oslo.site.write([{ key: color, value: Buffer.from("green") }]);
await isThere(paris, "green");

// Every version that there ever was, on every site.
for (const { value, via } of (await paris.history.log("config", color)).items) {
  console.log(`${Buffer.from(value ?? []).toString()} (${via})`);
}

for (const { site, history } of [paris, oslo]) {
  await site.close();
  await history.close();
}
