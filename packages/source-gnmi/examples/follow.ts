import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openHistory, openWatcher } from "@tidemark/store-watch";
import { buildTree, gnmiSource } from "@tidemark/source-gnmi";
import { GnmiDevice } from "@tidemark/source-gnmi/testing";

const folder = await mkdtemp(join(tmpdir(), "tidemark-"));
const file = join(folder, "history.db");

await using device = await new GnmiDevice().listen();
device.set("/", { interfaces: { interface: [{ name: "eth0", state: { "oper-status": "UP" } }] } });
const { address } = device;

{
  const source = gnmiSource({ address, subscriptions: [{ path: "/interfaces" }] });
  await using history = await openHistory({ file });
  await using watcher = await openWatcher({ source, history, name: "router" });
  console.log(watcher.status().description);
  for await (const records of history.follow(0n)) if (records.length > 0) break;
  device.set("/interfaces/interface[name=eth0]/state/oper-status", "DOWN");
  for await (const records of history.follow(2n)) if (records.length > 0) break;

  // Every leaf has a history of its own, and the tree is there at any moment of it.
  const then = await history.list({ stream: "router" }, { at: { position: 2n } });
  const now = await history.list({ stream: "router" });
  console.log(JSON.stringify(buildTree(then.items)), JSON.stringify(buildTree(now.items)));
}
await rm(folder, { recursive: true });
