// A process that works on the migrations of a database, and may kill itself:
// worker-process.ts <address> <mode> [point] [nth]
// `drain` ends when everything is done; `forever` goes on until it is killed.

import { seededRng, systemClock } from "@tidemark/clock";
import { MigrationEngine, resolveEngine } from "@tidemark/migrate/internal";
import { type Address, limitsOf, linkTo } from "./address.ts";
import { migrateFolder } from "./schema-migration.ts";
import { definitionsFor } from "./shared-tables.ts";

const [, , text = "", mode = "drain", point, nth = "1"] = process.argv;
const address = JSON.parse(text) as Address;

// `schema` runs Drizzle's migrations of a folder, alone, and prints whether it found something to do.
if (mode === "schema") {
  await migrateFolder(address, point ?? "");
  process.exit(0);
}

let left = Number(nth);
const link = await linkTo(address);
const database = await link.open();
const engine = await MigrationEngine.open({
  database,
  definitions: definitionsFor(address.dialect),
  options: resolveEngine({ leaseMs: 200, heartbeatMs: 60, pollMs: 20 }),
  clock: systemClock,
  rng: seededRng(process.pid),
  owner: `process ${process.pid}`,
  signals: [],
  isShared: true,
  probe(reached) {
    // No handler runs, no buffer is written, no lock is given back.
    if (reached === point && --left === 0) process.kill(process.pid, "SIGKILL");
  },
});
// Only those that tests stop are given up soon, and only once they are at work: nobody tries an opening again.
if (mode === "forever") database.connection.limit?.(limitsOf.stopped);
process.stdout.write("ready\n");
if (mode === "forever") {
  engine.start();
  setInterval(() => {}, 1000);
} else {
  await engine.run();
  await engine.close();
  await link.end();
}
