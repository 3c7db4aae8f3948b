import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock, systemRng } from "@tidemark/clock";
import { openHistory, openWatcher } from "@tidemark/store-watch";
import { createReferenceStore, createSimulatedSource } from "@tidemark/store-watch/testing";

const folder = await mkdtemp(join(tmpdir(), "tidemark-"));
const file = join(folder, "history.db");
const store = createReferenceStore();
// Your own: etcd from @tidemark/source-etcd, another Tidemark from @tidemark/source-watch.
const source = createSimulatedSource(store, { clock: systemClock, rng: systemRng });

{
  await using history = await openHistory({ file });
  await using watcher = await openWatcher({ source, history, name: "config" });

  store.put(Buffer.from("color"), Buffer.from("blue"));
  // Resolves when everything that was written before is in SQL.
  await watcher.waitFor("now");

  const color = await history.get("config", Buffer.from("color"));
  console.log(Buffer.from(color?.value ?? []).toString(), watcher.status().state);
}

await rm(folder, { recursive: true });
