// Runs as a process of its own, until it is killed: node serve-and-write.ts FILE PORT
import { writeSync } from "node:fs";
import { systemClock } from "@tidemark/clock";
import { openStore, serveWatch } from "@tidemark/watch-server";

const store = await openStore({ file: process.argv[2] as string });
const server = await serveWatch({ store, listen: { port: Number(process.argv[3]) } });
writeSync(1, `${server.port}\n`);

// Every write says which one it is, so whoever follows can tell what is missing.
for (let next = Number(store.revision()) + 1; ; ) {
  await Promise.all(Array.from({ length: 20 }, () => store.put("n", `${next++}`)));
  await systemClock.sleep(2);
}
