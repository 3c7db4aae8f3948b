import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createStoreClient, openStore, serveWatch, StoreError } from "@tidemark/watch-server";

const folder = await mkdtemp(join(tmpdir(), "tidemark-"));
const file = join(folder, "store.db");
{
  await using store = await openStore({ file });
  await using server = await serveWatch({ store, listen: { port: 0 } });

  // Elsewhere:
  await using client = createStoreClient({ address: server.address });
  await client.put("greeting", "hello");

  const { oldestMarker } = await client.status();
  let marker = oldestMarker;
  try {
    for await (const event of client.watch({ resumeMarker: marker })) {
      if (event.type !== "transactions") continue;
      for (const transaction of event.transactions) {
        console.log(`revision ${transaction.revision}: ${transaction.changes.length} change`);
        marker = transaction.marker;
      }
      break;
    }
  } catch (error) {
    // What to do about each is in the table of error codes.
    if (StoreError.is(error) && error.code === "TOO_OLD") marker = "";
    else throw error;
  }
}
await rm(folder, { recursive: true });
