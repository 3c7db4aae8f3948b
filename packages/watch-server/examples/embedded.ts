import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openStore } from "@tidemark/watch-server";

const folder = await mkdtemp(join(tmpdir(), "tidemark-"));
const file = join(folder, "store.db");
{
  await using store = await openStore({ file });

  await store.put("config/port", "8080");
  const { kv } = await store.get("config/port");

  // Only if nobody changed it since: optimistic locking.
  await store.compareAndPut("config/port", "8081", kv?.modRevision ?? 0n);

  // All at one revision, or nothing.
  await store.txn({
    compares: [{ key: "config/host", expectedModRevision: 0n }],
    ops: [
      { type: "put", key: "config/host", value: "localhost" },
      { type: "delete", key: "config/port" },
    ],
  });

  for await (const event of store.watch({ range: { prefix: "config/" } })) {
    if (event.type === "snapshot-page")
      for (const { key } of event.kvs) console.log(`has ${Buffer.from(key).toString()}`);
    if (event.type === "snapshot-end") break;
  }
}
await rm(folder, { recursive: true });
