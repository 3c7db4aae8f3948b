import { copyFileSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { startRole } from "../../role-process.ts";
import type { MigrationsPeerRole } from "../../roles/migrations-peer-role.ts";
import type { MigrationRun, MigrationsRunRole } from "../../roles/migrations-run-role.ts";
import type { MigrationsBenchOptions } from "./options.ts";
import { type Latencies, summaryOf } from "./sides.ts";

export type RunRole = Awaited<ReturnType<typeof startRole<MigrationsRunRole>>>;

/** A file of narrow rows, made once; gone when it is disposed of unless it is kept. */
export interface RowsDatabase extends Disposable {
  /** What is worked on. */
  readonly file: string;
  /** Works on a copy of the rows as they were made, in a process of its own. */
  fresh(work: (runner: RunRole) => Promise<MigrationRun>): Promise<MigrationRun>;
}

export function openRows(part: string, rows: number, { dataDir, say }: MigrationsBenchOptions): RowsDatabase {
  const folder = dataDir ?? mkdtempSync(join(tmpdir(), "tidemark-bench-"));
  mkdirSync(folder, { recursive: true });
  const kept = join(folder, `rows-${rows}.db`);
  const file = join(folder, "run-rows.db");
  if (!existsSync(kept)) {
    say(`${part}: ${rows} rows …`);
    build(`${kept}.building`, rows);
    renameSync(`${kept}.building`, kept);
  }
  const clear = () => {
    for (const suffix of ["", "-wal", "-shm"]) rmSync(`${file}${suffix}`, { force: true });
  };
  return {
    file,
    async fresh(work) {
      clear();
      copyFileSync(kept, file);
      await using runner = await startRole<MigrationsRunRole>("migrations-run");
      return await work(runner);
    },
    [Symbol.dispose]() {
      clear();
      if (dataDir === undefined) rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** A run as its definitions say, beside processes that write to a table of their own. */
export async function besideWriters(
  database: RowsDatabase,
  {
    writers,
    everyMs,
    definitions,
  }: { readonly writers: number; readonly everyMs: number; readonly definitions: string },
): Promise<{ readonly run: MigrationRun; readonly waits: readonly Latencies[] }> {
  const waits: Latencies[] = [];
  const run = await database.fresh(async (runner) => {
    const peers = await Promise.all(
      Array.from({ length: writers }, () => startRole<MigrationsPeerRole>("migrations-peer")),
    );
    try {
      const job = { file: database.file, kind: "adder", everyMs, parents: 1 } as const;
      for (const peer of peers) await peer.call("open", job);
      for (const peer of peers) await peer.call("start");
      const result = await runner.call("tidemark", { file: database.file, definitions });
      for (const peer of peers) waits.push(summaryOf(await peer.call("stop"), everyMs));
      return result;
    } finally {
      for (const peer of peers) await peer.kill("SIGKILL");
    }
  });
  return { run, waits };
}

function build(file: string, rows: number): void {
  rmSync(file, { force: true });
  const db = new Database(file);
  db.exec(`pragma journal_mode = off; pragma synchronous = off; pragma cache_size = -200000;
    create table things (id integer primary key, a text not null, b text);
    create table events (id integer primary key, at real not null)`);
  db.prepare(
    `with recursive numbers(n) as (select 1 union all select n + 1 from numbers where n < ?)
     insert into things (id, a) select n, 'Thing ' || n from numbers`,
  ).run(rows);
  db.pragma("journal_mode = wal");
  db.close();
}
