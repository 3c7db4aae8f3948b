// M16: how long it takes to open the migrations of a table and to ask for them, by the size of the table.
// node --conditions=@tidemark/source bench/start-up.ts [rows…]

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seededRng, systemClock } from "@tidemark/clock";
import { defineMigration } from "@tidemark/migrate";
import { MigrationEngine, openSqlite, resolveEngine } from "@tidemark/migrate/internal";
import Sqlite from "better-sqlite3";
import { integer, sqliteTable, text } from "drizzle-orm/sqlite-core";

const rounds = 30;
const things = sqliteTable("things", { id: integer("id").primaryKey(), body: text("body"), length: integer("length") });
const fill = defineMigration({ name: "fill", table: things, key: "id", set: { length: 1 } });

async function openOnce(file: string): Promise<number> {
  const startMs = systemClock.monotonic();
  const engine = await MigrationEngine.open({
    database: await openSqlite({ dialect: "sqlite", file }),
    definitions: [fill],
    options: resolveEngine({}),
    clock: systemClock,
    rng: seededRng(1),
    owner: "bench",
    signals: [],
    isShared: true,
  });
  await engine.list();
  const tookMs = systemClock.monotonic() - startMs;
  await engine.close();
  return tookMs;
}

const sizes = process.argv.slice(2).map(Number);
for (const rows of sizes.length > 0 ? sizes : [1000, 100_000, 2_000_000]) {
  const folder = mkdtempSync(join(tmpdir(), "tidemark-start-up-"));
  const file = join(folder, "app.db");
  const db = new Sqlite(file);
  db.pragma("journal_mode = wal");
  db.pragma("synchronous = off");
  db.exec("create table things (id integer primary key, body text, length integer)");
  db.exec(
    `with recursive n(i) as (select 1 union all select i + 1 from n where i < ${rows})
      insert into things select i, 'some text of a row ' || i, null from n`,
  );
  db.close();
  const first = await openOnce(file);
  const later: number[] = [];
  for (let round = 0; round < rounds; round++) later.push(await openOnce(file));
  const sorted = later.toSorted((a, b) => a - b);
  const at = (share: number) => (sorted[Math.ceil(sorted.length * share) - 1] ?? 0).toFixed(2);
  console.log(`${rows} rows: first ${first.toFixed(2)} ms, then p50 ${at(0.5)} ms, max ${at(1)} ms of ${rounds}`);
  rmSync(folder, { recursive: true });
}
