// A database with two new columns, filled while everybody else goes on.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type MigrationStatus, openMigrations } from "@tidemark/migrate";
import Database from "better-sqlite3";

/** One line, drawn over itself. */
function barOf({ name, progress = 0, rowsDone, total, rowsPerSecond = 0, etaMs }: MigrationStatus): string {
  const bar = "█".repeat(Math.floor(progress * 24)).padEnd(24, "░");
  const eta = etaMs === undefined ? "" : `, ETA ${Math.ceil(etaMs / 1000)} s`;
  return `\r${name} ${bar} ${rowsDone} of ${total ?? "?"} rows, ${Math.round(rowsPerSecond)}/s${eta}\x1b[K`;
}

const folder = mkdtempSync(join(tmpdir(), "tidemark-example-"));
const file = join(folder, "app.db");
const db = new Database(file);
db.exec(`pragma journal_mode = wal;
  create table devices (id integer primary key, address text not null, normalised text, last_seen integer);
  create table sightings (device_id integer not null, at integer not null);
  create index sightings_device on sightings (device_id, at)`);
db.transaction(() => {
  const device = db.prepare("insert into devices (address) values (?)");
  const sighting = db.prepare("insert into sightings values (?, ?)");
  for (let id = 1; id <= 2000; id++) {
    device.run(`00-1B-44-11-3A-${(id % 256).toString(16).toUpperCase()}`);
    sighting.run(id, id * 10);
  }
})();

{
  await using migrations = await openMigrations({
    database: { dialect: "sqlite", file },
    // A module or a folder: the thread that does the work loads it itself.
    definitions: new URL("./last-seen.ts", import.meta.url),
  });

  const running = migrations.run();
  while (!(await Promise.race([running.then(() => true), sleep(100, false)]))) {
    for (const status of await migrations.list()) if (status.state === "running") process.stdout.write(barOf(status));
  }
  const statuses = await running;
  console.log(statuses.map(({ name, state }) => `${name} is ${state}`).join("\n"));

  // Throws NOT_DONE otherwise: drop the old column behind this line.
  await migrations.requireDone("2026-11-last-seen", "2026-11-addresses");
}
const left = db.prepare("select count(*) from devices where last_seen is null or normalised is null").pluck().get();
if (left !== 0) throw new Error(`${String(left)} rows are left`);
db.close();
rmSync(folder, { recursive: true });
