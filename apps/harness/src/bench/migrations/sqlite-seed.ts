import { copyFileSync, existsSync, mkdtempSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import type { MigrationsBenchOptions, Shape } from "./options.ts";

/** A database of the seed's shape in a file, gone when it is disposed of unless it is kept. */
export interface SqliteSeed extends Disposable {
  readonly file: string;
}

/** Children in an order that has nothing to do with their parents, as packets come in. */
const fill = `with recursive numbers(n) as (select 1 union all select n + 1 from numbers where n < @children)
  insert into observations (transmission_id, timestamp, raw)
  select 1 + (n * 2654435761) % @parents, 1700000000 + n, randomblob(@ballast) from numbers`;

export function sqliteSeed(shape: Shape, { dataDir, say }: MigrationsBenchOptions): SqliteSeed {
  const folder = dataDir ?? mkdtempSync(join(tmpdir(), "tidemark-bench-"));
  mkdirSync(folder, { recursive: true });
  const name = `seed-${shape.parents}-${shape.children}-${shape.ballast}.db`;
  const kept = join(folder, name);
  if (!existsSync(kept)) {
    say(`sqlite: ${shape.parents} parents, ${shape.children} children of ${shape.ballast} B …`);
    const building = `${kept}.building`;
    rmSync(building, { force: true });
    build(building, shape);
    renameSync(building, kept);
  }
  // What is kept stays as it was made.
  const file = dataDir === undefined ? kept : join(folder, `run-${name}`);
  if (file !== kept) copyFileSync(kept, file);
  const db = new Database(file);
  db.pragma("journal_mode = wal");
  db.close();
  return {
    file,
    [Symbol.dispose]() {
      if (dataDir === undefined) rmSync(folder, { recursive: true, force: true });
      else for (const suffix of ["", "-wal", "-shm"]) rmSync(`${file}${suffix}`, { force: true });
    },
  };
}

function build(file: string, { parents, children, ballast }: Shape): void {
  const db = new Database(file);
  db.exec(`pragma journal_mode = off; pragma synchronous = off; pragma cache_size = -200000;
    create table transmissions (id integer primary key, hash text not null, raw_hex text not null,
      first_seen integer not null, last_seen integer not null default 0);
    create table observations (id integer primary key, transmission_id integer not null, timestamp integer not null, raw blob)`);
  db.prepare(
    `with recursive numbers(n) as (select 1 union all select n + 1 from numbers where n < @parents)
     insert into transmissions (id, hash, raw_hex, first_seen)
     select n, lower(hex(randomblob(8))), hex(randomblob(60)), 1700000000 + n from numbers`,
  ).run({ parents });
  db.prepare(fill).run({ parents, children, ballast });
  db.exec("create index observations_transmission on observations (transmission_id)");
  db.close();
}

/** As before the migration; what nobody waits for is written, and the WAL is empty. */
export function resetSqlite(file: string): void {
  const db = new Database(file);
  db.pragma("busy_timeout = 60000");
  db.exec("update transmissions set last_seen = 0");
  for (const table of ["tidemark_migrations", "tidemark_migration_events", "tidemark_migration_quarantine"]) {
    db.exec(`drop table if exists ${table}`);
  }
  db.pragma("wal_checkpoint(truncate)");
  db.close();
}

/** How many rows are not as the migration should have left them. */
export function wrongInSqlite(file: string): number {
  const db = new Database(file, { readonly: true });
  const wrong =
    db.prepare(`with latest as (select transmission_id as id, max(timestamp) as at from observations not indexed group by 1)
    select count(*) from transmissions left join latest using (id) where last_seen <> coalesce(at, 0)`);
  const count = wrong.pluck().get() as number;
  db.close();
  return count;
}
