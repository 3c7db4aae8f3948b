import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { catalogSource } from "@tidemark/source-catalog";
import { openHistory, openWatcher } from "@tidemark/store-watch";

// A catalogue to follow: a list, and details of each entry.
const apps = [{ id: "mail", version: 3 }];
const server = createServer(({ url = "" }, response) => {
  response.end(JSON.stringify(url === "/apps" ? apps : { about: url }));
}).listen(0, "127.0.0.1");
await new Promise((resolve) => server.once("listening", resolve));
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
const folder = await mkdtemp(join(tmpdir(), "tidemark-"));

const source = catalogSource({
  catalogs: [{ name: "apps", url: `${url}/apps`, detailUrl: `${url}/apps/{id}`, versionField: "version" }],
  stateFile: join(folder, "catalogs.db"),
});
const history = await openHistory({ file: join(folder, "history.db") });
const watcher = await openWatcher({ source, history, name: "catalogs" });

await watcher.waitFor("now");
apps.push({ id: "wiki", version: 1 });
apps[0] = { id: "mail", version: 4 };
await watcher.waitFor("now");

const { items } = await history.list({ stream: "catalogs" });
const text = (bytes: Uint8Array = new Uint8Array()) => new TextDecoder().decode(bytes);
for (const { key, value } of items) console.log(`${text(key)} ${text(value)}`);
const mail = await history.log("catalogs", Buffer.from("/default/apps/mail"));
console.log(`mail has had ${mail.items.length} versions`);

await watcher.close();
await history.close();
server.close();
await rm(folder, { recursive: true });
