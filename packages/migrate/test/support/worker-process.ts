// A process that works on the migrations of a database, and may kill itself: worker-process.ts <file> <mode> [point] [nth]
// `drain` ends when everything is done; `forever` goes on until it is killed.

import { seededRng, systemClock } from "@tidemark/clock";
import { MigrationEngine, openSqlite, resolveEngine } from "@tidemark/migrate/internal";
import { bump, lengths } from "./definitions/counters.ts";

const [, , file = "", mode = "drain", point, nth = "1"] = process.argv;

let left = Number(nth);
const database = await openSqlite({ dialect: "sqlite", file, busyTimeoutMs: 20_000 });
const engine = await MigrationEngine.open({
  database,
  definitions: [bump, lengths],
  options: resolveEngine({ leaseMs: 300, heartbeatMs: 100, pollMs: 20 }),
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
process.stdout.write("ready\n");
if (mode === "forever") {
  engine.start();
  setInterval(() => {}, 1000);
} else {
  await engine.run();
  await engine.close();
}
